"""What every fit ends in: a direction in the raw activation space, and its refusals."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

Rows = npt.NDArray[np.float64]
Labels = npt.NDArray[np.bool_]

# A feature that varies less than this, relative to its largest value, varies by rounding.
ROUNDING = 1e-5
# Why there is nothing to fit, where all rows agree.
SAME_EVERYWHERE = (
    "all statements have the same activation here, as at a full stop before any "
    "attention; choose another site or position"
)


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
        scale: What the features were divided by in the fit; None where they were left alone.
            The direction has it folded in already.
    """

    direction: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]
    bias: float
    scale: Float[Tensor, " d"] | None = None

    def scores(self, activations: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Score activations, in float64."""
        centred = activations.to(torch.float64) - self.centre.to(torch.float64)
        return centred @ self.direction.to(torch.float64) + self.bias


def linear_rule(
    direction: Rows, *, centre: Rows, bias: float, scale: Rows | None = None
) -> LinearRule:
    """Return the rule in single precision, in which probes are saved: it scores the same after.

    Args:
        direction: In the raw activation space.
        centre: The activation whose score is ``bias``.
        bias: The score of the centre.
        scale: What features were divided by; infinite for those that were left out.
    """
    if scale is not None:
        scale = np.where(np.isfinite(scale), scale, 0.0)
    return LinearRule(
        torch.from_numpy(direction).to(torch.float32),
        torch.from_numpy(centre).to(torch.float32),
        float(bias),
        None if scale is None else torch.from_numpy(scale).to(torch.float32),
    )


def checked_rows(activations: Tensor | npt.NDArray[np.floating], n: int) -> Rows:
    """Return activations in float64, one row for each of ``n`` labels.

    Raises:
        FitError: of another shape, or not finite.
    """
    if activations.ndim != 2 or len(activations) != n:
        raise FitError(
            f"expected activations of shape [{n}, d], one row a label, "
            f"got {list(activations.shape)}"
        )
    if isinstance(activations, Tensor):
        activations = activations.detach().cpu().to(torch.float64).numpy()
    x: Rows = np.asarray(activations, dtype=np.float64)
    if not np.isfinite(x).all():
        bad = int((~np.isfinite(x)).any(1).argmax())
        raise FitError(f"the activation of row {bad} is not finite; try dtype float32")
    return x


def checked(
    activations: Tensor | npt.NDArray[np.floating], labels: Labels
) -> tuple[Rows, npt.NDArray[np.bool_]]:
    """Return the activations in float64, and which features vary.

    Raises:
        FitError: not finite, of another shape, or of one label.
        NoDirectionError: no feature varies.
    """
    x = checked_rows(activations, len(labels))
    if labels.all() or not labels.any():
        raise FitError("a direction needs both labels, and all rows here have the same one")
    return x, varying(x)


def varying(x: Rows) -> npt.NDArray[np.bool_]:
    """Which features vary by more than rounding.

    Raises:
        NoDirectionError: none does.
    """
    varies = x.std(0) > ROUNDING * np.abs(x).max(0)
    if not varies.any():
        raise NoDirectionError(SAME_EVERYWHERE)
    return np.asarray(varies)


def standardised(x: Rows, varies: npt.NDArray[np.bool_]) -> tuple[Rows, Rows, Rows]:
    """Return (standardised rows, centre, scale); the scale is infinite where nothing varies."""
    centre = x.mean(0)
    scale = np.where(varies, x.std(0), np.inf)
    return (x - centre) / scale, centre, scale


@dataclass(frozen=True, eq=False)
class NetRule:
    """A score by a two-layer network: ``out · relu(weights (x − centre) + biases) + bias``.

    Attributes:
        weights: Of the hidden layer, acting on raw activations.
        biases: Of the hidden layer.
        out: Of the second layer.
        direction: Mean slope of the score over the training rows, in the raw activation space.
            The network has no one direction; this is the nearest to it.
        centre: What is subtracted first.
        bias: Of the second layer.
        scale: What the features were divided by in the fit; the weights have it folded in.
    """

    weights: Float[Tensor, "hidden d"]
    biases: Float[Tensor, " hidden"]
    out: Float[Tensor, " hidden"]
    direction: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]
    bias: float
    scale: Float[Tensor, " d"] | None = None

    def scores(self, activations: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """Score activations, in float64."""
        centred = activations.to(torch.float64) - self.centre.to(torch.float64)
        hidden = torch.relu(centred @ self.weights.to(torch.float64).T + self.biases)
        return hidden @ self.out.to(torch.float64) + self.bias
