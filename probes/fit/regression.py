"""Linear regression, for targets that are numbers rather than labels."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from probes.fit.rule import (
    FitError,
    LinearRule,
    NoDirectionError,
    checked_rows,
    linear_rule,
    standardised,
    varying,
)


def ridge(
    activations: Float[Tensor, "row d"],
    targets: npt.NDArray[np.floating],
    *,
    alpha: float | None = None,
) -> LinearRule:
    """Ridge regression on standardised features (scikit-learn). Scores are predictions.

    Args:
        activations: One row a statement.
        targets: One number a row.
        alpha: Strength of the penalty; None for the best of 1e-2 … 1e5 by leaving one row out,
            which in grouped data knows too much: give one then.

    Raises:
        FitError: not finite, or fewer than three rows.
        NoDirectionError: the targets or all features are constant.
    """
    from sklearn.linear_model import Ridge, RidgeCV

    y = np.asarray(targets, dtype=np.float64)
    if y.ndim != 1 or len(y) < 3:
        raise FitError(f"expected at least three targets of shape [row], got {list(y.shape)}")
    x = checked_rows(activations, len(y))
    if not np.isfinite(y).all():
        raise FitError(f"the target of row {int((~np.isfinite(y)).argmax())} is not finite")
    if np.ptp(y) == 0:
        raise NoDirectionError("all targets are the same, so there is no direction")
    z, centre, scale = standardised(x, varying(x))
    if alpha is None:
        model = RidgeCV(alphas=np.logspace(-2, 5, 15))
    elif alpha > 0:
        model = Ridge(alpha=alpha)
    else:
        raise FitError(f"alpha is {alpha}; expected a positive number, or None")
    model.fit(z, y)
    direction = model.coef_ / scale
    if not direction.any():
        raise NoDirectionError("ridge regression gives every feature a weight of zero")
    return linear_rule(direction, centre=centre, bias=float(model.intercept_), scale=scale)
