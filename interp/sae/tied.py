"""The tied SAE without decoder bias that counting effective features needs.

Encoder ``z = relu(x Wᵀ + b)``, decoder ``x' = z W``, loss ``‖x − x'‖² + λ‖z‖₁``: one row of W both
reads and writes a feature, and nothing but latents can write. (2025, "Superposition as Lossy
Compression", arXiv 2512.13568.) sae-lens has no such architecture.

Activations are divided by the root mean square norm of those that are not zero, so that λ means
the same everywhere and the count does not depend on the scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.progress import progress
from interp.sae.dictionary import SaeError

# Weights of unit rows, and what they read, are of the order 1/√d_in: the rate goes with them, or
# Adam takes every latent below zero within some ten steps. Five dimensions are the calibration's.
_RATE, _DIMENSIONS = 5e-3, 5

# Norms below this share of the largest are zero: the input was nothing.
_NOTHING = 1e-6


@dataclass(frozen=True, eq=False)
class TiedSae:
    """A tied SAE without decoder bias.

    Attributes:
        weight: One direction a latent.
        bias: The encoder's.
        scale: What activations are divided by.
        l1: λ.
        seed: Of its initial weights and batches.
        explained_variance: 1 − E‖x − x̂‖² / E‖x − E x‖², on the activations it was fitted to.
    """

    weight: Float[Tensor, "d_sae d_in"]
    bias: Float[Tensor, " d_sae"]
    scale: float
    l1: float
    seed: int
    explained_variance: float

    def encode(self, x: Float[Tensor, "... d_in"]) -> Float[Tensor, "... d_sae"]:
        """Activations to latents, in units of the scaled activations."""
        return torch.relu(x / self.scale @ self.weight.T + self.bias)

    def decode(self, z: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_in"]:
        """Latents to activations."""
        return z @ self.weight * self.scale


def fit_tied(
    x: Float[Tensor, "set n d_in"],
    *,
    d_sae: int,
    seeds: Sequence[int],
    l1: float = 0.3,
    steps: int = 1500,
    batch: int = 256,
    lr: float | None = None,
) -> list[list[TiedSae]]:
    """Fit tied SAEs to several sets of activations at once, some seeds each.

    Args:
        x: The activations, as many in each set.
        d_sae: Latents of each SAE.
        seeds: One SAE a seed and set; at least one.
        l1: λ, for activations of root mean square norm one.
        steps: Of Adam.
        batch: Activations a step.
        lr: Learning rate, constant for the first half and then falling to zero; .005 in five
            dimensions and less in more, as 1/√d_in, where None.

    Returns:
        For each set, an SAE a seed.

    Raises:
        SaeError: wrong shapes, activations that are all zero or not finite.
    """
    if x.ndim != 3 or not len(seeds) or len(x[0]) < 2 or d_sae < 1:
        raise SaeError(
            f"activations of shape {list(x.shape)} and {len(seeds)} seeds: expected [set, n, d_in] "
            "with n of at least 2, and a seed"
        )
    scale = typical_norm(x)
    scaled = x.float() / scale[:, None, None]
    lr = lr or _RATE * (_DIMENSIONS / x.shape[2]) ** 0.5
    fitted = [
        _fit(scaled, d_sae=d_sae, l1=l1, steps=steps, batch=batch, lr=lr, seed=s) for s in seeds
    ]
    return [
        [
            TiedSae(
                weight=weight[i],
                bias=bias[i, 0],
                scale=float(scale[i]),
                l1=l1,
                seed=seed,
                explained_variance=float(explained[i]),
            )
            for seed, (weight, bias, explained) in zip(seeds, fitted, strict=True)
        ]
        for i in range(len(x))
    ]


def typical_norm(x: Float[Tensor, "set n d_in"]) -> Float[Tensor, " set"]:
    """Root mean square norm of each set's activations that are not zero.

    Raises:
        SaeError: all of a set are zero, or some are not finite.
    """
    norms = x.float().norm(dim=-1)
    if not bool(torch.isfinite(norms).all()):
        raise SaeError("activations are not all finite; look at what they were captured from")
    active = norms > _NOTHING * norms.max(dim=1, keepdim=True).values
    if not bool(active.any(dim=1).all()):
        raise SaeError("all activations of a set are zero: there are no features to count")
    return ((norms.square() * active).sum(1) / active.sum(1)).sqrt()


def _fit(
    x: Tensor, *, d_sae: int, l1: float, steps: int, batch: int, lr: float, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """One SAE a set, side by side: ``[set, …]`` weights, biases, explained variances."""
    generator = torch.Generator().manual_seed(seed)
    n_sets, n, d_in = x.shape
    start = torch.randn(n_sets, d_sae, d_in, generator=generator)
    weight = (start / start.norm(dim=-1, keepdim=True)).to(x.device).requires_grad_()
    bias = torch.zeros(n_sets, 1, d_sae, device=x.device, requires_grad=True)
    optimizer = torch.optim.Adam([weight, bias], lr=lr)
    with progress(f"tied SAEs, seed {seed}", total=steps) as advance, torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * min(1.0, 2 * (1 - step / steps))
            rows = torch.randint(n, (batch,), generator=generator).to(x.device)
            part = x[:, rows]
            z = torch.relu(part @ weight.transpose(1, 2) + bias)
            error = (z @ weight - part).square().sum(-1)
            optimizer.zero_grad()
            # Summed over sets, which do not know of each other.
            (error + l1 * z.sum(-1)).mean(1).sum().backward()
            optimizer.step()
            advance(1)
    with torch.no_grad():
        left = torch.zeros(n_sets, device=x.device)
        for part in x.split(4096, dim=1):
            z = torch.relu(part @ weight.transpose(1, 2) + bias)
            left += (z @ weight - part).square().sum((1, 2))
        all_ = (x - x.mean(1, keepdim=True)).square().sum((1, 2))
        explained = 1 - left / all_.clamp_min(1e-12)
    return weight.detach(), bias.detach(), explained
