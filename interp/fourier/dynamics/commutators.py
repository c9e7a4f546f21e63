"""Does the order of two SGD steps matter, and does what it changes lie where training goes?

    δ = θ_AB − θ_BA,   D = ‖δ‖ / (‖η g_A‖ ‖η g_B‖),   ρ = ‖B Bᵀ δ‖ / ‖δ‖

with θ_AB the weights after a step on batch A and then one on B, g the gradients at θ, and B the
first K principal components of the training's path ("Low-Dimensional Execution Manifolds in
Transformer Learning Dynamics", 2026). To second order δ = η² (H_B g_A − H_A g_B), so D does not
depend on a small η.

Signatures; nothing is removed. ρ has two nulls:

* **random subspaces**: ρ² of any δ and K random dimensions of P is Beta(K/2, (P − K)/2), so p is
  exact and ρ is √(K/P) or so. An easy null: gradients live in few dimensions, and so do both.
* **matrix-matched** directions: random, but with as much length in each matrix as δ has. What
  comes of some matrices merely moving more than others is in these too.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.evidence import rank_p_value
from interp.fourier.basis import FourierError
from interp.fourier.dynamics.trajectory import TrajectoryBasis, Weights, weight_norm

Batch = TypeVar("Batch")


@dataclass(frozen=True, eq=False)
class Commutator:
    """What the order of two steps changes.

    Attributes:
        delta: θ_AB − θ_BA by matrix, in float64.
        size: ‖δ‖.
        relative: D.
        gradient_cosine: Between g_A and g_B.
    """

    delta: dict[str, Tensor]
    size: float
    relative: float
    gradient_cosine: float


@dataclass(frozen=True)
class Inside:
    """How much of a direction lies within a subspace.

    Attributes:
        share: ρ, from 0 to 1.
        expected: √(K/P), what a random subspace holds.
        p_value: Exact, against random subspaces.
        matched: ρ of each matrix-matched direction.
    """

    share: float
    expected: float
    p_value: float
    matched: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """ρ over what a random subspace holds."""
        return self.share / self.expected

    @property
    def matched_p(self) -> float:
        """Rank of ρ among matrix-matched directions."""
        return rank_p_value(self.share, self.matched)


def sgd_commutator(
    loss_of: Callable[[Mapping[str, Tensor], Batch], Tensor],
    weights: Weights,
    first: Batch,
    second: Batch,
    *,
    lr: float,
) -> Commutator:
    """Take two SGD steps in both orders.

    Args:
        loss_of: The loss of given weights on a batch; must be differentiable in the weights.
        weights: Where to start, by name; taken to float64.
        first: A.
        second: B.
        lr: η.

    Raises:
        FourierError: a rate that is not positive, a batch without gradient, or a step that
            diverges.
    """
    if not lr > 0:
        raise FourierError(f"lr is {lr}; expected a learning rate above 0")
    start = {name: w.detach().double() for name, w in weights.items()}

    def gradient(at: Weights, batch: Batch) -> dict[str, Tensor]:
        leaves = {name: w.clone().requires_grad_() for name, w in at.items()}
        with torch.enable_grad():
            found = torch.autograd.grad(loss_of(leaves, batch), list(leaves.values()))
        return dict(zip(leaves, found, strict=True))

    def step(at: Weights, along: Weights) -> dict[str, Tensor]:
        return {name: w - lr * along[name] for name, w in at.items()}

    g_a, g_b = gradient(start, first), gradient(start, second)
    after_a, after_b = step(start, g_a), step(start, g_b)
    ab = step(after_a, gradient(after_a, second))
    ba = step(after_b, gradient(after_b, first))
    delta = {name: ab[name] - ba[name] for name in start}
    a, b, size = weight_norm(g_a), weight_norm(g_b), weight_norm(delta)
    if not (a > 0 and b > 0 and math.isfinite(size)):
        raise FourierError(
            f"gradients of sizes {a:.3g} and {b:.3g} and a difference of {size:.3g}: expected "
            "gradients that are not zero and steps that do not diverge; lower lr or take other "
            "batches"
        )
    inner = sum(float((g_a[name] * g_b[name]).sum()) for name in start)
    return Commutator(delta, size, size / (lr * a * lr * b), inner / (a * b))


def share_inside(
    changes: Sequence[Weights], basis: TrajectoryBasis, *, n_matched: int = 99, seed: int = 0
) -> list[Inside]:
    """How much of each change of the weights lies along a path's first components.

    Args:
        changes: Such as ``Commutator.delta``, by the names of the path.
        basis: The components.
        n_matched: Matrix-matched directions a change.
        seed: Draws them.

    Raises:
        FourierError: other names or shapes, or a change that is zero.
    """
    k, size = basis.directions.shape
    held = _matrix_directions(basis, n=n_matched, seed=seed)
    found = []
    for change in changes:
        flat = basis.flat(change)
        length = float(flat.norm())
        if not length > 0:
            raise FourierError("a change of length zero has no direction")
        share = min(1.0, float((basis.directions @ flat).norm()) / length)
        own = torch.stack([flat[part].norm() for part in basis.parts.values()])
        matched = torch.einsum("m,mnk->nk", own, held).norm(dim=1) / length
        found.append(
            Inside(
                share=share,
                expected=math.sqrt(k / size),
                p_value=1.0 if k == size else float(stats.beta.sf(share**2, k / 2, (size - k) / 2)),
                matched=tuple(matched.tolist()),
            )
        )
    return found


def _matrix_directions(
    basis: TrajectoryBasis, *, n: int, seed: int
) -> Float[Tensor, "matrix draw component"]:
    """Random directions of length one within each matrix, along the components."""
    generator = torch.Generator().manual_seed(seed)
    held = []
    for part in basis.parts.values():
        rows = torch.randn(n, part.stop - part.start, generator=generator)
        unit = (rows / rows.norm(dim=1, keepdim=True)).double()
        held.append(unit @ basis.directions[:, part].T)
    return torch.stack(held)
