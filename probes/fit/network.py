"""A two-layer network, to see what a line leaves unsaid."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.fit.rule import FitError, Labels, NetRule, NoDirectionError, checked, standardised

_MAX_ITERATIONS = 5000


def mlp(
    activations: Float[Tensor, "row d"],
    labels: Labels,
    *,
    hidden: int = 32,
    alpha: float = 1.0,
    seed: int = 0,
) -> NetRule:
    """A network of one hidden layer (scikit-learn, lbfgs) on standardised features.

    For contrast: where it does better than a direction, what it reads is not linear there.
    Scores are log-odds.

    Args:
        activations: One row a statement.
        labels: True for label 1.
        hidden: Rectified units.
        alpha: Strength of the penalty on all weights.
        seed: Of the initial weights.

    Raises:
        FitError: not finite, of one label, or the optimiser did not arrive.
        NoDirectionError: no feature varies, or the network ends constant.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier

    x, varies = checked(activations, labels)
    z, centre, scale = standardised(x, varies)
    model = MLPClassifier(
        (hidden,),
        alpha=alpha,
        solver="lbfgs",
        max_iter=_MAX_ITERATIONS,
        max_fun=4 * _MAX_ITERATIONS,
        random_state=seed,
    )
    with warnings.catch_warnings():
        warnings.simplefilter("error", ConvergenceWarning)
        try:
            model.fit(z, labels)
        except ConvergenceWarning:
            raise FitError(
                f"the network did not converge in {_MAX_ITERATIONS} iterations, as where labels "
                "are chance; take another method, or in Python a larger alpha"
            ) from None
    (first, second), (biases, bias) = model.coefs_, model.intercepts_
    active = (z @ first + biases > 0).mean(0)
    slope = first @ (second[:, 0] * active) / scale
    if not np.abs(slope).max() > 0:
        raise NoDirectionError("the network's score does not depend on the activations")

    def single(values: np.ndarray) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(torch.float32)

    return NetRule(
        weights=single((first / scale[:, None]).T),
        biases=single(biases),
        out=single(second[:, 0]),
        direction=single(slope),
        centre=single(centre),
        bias=float(bias[0]),
        scale=single(np.where(np.isfinite(scale), scale, 0.0)),
    )
