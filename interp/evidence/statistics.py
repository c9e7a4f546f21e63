"""Intervals over examples and p-values over controls; thin, over scipy.

Examples made from one prompt, document or template are not independent. Everything here that
resamples examples does so by whole groups.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from scipy import stats

Values = npt.ArrayLike

# Numbers this close, relative to the larger, are equal: they differ by rounding only.
_ROUNDING = 1e-9
# Resamples are drawn in batches of at most this many indices, so memory stays bounded.
_BATCH_ELEMENTS = 2**22


class StatisticsError(ValueError):
    """The numbers given do not allow the statistic asked for; the message says why."""


def bootstrap_interval(
    values: Values,
    groups: Sequence[object] | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int,
) -> tuple[float, float]:
    """Interval for the mean over examples, by the bootstrap over groups.

    Whole groups are drawn with replacement, and the mean is that of the examples drawn (so large
    groups weigh more, as they do in the plain mean). The interval is BCa (Efron 1987), taken at a
    level that allows for the number of groups, 2Φ(−t·√(g/(g−1))) in place of 2Φ(−z), as Hesterberg
    (2015, "What teachers should know about the bootstrap") does for the percentile interval:
    the plain bootstrap is too narrow, holding 89% instead of 95% with eight groups where this one
    holds 94%. With fewer than about eight groups any bootstrap is optimistic.

    Args:
        values: One number an example.
        groups: One label an example; None makes each example a group of its own.
        confidence: Coverage, strictly between 0 and 1.
        n_resamples: Bootstrap samples.
        seed: Seeds the resampling.

    Returns:
        (low, high). Of zero width where all groups have the same mean.

    Raises:
        StatisticsError: fewer than two groups, or values that are not finite.
    """
    if not 0 < confidence < 1:
        raise StatisticsError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    sums, sizes = _by_group(values, groups)
    n_groups = len(sums)
    if n_groups < 2:
        raise StatisticsError(
            f"an interval needs at least two groups of examples, got {n_groups}: give more "
            "examples, or groups that say which of them are independent"
        )
    mean = float(sums.sum() / sizes.sum())
    means = sums / sizes
    spread = float(np.ptp(means))
    if spread <= _ROUNDING * float(np.abs(means).max()):
        return mean, mean

    def ratio(total: np.ndarray, size: np.ndarray, axis: int = -1) -> np.ndarray:
        result: np.ndarray = total.sum(axis=axis) / size.sum(axis=axis)
        return result

    widening = np.sqrt(n_groups / (n_groups - 1)) * stats.t.ppf((1 + confidence) / 2, n_groups - 1)
    level = 1 - 2 * float(stats.norm.sf(widening))
    found = stats.bootstrap(
        # Centred and scaled, so that the sums of cubes in BCa neither cancel nor underflow.
        ((sums - mean * sizes) / spread, sizes),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, _BATCH_ELEMENTS // n_groups),
        # At a level that rounds to 1 the quantiles are the extremes of the resamples.
        confidence_level=min(level, 1 - 1e-12),
        method="BCa",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return mean + spread * float(found.low), mean + spread * float(found.high)


def rank_p_value(effect: float, controls: Values, *, resolution: float = 0.0) -> float:
    """Return (1 + #{control ≥ effect}) / (n + 1), exact where target and controls are exchangeable.

    Args:
        effect: The target's effect; large is extreme.
        controls: The effects of the matched-random controls.
        resolution: Differences up to this are ties, as are those of rounding (1e-9 relative). A
            tie counts against the target, so that effects that are all zero give p = 1.

    Raises:
        StatisticsError: no controls, or numbers that are not finite.
    """
    values = _finite(controls, "controls")
    if not np.isfinite(effect):
        raise StatisticsError(f"the effect must be finite, got {effect}")
    slack = np.maximum(_ROUNDING * np.maximum(np.abs(values), abs(effect)), resolution)
    return float((1 + int((values >= effect - slack).sum())) / (len(values) + 1))


def smallest_p(n: int) -> float:
    """Return 1 / (n + 1), the smallest p-value that n controls can give."""
    if n < 1:
        raise StatisticsError(f"a p-value needs at least one control, got {n}")
    return 1 / (n + 1)


def permutation_p(
    differences: Values,
    groups: Sequence[object] | None = None,
    *,
    alternative: Literal["two-sided", "greater", "less"] = "two-sided",
    n_resamples: int = 9999,
    seed: int,
) -> float:
    """P-value of a paired difference by sign flips, whole groups at a time.

    Exact where the 2^groups flips number no more than ``n_resamples``, else sampled, and then
    never below 1 / (n_resamples + 1).

    Args:
        differences: One paired difference an example.
        groups: One label an example; None makes each example a group of its own.
        alternative: ``greater`` asks whether the mean is above zero.
        n_resamples: Flips sampled.
        seed: Seeds the flips.

    Raises:
        StatisticsError: no values, or values that are not finite.
    """
    sums, _ = _by_group(differences, groups)
    if len(sums) < 2:
        # scipy wants two observations; with one there are two flips, and the sign decides.
        above, below = bool(sums[0] >= 0), bool(sums[0] <= 0)
        extreme = {"greater": above, "less": below, "two-sided": False}[alternative]
        return 0.5 if extreme and not (above and below) else 1.0
    found = stats.permutation_test(
        (sums,),
        lambda total, axis=-1: total.sum(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=n_resamples,
        batch=max(1, _BATCH_ELEMENTS // len(sums)),
        alternative=alternative,
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)


def holm(p_values: Values) -> tuple[float, ...]:
    """Adjust p-values of one family of tests for multiplicity (Holm 1979), in the order given.

    Raises:
        StatisticsError: no p-values, or some outside 0 to 1.
    """
    values = _finite(p_values, "p_values")
    if (values < 0).any() or (values > 1).any():
        raise StatisticsError("p-values must lie between 0 and 1")
    # Three lines rather than statsmodels' multipletests, which imports pandas and collects garbage
    # on every call; the tests hold the two equal.
    order = np.argsort(values, kind="stable")
    adjusted = np.empty_like(values)
    adjusted[order] = np.maximum.accumulate(np.arange(len(values), 0, -1) * values[order])
    return tuple(float(p) for p in np.minimum(adjusted, 1.0))


def closed_rank_p(
    effects: Values, controls: Values, *, resolution: float = 0.0
) -> tuple[float, ...]:
    """Adjust the rank p-values of several effects that share their controls, by closed testing.

    Each effect gets the largest p of any set of the effects that it is in, itself alone included
    (Marcus, Peritz & Gabriel 1976); the p of a set is that of the exact rank-sum test of it against
    the controls. As :func:`holm`, this keeps the chance of any false alarm at the level whichever
    of the effects are null. Holm asks for m/α controls even where all m effects beat all of them;
    a set of such effects has a smaller p than each alone, so here 1/α suffice. The price: an effect
    among others that are null needs more than its own rank.

    Args:
        effects: Of what is tested; large is extreme.
        controls: One set of controls for all.
        resolution: As in :func:`rank_p_value`, which this equals for a single effect.

    Raises:
        StatisticsError: no effects or controls, or numbers that are not finite.
    """
    tested, values = _finite(effects, "effects"), _finite(controls, "controls")
    size = max(float(np.abs(tested).max()), float(np.abs(values).max()))
    # A tie counts against the tested, that of zeros too.
    lowered = np.sort(tested) - max(_ROUNDING * size, resolution, np.finfo(float).tiny)
    found = []
    for place in np.argsort(np.argsort(tested, kind="stable")):
        # Of the sets of one size, that with the smallest others has the largest p.
        others = np.delete(lowered, place)
        sets = (np.append(others[:n], lowered[place]) for n in range(len(tested)))
        found.append(
            max(
                float(stats.mannwhitneyu(s, values, alternative="greater", method="exact").pvalue)
                for s in sets
            )
        )
    return tuple(found)


def _finite(values: Values, name: str) -> np.ndarray:
    array = np.asarray(values, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise StatisticsError(
            f"{name} must be a list of at least one number, got shape {list(array.shape)}"
        )
    if not np.isfinite(array).all():
        raise StatisticsError(f"{name} must be finite; entry {int((~np.isfinite(array)).argmax())}")
    return array


def _by_group(values: Values, groups: Sequence[object] | None) -> tuple[np.ndarray, np.ndarray]:
    """Return each group's sum and size."""
    array = _finite(values, "values")
    if groups is None:
        return array, np.ones_like(array)
    if len(groups) != len(array):
        raise StatisticsError(f"{len(array)} values need as many group labels, got {len(groups)}")
    # dict.fromkeys keeps first-seen order for labels of any kind, comparable or not.
    index = {label: i for i, label in enumerate(dict.fromkeys(groups))}
    of = np.array([index[label] for label in groups])
    return np.bincount(of, weights=array), np.bincount(of).astype(np.float64)
