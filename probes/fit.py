"""Two ways to find a direction on which activations of two labels separate.

Both return a ``LinearRule`` in the raw activation space, whatever scaling they used inside, so
that directions from different methods can be compared, erased or added as they are.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

Method = Literal["mass-mean", "logistic"]
Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

# A feature that varies less than this, relative to its largest value, varies by rounding.
_ROUNDING = 1e-5
_MAX_ITERATIONS = 10_000


class FitError(ValueError):
    """No direction can be fitted to these activations; the message says why."""


class NoDirectionError(FitError):
    """The activations do not tell the labels apart at all."""


@dataclass(frozen=True, eq=False)
class LinearRule:
    """A score for activations: ``(x − centre) · direction + bias``, above zero for label 1.

    Attributes:
        direction: In the raw activation space, pointing to label 1. Not of unit length.
        centre: The activation whose score is ``bias``.
        bias: The score of the centre.
    """

    direction: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]
    bias: float

    def scores(self, activations: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Score activations, in float64."""
        centred = activations.to(torch.float64) - self.centre.to(torch.float64)
        return centred @ self.direction.to(torch.float64) + self.bias


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
    x, _ = _checked(activations, labels)
    one, zero = x[labels].mean(0), x[~labels].mean(0)
    direction = one - zero
    if not (np.abs(direction) > _ROUNDING * np.abs(x).max(0)).any():
        raise NoDirectionError(
            "both labels have the same mean activation, so there is no direction"
        )
    return _rule(direction, centre=(one + zero) / 2, bias=0.0)


def logistic(activations: Float[Tensor, "row d"], labels: Labels, *, C: float = 1.0) -> LinearRule:
    """L2-penalised logistic regression on standardised features (scikit-learn, lbfgs).

    The scores are log-odds: the direction is divided by the features' standard deviations, so
    that it acts on raw activations. Features that do not vary are given no weight.

    Args:
        activations: One row a statement.
        labels: True for label 1.
        C: Inverse strength of the penalty.

    Raises:
        FitError: not finite, of one label, or the optimiser did not arrive.
        NoDirectionError: no feature gets any weight.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    x, varies = _checked(activations, labels)
    centre = x.mean(0)
    scale = np.where(varies, x.std(0), np.inf)
    model = LogisticRegression(C=C, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit((x - centre) / scale, labels)
        except ConvergenceWarning:
            raise FitError(
                f"logistic regression did not converge in {_MAX_ITERATIONS} iterations; use "
                "mass-mean, or a smaller C"
            ) from None
    direction = model.coef_[0] / scale
    if not direction.any():
        raise NoDirectionError("logistic regression gives every feature a weight of zero")
    return _rule(direction, centre=centre, bias=float(model.intercept_[0]))


METHODS: Mapping[str, Callable[[Tensor, Labels], LinearRule]] = {
    "mass-mean": mass_mean,
    "logistic": logistic,
}


def _checked(activations: Tensor, labels: Labels) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """The activations in float64, and which features vary."""
    if activations.ndim != 2 or len(activations) != len(labels):
        raise FitError(
            f"expected activations of shape [{len(labels)}, d], one row a label, "
            f"got {list(activations.shape)}"
        )
    x: Rows = activations.detach().cpu().to(torch.float64).numpy()
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).argmax())
        raise FitError(f"the activation of row {bad} is not finite; try dtype float32")
    if labels.all() or not labels.any():
        raise FitError("a direction needs both labels, and all rows here have the same one")
    varies = x.std(0) > _ROUNDING * np.abs(x).max(0)
    if not varies.any():
        raise NoDirectionError(
            "all statements have the same activation here, as at a full stop before any "
            "attention; choose another site or position"
        )
    return x, varies


def _rule(direction: Rows, *, centre: Rows, bias: float) -> LinearRule:
    # Single precision, in which the probe is saved: it scores the same before and after.
    return LinearRule(
        torch.from_numpy(direction).to(torch.float32),
        torch.from_numpy(centre).to(torch.float32),
        bias,
    )
