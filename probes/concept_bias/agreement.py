"""How bias in concept space goes with another measure over targets, and how large it is by chance.

Rank agreement alone is no sign of bias: where the references' labels are shuffled, what is left of
the difference between them by a tiny imbalance still orders the targets, with |ρ| up to .96 on
zoo:bias-world. So size is judged apart, as amplitude (mean |B|) and as slope, both against
shuffled labels; ρ gets its interval over targets and a p from permuting targets.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.evidence import holm, rank_p_value
from probes.concept_bias.rows import ConceptBiasError

_FEWEST_TARGETS = 4
_RESAMPLES = 1999
Numbers = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Amplitude:
    """How large bias is at one site by one method, beside shuffled references.

    Attributes:
        site: Where.
        method: How it was measured.
        mean: Mean signed bias over targets; an offset that all share.
        size: Mean |bias| over targets.
        null_size: Mean of that over shuffles.
        null_high: Its 95% quantile over shuffles.
        p: Rank of the size among shuffles.
        z: (size − null mean) / the null's standard deviation; None where it has none.
        n_shuffles: Shuffles.
        references_apart: Whether both references' vectors, and the probe between them, tell
            held-out sentences apart. If not, there is nothing to be biased towards.
        p_holm: ``p`` adjusted for all sites and methods.
    """

    site: str
    method: str
    mean: float
    size: float
    null_size: float
    null_high: float
    p: float
    z: float | None
    n_shuffles: int
    references_apart: bool
    p_holm: float = 1.0


@dataclass(frozen=True)
class Agreement:
    """How bias goes with another measure over targets, at one site by one method.

    Attributes:
        site: Where.
        method: How bias was measured.
        yardstick: The other measure.
        rho: Spearman's correlation.
        low: Lower end of its 95% interval, by the bootstrap over targets.
        high: Upper end.
        p: Rank of |ρ| among permutations of the targets.
        slope: Of bias on the yardstick, by least squares.
        slope_z: (slope − mean) / standard deviation of the slopes of shuffled references; None
            where these do not vary.
        n_targets: Targets.
        p_holm: ``p`` adjusted for all sites, methods and yardsticks.
    """

    site: str
    method: str
    yardstick: str
    rho: float
    low: float
    high: float
    p: float
    slope: float
    slope_z: float | None
    n_targets: int
    p_holm: float = 1.0


Tested = TypeVar("Tested", Amplitude, Agreement)


def adjusted(rows: Sequence[Tested]) -> tuple[Tested, ...]:
    """Adjust the p-values of one family of tests by Holm's method."""
    if not rows:
        return ()
    values = holm([row.p for row in rows])
    return tuple(replace(row, p_holm=p) for row, p in zip(rows, values, strict=True))


def amplitude(
    site: str,
    method: str,
    bias: Float[Tensor, " target"],
    null: Float[Tensor, "shuffle target"],
    *,
    references_apart: bool,
) -> Amplitude:
    """Judge the size of bias against shuffled references."""
    sizes = null.abs().mean(1)
    size, spread = float(bias.abs().mean()), float(sizes.std())
    return Amplitude(
        site=site,
        method=method,
        mean=float(bias.mean()),
        size=size,
        null_size=float(sizes.mean()),
        null_high=float(sizes.quantile(0.95)),
        p=rank_p_value(size, sizes.tolist()),
        z=(size - float(sizes.mean())) / spread if spread > 0 else None,
        n_shuffles=len(sizes),
        references_apart=references_apart,
    )


def agreement(
    named: tuple[str, str, str],
    scores: Numbers,
    bias: Float[Tensor, " target"],
    null: Float[Tensor, "shuffle target"],
    *,
    seed: int,
) -> Agreement:
    """Compare bias with another measure over targets.

    Args:
        site: Where.
        method: How bias was measured.
        yardstick: What the other measure is called.
        scores: The other measure, of every target.
        bias: Of every target.
        null: The same with shuffled references.
        seed: Seeds bootstrap and permutations.

    Raises:
        ConceptBiasError: fewer than four targets, or one of the measures is the same for all.
    """
    site, method, yardstick = named
    b = bias.numpy()
    if len(b) < _FEWEST_TARGETS or not np.ptp(scores) > 0 or not np.ptp(b) > 0:
        raise ConceptBiasError(
            f"{method} at {site} beside {yardstick}: {len(b)} targets; expected at least "
            f"{_FEWEST_TARGETS} that differ in both"
        )
    rho = float(spearman(b[None], scores[None])[0])
    rng = np.random.default_rng(seed)
    low, high = _interval(b, scores, rng)
    permuted = rng.permuted(np.tile(scores, (_RESAMPLES, 1)), axis=1)
    against = spearman(np.tile(b, (_RESAMPLES, 1)), permuted)
    centred = scores - scores.mean()
    slopes = np.concatenate([b[None], null.numpy()]) @ centred / (centred**2).sum()
    spread = float(slopes[1:].std(ddof=1)) if len(slopes) > 2 else 0.0
    return Agreement(
        site=site,
        method=method,
        yardstick=yardstick,
        rho=rho,
        low=low,
        high=high,
        p=rank_p_value(abs(rho), np.abs(against)),
        slope=float(slopes[0]),
        slope_z=float(slopes[0] - slopes[1:].mean()) / spread if spread > 0 else None,
        n_targets=len(b),
    )


def spearman(a: Numbers, b: Numbers) -> Numbers:
    """Spearman's correlation of every row of ``a`` with the same row of ``b``."""
    x, y = (stats.rankdata(values, axis=1) for values in (a, b))
    x, y = x - x.mean(1, keepdims=True), y - y.mean(1, keepdims=True)
    size = np.sqrt((x**2).sum(1) * (y**2).sum(1))
    return np.asarray((x * y).sum(1) / np.where(size > 0, size, np.inf))


def _interval(b: Numbers, scores: Numbers, rng: np.random.Generator) -> tuple[float, float]:
    """Percentile interval over targets; draws of all the same target have no correlation."""
    drawn = rng.integers(0, len(b), (_RESAMPLES, len(b)))
    kept = (np.ptp(b[drawn], axis=1) > 0) & (np.ptp(scores[drawn], axis=1) > 0)
    found = spearman(b[drawn[kept]], scores[drawn[kept]])
    low, high = np.quantile(found, [0.025, 0.975])
    return float(low), float(high)
