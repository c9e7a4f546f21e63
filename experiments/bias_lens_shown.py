"""What the terminal shows of a finished run: bias by every method, and the evidence."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pandas import DataFrame

    from interp.runs import Run


def shown(run: Run) -> Any:
    """Return bias by every method beside behaviour, then the evidence."""
    from rich import box
    from rich.console import Group
    from rich.table import Table

    from interp.evidence.table import read_evidence, rich_table

    frame = run.table("bias")
    yardsticks = [name.removeprefix("rho ") for name in _rhos(frame)]
    table = Table(title="Bias in concept space, and ρ over targets", box=box.SIMPLE_HEAD)
    several = frame["triple"].nunique() > 1
    for name in (*(["triple"] if several else []), "site", "method", "mean |bias|", *yardsticks):
        table.add_column(name, overflow="fold")
    for row in frame.to_dict(orient="records"):
        size = f"{row['size']:.3f} (null {row['null_high']:.3f}, p {row['p_holm']:.2g})"
        cells = [
            "{:.2f} [{:.2f}, {:.2f}]".format(
                *(row[f"rho{end} {name}"] for end in ("", " low", " high"))
            )
            for name in yardsticks
        ]
        first = [row["triple"]] if several else []
        table.add_row(*first, row["site"], row["method"], size, *cells)
    return Group(table, rich_table(read_evidence(run.table("evidence"))))


def _rhos(frame: DataFrame) -> Sequence[str]:
    return [
        name
        for name in map(str, frame)
        if name.startswith("rho ") and not name.startswith(("rho low ", "rho high "))
    ]
