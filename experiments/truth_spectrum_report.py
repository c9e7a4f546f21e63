"""What the truth spectrum leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.truth_spectrum_words import (
    erasure_said,
    general_said,
    plain,
    steering_said,
    unmoved_said,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.truth_spectrum import Config
    from experiments.truth_spectrum_measuring import Found
    from experiments.truth_spectrum_steering import Steered
    from interp.runs import Run


def save(config: Config, run: Run, found: Found) -> None:
    """Save tables, directions, figures and metrics."""
    import torch

    from probes import transfer_files

    compared = found.compared
    for name, frame in transfer_files.tables(compared).items():
        run.save_table(name, frame)
    for name, figure in transfer_files.figures(compared).items():
        run.save_figure(name, figure)
    directions = {f"{name}": rule.direction for name, rule in compared.matrix.rules.items()}
    if found.erasure is not None:
        run.save_table("erasure", found.erasure.table())
        run.save_figure("erasure", found.erasure.figure())
    if found.strata is not None:
        run.save_table("directions", found.strata.table())
        run.save_table("specificity", found.strata.specificity())
        run.save_figure("directions", found.strata.figure())
        directions |= {one.name: one.vector for one in found.strata.directions}
    directions |= {one.name: one.vector for one in found.shared}
    run.save_tensors({name: torch.as_tensor(one).float() for name, one in directions.items()})
    if found.steered is not None:
        run.save_table("evidence", found.steered.evidence)
        run.save_table("steering", found.steered.effects)
        run.save_table("steering_across", found.steered.across)
        _steering_figures(config, run, found.steered)
    run.save_metrics(_metrics(config, found))


def _steering_figures(config: Config, run: Run, steered: Steered) -> None:
    from interp.plots.matrices import labelled_matrix
    from interp.plots.steering import effect_bars

    for kind in dict.fromkeys(steered.effects["kind"]):
        chosen = steered.effects["kind"] == kind
        effects, rows = steered.effects[chosen], steered.evidence[chosen]
        what = "moved by the push" if kind == "push" else "of the natural gap erased"
        run.save_figure(
            "steering" if kind == "push" else f"steering_{kind}",
            effect_bars(
                effects["direction"].tolist(),
                effects["effect"].tolist(),
                intervals=effects[["interval_low", "interval_high"]].to_numpy().tolist(),
                random=rows["controls"].tolist(),
                gaps=[None if gap is None else float(gap) for gap in plain(effects["natural_gap"])],
                label=f"log-odds {what}, nats",
                title=f"{config.model}: {kind} of truth directions",
            ),
        )
    across = steered.across.pivot(index="direction", columns="domain", values="share_of_own")
    names = list(dict.fromkeys(steered.across["direction"]))
    run.save_figure(
        "steering_across",
        labelled_matrix(
            # A rounded zero has no sign.
            across.loc[names, names].astype("float64").round(2).to_numpy() + 0.0,
            rows=names,
            columns=names,
            row_label="pushed along the direction of",
            column_label="asked about",
            label="log-odds moved, share of the direction's own gap",
            limits=(-1.0, 1.0),
            title=f"{config.model}: steering across domains",
        ),
    )


def _metrics(config: Config, found: Found) -> dict[str, Any]:
    from probes import transfer_files

    compared = found.compared
    held = transfer_files.metrics(compared)
    said = [held.pop("conclusion")]
    made = {
        **held,
        "model": config.model,
        "erasure": _erasure_numbers(found),
        "general": _general_numbers(found),
        "shared": [{"by": list(one.of), "not_by": one.lacking} for one in found.shared],
        "steering": None if found.steered is None else _steering_numbers(found.steered),
        "missing": found.missing,
    }
    if compared.read:
        said += [erasure_said(made["erasure"]), general_said(made["general"])]
    if found.steered is not None:
        said += [steering_said(found.steered), unmoved_said(compared, found.steered)]
    said += [f"No {part}: {why}." for part, why in found.missing.items()]
    n = len(compared.read)
    r2 = compared.regressions.get(("mahalanobis", False))
    headline = "no evidence of a truth direction"
    if n:
        headline = f"{n} of {len(compared.gathered.names)} domains read at {compared.site}"
        if r2 is not None and n == len(compared.gathered.names):
            cosine = compared.regressions["cosine", False].r2
            headline += f", R² {r2.r2:.3f} (Mahalanobis) against {cosine:.3f} (cosine)"
    return {**made, "headline": headline, "conclusion": "\n\n".join(part for part in said if part)}


def _erasure_numbers(found: Found) -> dict[str, Any] | None:
    """Retrained and original probes' AUROC, by erased domain and domain read."""
    if found.erasure is None:
        return None
    return {
        measure: {
            erased: {
                cell.test: getattr(cell, measure)
                for cell in found.erasure.cells
                if cell.erased == erased and cell.train == cell.test
            }
            for erased in found.erasure.domains
        }
        for measure in ("before", "retrained", "original")
    }


def _general_numbers(found: Found) -> dict[str, Any] | None:
    if found.strata is None:
        return None
    return {
        "n": len(found.strata.general),
        "stopped": found.strata.stopped,
        "auroc": {
            one.name: {s.test: s.auroc for s in found.strata.scores if s.direction == one.name}
            for one in found.strata.directions
        },
    }


def _steering_numbers(steered: Steered) -> dict[str, Any]:
    rows = [
        {name: plain([value])[0] for name, value in record.items()}
        for record in steered.effects.to_dict(orient="records")
    ]
    across: dict[str, dict[str, Any]] = {}
    for record in steered.across.to_dict(orient="records"):
        own = across.setdefault(record["direction"], {})
        own[record["domain"]] = {
            name: plain([record[name]])[0]
            for name in ("effect", "natural_gap", "share_of_own", "random_largest")
        }
    return {"rows": rows, "across": across}


def shown(run: Run) -> Any:
    """Return the terminal's tables: transfer, each domain's own probe, and the evidence."""
    from rich.console import Group

    from interp import terminal
    from interp.evidence.table import read_evidence, rich_table

    transfer, own = run.table("transfer"), run.table("own")
    parts: list[Any] = []
    domains = list(dict.fromkeys(transfer["test"]))
    cells = transfer.set_index(["train", "test"])
    made = terminal.table(
        ("trained on \\ tested on", *domains),
        [
            (source, *(_cell(cells, source, test) for test in domains))
            for source in dict.fromkeys(transfer["train"])
        ],
    )
    made.title = f"AUROC at {run.metrics['site']}, with its interval by groups"
    parts.append(made)
    rows = [
        (
            row["domain"],
            f"{row['auroc']:.3f} [{row['auroc_low']:.3f}, {row['auroc_high']:.3f}]",
            f"{row['shuffled_95']:.3f}",
            f"{row['strongest_baseline']}, {row[row['strongest_baseline'] + ' auroc']:.3f}",
            row["verdict"],
        )
        for row in own.to_dict(orient="records")
    ]
    heads = ("domain", "own probe", "shuffled, 95th %", "strongest baseline", "verdict")
    parts.append(terminal.table(heads, rows))
    if "evidence" in run.tables:
        parts.append(rich_table(read_evidence(run.table("evidence"))))
    return Group(*parts)


def _cell(cells: DataFrame, source: str, test: str) -> str:
    row: Any = cells.loc[(source, test)]
    return f"{row['auroc']:.2f}\n{row['low']:.2f}–{row['high']:.2f}"
