"""How alike two directions are, and how they lie in the activations.

Nothing here forms a d × d matrix: every quadratic form in a covariance is a variance or a
covariance of scores.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from probes.fit.rule import ROUNDING

Numbers = npt.NDArray[np.float64]


class GeometryError(ValueError):
    """The similarity asked for does not exist for these directions; the message says why."""


def mahalanobis_cosine(
    direction: Float[Tensor, " d"], reference: Float[Tensor, " d"], target: Float[Tensor, "row d"]
) -> float:
    """Cosine of two directions under the covariance of a target (2602.20273).

    MCS(A→B) = w_A' S w_B / √((w_A' S w_A)(w_B' S w_B)), with S the total sample covariance of the
    target's activations, no shrinkage and no inverse. That is the correlation of the two
    directions' scores on the target, which is how it is computed.

    Args:
        direction: In the raw activation space.
        reference: A direction fitted to the target.
        target: Its activations.

    Raises:
        GeometryError: shapes differ, not finite, fewer than two rows, or a direction on which
            all rows score the same.
    """
    x = _rows(target)
    return _correlation(_scores(x, direction, "direction"), _scores(x, reference, "reference"))


def score_correlation(scores: Numbers, reference: Numbers) -> float:
    """Mahalanobis cosine from scores: with held-out ones, none saw the labels they stand beside.

    Raises:
        GeometryError: of different lengths, not finite, or all the same.
    """
    a, b = np.asarray(scores, dtype=np.float64), np.asarray(reference, dtype=np.float64)
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise GeometryError(f"expected two lists of scores of one length, got {a.shape}, {b.shape}")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise GeometryError("a score is not finite")
    for what, values in (("scores", a), ("reference", b)):
        if not values.std() > ROUNDING * np.abs(values).max():
            raise GeometryError(f"all rows have the same score by the {what}: no correlation")
    return _correlation(a - a.mean(), b - b.mean())


def plain_cosine(a: Float[Tensor, " d"], b: Float[Tensor, " d"]) -> float:
    """Cosine of two directions in the raw activation space.

    Raises:
        GeometryError: shapes differ, not finite, or zero.
    """
    one, other = _direction(a, "first"), _direction(b, "second")
    if one.shape != other.shape:
        raise GeometryError(f"directions of {len(one)} and {len(other)} numbers")
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


def loudness(
    direction: Float[Tensor, " d"],
    source: Float[Tensor, "row d"],
    target: Float[Tensor, "other d"],
) -> float:
    """Variance of a direction's scores on a target over that on its source: w'S_B w / w'S_A w.

    Raises:
        GeometryError: as ``mahalanobis_cosine``.
    """
    at_source = _scores(_rows(source), direction, "direction, on its source,")
    at_target = _scores(_rows(target), direction, "direction, on the target,")
    return float(at_target.var(ddof=1) / at_source.var(ddof=1))


@dataclass(frozen=True)
class ParticipationRatio:
    """Over how many axes the variance of standardised activations spreads.

    Attributes:
        value: (Σλ)²/Σλ² of the sample's correlation matrix, as published. It is biased down: it
            cannot exceed the number of rows less one, whatever the truth.
        of_noise: What it is, very nearly, for as many rows of independent features,
            d(n − 1)/(n + d − 2); the truth there is d. A value near it says nothing.
        corrected: With the sampling error of the squared correlations taken off (adjusted r²);
            unbiased where features are independent. At most d.
        n: Rows.
        d: Features that vary.
    """

    value: float
    of_noise: float
    corrected: float
    n: int
    d: int

    def __str__(self) -> str:
        return (
            f"{self.value:.1f} ({self.corrected:.1f} corrected for {self.n} rows; independent "
            f"features would give {self.of_noise:.1f})"
        )


def participation_ratio(activations: Float[Tensor, "row d"]) -> ParticipationRatio:
    """Participation ratio of standardised activations, with what its sample size does to it.

    Args:
        activations: One row a statement; features that do not vary are left out.

    Raises:
        GeometryError: fewer than four rows, not finite, or nothing varies.
    """
    x = _rows(activations, fewest=4)
    varies = x.std(0) > ROUNDING * np.abs(x).max(0)
    if not varies.any():
        raise GeometryError("all rows have the same activation: no variance to spread")
    z = (x[:, varies] - x[:, varies].mean(0)) / x[:, varies].std(0)
    n, d = z.shape
    # Σλ² is the sum of squared correlations; the smaller of the two Gram matrices has it.
    gram = z.T @ z if d <= n else z @ z.T
    squared = float((gram**2).sum()) / n**2
    off = squared - d
    unbiased = max(0.0, off - (d * (d - 1) - off) / (n - 2))
    return ParticipationRatio(
        value=d**2 / squared,
        of_noise=d * (n - 1) / (n + d - 2),
        corrected=d**2 / (d + unbiased),
        n=n,
        d=d,
    )


def snr_from_auroc(auroc: float) -> float:
    """Distance of two unit Gaussians, in standard deviations, that gives this AUROC: √2·Φ⁻¹.

    Raises:
        GeometryError: not strictly between 0 and 1.
    """
    if not 0 < auroc < 1:
        raise GeometryError(f"AUROC {auroc} has no finite distance; expected strictly in 0…1")
    return float(np.sqrt(2) * stats.norm.ppf(auroc))


def gaussian_curve(
    mahalanobis: float | Numbers, *, reference_snr: float
) -> Float[np.ndarray, " *point"]:
    """AUROC that two balanced Gaussians of one covariance imply for a Mahalanobis cosine.

    A direction at distance s separates with AUROC Φ(s/√2). Its Mahalanobis cosine to the best
    direction, at distance D, is f(s)/f(D) with f(s) = s/√(4 + s²) (after 2606.19603; the total
    covariance is the within-class one plus ΔΔ'/4). Solved for s.

    Args:
        mahalanobis: One cosine or several.
        reference_snr: Distance D of the target's own best direction (``snr_from_auroc``).

    Raises:
        GeometryError: a cosine outside −1…1, or a distance that is not positive.
    """
    m = np.asarray(mahalanobis, dtype=np.float64)
    if not (np.abs(m) <= 1 + 1e-12).all():  # a NaN is not either
        raise GeometryError("a Mahalanobis cosine lies between −1 and 1")
    if not 0 < reference_snr < np.inf:
        raise GeometryError(f"the reference's distance is {reference_snr}; expected more than 0")
    f = m * reference_snr / np.sqrt(4 + reference_snr**2)
    return np.asarray(stats.norm.cdf(np.sqrt(2) * f / np.sqrt(1 - f**2)))


def _rows(activations: Tensor, *, fewest: int = 2) -> Numbers:
    x = torch.as_tensor(activations).detach().cpu().to(torch.float64).numpy()
    if x.ndim != 2 or len(x) < fewest:
        raise GeometryError(
            f"expected activations of shape [row, d] with {fewest} rows or more, "
            f"got {list(x.shape)}"
        )
    if not np.isfinite(x).all():
        raise GeometryError(
            f"the activation of row {int((~np.isfinite(x)).any(1).argmax())} is not finite"
        )
    return np.asarray(x)


def _direction(direction: Tensor, what: str) -> Numbers:
    w = torch.as_tensor(direction).detach().cpu().to(torch.float64).numpy()
    if w.ndim != 1 or not len(w):
        raise GeometryError(f"the {what} has shape {list(w.shape)}; expected [d]")
    if not np.isfinite(w).all():
        raise GeometryError(f"the {what} is not finite")
    if not w.any():
        raise GeometryError(f"the {what} is zero")
    return np.asarray(w)


def _scores(x: Numbers, direction: Tensor, what: str) -> Numbers:
    """Centred scores."""
    w = _direction(direction, what)
    if x.shape[1] != len(w):
        raise GeometryError(f"the {what} has {len(w)} numbers, the activations {x.shape[1]}")
    centred = x - x.mean(0)
    scores: Numbers = centred @ w
    # Rounding in the activations leaves scores about this size where nothing varies.
    rounding = ROUNDING * float(np.abs(x).max(0) @ np.abs(w)) / np.sqrt(len(w))
    if not scores.std() > rounding:
        raise GeometryError(f"all rows have the same score by the {what}: no similarity to it")
    return scores - scores.mean()


def _correlation(a: Numbers, b: Numbers) -> float:
    r = float(a @ b / np.sqrt((a @ a) * (b @ b)))
    return min(1.0, max(-1.0, r))
