"""Directions from class means: their difference, plain, whitened, and with shrinkage (LDA)."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float
from torch import Tensor

from probes.fit.rule import (
    ROUNDING,
    Labels,
    LinearRule,
    NoDirectionError,
    Rows,
    checked,
    linear_rule,
    standardised,
)

# Directions of less within-class variance than this share of the mean are not divided by it.
_SMALLEST_VARIANCE = 1e-3


def mass_mean(activations: Float[Tensor, "row d"], labels: Labels) -> LinearRule:
    """The difference of the class means (Marks & Tegmark 2023, "The Geometry of Truth", §5.1).

    The threshold is the midpoint between the means. This is the paper's plain form θ = μ₁ − μ₀,
    without its within-class whitening.

    Args:
        activations: One row a statement.
        labels: True for label 1.

    Raises:
        FitError: not finite, or of one label.
        NoDirectionError: the means are the same.
    """
    x, _ = checked(activations, labels)
    one, zero = _means(x, labels)
    return linear_rule(one - zero, centre=(one + zero) / 2, bias=0.0)


def mass_mean_whitened(activations: Float[Tensor, "row d"], labels: Labels) -> LinearRule:
    """The difference of means over the within-class covariance, Σ⁺(μ₁ − μ₀) (the same, §5.1).

    The pseudo-inverse leaves out directions of almost no variance: under 1e-3 of the mean, where
    the paper's code has an absolute 1e-3, which depends on the activations' scale. With fewer
    rows than features it fits the training rows, not the world; see ``lda``.

    Args:
        activations: One row a statement.
        labels: True for label 1.

    Raises:
        FitError: not finite, or of one label.
        NoDirectionError: the means are the same, or differ only where nothing varies.
    """
    x, _ = checked(activations, labels)
    one, zero = _means(x, labels)
    _, sizes, axes = scipy.linalg.svd(_within(x, labels, one, zero), full_matrices=False)
    variance = sizes**2 / len(x)
    kept = variance > _SMALLEST_VARIANCE * variance.mean()
    direction = axes[kept].T @ ((axes[kept] @ (one - zero)) / variance[kept])
    if not direction.any():
        raise NoDirectionError("the labels' means differ only where the activations do not vary")
    return linear_rule(direction, centre=(one + zero) / 2, bias=0.0)


def lda(activations: Float[Tensor, "row d"], labels: Labels) -> LinearRule:
    """Linear discriminant with a shrunk covariance (Ledoit & Wolf 2004), for few rows.

    The covariance within classes, on standardised features, is drawn towards a multiple of the
    identity by as much as its sampling error asks. Scores are the log-odds of two Gaussians.

    Args:
        activations: One row a statement.
        labels: True for label 1.

    Raises:
        FitError: not finite, or of one label.
        NoDirectionError: the means are the same.
    """
    from sklearn.covariance import ledoit_wolf

    x, varies = checked(activations, labels)
    z, centre, scale = standardised(x, varies)
    _means(x, labels)  # refuses equal ones
    z = z[:, varies]
    one, zero = z[labels].mean(0), z[~labels].mean(0)
    covariance, _ = ledoit_wolf(_within(z, labels, one, zero), assume_centered=True)
    if not np.trace(covariance) > 0:
        raise NoDirectionError("all statements of a label have the same activation here")
    direction = np.zeros(x.shape[1])
    direction[varies] = scipy.linalg.solve(covariance, one - zero, assume_a="pos")
    prior = np.log(labels.sum() / (~labels).sum())
    bias = prior - float(direction[varies] @ (one + zero)) / 2
    return linear_rule(direction / scale, centre=centre, bias=bias, scale=scale)


def _means(x: Rows, labels: Labels) -> tuple[Rows, Rows]:
    one, zero = x[labels].mean(0), x[~labels].mean(0)
    if not (np.abs(one - zero) > ROUNDING * np.abs(x).max(0)).any():
        raise NoDirectionError(
            "both labels have the same mean activation, so there is no direction"
        )
    return one, zero


def _within(x: Rows, labels: Labels, one: Rows, zero: Rows) -> Rows:
    """Rows about the mean of their own class."""
    return np.where(labels[:, None], x - one, x - zero)
