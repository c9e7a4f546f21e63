"""The null of trajectory PCA: random walks with steps as long as the training's.

A random walk looks low-dimensional: with many equal steps in many dimensions its k-th principal
component has a share of 6/(πk)² of the variance, 61 % for the first, and six hold 90 %
(Antognini & Sohl-Dickstein 2018, "PCA of high dimensional random walks"). So few components say
little by themselves, and every share is set beside the walks' own.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError


def walk_shares(
    step_lengths: Float[Tensor, " step"], n_weights: int, *, n: int, seed: int
) -> Float[Tensor, "walk component"]:
    """Shares of variance along the principal components of random walks.

    Args:
        step_lengths: Length of each step; its direction is uniform.
        n_weights: Dimensions the walk is in.
        n: Walks.
        seed: Draws them.

    Returns:
        Shares in falling order, as many as there are steps.

    Raises:
        FourierError: no step, a length that is negative or not finite, or all of them zero.
    """
    lengths = step_lengths.detach().double().numpy()
    good = lengths.ndim == 1 and np.isfinite(lengths).all() and (lengths >= 0).all()
    if not (good and lengths.any()) or n_weights < 1 or n < 1:
        raise FourierError(
            "a random walk needs steps of finite lengths, not all zero, in at least one dimension"
        )
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        cosines = _direction_gram(len(lengths), n_weights, rng)
        found.append(shares_of_steps(torch.from_numpy(cosines * np.outer(lengths, lengths))))
    return torch.stack(found)


def shares_of_steps(gram: Float[Tensor, "step step"]) -> Float[Tensor, " component"]:
    """Shares of variance of a path whose steps have these inner products, in falling order."""
    steps = len(gram)
    path = torch.tril(torch.ones(steps + 1, steps, dtype=torch.float64), diagonal=-1)
    path -= path.mean(0)
    values = torch.linalg.eigvalsh(path @ gram.double() @ path.T).flip(0)[:steps].clamp_min(0)
    return values / values.sum()


def _direction_gram(n: int, dimensions: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Inner products of n uniform directions, without drawing them in all their dimensions.

    n Gaussian vectors have a Wishart Gram matrix, whose triangular factor has independent entries
    (Bartlett 1933): chi on the diagonal, normal below. Rows are then brought to length one.
    """
    if dimensions < n:
        factor = rng.standard_normal((n, dimensions))
    else:
        factor = np.tril(rng.standard_normal((n, n)), -1)
        factor[np.diag_indices(n)] = np.sqrt(rng.chisquare(dimensions - np.arange(n)))
    factor /= np.linalg.norm(factor, axis=1, keepdims=True)
    gram: npt.NDArray[np.float64] = factor @ factor.T
    return gram
