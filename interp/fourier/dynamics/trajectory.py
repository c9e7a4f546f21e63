"""PCA of a training's path through weight space, beside random walks with as long steps.

r90 is the smallest number of principal components that hold 90 % of the variance of flattened
checkpoints ("Low-Dimensional Execution Manifolds in Transformer Learning Dynamics", 2026). A
signature and a weak one: a random walk has r90 = 6 and 61 % on its first component
(:mod:`interp.fourier.dynamics.walks`), and any path that merely bends slowly has less.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import rank_p_value
from interp.fourier.basis import FourierError
from interp.fourier.dynamics.walks import walk_shares

Weights = Mapping[str, Tensor]
ALL = "all weights"


@dataclass(frozen=True, eq=False)
class TrajectoryPca:
    """The principal components of a path.

    Attributes:
        name: Of the matrix, or ``all weights``.
        n_weights: Dimensions of the space.
        shares: Of the variance, in falling order.
        coordinates: Where each checkpoint is along the first components, at most three.
        walk_shares: The shares of random walks with steps as long.
    """

    name: str
    n_weights: int
    shares: Float[Tensor, " component"]
    coordinates: Float[Tensor, "checkpoint few"]
    walk_shares: Float[Tensor, "walk component"]

    def needed(self, share: float = 0.9) -> int:
        """Fewest components that hold a share of the variance; r90 by default."""
        return int(_needed(self.shares[None], share)[0])

    def walk_needed(self, share: float = 0.9) -> float:
        """The same of the random walks, their mean."""
        return float(_needed(self.walk_shares, share).double().mean())

    @property
    def first(self) -> float:
        """Share of the first component."""
        return float(self.shares[0])

    @property
    def p_value(self) -> float:
        """Rank of the first component's share among the walks' own; large shares are extreme."""
        return rank_p_value(self.first, self.walk_shares[:, 0].numpy())


@dataclass(frozen=True, eq=False)
class TrajectoryBasis:
    """The first principal components of a path through all weights.

    Attributes:
        directions: Orthonormal rows, in float64.
        parts: Where each matrix lies in a row, in order.
        shapes: Of each matrix.
    """

    directions: Float[Tensor, "component weight"]
    parts: dict[str, slice]
    shapes: dict[str, torch.Size]

    def flat(self, weights: Weights) -> Float[Tensor, " weight"]:
        """Weights, or changes of weights, in the order of a row.

        Raises:
            FourierError: other names or shapes.
        """
        if {name: w.shape for name, w in weights.items()} != self.shapes:
            raise FourierError(
                "these weights are not those of the path: names or shapes differ; expected "
                f"{', '.join(self.shapes)}"
            )
        return torch.cat([weights[name].detach().double().flatten() for name in self.parts])


def trajectory_pca(
    checkpoints: Sequence[Weights], *, n_walks: int = 99, seed: int = 0
) -> dict[str, TrajectoryPca]:
    """PCA of each matrix's path, and of all weights' together.

    Args:
        checkpoints: Weights by name, in the order of training; three or more.
        n_walks: Random walks of the null.
        seed: Draws them.

    Returns:
        By name, ``all weights`` last. A matrix that never moves has no path and is left out.

    Raises:
        FourierError: too few checkpoints, names or shapes that differ, weights that are not
            finite, or nothing that moves.
    """
    names = _checked(checkpoints)
    found: dict[str, TrajectoryPca] = {}
    how = {"n_walks": n_walks, "seed": seed}
    gram, lengths, size = None, None, 0
    for name in names:
        path = torch.stack([w[name].detach().double().flatten() for w in checkpoints])
        steps = path.diff(dim=0).square().sum(1)
        centred = path - path.mean(0)
        own = centred @ centred.T
        gram = own if gram is None else gram + own
        lengths = steps if lengths is None else lengths + steps
        size += path.shape[1]
        if bool(steps.any()):
            found[name] = _pca(name, own, steps.sqrt(), n_weights=path.shape[1], **how)
    if not found or gram is None or lengths is None:
        raise FourierError("the weights are the same at all checkpoints, so there is no path")
    return {**found, ALL: _pca(ALL, gram, lengths.sqrt(), n_weights=size, **how)}


def trajectory_basis(checkpoints: Sequence[Weights], k: int) -> TrajectoryBasis:
    """The first principal components of the path through all weights.

    Args:
        checkpoints: As in :func:`trajectory_pca`.
        k: Components, fewer than checkpoints.

    Raises:
        FourierError: as :func:`trajectory_pca`, or the path has fewer dimensions than ``k``.
    """
    names = _checked(checkpoints)
    parts: dict[str, slice] = {}
    at = 0
    for name in names:
        parts[name] = slice(at, at + checkpoints[0][name].numel())
        at = parts[name].stop
    path = torch.stack(
        [torch.cat([w[name].detach().double().flatten() for name in names]) for w in checkpoints]
    )
    path -= path.mean(0)
    values, vectors = torch.linalg.eigh(path @ path.T)
    if not 1 <= k < len(checkpoints) or not bool(values[-k] > 1e-12 * values[-1]):
        raise FourierError(
            f"{len(checkpoints)} checkpoints do not give {k} components; take fewer, or more "
            "checkpoints"
        )
    rows = vectors[:, -k:].flip(1).T @ path
    # Rounding leaves rows of small components slightly aslant.
    directions = torch.linalg.qr(rows.T).Q.T
    return TrajectoryBasis(directions, parts, {name: checkpoints[0][name].shape for name in names})


def weight_norm(weights: Weights) -> float:
    """‖θ‖: length of all weights together."""
    return math.sqrt(sum(float(w.detach().double().square().sum()) for w in weights.values()))


def _pca(
    name: str, gram: Tensor, lengths: Tensor, *, n_weights: int, n_walks: int, seed: int
) -> TrajectoryPca:
    values, vectors = torch.linalg.eigh(gram)
    values = values.flip(0).clamp_min(0)[: len(lengths)]
    few = min(3, len(values))
    return TrajectoryPca(
        name=name,
        n_weights=n_weights,
        shares=values / values.sum(),
        coordinates=vectors.flip(1)[:, :few] * values[:few].sqrt(),
        walk_shares=walk_shares(lengths, n_weights, n=n_walks, seed=seed),
    )


def _needed(shares: Float[Tensor, "path component"], share: float) -> Tensor:
    if not 0 < share < 1:
        raise FourierError(f"the share of variance must lie between 0 and 1, got {share}")
    # A component that holds exactly the share must not be missed for rounding.
    return (shares.cumsum(1) < share - 1e-12).sum(1) + 1


def _checked(checkpoints: Sequence[Weights]) -> list[str]:
    if len(checkpoints) < 3:
        raise FourierError(f"a path needs at least 3 checkpoints, got {len(checkpoints)}")
    shapes = {name: w.shape for name, w in checkpoints[0].items()}
    for i, weights in enumerate(checkpoints):
        if {name: w.shape for name, w in weights.items()} != shapes:
            raise FourierError(f"checkpoint {i} has other names or shapes than the first")
        if not all(bool(torch.isfinite(w).all()) for w in weights.values()):
            raise FourierError(f"checkpoint {i} holds weights that are not finite")
    return list(shapes)
