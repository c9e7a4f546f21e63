"""How a verdict is reached: the effect beside its controls, over examples and over components."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence.controls import ControlSets
from interp.evidence.draws import RandomDraws
from interp.evidence.evidence import (
    ENDLESS,
    Evidence,
    EvidenceError,
    Interval,
    Verdict,
    count,
    short,
    span,
)
from interp.evidence.metrics import damage
from interp.evidence.reading import Metric
from interp.evidence.statistics import (
    bootstrap_interval,
    closed_rank_p,
    holm,
    rank_p_value,
    smallest_p,
)

_AFTER = {"Holm": " after Holm's correction", "rank sums": " by rank sums with its family"}
# Five groups is where the smallest sign-flip p, 2⁻⁵, first passes .05.
FEWEST_GROUPS = 5


def weigh(
    subject: str,
    *,
    signature_name: str,
    signature: float,
    signature_null: float,
    has_signature: bool,
    metric: Metric,
    clean: Float[Tensor, " example"],
    ablated: Float[Tensor, " example"],
    control_effects: Float[Tensor, "control example"],
    controls: ControlSets | RandomDraws,
    null_effects: Float[Tensor, "null example"] | None = None,
    groups: Sequence[object] | None = None,
    alpha: float = 0.05,
    confidence: float = 0.95,
    gain: float | None = None,
    resolution: float | None = None,
    n_resamples: int = 9999,
    seed: int,
) -> Evidence:
    """Weigh one component's effect against its controls' and reach a verdict.

    Two kinds of chance must be ruled out, and one number cannot do both. That some component has
    to be the largest is the p-value's business: the rank of the effect among sets of the same
    shape, valid when the target, had it no special role, were exchangeable with them. These sets
    may share components with the target (``interp.evidence.controls`` says why they must). That
    these examples happened to suffer is the intervals': of the effect, since the model must get
    worse and not merely improve less than under the controls, and of the excess over the mean
    control.

    With n such sets p cannot be below 1/(n+1). An effect that beats them all and still has p > α
    has been shown neither way, and is called underpowered; so is one measured on fewer than five
    groups. An effect that some set equals often enough for p > α is not load-bearing however few
    the sets, since more of them could hardly help it.

    Args:
        subject: What was removed.
        signature_name: Which score singled it out.
        signature: Its value; measure it on other examples than these.
        signature_null: The same score where there is nothing to find.
        has_signature: Whether the signature counts as present; it does not sway the verdict.
        metric: Of ``clean`` and ``ablated``.
        clean: The metric of the unmodified model.
        ablated: The metric with the component removed, on the same examples.
        control_effects: What ``damage`` gives with each control set removed, on the same examples.
        controls: The sets, in the order of ``control_effects``.
        null_effects: The same for ``controls.null_sets``, from which p is read; those of the
            controls where omitted, which is right for a single component only.
        groups: Which examples belong together (``Examples.groups``); None if all independent.
        alpha: Level of the test, before any correction for several (:func:`correct`).
        confidence: Coverage of the intervals.
        gain: What there is to lose, in the metric's units, such as the loss without context minus
            the loss with it; ``share`` is the effect over it.
        resolution: Differences up to this count as zero, in the metric's units. By default eight
            roundings of the coarsest number type given, at the largest metric value (or 1).
        n_resamples: Bootstrap samples.
        seed: Seeds the bootstrap.

    Raises:
        EvidenceError: no controls, or shapes that do not belong together.
        StatisticsError: fewer than two groups of examples.
    """
    if resolution is None:
        resolution = _resolution(clean, ablated, control_effects)
    clean, ablated, control_effects = (_exact(t) for t in (clean, ablated, control_effects))
    if control_effects.ndim != 2 or control_effects.shape[0] != len(controls):
        raise EvidenceError(
            f"{subject}: control_effects of shape {list(control_effects.shape)} do not belong to "
            f"{len(controls)} control sets; expected [control, example]"
        )
    if clean.ndim != 1 or control_effects.shape[1] != clean.shape[0]:
        raise EvidenceError(
            f"{subject}: controls were measured on {control_effects.shape[1]} examples, the "
            f"clean model gave values of shape {list(clean.shape)}; measure both on the same"
        )
    if not 0 < alpha < 1:
        raise EvidenceError(f"{subject}: alpha must lie strictly between 0 and 1, got {alpha}")
    if null_effects is None and set(controls.null_sets) != set(controls.sets):
        raise EvidenceError(
            f"{subject}: p of several components is read off the null sets, which may share some "
            "with it; give null_effects, of controls.null_sets"
        )
    harm = damage(metric, clean, ablated).numpy()
    other = control_effects.numpy()
    if not np.isfinite(other).all():
        raise EvidenceError(f"{subject}: a control effect is not finite")
    excess = harm - other.mean(axis=0)
    effects = tuple(float(effect) for effect in other.mean(axis=1))
    null = effects if null_effects is None else _null(subject, null_effects, controls, len(harm))
    effect = float(harm.mean())
    share, share_reason = _share(effect, gain, resolution, metric.units)

    def interval(values: npt.NDArray[np.float64]) -> Interval:
        return bootstrap_interval(
            values, groups, confidence=confidence, n_resamples=n_resamples, seed=seed
        )

    row = Evidence(
        subject=subject,
        signature_name=signature_name,
        signature=float(signature),
        signature_null=float(signature_null),
        has_signature=bool(has_signature),
        metric=metric.name,
        units=metric.units,
        clean=float(clean.mean()),
        effect=effect,
        interval=interval(harm),
        excess=float(excess.mean()),
        excess_interval=interval(excess),
        controls=effects,
        control_family=controls.family,
        null_effects=null,
        p_value=rank_p_value(effect, null, resolution=resolution),
        n_possible=controls.n_possible,
        n_null_possible=controls.n_null_possible,
        control_match=_match(controls),
        p_smallest=smallest_p(len(null)),
        alpha=alpha,
        confidence=confidence,
        n_examples=len(harm),
        n_groups=len(harm) if groups is None else len(set(groups)),
        resolution=resolution,
        share=share,
        share_reason=share_reason,
        verdict="not load-bearing",
        reason="not judged yet",
    )
    return _judge(row)


def correct(rows: Sequence[Evidence], *, together: bool = False) -> list[Evidence]:
    """Adjust the p-values of one family of tests for their number, and judge again on them.

    A family is whatever would be reported if any of it came out: all heads tested against the same
    kind of control on the same metric, say. An effect that beats all its controls and still has
    an adjusted p above α becomes underpowered: with m rows some m/α controls are needed, or 1/α
    ``together``. Rows that were corrected before are corrected afresh, from their own p.

    Args:
        rows: The whole family, in any order.
        together: Not by Holm's method but by :func:`interp.evidence.closed_rank_p`, for rows that
            share their null sets. To be chosen before the effects are seen.

    Returns:
        The rows in the same order, with ``p_holm``, ``verdict`` and ``reason`` set.

    Raises:
        EvidenceError: the rows were tested at different levels, or do not share their null sets.
    """
    if not rows:
        return []
    if len({row.alpha for row in rows}) > 1:
        levels = ", ".join(str(alpha) for alpha in sorted({row.alpha for row in rows}))
        raise EvidenceError(f"one family of tests has one alpha, got {levels}")
    if together:
        if len({tuple(sorted(row.null_effects)) for row in rows}) > 1:
            raise EvidenceError(
                "rows tested together must share their null sets; use Holm's method"
            )
        effects, widest = [row.effect for row in rows], max(row.resolution for row in rows)
        adjusted = closed_rank_p(effects, rows[0].null_effects, resolution=widest)
    else:
        adjusted = holm([row.p_value for row in rows])
    return [
        _judge(dataclasses.replace(row, p_holm=p, correction="rank sums" if together else "Holm"))
        for row, p in zip(rows, adjusted, strict=True)
    ]


def _judge(row: Evidence) -> Evidence:
    verdict, reason = _verdict(row)
    return dataclasses.replace(row, verdict=verdict, reason=reason)


def _verdict(row: Evidence) -> tuple[Verdict, str]:
    """Read the verdict and its reason off the numbers."""
    n = len(row.null_effects)
    at_least = round(row.p_value * (n + 1)) - 1
    sets = (
        f"{row.control_family} sets"
        if row.null_effects != row.controls
        else (f"{row.control_family} controls")
    )
    p = row.p_value if row.p_holm is None else row.p_holm
    after = "" if row.p_holm is None else _AFTER[row.correction]
    level = f"{row.confidence:.0%} interval"
    if row.interval[0] <= row.resolution:
        return "not load-bearing", (
            f"Removing {row.subject} does not measurably worsen {row.metric}: "
            f"{short(row.effect)} {row.units}, {level} {span(row.interval)}."
        )
    if row.excess_interval[0] <= row.resolution:
        return "not load-bearing", (
            f"Removing {row.subject} does not measurably cost more than the mean "
            f"{row.control_family} control: excess {short(row.excess)} {row.units}, {level} "
            f"{span(row.excess_interval)}."
        )
    if p <= row.alpha and row.n_groups < FEWEST_GROUPS:
        return "underpowered", (
            f"Removing {row.subject} costs more than {row.control_family} sets do, but on "
            f"{row.n_groups} independent groups of examples; {FEWEST_GROUPS} are the fewest from "
            "which an effect can be told from chance at .05."
        )
    if p <= row.alpha:
        beaten = f"all {n}" if at_least == 0 else f"{n - at_least} of {n}"
        return "load-bearing", (
            f"Removing {row.subject} costs {short(row.excess)} {row.units} more than the mean "
            f"{row.control_family} control ({level} {span(row.excess_interval)}) and more than "
            f"{beaten} {sets} (p = {short(p)}{after})."
        )
    if at_least == 0:
        exist = "" if row.n_null_possible == ENDLESS else f"{count(row.n_null_possible)} exist, so "
        more = "no more exist" if row.n_null_possible == n else f"{exist}draw more"
        why = f"with so few p cannot be below {short(p)}{after}; {more}"
        if row.correction == "rank sums" and p > row.p_smallest:
            why = f"others of its family do not: p = {short(p)}{after}"
        said = f"Removing {row.subject} costs more than every one of {n} {sets}"
        return "underpowered", f"{said}, but {why}."
    blunt = "; no effect could have passed here" if row.p_smallest > row.alpha else ""
    return "not load-bearing", (
        f"{at_least} of {n} {sets} cost at least as much as removing {row.subject} "
        f"(p = {short(p)}{after}{blunt})."
    )


def _match(controls: ControlSets | RandomDraws) -> str | None:
    """How near the controls' norms are to the target's, in words; None where not matched on it."""
    if controls.norm_ratios is None:
        return None
    low, high = min(controls.norm_ratios), max(controls.norm_ratios)
    return f"×{low:.2g} to {high:.2g} of the norm"


def _null(
    subject: str, effects: Tensor, controls: ControlSets | RandomDraws, n_examples: int
) -> tuple[float, ...]:
    if tuple(effects.shape) != (len(controls.null_sets), n_examples):
        raise EvidenceError(
            f"{subject}: null_effects of shape {list(effects.shape)} do not belong to "
            f"{len(controls.null_sets)} null sets and {n_examples} examples"
        )
    means = _exact(effects).mean(dim=1)
    if not bool(torch.isfinite(means).all()):
        raise EvidenceError(f"{subject}: a null effect is not finite")
    return tuple(float(mean) for mean in means)


def _share(
    effect: float, gain: float | None, resolution: float, units: str
) -> tuple[float | None, str | None]:
    if gain is None:
        return None, "no reference gain was given"
    if not gain > resolution:
        return None, f"the reference gain is {short(gain)} {units}: there is nothing to share"
    return effect / gain, None


def _exact(values: Tensor) -> Tensor:
    return values.detach().cpu().double()


def _resolution(*tensors: Tensor) -> float:
    """Return eight roundings of the coarsest type at the largest value, or at 1."""
    types = [t.dtype if t.is_floating_point() else torch.float64 for t in tensors]
    largest = max([1.0, *(float(_exact(t).abs().max()) for t in tensors if t.numel())])
    return 8 * max(torch.finfo(dtype).eps for dtype in types) * largest
