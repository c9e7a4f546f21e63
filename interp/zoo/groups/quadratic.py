"""Quadratic networks trained towards the largest margin (Morwani et al. 2024).

On a group, f(a, b) = Σ_i (u_i(a) + v_i(b))² w_i; on sparse parity, f(x) = Σ_i (u_i·x)^k w_i. Both
are trained on all there is, on cross-entropy plus λ‖θ‖^(k+1): as λ falls, the normalised margin
goes to the largest one.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from interp.zoo.world_training import torch_threads


@dataclass(frozen=True)
class QuadraticConfig:
    """How a quadratic network is trained: Adam on everything at once.

    Attributes:
        hidden: Neurons; on a cyclic group at least 4(n − 1), on parity at least 2^(k − 1).
        steps: Optimizer steps; 0 for the first weights as they are.
        lr: Learning rate at the start; falls to nothing as a cosine.
        decay: λ, the weight of ‖θ‖^(k+1).
        scale: Standard deviation of the first weights.
        seed: Draws them.
        threads: Torch's number of threads while training; None for as it is.
    """

    hidden: int = 96
    steps: int = 3000
    lr: float = 0.02
    decay: float = 1e-4
    scale: float = 0.3
    seed: int = 0
    threads: int | None = 1

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        for name in ("lr", "decay", "scale"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} is {getattr(self, name)}; expected a number above 0")


def train_on_group(
    answers: Int[Tensor, "g g"], config: QuadraticConfig
) -> tuple[Float[Tensor, "neuron g"], Float[Tensor, "neuron g"], Float[Tensor, "neuron g"]]:
    """Train on a whole multiplication table.

    Args:
        answers: ``answers[a, b]`` is ab (``group_table(name).answers``).
        config: The recipe.

    Returns:
        u, v and w, in float64.

    Raises:
        ValueError: the training diverged.
    """
    n, generator = len(answers), torch.Generator().manual_seed(config.seed)
    shape = (config.hidden, n)
    u, v, w = (
        (config.scale * torch.randn(shape, generator=generator)).requires_grad_() for _ in range(3)
    )
    target = answers.flatten()

    def loss() -> Tensor:
        hidden = (u[:, :, None] + v[:, None, :]).square()
        logits = hidden.flatten(1).T @ w
        size = (u.square().sum(1) + v.square().sum(1) + w.square().sum(1)).pow(1.5).sum()
        return F.cross_entropy(logits, target) + config.decay * size

    _train([u, v, w], loss, config)
    return u.detach().double(), v.detach().double(), w.detach().double()


def parity_data(n: int, k: int) -> tuple[Float[Tensor, "row n"], Int[Tensor, " row"]]:
    """All of {−1, 1}ⁿ, and whether the product of the first k entries is −1."""
    if not 2 <= k <= n <= 14:
        raise ValueError(f"n={n}, k={k}: expected 2 ≤ k ≤ n ≤ 14")
    rows = torch.tensor(list(product((-1.0, 1.0), repeat=n)))
    return rows, (rows[:, :k].prod(1) < 0).long()


def train_on_parity(
    n: int, k: int, config: QuadraticConfig
) -> tuple[Float[Tensor, "neuron n"], Float[Tensor, "neuron 2"]]:
    """Train on the parity of the first k of n bits, with neurons x^k.

    Args:
        n: Bits.
        k: How many of them count.
        config: The recipe.

    Returns:
        u and w, in float64.

    Raises:
        ValueError: k or n out of range, or the training diverged.
    """
    rows, target = parity_data(n, k)
    generator = torch.Generator().manual_seed(config.seed)
    u = (config.scale * torch.randn((config.hidden, n), generator=generator)).requires_grad_()
    w = (config.scale * torch.randn((config.hidden, 2), generator=generator)).requires_grad_()

    def loss() -> Tensor:
        size = (u.square().sum(1) + w.square().sum(1)).pow((k + 1) / 2).sum()
        return F.cross_entropy((rows @ u.T).pow(k) @ w, target) + config.decay * size

    _train([u, w], loss, config)
    return u.detach().double(), w.detach().double()


def _train(parameters: list[Tensor], loss: Callable[[], Tensor], config: QuadraticConfig) -> None:
    optimizer = torch.optim.Adam(parameters, lr=config.lr)
    with torch_threads(config.threads):
        for step in range(config.steps):
            share = 0.5 * (1 + math.cos(math.pi * step / config.steps))
            for group in optimizer.param_groups:
                group["lr"] = config.lr * share
            optimizer.zero_grad(set_to_none=True)
            loss().backward()
            optimizer.step()
        with torch.no_grad():
            last = float(loss())
    if not math.isfinite(last):
        raise ValueError(f"the training has diverged; lower lr={config.lr}")
