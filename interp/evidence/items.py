"""Which items an ablation flips: right to wrong against wrong to right, by McNemar's test.

Two accuracies on the same items are compared by the items that changed, and by no others. Where
items come in groups that are not independent (several of one prompt, document or template), the
exact test claims too much; then the p-value is that of sign flips of whole groups.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from interp.evidence.statistics import (
    StatisticsError,
    Values,
    bootstrap_interval,
    permutation_p,
)


@dataclass(frozen=True)
class ItemsTest:
    """Items right before and after, compared pair by pair.

    Attributes:
        n_items: How many.
        n_groups: How many of them are independent of each other.
        lost: Right before, wrong after.
        gained: Wrong before, right after.
        difference: Accuracy lost, (lost − gained) / items; positive is worse.
        interval: Of the difference; None where there is one group.
        confidence: Its coverage.
        p_value: Two-sided, of items being as likely to be lost as gained; 1 where none changed.
        method: What p and interval are from.
        p_items: McNemar's exact p, as if all items were independent. The same as ``p_value`` where
            they are.
    """

    n_items: int
    n_groups: int
    lost: int
    gained: int
    difference: float
    interval: tuple[float, float] | None
    confidence: float
    p_value: float
    method: str
    p_items: float

    @property
    def independent(self) -> bool:
        """Whether every item is a group of its own."""
        return self.n_groups == self.n_items

    def __str__(self) -> str:
        said = f"{self.lost} items lost and {self.gained} gained of {self.n_items}"
        if not self.independent:
            said += f" in {self.n_groups} groups"
        said += f": accuracy {-self.difference:+.3g}"
        if self.interval is None:
            said += " (no interval from one group)"
        else:
            low, high = self.interval
            said += f" [{-high + 0.0:.3g}, {-low + 0.0:.3g}]"
        return f"{said}, p {self.p_value:.2g} ({self.method})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return dataclasses.asdict(self)


def mcnemar(
    clean: Values,
    ablated: Values,
    groups: Sequence[object] | None = None,
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int,
) -> ItemsTest:
    """Test whether an ablation loses more items than it gains (McNemar 1947, exact).

    Of the items that changed, half would be losses were the ablation harmless: a binomial test.
    The interval of the difference is Bonett & Price's (2012), which has a width even where no item
    changed. Where items share groups, p is by sign flips of whole groups (``permutation_p``) and
    the interval by the bootstrap over groups.

    Args:
        clean: 1 or true where the unmodified model is right, one an item; such as ``hits@1``.
        ablated: The same with heads removed.
        groups: Which items belong together; None if all are independent.
        confidence: Coverage of the interval, strictly between 0 and 1.
        n_resamples: Sign flips and bootstrap samples, where items share groups.
        seed: Seeds them.

    Raises:
        StatisticsError: values other than 0 and 1, or lengths that differ.
    """
    if not 0 < confidence < 1:
        raise StatisticsError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    before, after = _binary(clean, "clean"), _binary(ablated, "ablated")
    n = len(before)
    if len(after) != n:
        raise StatisticsError(f"{n} clean items cannot be paired with {len(after)} ablated ones")
    if groups is not None and len(groups) != n:
        raise StatisticsError(f"{n} items need as many group labels, got {len(groups)}")
    lost, gained = int((before & ~after).sum()), int((~before & after).sum())
    changed = lost + gained
    p_items = float(stats.binomtest(lost, changed).pvalue) if changed else 1.0
    n_groups = n if groups is None else len(set(groups))
    interval: tuple[float, float] | None
    if n_groups == n:
        method, p_value = "McNemar's exact test", p_items
        interval = _paired_interval(lost, gained, n, confidence)
    else:
        method = f"sign flips of {n_groups} groups, since items share them"
        harm = before.astype(np.float64) - after
        p_value = permutation_p(harm, groups, n_resamples=n_resamples, seed=seed)
        interval = None
        if n_groups > 1:
            interval = bootstrap_interval(
                harm, groups, confidence=confidence, n_resamples=n_resamples, seed=seed
            )
    return ItemsTest(
        n_items=n,
        n_groups=n_groups,
        lost=lost,
        gained=gained,
        difference=(lost - gained) / n,
        interval=interval,
        confidence=confidence,
        p_value=p_value,
        method=method,
        p_items=p_items,
    )


def _paired_interval(lost: int, gained: int, n: int, confidence: float) -> tuple[float, float]:
    """Bonett & Price (2012), eq. 3: Wald with one item added to each kind of change."""
    a, b = (lost + 1) / (n + 2), (gained + 1) / (n + 2)
    half = float(stats.norm.isf((1 - confidence) / 2)) * math.sqrt((a + b - (a - b) ** 2) / (n + 2))
    return max(-1.0, a - b - half), min(1.0, a - b + half)


def _binary(values: Values, name: str) -> npt.NDArray[np.bool_]:
    array = np.asarray(values)
    if array.ndim != 1 or not len(array):
        raise StatisticsError(
            f"{name} must be a list of at least one item, got shape {list(array.shape)}"
        )
    odd = ~np.isin(array, (0, 1))
    if odd.any():
        raise StatisticsError(
            f"{name} must be 0 or 1 for every item, got {array[odd.argmax()]}; hits@1 is, where "
            "accuracy shares the credit between equal logits"
        )
    return np.asarray(array == 1)
