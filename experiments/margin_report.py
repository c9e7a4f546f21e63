"""What the study of margins leaves behind: a table, a figure, headline numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run

REACHED = 0.98
"""Share of the largest margin from which it counts as reached."""


def save(run: Run, rows: list[dict[str, Any]]) -> None:
    """Save the table, the figure and the metrics."""
    import pandas as pd

    from interp.plots.groups import margin_bars

    run.save_table("margins", pd.DataFrame(rows))
    run.save_figure(
        "margins",
        margin_bars(
            {row["network"]: row["share"] for row in rows},
            climbed={row["network"]: row["climbed share"] for row in rows},
            null={row["network"]: row["untrained share"] for row in rows},
            title="Normalised margins beside the largest possible",
        ),
    )
    run.save_metrics(
        {
            "networks": {
                row["network"]: {name.replace(" ", "_"): value for name, value in row.items()}
                for row in rows
            },
            "largest_share": max(max(row["share"], row["climbed share"]) for row in rows),
            "headline": "; ".join(
                f"{row['network']} {row['share']:.3f} γ*, {row['climbed share']:.3f} after climbing"
                for row in rows
            ),
            "conclusion": " ".join(_said(row) for row in rows),
        }
    )


def table_of(run: Run) -> Any:
    """Margins beside the largest."""
    from interp import terminal

    chosen = [
        "network",
        "neurons",
        "margin",
        "largest",
        "share",
        "climbed share",
        "untrained share",
    ]
    rows = run.table("margins")[chosen].to_dict("records")
    return terminal.table(
        chosen,
        [[f"{x:.5g}" if isinstance(x, float) else str(x) for x in row.values()] for row in rows],
    )


def _said(row: dict[str, Any]) -> str:
    share, climbed = row["share"], row["climbed share"]
    if max(share, climbed) > 1 + 1e-6:
        reached = "above the largest possible: formula and network do not belong together"
    elif share >= REACHED:
        reached = "the largest margin is reached"
    elif row["neurons"] < row.get("neurons needed", 0):
        reached = (
            f"not reached; {row['neurons']} neurons are fewer than the {row['neurons needed']} of "
            "the construction, so a larger width first"
        )
    elif climbed >= REACHED:
        reached = "not reached by training, and reached by climbing the margin itself"
    else:
        reached = "not reached, nor by climbing the margin itself; more steps may"
    said = (
        f"{row['network']}: {share:.4f} of γ* ({row['untrained share']:.2g} untrained, "
        f"{climbed:.4f} after climbing), {reached}"
    )
    if "frequency power" in row:
        residual = row["phase residual"]
        phases = "" if residual is None else f", phases off by {residual:.2g} rad"
        said += (
            f"; neurons have {row['frequency power']:.3f} of their power at one frequency "
            f"({row['untrained power']:.2f} untrained), the same for u, v and w in "
            f"{row['frequencies agree']:.0%} of them{phases}, and use "
            f"{row['frequencies used']:.0%} of the frequencies"
        )
    if "weight on the bits" in row:
        said += (
            f"; {row['weight on the bits']:.3f} of what neurons read is on the bits that count "
            f"({row['untrained on the bits']:.2f} untrained)"
        )
    return f"{said}."
