"""Normalised margins on sparse parity: which of n bits count, and is it found out evenly?

A network f(x) = Σ_i (u_i·x)^k w_i with two outputs, on the parity of k of the bits. Its size is
(Σ_i ‖(u_i, w_i)‖^(k+1))^(1/(k+1)). See :mod:`interp.fourier.margin`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import product

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError


@dataclass(frozen=True)
class ParityReading:
    """How a network answers parity.

    Attributes:
        margin: Normalised; negative where an input is wrong.
        share: The margin over the largest possible.
        on_support: Share of Σu² on the bits that count; k/n by chance.
        evenness: Mean over neurons, by weight, of least over largest |u_j| on these bits; 1 in the
            best network.
    """

    margin: float
    share: float
    on_support: float
    evenness: float


def largest_parity_margin(k: int) -> float:
    """γ* = k!·√(2(k + 1)^−(k+1)), as Morwani et al. (2024) prove.

    Raises:
        FourierError: k below 2.
    """
    if k < 2:
        raise FourierError(f"k is {k}; expected the parity of at least 2 bits")
    return math.factorial(k) * math.sqrt(2 * (k + 1) ** -(k + 1))


def best_parity(n: int, k: int) -> tuple[Float[Tensor, "neuron n"], Float[Tensor, "neuron 2"]]:
    """u and w of 2^(k−1) neurons with the largest margin on the parity of the first k of n bits.

    One neuron for each pattern of signs (up to a sign of all), with w of their product.

    Raises:
        FourierError: k below 2 or above n.
    """
    if not 2 <= k <= n:
        raise FourierError(f"n={n}, k={k}: expected 2 ≤ k ≤ n")
    signs = torch.tensor([(1.0, *rest) for rest in product((1.0, -1.0), repeat=k - 1)]).double()
    u = torch.zeros((len(signs), n), dtype=torch.float64)
    u[:, :k] = signs
    # ‖u‖² : ‖w‖² = k : 1, so that their product is largest for its size.
    w = signs.prod(1)[:, None] * torch.tensor([1.0, -1.0], dtype=torch.float64) / math.sqrt(2)
    return u, w


def read_parity(
    u: Float[Tensor, "neuron n"],
    w: Float[Tensor, "neuron 2"],
    rows: Float[Tensor, "row n"],
    answers: Int[Tensor, " row"],
    support: list[int],
) -> ParityReading:
    """Margin and support of a network of parity.

    Args:
        u: What neurons read.
        w: What they write.
        rows: Inputs of −1 and 1; all of them, for the margin to be the smallest.
        answers: 0 or 1 for each.
        support: The bits that count.

    Raises:
        FourierError: shapes that do not fit, or weights that are all zero.
    """
    k, n = len(support), rows.shape[1]
    if u.ndim != 2 or u.shape[1] != n or tuple(w.shape) != (len(u), 2):
        raise FourierError(
            f"u must be [neuron, {n}] and w [neuron, 2], got {list(u.shape)} and {list(w.shape)}"
        )
    u, w, rows = u.double(), w.double(), rows.double()
    size = (u.square().sum(1) + w.square().sum(1)).pow((k + 1) / 2)
    if not float(size.sum()) > 0:
        raise FourierError("all weights are zero, so there is no margin")
    logits = (rows @ u.T).pow(k) @ w
    right = logits.gather(1, answers[:, None])[:, 0]
    wrong = logits.gather(1, 1 - answers[:, None])[:, 0]
    margin = float((right - wrong).min() / size.sum())
    held = u[:, support].abs()
    even = held.min(1).values / held.max(1).values.clamp(min=1e-300)
    return ParityReading(
        margin=margin,
        share=margin / largest_parity_margin(k),
        on_support=float(held.square().sum() / u.square().sum()),
        evenness=float(size @ even / size.sum()),
    )
