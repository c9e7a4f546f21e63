"""How well scores separate two labels: AUROC, and intervals for it by whole groups."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from scipy import stats

Scores = npt.NDArray[np.floating]
Labels = npt.NDArray[np.bool_]
_Measure = Callable[[npt.NDArray[np.float64]], npt.NDArray[np.float64]]

CONFIDENCE = 0.95
# Resamples are drawn in batches of at most this many weights, so memory stays bounded.
_BATCH_ELEMENTS = 2**22


class MeasureError(ValueError):
    """The scores given do not allow the number asked for; the message says why."""


def auroc(scores: Scores, labels: Labels) -> float:
    """Return the chance that a random row of label 1 scores above one of label 0; ties are half.

    Raises:
        MeasureError: only one label (there is no such chance then), or scores that are not finite.
    """
    scores, labels = _checked(scores, labels)
    ranks = stats.rankdata(scores)
    n_one = int(labels.sum())
    n_zero = len(labels) - n_one
    return float((ranks[labels].sum() - n_one * (n_one + 1) / 2) / (n_one * n_zero))


def auroc_interval(
    scores: Scores,
    labels: Labels,
    groups: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int | None = None,
    seed: int,
) -> tuple[float, float]:
    """Interval for the AUROC, by the bootstrap over groups.

    Whole groups are drawn with replacement; the few draws without one of the labels are drawn
    anew. The interval is BCa (Efron 1987) at a level widened for the number of groups, as in
    ``interp.evidence.bootstrap_interval``.

    Where the labels separate perfectly every resample does too, and the bootstrap would claim
    certainty. The far end is then the exact binomial bound from as many disjoint pairs of groups
    as can be made, all of them in the right order: (α/2)^(1/pairs).

    Args:
        scores: One number a row.
        labels: True for label 1.
        groups: One name a row.
        confidence: Coverage, strictly between 0 and 1.
        n_resamples: Bootstrap samples; when omitted 2,000, and ten times as many where a label has
            fewer than 50 groups, whose widened ends lie where 2,000 hardly reach.
        seed: Seeds the resampling.

    Raises:
        MeasureError: fewer than two groups with either label, or scores that are not finite.
    """
    scores, labels = _checked(scores, labels)
    fewest = _smaller_side(labels, groups)  # refuses too few
    n_resamples = n_resamples or (2_000 if fewest >= 50 else 20_000)
    exact = auroc(scores, labels)
    if exact in (0.0, 1.0):
        bound = ((1 - confidence) / 2) ** (1 / _disjoint_pairs(labels, groups))
        return (bound, 1.0) if exact == 1.0 else (0.0, 1 - bound)
    found = _resampled([scores], labels, groups, n_resamples=n_resamples, seed=seed)[:, 0]
    without = _left_out([scores], labels, groups)[:, 0]
    return _bca(exact, found, without, fewest, confidence)


def auroc_lead(
    scores: Scores,
    baseline: Scores,
    labels: Labels,
    groups: Sequence[str],
    *,
    confidence: float = CONFIDENCE,
    n_resamples: int = 2000,
    seed: int,
) -> tuple[float, float]:
    """Interval for the AUROC of ``scores`` minus that of ``baseline``, on the same resamples.

    Where ``scores`` separate perfectly they add no uncertainty of their own, so that the interval
    is too short: read it beside ``auroc_interval``.

    Raises:
        MeasureError: as ``auroc_interval``.
    """
    scores, labels = _checked(scores, labels)
    baseline, _ = _checked(baseline, labels)
    both = [scores, baseline]
    found = _resampled(both, labels, groups, n_resamples=n_resamples, seed=seed)
    without = _left_out(both, labels, groups)
    return _bca(
        auroc(scores, labels) - auroc(baseline, labels),
        found[:, 0] - found[:, 1],
        without[:, 0] - without[:, 1],
        _smaller_side(labels, groups),
        confidence,
    )


def _resampled(
    several: Sequence[Scores],
    labels: Labels,
    groups: Sequence[str],
    *,
    n_resamples: int,
    seed: int,
) -> npt.NDArray[np.float64]:
    """AUROCs ``[resample, which]`` of several scores, each resample shared by all of them."""
    of = _group_index(labels, groups)
    n_groups = int(of.max()) + 1
    _smaller_side(labels, groups)  # refuses too few, for which this would never end
    measures = [_by_group(scores, labels, of) for scores in several]
    ones = np.bincount(of, weights=labels, minlength=n_groups)
    zeros = np.bincount(of, weights=~labels, minlength=n_groups)
    rng = np.random.default_rng(seed)
    done: list[npt.NDArray[np.float64]] = []
    missing = n_resamples
    while missing:
        size = min(missing, max(1, _BATCH_ELEMENTS // len(labels)))
        drawn = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=size)
        weights = drawn.astype(np.float64)
        weights = weights[(weights @ ones > 0) & (weights @ zeros > 0)]
        if len(weights):
            done.append(np.stack([measure(weights) for measure in measures], axis=1))
            missing -= len(weights)
    return np.concatenate(done)


def _by_group(scores: Scores, labels: Labels, of: npt.NDArray[np.intp]) -> _Measure:
    """AUROC as a function of weights ``[draw, group]``.

    It is w'Kw over the weights of the two labels, K[g, h] the pairs of a row of label 1 in g and
    one of label 0 in h in the right order, ties half. Counts and halves add without rounding, so
    that both ways give the same bits; K is the quicker where it is small.
    """
    n_groups = int(of.max()) + 1
    if n_groups * max(n_groups, len(labels)) > _BATCH_ELEMENTS // 4:
        return lambda weights: _weighted(scores, labels, weights[:, of])
    distinct, rank = np.unique(scores, return_inverse=True)
    n = len(distinct)
    zero = np.bincount(rank[~labels] * n_groups + of[~labels], minlength=n * n_groups)
    zero = zero.reshape(n, n_groups)
    below = (np.cumsum(zero, axis=0) - zero / 2)[rank[labels]]
    order = np.argsort(of[labels], kind="stable")
    having, starts = np.unique(of[labels][order], return_index=True)
    pairs = np.zeros((n_groups, n_groups))
    pairs[having] = np.add.reduceat(below[order], starts, axis=0)
    ones = np.bincount(of, weights=labels, minlength=n_groups)
    zeros = np.bincount(of, weights=~labels, minlength=n_groups)

    def measure(weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        right: npt.NDArray[np.float64] = ((weights @ pairs) * weights).sum(1)
        return right / ((weights @ ones) * (weights @ zeros))

    return measure


def _weighted(
    scores: Scores, labels: Labels, weights: npt.NDArray[np.float64]
) -> npt.NDArray[np.float64]:
    """AUROC under each row of weights, ties counted half."""
    _, of = np.unique(scores, return_inverse=True)
    order = np.argsort(of, kind="stable")
    starts = np.flatnonzero(np.diff(of[order], prepend=-1))
    one = np.add.reduceat((weights * labels)[:, order], starts, axis=1)
    zero = np.add.reduceat((weights * ~labels)[:, order], starts, axis=1)
    below = np.cumsum(zero, axis=1) - zero / 2
    result: npt.NDArray[np.float64] = (one * below).sum(1) / (one.sum(1) * zero.sum(1))
    return result


def _left_out(
    several: Sequence[Scores], labels: Labels, groups: Sequence[str]
) -> npt.NDArray[np.float64]:
    """AUROCs ``[group, which]`` without each group in turn."""
    of = _group_index(labels, groups)
    n_groups = int(of.max()) + 1
    measures = [_by_group(scores, labels, of) for scores in several]
    size = max(1, _BATCH_ELEMENTS // len(labels))
    parts = []
    for start in range(0, n_groups, size):
        out = np.arange(start, min(start + size, n_groups))
        weights = (np.arange(n_groups)[None, :] != out[:, None]).astype(np.float64)
        parts.append(np.stack([measure(weights) for measure in measures], axis=1))
    return np.concatenate(parts)


def _bca(
    estimate: float,
    found: npt.NDArray[np.float64],
    without: npt.NDArray[np.float64],
    n_groups: int,
    confidence: float,
) -> tuple[float, float]:
    """The bias-corrected, accelerated interval at a level widened for the number of groups."""
    if not 0 < confidence < 1:
        raise MeasureError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    if float(np.ptp(found)) == 0:
        return float(found[0]), float(found[0])
    deviation = without.mean() - without
    spread = float((deviation**2).sum()) ** 1.5
    acceleration = float((deviation**3).sum()) / (6 * spread) if spread > 0 else 0.0
    below = ((found < estimate).mean() + (found <= estimate).mean()) / 2
    bias = float(stats.norm.ppf(np.clip(below, 1 / len(found), 1 - 1 / len(found))))
    width = np.sqrt(n_groups / (n_groups - 1)) * stats.t.ppf((1 + confidence) / 2, n_groups - 1)
    ends = []
    for z in (bias - width, bias + width):
        shrink = 1 - acceleration * z
        # Past the pole of Efron's formula the end is the extreme of the resamples.
        at = stats.norm.cdf(bias + z / shrink) if shrink > 0 else float(z > 0)
        ends.append(float(np.quantile(found, at)))
    return ends[0], ends[1]


def _smaller_side(labels: Labels, groups: Sequence[str]) -> int:
    """Number of groups that have the label fewer groups have."""
    of = _group_index(labels, groups)
    fewest = min(len(np.unique(of[labels])), len(np.unique(of[~labels])))
    if fewest < 2:
        raise MeasureError(
            "an interval needs at least two groups with each label, there "
            f"{'is' if fewest == 1 else 'are'} {fewest}: give more statements, or groups"
        )
    return fewest


def _disjoint_pairs(labels: Labels, groups: Sequence[str]) -> int:
    """The most pairs (a group with label 1, another with label 0) in which no group is twice."""
    of = _group_index(labels, groups)
    n_groups = int(of.max()) + 1
    return min(len(np.unique(of[labels])), len(np.unique(of[~labels])), n_groups // 2)


def _group_index(labels: Labels, groups: Sequence[str]) -> npt.NDArray[np.intp]:
    if len(groups) != len(labels):
        raise MeasureError(f"{len(labels)} labels need as many groups, got {len(groups)}")
    index = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    return np.array([index[name] for name in groups])


def _checked(scores: Scores, labels: Labels) -> tuple[Scores, Labels]:
    scores, labels = np.asarray(scores, dtype=np.float64), np.asarray(labels, dtype=bool)
    if scores.ndim != 1 or scores.shape != labels.shape:
        raise MeasureError(
            f"expected one score for each of {len(labels)} labels, got {list(scores.shape)}"
        )
    if not np.isfinite(scores).all():
        raise MeasureError(f"score {int((~np.isfinite(scores)).argmax())} is not finite")
    if labels.all() or not labels.any():
        raise MeasureError("AUROC compares two labels, and all rows here have the same one")
    return scores, labels
