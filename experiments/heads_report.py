"""What the ablation study leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.heads import Config
    from experiments.heads_measuring import Found
    from interp.evidence import Evidence
    from interp.plots import Point
    from interp.runs import Run

_TOLD = 3  # sets that the conclusion describes one by one


def save(config: Config, run: Run, found: Found) -> None:
    """Save tables, tensors, figures and metrics."""
    import pandas as pd

    from experiments.unjudged import without_verdicts
    from interp.evidence.table import evidence_frame

    evidence = [row for rows in found.rows for row in rows]
    if found.ability.able:
        run.save_table("evidence", evidence_frame(evidence))
    else:
        # Numbers, but no verdict: a model that cannot do the task has nothing to lose.
        run.save_table("effects", without_verdicts(evidence, found.ability.reason))
    points = _points(config, found)
    run.save_table("heads", _heads(found, points))
    run.save_table("side_by_side", _side_by_side(config, found))
    if found.items:
        records = [{"set": name} | test.to_dict() for name, test in found.items.items()]
        for record in records:
            low, high = record.pop("interval") or (None, None)
            record |= {"low": low, "high": high}
        run.save_table("items", pd.DataFrame(records))
    if found.perplexities is not None:
        run.save_table("perplexity", found.perplexities.frame())
    run.save_tensors(
        {f"{s.name}": s.values for s in found.signatures}
        | {f"{s.name} (null)": s.null for s in found.signatures}
        | {"output norm": found.norms}
        | {"clean": found.ablations.clean, "ablated": found.ablations.ablated}
    )
    _figures(config, run, found, points)
    run.save_metrics(_metrics(config, found, points))


def table_of(run: Run) -> Any:
    """Return the evidence table, or where there are no verdicts the effects without them."""
    from experiments.unjudged import shown

    return shown(run.table("evidence" if "evidence" in run.tables else "effects"))


def _points(config: Config, found: Found) -> list[Point]:
    """Every head alone: the first signature and what its removal costs."""
    from interp.evidence import bootstrap_interval, head_name
    from interp.plots import Point

    where = {heads: i for i, heads in enumerate(found.ablations.sets)}
    signature = found.signatures[0]
    chosen = found.comparisons[0].choices[0].subject.heads
    made = []
    n_layers, n_heads = signature.values.shape
    for head in ((i, j) for i in range(n_layers) for j in range(n_heads)):
        harm = found.ablations.effects[where[frozenset([head])]].double().numpy()
        low, high = bootstrap_interval(
            harm, found.judged.clean.groups, n_resamples=999, seed=config.seed
        )
        made.append(
            Point(
                head_name(head),
                float(signature.values[head]),
                float(harm.mean()),
                low,
                high,
                highlighted=head in chosen,
            )
        )
    return made


def _heads(found: Found, points: list[Point]) -> Any:
    import pandas as pd

    n_heads = found.norms.shape[1]
    records = []
    for i, point in enumerate(points):
        head = divmod(i, n_heads)
        scores = {s.name: float(s.values[head]) for s in found.signatures}
        nulls = {f"{s.name} (null)": float(s.null[head]) for s in found.signatures}
        effect = {"effect": point.effect, "effect_low": point.low, "effect_high": point.high}
        place = {"head": point.name, "layer": head[0], "index": head[1]}
        records.append(place | scores | nulls | effect)
    return pd.DataFrame(records)


def _side_by_side(config: Config, found: Found) -> Any:
    """Each set of the first comparison in every metric, beside its layer-matched controls."""
    import pandas as pd

    from interp.evidence import bootstrap_interval

    records = []
    for ablations in (found.ablations, *found.others):
        where = {heads: i for i, heads in enumerate(ablations.sets)}
        effects = ablations.effects.double()
        for choice in found.comparisons[0].choices:
            of = choice.subject
            harm = effects[where[of.heads]].numpy()
            low, high = bootstrap_interval(
                harm, found.judged.clean.groups, n_resamples=999, seed=config.seed
            )
            for family in of.controls:
                others = effects[[where[s] for s in family.sets]].mean(1)
                records.append(
                    {
                        "set": of.name,
                        "signature": choice.signature,
                        "rule": choice.rule,
                        "metric": ablations.metric.name,
                        "units": ablations.metric.units,
                        "clean": float(ablations.clean.double().mean()),
                        "effect": float(harm.mean()),
                        "effect_low": low,
                        "effect_high": high,
                        "control_family": family.family,
                        "controls_mean": float(others.mean()),
                        "controls_max": float(others.max()),
                        "n_controls": len(family.sets),
                    }
                )
    return pd.DataFrame(records)


def _figures(config: Config, run: Run, found: Found, points: list[Point]) -> None:
    from interp.plots import Point, head_map, signature_and_effect

    first = found.comparisons[0].choices[0]
    row = next(r for r in found.rows[0] if r.subject == first.subject.name)
    signature = found.signatures[0]
    run.save_figure(
        "head_scores",
        head_map(
            signature.values,
            label=signature.name,
            title=f"{config.model}: {signature.name}",
            null=float(signature.null.mean()),
            null_label="null",
            marked=sorted(first.subject.heads),
        ),
    )
    run.save_figure(
        "signature_and_effect",
        signature_and_effect(
            points,
            signature_label=f"{signature.name} on the selection split",
            effect_label=f"{row.metric} lost by removal ({row.units})",
            controls=row.controls,
            controls_label=f"{len(row.controls)} {row.control_family} sets instead",
            together=Point(row.subject, row.signature, row.effect, *row.interval),
            title=f"{config.model} on {found.judged.clean.name}",
        ),
    )


def _said(rows: list[Evidence], statement: str, able: bool) -> str:
    row = rows[0]
    absent = "" if row.has_signature else ", which does not count as a signature"
    said = (
        f" {statement.removesuffix('.')}: {row.subject}, {row.signature_name} "
        f"{row.signature:.2g} (null {row.signature_null:.2g}){absent}. Removal costs "
        f"{row.effect:.3g} {row.units} ({row.interval[0]:.3g} to {row.interval[1]:.3g})"
    )
    for same in rows:
        p = same.p_value if same.p_holm is None else same.p_holm
        said += (
            f"; {len(same.controls)} {same.control_family} sets cost {max(same.controls):.2g} at "
            f"most, p {p:.2g}" + (f", {same.verdict}" if able else "")
        )
    return said + "."


def _bearing(rows: Sequence[Evidence]) -> list[str]:
    """The sets that the model depends on, with the families of controls where these differ."""
    families: dict[str, dict[str, bool]] = {}
    for row in rows:
        judged = families.setdefault(row.subject, {})
        judged[row.control_family] = row.verdict == "load-bearing"
    told = []
    for subject, judged in sorted(families.items()):
        beside = [family for family, bearing in judged.items() if bearing]
        if len(beside) == len(judged):
            told.append(subject)
        elif beside:
            told.append(f"{subject} (only beside {' and '.join(beside)} sets)")
    return told


def _metrics(config: Config, found: Found, points: list[Point]) -> dict[str, Any]:
    """Headline numbers, and what they mean in plain words."""
    judged, able = found.judged.clean, found.ability.able
    first, rows = found.comparisons[0], list(found.rows[0])
    by_choice = []
    for choice in first.choices:
        n = len(choice.subject.controls)
        by_choice.append((choice, rows[:n]))
        rows = rows[n:]
    n_all = len(found.choose.clean) + len(judged)
    clean = float(found.ablations.clean.double().mean())
    said = (
        f"Task: {judged.name}, {n_all} prompts; half of the groups chose the heads, "
        f"{len(judged)} prompts in {len(set(judged.groups))} groups judge them by "
        f"{found.metric.name} (unmodified {clean:.3g} {found.metric.units}; {config.ablation} "
        "ablation)."
    )
    if not able:
        said += f" The model cannot do it: {found.ability.reason}. So there is no verdict."
    for choice, its in by_choice[:_TOLD]:
        said += _said(its, choice.statement, able)
    if len(by_choice) > _TOLD:
        said += f" {len(by_choice) - _TOLD} further sets are in the table."
    tested = [row for _, its in by_choice for row in its]
    bearing = {row.subject for row in tested if row.verdict == "load-bearing"}
    if able and len(by_choice) > 1:
        blunt = sum(row.verdict == "underpowered" for row in tested)
        said += (
            f" Load-bearing: {', '.join(_bearing(tested)) or 'none'}; underpowered {blunt} of "
            f"{len(tested)} tests (Holm within each family)."
        )
    costliest = max(points, key=lambda point: point.effect)
    said += (
        f" Of all heads removed alone, {costliest.name} costs most: {costliest.effect:.3g} "
        f"({found.signatures[0].name} {costliest.signature:.2g})."
    )
    for comparison, under in zip(found.comparisons[1:], found.rows[1:], strict=True):
        if able:
            told = ", ".join(_bearing(under)) or "none"
            said += f" With {comparison.condition.name}, load-bearing: {told}."
    if found.perplexities is not None and found.perplexities.ratios:
        ratio = found.perplexities.ratios[0]
        said += (
            f" Guardrail: perplexity on {found.perplexities.text} is {found.perplexities.clean:.3g}"
            f", × {ratio.ratio:.3g} without {ratio.name}."
        )
    for comparison in found.comparisons:
        said += "".join(f" Not tested: {reason}." for reason in comparison.untested[:_TOLD])
    top, its = by_choice[0]
    if able:
        told = ", ".join(f"{r.verdict} (p {r.p_value:.2g}, {r.control_family})" for r in its)
        headline = f"{top.subject.name} {told}"
    else:
        headline = "no verdict: the model cannot do the task"
    fv = found.function_vector_heads
    return {
        "able": able,
        "ability": found.ability.reason,
        "task": judged.name,
        "metric": found.metric.name,
        "clean": clean,
        "n_prompts": n_all,
        "n_judged": len(judged),
        "n_groups": len(set(judged.groups)),
        "n_duplicates": found.judged.n_duplicates,
        "n_answers_cut": found.judged.n_cut,
        "n_unequal_left_out": found.judged.n_unequal,
        "sets": [
            {
                "signature": choice.signature,
                "rule": choice.rule,
                "statement": choice.statement,
                "heads": [f"L{i}H{j}" for i, j in sorted(choice.subject.heads)],
                "has_signature": choice.subject.has_signature,
                "effect": its[0].effect,
                "interval": list(its[0].interval),
                "p": {r.control_family: r.p_value for r in its},
                "p_holm": {r.control_family: r.p_holm for r in its},
                "verdicts": {r.control_family: r.verdict if able else None for r in its},
            }
            for choice, its in by_choice
        ],
        "n_load_bearing": len(bearing) if able else None,
        "function_vector_heads": None if fv is None else [f"L{i}H{j}" for i, j in sorted(fv)],
        "perplexity": None
        if found.perplexities is None
        else {r.name: r.ratio for r in found.perplexities.ratios},
        "items": {name: str(test) for name, test in found.items.items()},
        "costliest_head": costliest.name,
        "costliest_effect": costliest.effect,
        "untested": [reason for c in found.comparisons for reason in c.untested],
        "headline": headline,
        "conclusion": said,
    }
