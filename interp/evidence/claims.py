"""A published claim beside what was found: *replicates*, *does not*, or *underpowered*."""

from __future__ import annotations

import html
import math
from dataclasses import dataclass
from typing import Any, Literal

from interp.evidence.statistics import StatisticsError

ClaimVerdict = Literal["replicates", "does not", "underpowered"]


@dataclass(frozen=True)
class Claim:
    """What a paper says of a number, as the range it must lie in for the paper to be right.

    ``Claim("more central without copies", low=0.0)`` claims a positive number,
    ``Claim("anti-induction near zero", low=-0.05, high=0.05)`` one near zero, and a ``low`` above
    zero one that is not merely positive but of some size.

    Attributes:
        says: The claim in words.
        low: The number lies above this; None where the claim sets no lower end.
        high: It lies below this; None likewise.
    """

    says: str
    low: float | None = None
    high: float | None = None

    def __post_init__(self) -> None:
        ends = [end for end in (self.low, self.high) if end is not None]
        if not ends or not all(map(math.isfinite, ends)) or (len(ends) == 2 and ends[0] >= ends[1]):
            raise StatisticsError(
                f"the claim {self.says!r} needs a finite low, a high, or a low below its high; got "
                f"{self.low} and {self.high}"
            )

    @property
    def range(self) -> str:
        """The range in words."""
        if self.high is None:
            return f"above {self.low:g}"
        if self.low is None:
            return f"below {self.high:g}"
        return f"between {self.low:g} and {self.high:g}"


@dataclass(frozen=True)
class Replication:
    """A claim beside what was found.

    Attributes:
        claim: The claim.
        estimate: What was found.
        interval: Its interval; None where there was no inference.
        verdict: ``replicates``, ``does not`` or ``underpowered``.
        reason: One sentence.
    """

    claim: Claim
    estimate: float
    interval: tuple[float, float] | None
    verdict: ClaimVerdict
    reason: str

    def __str__(self) -> str:
        return f"{self.claim.says}: {self.verdict} ({self.reason})"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def to_dict(self) -> dict[str, Any]:
        """Return the fields flat, for JSON or as a row of a table."""
        low, high = self.interval or (None, None)
        return {
            "claim": self.claim.says,
            "range": self.claim.range,
            "estimate": self.estimate,
            "low": low,
            "high": high,
            "verdict": self.verdict,
            "reason": self.reason,
        }


def compare_with_claim(
    claim: Claim,
    estimate: float,
    interval: tuple[float, float] | None,
    *,
    reason: str = "",
) -> Replication:
    """Say whether a claim replicates, by where the interval lies and by nothing else.

    - *replicates*: the whole interval lies in the claimed range.
    - *does not*: none of the interval lies in it. An interval that only touches the end of the
      range lies outside, as zero is not positive.
    - *underpowered*: part of it does and part does not, so that the data go with the claim as well
      as with its opposite; or there is no interval.

    The estimate decides nothing: an estimate on the claimed side with an interval across the end
    is underpowered, and so is one on the other side.

    Args:
        claim: What is claimed.
        estimate: What was found.
        interval: Its interval, or None where nothing can be inferred.
        reason: Where the interval comes from, or why there is none; added to the sentence.

    Raises:
        StatisticsError: an interval whose ends are not finite or stand in the wrong order.
    """
    why = f"; {reason}" if reason else ""
    if interval is None:
        said = f"{estimate:.4g}, claimed {claim.range}, no interval{why}"
        return Replication(claim, estimate, None, "underpowered", said)
    low, high = interval
    if not (math.isfinite(low) and math.isfinite(high) and low <= high):
        raise StatisticsError(f"an interval goes from its low to its high end, got {interval}")
    least = -math.inf if claim.low is None else claim.low
    most = math.inf if claim.high is None else claim.high
    verdict: ClaimVerdict
    if least < low and high < most:
        verdict, where = "replicates", "lies inside"
    elif high <= least or low >= most:
        verdict, where = "does not", "lies outside"
    else:
        verdict, where = "underpowered", "reaches into and out of"
    said = f"{estimate:.4g} [{low:.4g}, {high:.4g}] {where} the claimed range, {claim.range}{why}"
    return Replication(claim, float(estimate), (float(low), float(high)), verdict, said)
