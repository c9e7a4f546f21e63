"""Between ways of training the training seed is the unit.

However many prompts and tasks one trained model answers, it is one draw of what its training can
give. An effect is first measured within each model, such as what removing the top heads costs
beyond what matched random heads cost; then the arms are compared on one number a seed, which makes
it a difference in differences. With one seed an arm nothing can be inferred, and it is said.
"""

from __future__ import annotations

import dataclasses
import html
import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import stats

from interp.evidence.statistics import StatisticsError

ONE_SEED = "one seed per arm: no inference between arms"
# Below this many degrees of freedom Student's t is more than 1.4 times the normal's 1.96.
_FEWEST_DEGREES = 4
_ROUNDING = 1e-9


@dataclass(frozen=True)
class ArmsDifference:
    """The effect in one arm minus that in another.

    Attributes:
        first: One arm.
        second: The other.
        estimate: Mean effect over the first arm's seeds, minus that over the second's.
        interval: Of the estimate over new seeds; None where there is no inference.
        p_value: Two-sided, of no difference; None likewise.
        confidence: Coverage of the interval.
        n_first: Seeds of the first arm that went in.
        n_second: Seeds of the second.
        method: ``paired t``, ``Welch's t`` or None.
        degrees: Degrees of freedom, or None.
        reason: Why there is no inference, or what it rests on.
        underpowered: Whether there is none, or it has fewer than four degrees of freedom.
    """

    first: str
    second: str
    estimate: float
    interval: tuple[float, float] | None
    p_value: float | None
    confidence: float
    n_first: int
    n_second: int
    method: str | None
    degrees: float | None
    reason: str
    underpowered: bool

    def __str__(self) -> str:
        said = f"{self.first} − {self.second}: {self.estimate:.4g}"
        if self.interval is not None:
            low, high = self.interval
            said += f" [{low:.4g}, {high:.4g}] ({self.confidence:.0%})"
        if self.p_value is not None:
            said += f", p {self.p_value:.2g}"
        return f"{said}; {self.reason}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields, for JSON."""
        return dataclasses.asdict(self)


def compare_arms(
    first: Mapping[Hashable, float],
    second: Mapping[Hashable, float],
    *,
    names: tuple[str, str] = ("first", "second"),
    confidence: float = 0.95,
) -> ArmsDifference:
    """Compare an effect between two arms, one number a training seed.

    Seeds that both arms have (one initialisation, one order of data) are paired: Student's t on
    their differences. Seeds that only one arm has are then left out, and the reason says how many.
    Arms with no seed in common are compared by Welch's t. Either assumes that effects spread
    normally over seeds, which so few seeds can neither show nor refute.

    Args:
        first: The effect for each seed of one arm.
        second: The same of the other.
        names: The arms, for the result.
        confidence: Coverage, strictly between 0 and 1.

    Raises:
        StatisticsError: an arm without seeds, or an effect that is not finite.
    """
    if not 0 < confidence < 1:
        raise StatisticsError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    for name, arm in zip(names, (first, second), strict=True):
        if not arm:
            raise StatisticsError(f"the arm {name!r} has no seeds; train at least one")
        for seed, effect in arm.items():
            if not math.isfinite(effect):
                raise StatisticsError(f"the effect of arm {name!r}, seed {seed}, is not finite")
    common = [seed for seed in first if seed in second]
    chosen = (common, common) if common else (list(first), list(second))
    a = np.array([first[seed] for seed in chosen[0]], dtype=np.float64)
    b = np.array([second[seed] for seed in chosen[1]], dtype=np.float64)
    left_out = len(first) + len(second) - len(a) - len(b)
    note = f"; {left_out} left out, which the other arm does not have" if left_out else ""
    made = ArmsDifference(
        first=names[0],
        second=names[1],
        estimate=float(a.mean() - b.mean()),
        interval=None,
        p_value=None,
        confidence=confidence,
        n_first=len(a),
        n_second=len(b),
        method=None,
        degrees=None,
        reason=ONE_SEED + note,
        underpowered=True,
    )
    if max(len(a), len(b)) < 2:
        return made
    if min(len(a), len(b)) < 2:
        lone = names[0] if len(a) < 2 else names[1]
        return dataclasses.replace(
            made, reason=f"one seed of {lone}, not paired: no inference between arms"
        )
    spread = max(float(np.ptp(a - b)), 0.0) if common else float(np.ptp(a) + np.ptp(b))
    if spread <= _ROUNDING * float(max(np.abs(a).max(), np.abs(b).max())):
        what = "the difference is the same for every seed" if common else "no arm varies"
        return dataclasses.replace(made, reason=f"{what}, so there is no spread to test by{note}")
    found = stats.ttest_rel(a, b) if common else stats.ttest_ind(a, b, equal_var=False)
    ends = found.confidence_interval(confidence)
    degrees = float(found.df)
    if common:
        method, reason = "paired t", f"{len(a)} seeds, paired"
    else:
        method, reason = "Welch's t", f"{len(a)} and {len(b)} seeds, not paired"
    underpowered = degrees < _FEWEST_DEGREES
    if underpowered:
        tail = (1 - confidence) / 2
        wider = stats.t.isf(tail, degrees) / stats.norm.isf(tail)
        reason += f", underpowered: {wider:.1f} times as wide as with many for the same spread"
    return dataclasses.replace(
        made,
        interval=(float(ends.low), float(ends.high)),
        p_value=float(found.pvalue),
        method=method,
        degrees=degrees,
        reason=reason + note,
        underpowered=underpowered,
    )
