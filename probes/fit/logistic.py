"""Logistic regression: one target by scikit-learn, many concepts and a path of C in one solve."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.fit.batched import TOLERANCE, SharedRows, Solution
from probes.fit.certificate import certify
from probes.fit.rule import (
    ROUNDING,
    SAME_EVERYWHERE,
    FitError,
    Labels,
    LinearRule,
    NoDirectionError,
    Rows,
    checked,
    linear_rule,
    standardised,
)

_MAX_ITERATIONS = 10_000


@dataclass(frozen=True, eq=False)
class LogisticGrid:
    """Logistic regressions of many concepts, along a path of C, on the activations of one place.

    Attributes:
        directions: In the raw activation space.
        biases: Scores of the centre.
        centre: Mean activation.
        scale: Standard deviations; zero for features that do not vary, which get no weight.
        C: Inverse strengths of the penalty, ascending.
        objective: As scikit-learn's, on standardised features.
        gap: No larger an excess over the optimum is possible, as a share of the objective.
        fallbacks: Fits that were left to scikit-learn because the batched solver did not arrive.
    """

    directions: Float[Tensor, "C concept d"]
    biases: Float[Tensor, "C concept"]
    centre: Float[Tensor, " d"]
    scale: Float[Tensor, " d"]
    C: tuple[float, ...]
    objective: npt.NDArray[np.float64]
    gap: npt.NDArray[np.float64]
    fallbacks: int

    def rule(self, concept: int, *, C: float) -> LinearRule:
        """Return the rule of one concept at one C.

        Raises:
            FitError: C is not on the path.
        """
        if C not in self.C:
            raise FitError(f"C = {C:g} was not fitted; expected one of {self.C}")
        at = self.C.index(C)
        return LinearRule(
            self.directions[at, concept], self.centre, float(self.biases[at, concept]), self.scale
        )

    def scores(self, activations: Float[Tensor, "row d"]) -> Float[Tensor, "C concept row"]:
        """Score activations by every rule, in float64."""
        centred = activations.to(torch.float64) - self.centre.to(torch.float64)
        return self.directions.to(torch.float64) @ centred.T + self.biases[..., None]


def fit_many(
    layers: Sequence[Float[Tensor, "row d"]],
    labels: Bool[Tensor, "row concept"] | npt.NDArray[np.bool_],
    *,
    C: Sequence[float] = (1.0,),
) -> list[LogisticGrid]:
    """Fit logistic regressions of every layer, concept and C.

    Each layer is standardised on the rows given and its Gram matrix made once, for all concepts
    and the whole path; solutions at a smaller C begin those at the next (see
    ``probes.fit.batched``). Layers share nothing and are fitted one after another. A single
    concept at a single C is scikit-learn's own fit. Each fit is certified to exceed its optimum
    by no more than 1e-4 of the objective.

    Args:
        layers: Activations of each layer, on the same statements.
        labels: Which statements each concept holds for.
        C: Inverse strengths of the penalty.

    Returns:
        One grid a layer.

    Raises:
        FitError: not finite, a concept of one label, no positive C, or a fit that did not arrive.
        NoDirectionError: no feature of a layer varies.
    """
    y = np.asarray(labels, dtype=bool)
    path = tuple(sorted({float(c) for c in C}))
    if not path or path[0] <= 0:
        raise FitError(f"C is {list(C)}; expected one or more positive numbers")
    if y.ndim != 2 or not y.shape[1]:
        raise FitError(f"labels have shape {list(y.shape)}; expected [row, concept]")
    return [_grid(layer, y, path) for layer in layers]


def logistic(activations: Float[Tensor, "row d"], labels: Labels, *, C: float = 1.0) -> LinearRule:
    """L2-penalised logistic regression on standardised features, by scikit-learn's lbfgs.

    scikit-learn stops by the slope, which at a large C can be far from the optimum: where that
    may be more than 1e-4 of the objective away, the solver of ``fit_many`` goes on from there.
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
    x, varies = checked(activations, labels)
    z, centre, scale = standardised(x, varies)
    found = _one(z, labels, C)
    direction = found.W[:, 0] / scale
    if not direction.any():
        raise NoDirectionError("logistic regression gives every feature a weight of zero")
    return linear_rule(direction, centre=centre, bias=float(found.b[0]), scale=scale)


def _grid(layer: Tensor, y: Labels, path: tuple[float, ...]) -> LogisticGrid:
    z, centre, scale = _standardised(layer, len(y))
    if len(path) == y.shape[1] == 1:
        found = [_one(z, y[:, 0], path[0])]
    else:
        shared = SharedRows(z)
        found = []
        for c in path:
            last = found[-1] if found else None
            found.append(shared.solve(y, C=c, start=last))
    directions = np.stack([s.W.T for s in found]) / scale
    return LogisticGrid(
        directions=torch.from_numpy(directions).to(torch.float32),
        biases=torch.from_numpy(np.stack([s.b for s in found])),
        centre=torch.from_numpy(centre).to(torch.float32),
        scale=torch.from_numpy(np.where(np.isfinite(scale), scale, 0.0)).to(torch.float32),
        C=path,
        objective=np.stack([s.objective for s in found]),
        gap=np.stack([s.gap for s in found]),
        fallbacks=sum(s.fallbacks for s in found),
    )


def _standardised(layer: Tensor, n: int) -> tuple[npt.NDArray[np.floating], Rows, Rows]:
    """Rows in the precision they came in, at least single; centre and scale in double."""
    if layer.ndim != 2 or len(layer) != n:
        raise FitError(
            f"expected activations of shape [{n}, d], one row a label, got {list(layer.shape)}"
        )
    held = layer.detach().cpu()
    x = (held if held.dtype == torch.float64 else held.to(torch.float32)).numpy()
    centre = x.mean(0, dtype=np.float64)
    if not np.isfinite(centre).all():
        bad = int((~np.isfinite(x)).any(1).argmax())
        raise FitError(f"the activation of row {bad} is not finite; try dtype float32")
    z = x - centre.astype(x.dtype)
    centre = centre.astype(x.dtype).astype(np.float64)
    scale = np.sqrt(np.einsum("nd,nd->d", z, z, dtype=np.float64) / n)
    varies = scale > ROUNDING * np.abs(x).max(0)
    if not varies.any():
        raise NoDirectionError(SAME_EVERYWHERE)
    scale = np.where(varies, scale, np.inf)
    z /= scale.astype(x.dtype)
    return z, centre, scale


def _one(z: npt.NDArray[np.floating], y: Labels, C: float) -> Solution:
    """scikit-learn's fit of one target, with what is missing to the optimum."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    if not 0 < C < np.inf:
        raise FitError(f"C is {C}; expected a positive number")
    if y.all() or not y.any():
        raise FitError("a direction needs both labels, and all rows here have the same one")
    model = LogisticRegression(C=C, max_iter=_MAX_ITERATIONS)
    with warnings.catch_warnings():
        # What it says is measured below.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(z, y)
    W = model.coef_.T.astype(np.float64)
    b, objective, gap = certify(z, y[:, None], W, model.intercept_.astype(np.float64), C)
    found = Solution(W, b, objective, gap, int(model.n_iter_[0]), 1)
    if gap[0] <= TOLERANCE:
        return found
    return SharedRows(z).solve(y[:, None], C=C, start=found)
