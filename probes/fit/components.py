"""The direction of greatest variance, which the labels only give its sign."""

from __future__ import annotations

import numpy as np
import scipy.linalg
from jaxtyping import Float
from torch import Tensor

from probes.fit.rule import Labels, LinearRule, NoDirectionError, checked, linear_rule, standardised


def pca(activations: Float[Tensor, "row d"], labels: Labels) -> LinearRule:
    """The first principal component of standardised activations.

    The labels choose its sign, so that label 1 scores higher in training, and the threshold,
    midway between the two means. The direction has no choice of its own: it is right only where
    the labels are what varies most.

    Args:
        activations: One row a statement.
        labels: True for label 1.

    Raises:
        FitError: not finite, or of one label.
        NoDirectionError: no feature varies, or both labels have the same mean on the component.
    """
    x, varies = checked(activations, labels)
    z, centre, scale = standardised(x, varies)
    wide = z.shape[1] > len(z)
    gram = z @ z.T if wide else z.T @ z
    last = len(gram) - 1
    _, vectors = scipy.linalg.eigh(gram, subset_by_index=[last, last])
    axis = z.T @ vectors[:, 0] if wide else vectors[:, 0]
    axis = axis / np.linalg.norm(axis)
    scores = z @ axis
    one, zero = scores[labels].mean(), scores[~labels].mean()
    if abs(one - zero) <= 1e-12 * scores.std():
        raise NoDirectionError("both labels have the same mean on the first principal component")
    sign = 1.0 if one > zero else -1.0
    return linear_rule(
        sign * axis / scale, centre=centre, bias=-sign * float(one + zero) / 2, scale=scale
    )
