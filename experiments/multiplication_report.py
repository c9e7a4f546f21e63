"""What the multiplication study leaves behind: tables, figures, headline numbers, plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.multiplication import LEARNT
from experiments.multiplication_figures import best_pair, model_name, save_figures, token_names

if TYPE_CHECKING:
    from experiments.multiplication import Config
    from experiments.multiplication_measuring import Found
    from interp.runs import Run


def save(config: Config, run: Run, found: list[Found]) -> None:
    """Save tables, tensors, figures and metrics."""
    _save_tables(run, found)
    save_figures(run, found)
    run.save_metrics(
        {
            "n": found[0].subject.task.n,
            "models": {one.subject.name: _numbers(one) for one in found},
            "headline": "; ".join(_headline(one) for one in found),
            "conclusion": " ".join(
                [*(_conclusion(one) for one in found), *_compared(config, found)]
            ),
        }
    )


def _save_tables(run: Run, found: list[Found]) -> None:
    import pandas as pd

    from interp.evidence import evidence_frame

    rows = [row for one in found for table in one.tables.values() for row in table]
    run.save_table("evidence", evidence_frame(rows))
    run.save_table("probes", pd.DataFrame(row for one in found for row in _probes(one)))
    run.save_table("scores", pd.DataFrame(row for one in found for row in _scores(one)))
    run.save_table("edges", pd.DataFrame(_edges(found), columns=_EDGE))
    looks = [{"model": o.subject.name, **look} for o in found for look in o.subject.history]
    if looks:
        frame = pd.DataFrame(looks)
        run.save_table("history", frame.drop(columns="right_by_digit"))
    tensors = {}
    for one in found:
        name = one.subject.name
        tensors[f"{name} attribution"] = one.attribution.drops
        tensors[f"{name} attribution error"] = one.attribution.errors
        tensors[f"{name} attention"] = one.tree.pattern
        tensors |= {f"{name} {place}": means for place, means in one.means.items()}
    run.save_tensors(tensors)


def _probes(one: Found) -> list[dict[str, Any]]:
    return [
        {
            "model": one.subject.name,
            "site": str(probe.site),
            "digit": f"c{probe.k}",
            "mae": probe.mae,
            "mean_mae": probe.mean_mae,
            "tokens_mae": probe.tokens_mae,
            "shuffled_mae": float(probe.shuffled_mae.mean()),
            "skill": probe.skill,
            "p_value": probe.p_value,
        }
        for probe in one.probes
    ]


def _scores(one: Found) -> list[dict[str, Any]]:
    names, name = token_names(one), one.subject.name
    kinds = {"Fourier R²": one.fits, "prism": one.prisms}
    rows = [
        {
            "model": name,
            "measure": measure,
            "of": of,
            "score": score.score,
            "shuffled": float(score.shuffled.mean()),
            "excess": score.excess,
            "p_value": score.p_value,
        }
        for measure, scores in kinds.items()
        for of, score in scores.items()
    ]
    for one_head in one.pair_heads:
        i, j = (names[place] for place in one_head.pair)
        rows.append(
            {
                "model": name,
                "measure": "Minkowski",
                "of": f"L0H{one_head.head} at {names[one_head.position]}, of {i} and {j}",
                "score": one_head.score.score,
                "shuffled": float(one_head.score.shuffled.mean()),
                "excess": one_head.score.excess,
                "p_value": one_head.score.p_value,
                "between": one_head.score.between,
                "attention": one_head.mass,
            }
        )
    return rows


_EDGE = ["model", "head", "to", "source", "attention", "cached", "cached_by", "cached_attention"]


def _edges(found: list[Found]) -> list[list[Any]]:
    rows: list[list[Any]] = []
    for one in found:
        names = token_names(one)
        for edge in one.tree.edges:
            (layer, head), (i, j), (low, by) = edge.head, edge.cached, edge.cached_by
            rows.append(
                [
                    one.subject.name,
                    f"L{layer}H{head}",
                    names[edge.to],
                    names[edge.source],
                    edge.weight,
                    f"{names[i]} {names[j]}",
                    f"L{low}H{by}",
                    edge.cached_mass,
                ]
            )
    return rows


def _last_probes(one: Found) -> list[Any]:
    """Those of what the last layer's attention writes, where the auxiliary loss reads."""
    site = f"L{one.subject.model.n_layers - 1}.attn_out"
    return [probe for probe in one.probes if str(probe.site) == site]


def _numbers(one: Found) -> dict[str, Any]:
    probes, pair = _last_probes(one), best_pair(one)
    return {
        "exact": one.exact,
        "digits_right": sum(one.right) / len(one.right),
        "right_by_digit": one.right,
        "learnt": one.exact >= LEARNT,
        "stray_attribution": one.attribution.stray,
        "running_sum_mae": [probe.mae for probe in probes],
        "running_sum_mean_mae": [probe.mean_mae for probe in probes],
        "running_sum_tokens_mae": [probe.tokens_mae for probe in probes],
        "fourier_r2": {name: fit.score for name, fit in one.fits.items()},
        "fourier_excess": {name: fit.excess for name, fit in one.fits.items()},
        "prism": {name: score.score for name, score in one.prisms.items()},
        "prism_p": {name: score.p_value for name, score in one.prisms.items()},
        "pair_attention": pair.mass,
        "minkowski": pair.score.score,
        "minkowski_shuffled": float(pair.score.shuffled.mean()),
        "minkowski_between": pair.score.between,
        "edges": len(one.tree.edges),
        "verdicts": [
            {"subject": row.subject, "controls": row.control_family, "verdict": row.verdict}
            for table in one.tables.values()
            for row in table
        ],
        "untested": one.untested,
    }


def _headline(one: Found) -> str:
    return f"{model_name(one)}: {one.exact:.1%} of held-out products exact"


def _conclusion(one: Found) -> str:
    probes, pair = _last_probes(one), best_pair(one)
    mae = sum(probe.mae for probe in probes) / len(probes)
    null = sum(probe.mean_mae for probe in probes) / len(probes)
    tokens = sum(probe.tokens_mae or 0 for probe in probes) / len(probes)
    said = (
        f"{model_name(one).capitalize()}: {one.exact:.1%} of held-out products are exact, "
        f"{sum(one.right) / len(one.right):.1%} of their digits right."
    )
    if one.exact < LEARNT:
        said += (
            f" That is short of {LEARNT:.0%}: it has not learnt to multiply, and what follows "
            "describes a model that has not."
        )
    said += (
        " Signature: running sums are read off what the last layer's attention writes with a mean "
        "error of "
        f"{mae:.2g} (off the tokens themselves {tokens:.2g}, saying the mean {null:.2g}); "
        f"{one.attribution.stray:.0%} of the attribution "
        "stands at digits that cannot matter; "
        + ", ".join(
            f"Fourier R² of {name} {fit.score:.2f} ({fit.excess:+.2f} beside shuffled digits, "
            f"p {fit.p_value:.2g})"
            for name, fit in one.fits.items()
        )
        + f"; the first-layer head that looks hardest at one pair gives it {pair.mass:.0%} of its "
        "attention, and what it writes there is additive in the two digits by "
        f"{pair.score.score:.2f} (shuffled {float(pair.score.shuffled.mean()):.2f}; near 1 in an "
        "untrained model too)."
    )
    told = [
        f"{row.subject} cost {row.effect:.3g} nats ({row.verdict} beside {row.control_family})"
        for table in one.tables.values()
        for row in list(table)[:2]  # of heads, those tested together; the strongest edges
    ]
    alone = f" No head could be weighed: {one.untested}." if one.untested else ""
    return f"{said} Load: {'; '.join(told)}.{alone}"


def _compared(config: Config, found: list[Found]) -> list[str]:
    if len(found) < 2:
        return []
    first, second = found[0].exact, found[1].exact
    return [
        f"After the same {config.steps} steps {first:.1%} of products are exact with the auxiliary "
        f"loss and {second:.1%} without; one seed each, so no claim about either recipe."
    ]
