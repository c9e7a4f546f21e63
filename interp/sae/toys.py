"""Toy models of superposition, whose features are known: what counting features is tried on.

x' = ReLU(Wᵀ W x + b) squeezes many sparse features through few neurons (Elhage et al. 2022, "Toy
Models of Superposition"). Feature i is absent with probability s, else uniform on [0, 1], and the
error in it weighs .7^i. The sparser the features, the more of them the neurons carry: the reference
for the effective number of features is exp(entropy) of each feature's share of ‖W_i‖.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.progress import progress
from interp.sae.dictionary import SaeError
from interp.sae.superposition import effective_features

_DECAY = 0.7


@dataclass(frozen=True, eq=False)
class ToyFamily:
    """Toy models that differ in nothing but how sparse their features are.

    Attributes:
        density: Of each model: how often a feature is there, 1 − s.
        weight: Each feature's direction in each model's neurons.
    """

    density: tuple[float, ...]
    weight: Float[Tensor, "model neuron feature"]

    @property
    def features(self) -> Float[Tensor, " model"]:
        """The reference: exp(entropy) of ‖W_i‖ over features."""
        return effective_features(self.weight.norm(dim=1))

    def activations(self, n: int, *, seed: int) -> Float[Tensor, "model n neuron"]:
        """What the neurons hold on so many fresh samples."""
        generator = torch.Generator().manual_seed(seed)
        x = _inputs(self.density, n, self.weight.shape[2], generator)
        return x @ self.weight.transpose(1, 2)


def train_toys(
    density: Sequence[float],
    *,
    n_features: int = 20,
    n_neurons: int = 5,
    steps: int = 2000,
    batch: int = 256,
    lr: float = 5e-3,
    seed: int = 0,
) -> ToyFamily:
    """Train a family of toy models side by side.

    Args:
        density: How often a feature is there, for each model; from above 0 to 1.
        n_features: Features of each model.
        n_neurons: Neurons of each.
        steps: Of Adam.
        batch: Samples a step and model.
        lr: Learning rate, falling to zero.
        seed: Decides initial weights and samples.

    Raises:
        SaeError: densities outside (0, 1], or none.
    """
    if not density or not all(0 < d <= 1 for d in density):
        raise SaeError(f"densities {density}: expected some, each above 0 and at most 1")
    generator = torch.Generator().manual_seed(seed)
    start = torch.randn(len(density), n_neurons, n_features, generator=generator)
    weight = (start * (2 / (n_neurons + n_features)) ** 0.5).requires_grad_()
    bias = torch.zeros(len(density), 1, n_features, requires_grad=True)
    importance = _DECAY ** torch.arange(n_features)
    rare = torch.tensor(list(density))
    optimizer = torch.optim.Adam([weight, bias], lr=lr)
    with progress("toy models", total=steps) as advance, torch.enable_grad():
        for step in range(steps):
            for group in optimizer.param_groups:
                group["lr"] = lr * (1 - step / steps)
            x = _inputs(density, batch, n_features, generator)
            back = torch.relu(x @ weight.transpose(1, 2) @ weight + bias)
            error = (importance * (back - x).square()).sum(-1).mean(1)
            optimizer.zero_grad()
            # By density: else Adam would hardly see the gradients of sparse models.
            (error / rare).sum().backward()
            optimizer.step()
            advance(1)
    return ToyFamily(density=tuple(density), weight=weight.detach())


def _inputs(
    density: Sequence[float], n: int, n_features: int, generator: torch.Generator
) -> Float[Tensor, "model n feature"]:
    shape = (len(density), n, n_features)
    there = torch.rand(shape, generator=generator) < torch.tensor(list(density))[:, None, None]
    return torch.rand(shape, generator=generator) * there
