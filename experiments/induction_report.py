"""What the induction study leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.induction import Config, Found
    from interp.runs import Run


def save(config: Config, run: Run, found: Found) -> None:
    """Save tables, tensors, figures and metrics."""
    _save_tables(run, found)
    _save_figures(config, run, found)
    run.save_metrics(_metrics(config, found))


def _save_tables(run: Run, found: Found) -> None:
    import pandas as pd

    from experiments.unjudged import without_verdicts

    able, reason = found.ability.able, found.ability.reason
    # Numbers, but no verdict: a model that cannot do the task has nothing to lose.
    frame = found.table.frame() if able else without_verdicts(found.table, reason)
    run.save_table("evidence", frame)
    run.save_tensors(
        {**found.tensors, "clean": found.ablations.clean, "ablated": found.ablations.ablated}
    )
    n_heads = found.tensors["induction"].shape[1]
    records = []
    for i, point in enumerate(found.points):
        layer, head = divmod(i, n_heads)
        scores = {name: float(values[layer, head]) for name, values in found.tensors.items()}
        effect = {"effect": point.effect, "effect_low": point.low, "effect_high": point.high}
        records.append({"head": point.name, "layer": layer, "index": head} | scores | effect)
    run.save_table("heads", pd.DataFrame(records))


def _save_figures(config: Config, run: Run, found: Found) -> None:
    from interp.plots import Point, head_map, signature_and_effect

    row = found.table[0]
    run.save_figure(
        "head_scores",
        head_map(
            found.tensors["induction"],
            label="induction score (share of attention)",
            title=f"{config.model}: who looks like an induction head",
            null=float(found.tensors["induction (iid)"].mean()),
            null_label="i.i.d. control",
            marked=sorted(found.plan.target) if found.plan.present else (),
        ),
    )
    run.save_figure(
        "signature_and_effect",
        signature_and_effect(
            found.points,
            signature_label="induction score on the selection split (share of attention)",
            effect_label="loss added by removal (nats a token)",
            controls=row.controls,
            controls_label=f"{len(row.controls)} {row.control_family} sets instead",
            together=Point(row.subject, row.signature, row.effect, *row.interval),
            title=f"{config.model}: and who is depended on",
        ),
    )


def _looks_like(found: Found, name: str) -> str:
    """What else a head's attention looks like, where it is plain."""
    from interp.heads import PATTERN_SCORES

    index = next(i for i, point in enumerate(found.points) if point.name == name)
    scores = {
        score: float(found.tensors[score].flatten()[index])
        for score in PATTERN_SCORES
        if score != "induction" and score in found.tensors
    }
    best = max(scores, key=lambda score: scores[score])
    return f" and a {best} score of {scores[best]:.2f}" if scores[best] >= 0.3 else ""


def _metrics(config: Config, found: Found) -> dict[str, Any]:
    """Headline numbers, and what they mean in plain words."""
    from interp.evidence import head_name
    from interp.heads import describe_load

    score, null = found.tensors["induction"], found.tensors["induction (iid)"]
    top = divmod(int((score - null).argmax()), score.shape[1])
    # Ranked by lead, so another head may have the highest score.
    leading = f"{head_name(top)}: {float(score[top]):.2g}, control {float(null[top]):.2g}"
    able = found.ability.able
    n_present = int(((score - null) >= found.plan.threshold).sum())
    row = found.table[0]
    said = f"Task: repeats of {found.length} random tokens."
    if not able:
        said += f" The model cannot do it: {found.ability.reason}. So there is no verdict."
    if found.plan.present:
        heads = "head carries" if n_present == 1 else "heads carry"
        said += (
            f" Signature: {n_present} {heads} it; the head that leads its i.i.d. control most is "
            f"{leading}."
        )
    else:
        said += (
            f" Signature: none. The head that leads its i.i.d. control most is {leading}; that is "
            f"less than {found.plan.threshold:g} above it, so no head is called an induction head; "
            "it is tested all the same."
        )
    alone = {p.name: p.effect for p in found.points if p.highlighted}
    load = describe_load(found.table, kind=config.ablation, gain=found.gain, alone=alone, able=able)
    verdicts = {r.control_family: r for r in found.table if r.subject == row.subject}
    told = ", ".join(f"{r.verdict} (p {r.p_value:.2g}, {f})" for f, r in verdicts.items())
    costliest = max(found.points, key=lambda point: point.effect)
    said += (
        f" {load} Of all heads removed alone, {costliest.name} costs most: "
        f"{costliest.effect:.3g}, with an induction score of "
        f"{costliest.signature:.2f}{_looks_like(found, costliest.name)}."
    )
    said += "".join(f" Not tested: {reason}." for reason in found.plan.untested)
    absent = "" if found.plan.present else "no induction signature; "
    headline = "no verdict: the model cannot do the task"
    if able:
        headline = f"{absent}{row.subject} {told}"
    return {
        "able": able,
        "ability": found.ability.reason,
        "top_head": head_name(top),
        "top_score": float(score[top]),
        "top_score_iid": float(null[top]),
        "n_heads_with_signature": n_present,
        "n_heads": score.numel(),
        "target": row.subject,
        "length": found.length,
        "loss_clean": row.clean,
        "in_context_gain": found.gain,
        "effect": row.effect,
        "share_of_gain": row.share,
        "p_value": row.p_value,
        "p_smallest": row.p_smallest,
        "verdict": row.verdict if able else None,
        "verdicts": {family: r.verdict if able else None for family, r in verdicts.items()},
        "costliest_head": costliest.name,
        "costliest_effect": costliest.effect,
        "untested": list(found.plan.untested),
        "headline": headline,
        "conclusion": said,
    }
