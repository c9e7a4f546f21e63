"""What the study of training dynamics leaves behind: tables, figures, numbers, and plain words."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.dynamics import Config
    from experiments.dynamics_decays import Decays
    from experiments.dynamics_measuring import Found
    from interp.runs import Run

TOGETHER = "all weights"


def save(config: Config, run: Run, found: Found, decays: Decays) -> None:
    """Save tables, figures and metrics."""
    from experiments.dynamics_sizes_report import save_sizes

    _save_tables(run, found)
    _save_figures(config, run, found)
    save_sizes(config, run, decays)
    run.save_metrics(_metrics(config, found, decays))


def table_of(run: Run) -> Any:
    """Paths beside random walks, a row a training and matrix."""
    from interp import terminal

    frame = run.table("trajectories")
    return terminal.table(
        list(frame.columns),
        [[f"{x:.3g}" if isinstance(x, float) else str(x) for x in row] for row in frame.to_numpy()],
    )


def _save_tables(run: Run, found: Found) -> None:
    import pandas as pd

    from interp.evidence import evidence_frame, holm

    rows = []
    for training, by_matrix in found.pca.items():
        adjusted = holm([pca.p_value for pca in by_matrix.values()])
        rows += [
            {
                "training": training,
                "matrix": name,
                "weights": pca.n_weights,
                "r90": pca.needed(),
                "walk r90": pca.walk_needed(),
                "first share": pca.first,
                "walk first share": float(pca.walk_shares[:, 0].mean()),
                "p": pca.p_value,
                "p holm": p,
            }
            for (name, pca), p in zip(by_matrix.items(), adjusted, strict=True)
        ]
    run.save_table("trajectories", pd.DataFrame(rows))
    run.save_table("moments", found.moments)
    run.save_table("directions", found.kept)
    run.save_table("evidence", evidence_frame(found.evidence))
    run.save_table(
        "efficiency",
        pd.DataFrame(
            {"training": name, "norm": norm, "logit": logit, "own": norm == one.norm}
            for name, one in found.efficiency.items()
            for norm, logit in {one.norm: one.logit, **one.at_norm}.items()
        ),
    )


def _save_figures(config: Config, run: Run, found: Found) -> None:
    from interp.plots.arms import learning_curves
    from interp.plots.dynamics import components_needed, paths

    task = f"a + b mod {config.p}"
    matrices = list(found.pca["decayed"])
    run.save_figure(
        "trajectories",
        components_needed(
            {name: [pca[m].needed() for m in matrices] for name, pca in found.pca.items()},
            names=[_short(m) for m in matrices],
            walks={n: [pca[m].walk_needed() for m in matrices] for n, pca in found.pca.items()},
            title=f"{task}: dimension of the path",
        ),
    )
    run.save_figure(
        "paths",
        paths(
            {name: pca[TOGETHER].coordinates.numpy() for name, pca in found.pca.items()},
            shares={name: pca[TOGETHER].shares.numpy() for name, pca in found.pca.items()},
            steps={path.name: [look.step for look in path.looks] for path in found.paths},
        ),
    )
    by_training = {str(n): rows for n, rows in found.moments.groupby("training", sort=False)}
    same = f"centred logit of the answer at ‖θ‖ = {found.norm:.0f}"
    curves: dict[str, tuple[str, str, dict[str, float]]] = {
        "commutators": (
            "inside_ratio",
            "commutator along the path\n(random subspaces: 1)",
            {"random subspaces": 1.0},
        ),
        "attention": (
            "attention_entropy",
            "attention entropy (nats)",
            {"spread evenly": math.log(3)},
        ),
        "efficiency_over_training": ("logit_at_same_norm", same, {}),
        "effective_directions": ("effective_directions", "effective directions (N_eff)", {}),
        "effective_features": ("effective_features", "effective features", {}),
    }
    end = float(found.moments["step"].max())
    for name, (column, label, levels) in curves.items():
        lines: dict[str, Any] = {
            training: [(drawn["step"].to_numpy(float), drawn[column].to_numpy(float))]
            for training, rows in by_training.items()
            for drawn in [rows.dropna(subset=[column])]
        }
        lines |= {what: [([0.0, end], [level, level])] for what, level in levels.items()}
        if all(len(line[0][0]) for line in lines.values()):
            run.save_figure(name, learning_curves(lines, x_label="step", y_label=label, title=task))
    run.save_figure(
        "efficiency",
        learning_curves(
            {n: [(list(e.at_norm), list(e.at_norm.values()))] for n, e in found.efficiency.items()},
            x_label="size of the weights ‖θ‖, rescaled",
            y_label="centred logit of the answer",
            title=f"{task}: what the same size of weights gives",
        ),
    )
    for place, rows in found.kept.groupby("place", sort=False):
        run.save_figure(
            f"directions-{str(place).replace('.', '-')}",
            learning_curves(
                {
                    str(choice): [(part["kept"], part["accuracy"])]
                    for choice, part in rows.groupby("choice", sort=False)
                },
                x_label="directions kept",
                y_label="held-out accuracy",
                title=f"{task}: directions of {place}",
            ),
        )


def _short(matrix: str) -> str:
    """A matrix's name without what all of them have."""
    return matrix.removeprefix("layers.0.").removesuffix(".weight")


def _needed(found: Found, place: str, choice: str) -> int | None:
    """Fewest directions kept that give 99 % of the accuracy with the most of any choice."""
    rows = found.kept[found.kept["place"] == place]
    enough = rows[(rows["choice"] == choice) & (rows["accuracy"] >= 0.99 * rows["accuracy"].max())]
    return int(enough["kept"].min()) if len(enough) else None


def _metrics(config: Config, found: Found, decays: Decays) -> dict[str, Any]:
    """Headline numbers, and what they mean in plain words."""
    from experiments.dynamics_sizes_report import numbers_of, said_of

    pca = {name: one[TOGETHER] for name, one in found.pca.items()}
    last = found.moments.groupby("training", sort=False).last()
    values: dict[str, Any] = {
        "p": config.p,
        "test_accuracy": {path.name: path.looks[-1].test_accuracy for path in found.paths},
        "unmirrored_accuracy": {path.name: path.accuracy() for path in found.paths},
        "r90": {name: one.needed() for name, one in pca.items()},
        "walk_r90": {name: one.walk_needed() for name, one in pca.items()},
        "first_share": {name: one.first for name, one in pca.items()},
        "order_dependence": last["order_dependence"].to_dict(),
        "inside": last["inside"].to_dict(),
        "inside_ratio": last["inside_ratio"].to_dict(),
        "inside_matched_ratio": last["inside_matched_ratio"].to_dict(),
        "attention_entropy": last["attention_entropy"].to_dict(),
        "norm": {name: one.norm for name, one in found.efficiency.items()},
        "logit": {name: one.logit for name, one in found.efficiency.items()},
        "logit_per_norm": {name: one.per_norm for name, one in found.efficiency.items()},
        "more_efficient": [
            {"norm": one.norm, "difference": one.difference, "interval": list(one.interval)}
            for one in found.more
        ],
        "logit_at_same_norm": last["logit_at_same_norm"].to_dict(),
        "effective_directions": last["effective_directions"].to_dict(),
        "directions_needed": {
            place: {
                choice: _needed(found, place, choice)
                for choice in ("interaction", "principal", "random")
            }
            for place in found.effective
        },
        **numbers_of(config, decays),
        "verdicts": {row.subject: row.verdict for row in found.evidence},
    }
    conclusion = f"{_conclusion(values)} {said_of(config, decays)}"
    return {**values, "headline": _headline(values), "conclusion": conclusion}


def _headline(values: dict[str, Any]) -> str:
    r90, logit = values["r90"], values["logit_per_norm"]
    return (
        f"r90 {r90['decayed']} and {r90['memoriser']} (walk "
        f"{values['walk_r90']['decayed']:.0f}); logit per norm {logit['decayed']:.2g} and "
        f"{logit['memoriser']:.2g}; critical sizes "
        + ", ".join(
            "none" if size is None else f"{size:.0f}" for size in values["critical_size"].values()
        )
    )


def _conclusion(values: dict[str, Any]) -> str:
    accuracy, r90, walk = values["unmirrored_accuracy"], values["r90"], values["walk_r90"]
    said = (
        f"a + b mod {values['p']}: the decayed model ends with {accuracy['decayed']:.1%} of the "
        f"pairs right that were not trained on in either order, the memoriser with "
        f"{accuracy['memoriser']:.1%} ({values['test_accuracy']['memoriser']:.0%} of all held-out "
        "pairs: it answers mirror images). Path: "
        f"{r90['decayed']} and {r90['memoriser']} components hold 90 % of it; random walks with "
        f"as long steps need {walk['decayed']:.1f} and {walk['memoriser']:.1f}. "
    )
    if r90["memoriser"] <= r90["decayed"]:
        said += "The memoriser's is no higher, so a low dimension is no mark of having grokked. "
    said += (
        f"Commutators at the end lie along it {values['inside_ratio']['decayed']:.1f} times as "
        f"much as in random subspaces, {values['inside_matched_ratio']['decayed']:.1f} times as "
        f"much as matrix-matched directions ({values['inside']['decayed']:.2g} of their length)."
    )
    told = "; ".join(
        f"{one['difference']:+.3g} [{one['interval'][0]:.3g}, {one['interval'][1]:.3g}] at norm "
        f"{one['norm']:.1f}"
        for one in values["more_efficient"]
    )
    said += (
        f" Efficiency: centred logits {values['logit']['decayed']:.1f} at norm "
        f"{values['norm']['decayed']:.1f} and {values['logit']['memoriser']:.1f} at "
        f"{values['norm']['memoriser']:.1f}; at the same norm the decayed model has {told}."
    )
    directions = values["effective_directions"]
    said += (
        f" Directions before the MLP that logits depend on: {directions['decayed']}, the "
        f"memoriser's {directions['memoriser']}."
    )
    for place, needed in values["directions_needed"].items():
        counts = ", ".join(
            f"{'more than tried' if n is None else n} {choice}" for choice, n in needed.items()
        )
        said += f" For full accuracy {place} needs {counts}."
    verdicts = "; ".join(f"{subject}: {verdict}" for subject, verdict in values["verdicts"].items())
    return f"{said} Removed: {verdicts}."
