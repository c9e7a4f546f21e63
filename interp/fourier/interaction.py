"""The local interaction basis: directions in order of how much what follows depends on them.

After "The Local Interaction Basis: Identifying Computationally-Relevant and Sparsely Interacting
Features in Neural Networks" and "Using Degeneracy in the Loss Landscape for Mechanistic
Interpretability" (both 2024). With the centred Gram matrix of activations E[ff^T] = U D U^T, small
D dropped, and J the Jacobian of what follows,

    R = U D^−½,   R⁺ = D^½ U^T,   M = R⁺ E[J^T J] R⁺^T = V Λ V^T,   C = R V Λ^½,

and f̂ = (f − mean) C. The variance of f̂_i is Λ_i, and what follows has unit mean squared gradient
along each: Λ_i is how much of what follows, to first order, moves with it. A direction along which
activations do not vary has D = 0; one that nothing reads has Λ = 0; such directions are the
degrees of freedom that the loss does not feel. Edges: E_ij = E[(∂f̂'_i/∂f̂_j · f̂_j)²].

All in float64. A signature: :func:`interp.fourier.weigh_directions` removes them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError

Following = Callable[[Tensor], Tensor]
"""Activations ``[n, d]`` to what follows ``[n, d']``, each row by itself, differentiable."""

UNUSED = 1e-12
"""Share of the largest Λ at or below which a direction counts as read by nothing."""


@dataclass(frozen=True, eq=False)
class InteractionBasis:
    """The basis of one site.

    Attributes:
        mean: Of the activations.
        variances: D, in falling order, small ones dropped.
        principal: U, one principal direction a row.
        relevance: Λ, in falling order, those of directions that nothing reads left out.
        rotation: V, one column for each Λ, over the principal directions.
        gram: M.
    """

    mean: Float[Tensor, " d"]
    variances: Float[Tensor, " r"]
    principal: Float[Tensor, "r d"]
    relevance: Float[Tensor, " used"]
    rotation: Float[Tensor, "r used"]
    gram: Float[Tensor, "r r"]

    @property
    def to_basis(self) -> Float[Tensor, "d used"]:
        """C."""
        whiten = self.principal.T / self.variances.sqrt()
        return whiten @ (self.rotation * self.relevance.sqrt())

    @property
    def from_basis(self) -> Float[Tensor, "used d"]:
        """What one unit of each f̂ adds to the activation."""
        back = self.principal * self.variances.sqrt()[:, None]
        return (self.rotation / self.relevance.sqrt()).T @ back

    def coordinates(self, activations: Float[Tensor, "n d"]) -> Float[Tensor, "n used"]:
        """f̂."""
        return (activations.double() - self.mean) @ self.to_basis

    def effective(self, threshold: float = 1e-3) -> int:
        """N_eff: how many Λ exceed a share of the largest."""
        if not 0 < threshold < 1:
            raise FourierError(f"the threshold is a share of the largest Λ, got {threshold}")
        return int((self.relevance > threshold * self.relevance[0]).sum())

    def share(self, chosen: Float[Tensor, "r k"]) -> float:
        """Share of Λ that orthonormal directions of the whitened activations hold."""
        return float((chosen * (self.gram @ chosen)).sum() / self.gram.trace())

    def without(
        self, activations: Float[Tensor, "n d"], chosen: Float[Tensor, "r k"]
    ) -> Float[Tensor, "n d"]:
        """Activations with some directions set to their mean.

        Args:
            activations: Of the site.
            chosen: Orthonormal columns over the whitened activations: columns of ``rotation`` for
                interaction directions, of the identity for principal ones.
        """
        scale = self.variances.sqrt()
        white = (activations.double() - self.mean) @ self.principal.T / scale
        return activations.double() - ((white @ chosen) @ chosen.T * scale) @ self.principal


def interaction_basis(
    activations: Float[Tensor, "n d"],
    following: Following,
    *,
    outputs: Float[Tensor, "d_next m"] | None = None,
    drop: float = 1e-6,
) -> InteractionBasis:
    """Find the local interaction basis of a site.

    Args:
        activations: Of the site, one row an example.
        following: What is computed from them.
        outputs: The basis of what follows, one direction a column (its own ``to_basis``); as it is
            where None, which is right for logits.
        drop: Principal directions whose variance is at or below this share of the largest are
            dropped. Give several examples for each that stays: whitening directions that hold
            next to nothing blows them up on other examples.

    Raises:
        FourierError: activations that do not vary or are not finite, or that nothing reads.
    """
    f = _checked(activations)
    mean = f.mean(0)
    values, vectors = torch.linalg.eigh((f - mean).T @ (f - mean) / len(f))
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > drop * values[0]
    if not bool(values[0] > 0):
        raise FourierError("the activations are the same for all examples: there is no basis")
    variances, principal = values[kept], vectors[:, kept].T
    heard = torch.zeros((f.shape[1],) * 2, dtype=torch.float64)
    for gradient in _gradients(f, following, outputs):
        heard += gradient.T @ gradient / len(f)
    back = principal * variances.sqrt()[:, None]
    gram = back @ heard @ back.T
    relevance, rotation = torch.linalg.eigh((gram + gram.T) / 2)
    relevance, rotation = relevance.flip(0), rotation.flip(1)
    if not bool(relevance[0] > 0):
        raise FourierError("what follows does not depend on these activations: there is no basis")
    used = relevance > UNUSED * relevance[0]
    return InteractionBasis(mean, variances, principal, relevance[used], rotation[:, used], gram)


def interactions(
    activations: Float[Tensor, "n d"],
    following: Following,
    basis: InteractionBasis,
    *,
    outputs: Float[Tensor, "d_next m"] | None = None,
) -> Float[Tensor, "m used"]:
    """Edges E_ij = E[(∂f̂'_i/∂f̂_j · f̂_j)²] from a site's basis to what follows.

    Args:
        activations: Of the site.
        following: What is computed from them.
        basis: The site's.
        outputs: The basis of what follows; as it is where None.
    """
    f = _checked(activations)
    at, back = basis.coordinates(f), basis.from_basis.T
    rows = [
        ((gradient @ back) * at).square().mean(0) for gradient in _gradients(f, following, outputs)
    ]
    return torch.stack(rows)


def _gradients(f: Tensor, following: Following, outputs: Tensor | None) -> Iterator[Tensor]:
    """The gradient of each coordinate of what follows, ``[n, d]``, one after the other."""
    leaf = f.clone().requires_grad_()
    with torch.enable_grad():
        after = following(leaf)
        after = after if outputs is None else after @ outputs.double()
        total = after.sum(0)
    for i in range(len(total)):
        (gradient,) = torch.autograd.grad(total[i], leaf, retain_graph=i + 1 < len(total))
        yield gradient


def _checked(activations: Tensor) -> Tensor:
    if activations.ndim != 2 or len(activations) < 2:
        raise FourierError(
            f"activations must have shape [n, d] with two examples at least, got "
            f"{list(activations.shape)}"
        )
    if not bool(torch.isfinite(activations).all()):
        raise FourierError("activations must be finite")
    return activations.detach().cpu().double()
