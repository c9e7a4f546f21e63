"""Quadratic networks trained towards the largest margin (Morwani et al. 2024).

On a group, f(a, b) = Σ_i (u_i(a) + v_i(b))² w_i; on sparse parity, f(x) = Σ_i (u_i·x)^k w_i. Both
are trained on all there is, on cross-entropy plus λ‖θ‖^(k+1): as λ falls, the normalised margin
goes to the largest one.

It goes there only as 1/log(1/λ), where the wrong answers are not all as near as each other (not on
cyclic groups, but on S_n): no λ that can be trained with is small enough. So a second stage,
``climb``, follows the gradient of the normalised margin itself, its minimum smoothed to
−log Σ exp(−β·gap)/β over all pairs and wrong answers, with β rising.
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

# β of the smoothed minimum, over the mean gap, at the first and the last step of the climb.
_BLUNT, _SHARP = 10.0, 3000.0


@dataclass(frozen=True)
class QuadraticConfig:
    """How a quadratic network is trained: Adam on everything at once.

    Attributes:
        hidden: Neurons; on a cyclic group at least 4(n − 1), on parity at least 2^(k − 1).
        steps: Optimizer steps; 0 for the first weights as they are.
        lr: Learning rate at the start; falls to nothing as a cosine.
        decay: λ, the weight of ‖θ‖^(k+1).
        climb: Steps that then climb the normalised margin itself; 0 for none.
        scale: Standard deviation of the first weights.
        seed: Draws them.
        threads: Torch's number of threads while training; None for as it is.
    """

    hidden: int = 96
    steps: int = 3000
    lr: float = 0.02
    decay: float = 1e-4
    climb: int = 0
    scale: float = 0.3
    seed: int = 0
    threads: int | None = 1

    def __post_init__(self) -> None:
        for name, least in (("hidden", 1), ("steps", 0), ("climb", 0)):
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

    def logits() -> Tensor:
        return (u[:, :, None] + v[:, None, :]).square().flatten(1).T @ w

    _train([u, v, w], logits, answers.flatten(), config, degree=3)
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

    def logits() -> Tensor:
        return (rows @ u.T).pow(k) @ w

    _train([u, w], logits, target, config, degree=k + 1)
    return u.detach().double(), w.detach().double()


def _train(
    parameters: list[Tensor],
    logits: Callable[[], Tensor],
    target: Tensor,
    config: QuadraticConfig,
    *,
    degree: int,
) -> None:
    def loss(_: float) -> Tensor:
        return F.cross_entropy(logits(), target) + config.decay * _size(parameters, degree)

    with torch_threads(config.threads):
        _descend(parameters, loss, steps=config.steps, lr=config.lr)
        if config.climb:
            _climb(parameters, logits, target, config, degree=degree)
        with torch.no_grad():
            last = float(loss(1.0))
    if not math.isfinite(last):
        raise ValueError(f"the training has diverged; lower lr={config.lr}")


def _climb(
    parameters: list[Tensor],
    logits: Callable[[], Tensor],
    target: Tensor,
    config: QuadraticConfig,
    *,
    degree: int,
) -> None:
    """Climb the smoothed normalised margin, from ‖θ‖ = 1, which it does not depend on."""
    with torch.no_grad():
        length = _size(parameters, degree).pow(1 / degree)
        for part in parameters:
            part.div_(length)
        found = logits()
        right = F.one_hot(target, found.shape[1]).bool()
        unit = (found[right].mean() - found[~right].mean()).abs()
        lr = config.lr * math.sqrt(sum(float(w.square().mean()) for w in parameters))

    def loss(share: float) -> Tensor:
        found = logits() / _size(parameters, degree) / unit
        gaps = (found[right][:, None] - found).masked_fill(right, math.inf)
        sharpness = _BLUNT * (_SHARP / _BLUNT) ** share
        return torch.logsumexp(-sharpness * gaps.flatten(), 0) / sharpness

    _descend(parameters, loss, steps=config.climb, lr=lr)


def _descend(
    parameters: list[Tensor], loss: Callable[[float], Tensor], *, steps: int, lr: float
) -> None:
    """Adam, its rate falling to nothing as a cosine; the loss is told what share is done."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = lr * 0.5 * (1 + math.cos(math.pi * step / steps))
        optimizer.zero_grad(set_to_none=True)
        loss(step / steps).backward()
        optimizer.step()


def _size(parameters: list[Tensor], degree: int) -> Tensor:
    """‖θ‖^degree: neurons' lengths to that power, added up."""
    squares = torch.stack([w.square().sum(1) for w in parameters]).sum(0)
    return squares.pow(degree / 2).sum()
