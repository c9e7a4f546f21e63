"""Means over items with an interval by groups, or the reason why there is none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from interp.evidence import bootstrap_interval

RESAMPLES = 1999
FEWEST_GROUPS = 8
"""Below it any bootstrap is far too narrow (see ``bootstrap_interval``), so there is none."""
FEW = f"fewer than {FEWEST_GROUPS} groups of items, no interval"
AGREE = "all groups of items agree, no interval"


@dataclass(frozen=True)
class Estimate:
    """A number measured over items.

    Attributes:
        value: The number, or None where nothing can be said.
        interval: Low and high, over new groups of items; None where there are fewer than
            ``FEWEST_GROUPS`` groups, where all of them agree (new ones might not), or no value.
        n: Items it is over.
        n_groups: Groups of items that are independent of each other.
        reason: Why there is no value, or no interval; else None.
    """

    value: float | None
    interval: tuple[float, float] | None
    n: int
    n_groups: int
    reason: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return f"none: {self.reason}"
        ends = f" [{self.interval[0]:.3g}, {self.interval[1]:.3g}]" if self.interval else ""
        return f"{self.value:.3g}{ends}"

    def columns(self, name: str) -> dict[str, float | None]:
        """The value and the ends of its interval, as cells of a table."""
        low, high = self.interval if self.interval else (None, None)
        return {name: self.value, f"{name}_low": low, f"{name}_high": high}


def mean_of(
    values: Sequence[float] | Float[np.ndarray, " item"],
    groups: Sequence[str],
    *,
    none: str,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """The mean over items, with the interval of ``bootstrap_interval`` over groups.

    Args:
        values: One an item.
        groups: One an item.
        none: What to say where there are no items.
        confidence: Coverage of the interval.
        seed: Seeds the bootstrap.
    """
    held = np.asarray(values, dtype=np.float64)
    n_groups = len(set(groups))
    if not len(held):
        return Estimate(None, None, 0, 0, none)
    value = float(held.mean())
    if n_groups < FEWEST_GROUPS:
        return Estimate(value, None, len(held), n_groups, FEW)
    interval = bootstrap_interval(
        held, groups, confidence=confidence, n_resamples=RESAMPLES, seed=seed
    )
    return _estimate(value, interval, len(held), n_groups)


def statistic_of(
    statistic: Callable[[np.ndarray], np.ndarray],
    sums: Float[np.ndarray, "group sum"],
    *,
    n: int,
    none: str,
    confidence: float = 0.95,
    seed: int = 0,
) -> Estimate:
    """A statistic of sums over groups, with a percentile interval over groups drawn anew.

    For what is no mean: a product or a ratio of means. Resamples in which the statistic is not
    defined (nothing to divide by) are left out; where they are more than one in twenty there is no
    interval.

    Args:
        statistic: From totals ``[..., sum]`` to numbers ``[...]``; NaN where it is not defined.
        sums: What each group adds to the totals.
        n: Items.
        none: What to say where the statistic is not defined.
        confidence: Coverage of the interval.
        seed: Seeds the bootstrap.
    """
    n_groups = len(sums)
    value = float(statistic(sums.sum(axis=0))) if n_groups else float("nan")
    if not np.isfinite(value):
        return Estimate(None, None, n, n_groups, none)
    if n_groups < FEWEST_GROUPS:
        return Estimate(value, None, n, n_groups, FEW)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n_groups, np.full(n_groups, 1 / n_groups), size=RESAMPLES)
    drawn = statistic(counts @ sums)
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 0.95 * RESAMPLES:
        return Estimate(value, None, n, n_groups, "too few items for an interval")
    # As in bootstrap_interval: a level that allows for the number of groups (Hesterberg 2015).
    wide = np.sqrt(n_groups / (n_groups - 1)) * stats.t.ppf((1 + confidence) / 2, n_groups - 1)
    tail = float(stats.norm.sf(wide))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return _estimate(value, (float(low), float(high)), n, n_groups)


def _estimate(value: float, interval: tuple[float, float], n: int, n_groups: int) -> Estimate:
    if interval[0] == interval[1]:
        return Estimate(value, None, n, n_groups, AGREE)
    return Estimate(value, interval, n, n_groups)


def group_sums(
    values: Float[np.ndarray, "item sum"], groups: Sequence[str]
) -> Float[np.ndarray, "group sum"]:
    """Sums of the rows of each group, in order of first appearance."""
    index = {label: i for i, label in enumerate(dict.fromkeys(groups))}
    out = np.zeros((len(index), values.shape[1]))
    np.add.at(out, np.array([index[label] for label in groups], dtype=int), values)
    return out
