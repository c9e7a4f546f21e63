"""How far a logistic regression can be from its optimum: a bound, not a stopping rule."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import expit

from probes.fit.rule import Rows

Floats = npt.NDArray[np.floating[Any]]
Bools = npt.NDArray[np.bool_]


def certify(x: Floats, y: Bools, W: Rows, b: Rows, C: float) -> tuple[Rows, Rows, Rows]:
    """Say, in double precision, how far from the optimum weights can be at most.

    With the intercept at its best the residuals are a feasible point of the dual problem, whose
    value lies exactly ½‖∇‖² below the objective.

    Args:
        x: Rows, of shape [row, d].
        y: Labels, of shape [row, concept].
        W: Weights, of shape [d, concept].
        b: Intercepts, from which the best ones are looked for.
        C: Inverse strength of the penalty.

    Returns:
        (intercepts, objective, largest excess over the optimum as a share of the objective).
    """
    x64 = np.asarray(x, dtype=np.float64)
    along = x64 @ W
    b = b.copy()
    for _ in range(20):
        p = expit(along + b)
        slope = (p - y).sum(0)
        if (np.abs(slope) <= 1e-10 * len(y)).all():
            break
        curve = np.maximum((p * (1 - p)).sum(0), 1e-300)
        b -= np.clip(slope / curve, -1.0, 1.0)  # Newton, damped where the curve is flat
    objective = C * losses(along + b, y) + 0.5 * (W**2).sum(0)
    gradient = C * (x64.T @ (expit(along + b) - y)) + W
    gap = 0.5 * (gradient**2).sum(0) / objective
    # An intercept that has not arrived is no dual point.
    off = np.abs((expit(along + b) - y).sum(0)) > 1e-6 * len(y)
    return b, objective, np.where(off, np.inf, gap)


def losses(logits: Floats, y: Any) -> Rows:
    """Return Σᵢ log(1 + exp(logit)) − y·logit, by concept."""
    lost = np.maximum(logits, 0) - y * logits + np.log1p(np.exp(-np.abs(logits)))
    return np.asarray(lost.sum(0, dtype=np.float64))
