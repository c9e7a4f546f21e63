"""Normalised margins of quadratic networks, beside the largest there can be.

After Morwani et al. (2024), "Feature emergence via margin maximization: case studies in algebraic
tasks". A network on a group is f(a, b) = Σ_i (u_i(a) + v_i(b))² w_i, its size
‖θ‖ = (Σ_i ‖(u_i, v_i, w_i)‖³)^(1/3), and since f grows with the cube of the weights its normalised
margin is

    min over (a, b) of [f(a, b)_ab − max over c ≠ ab of f(a, b)_c] / ‖θ‖³.

The largest, γ*:

* cyclic group of odd order n: √(2/27)/(√n·(n − 1)), reached when every frequency is used, each
  neuron has one, and its phases obey θ_u + θ_v = θ_w. :func:`best_cyclic` is such a network.
* group whose representations are all real, such as S_n: 2/(3√(3|G|)) / Σ_{ρ≠1} d_ρ^2.5, given
  that Σ_{ρ≠1} d_ρ^1.5·χ_ρ(C) < 0 for every class C but the identity's, which fails for S_6. Not
  for cyclic groups, whose representations are complex.
* parity of k bits, neurons (u·x)^k and weights of size ‖θ‖_{2,k+1}: k!·√(2(k + 1)^−(k+1)),
  reached when u has equal size on these bits and nothing elsewhere.

No network exceeds γ* but by rounding: a margin above it means that formula and network do not
belong together. A margin is neither signature nor load: it says how near a training came to the
solution that the theory describes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.groups import Group


@dataclass(frozen=True, eq=False)
class QuadraticNetwork:
    """u, v and w of f(a, b) = Σ_i (u_i(a) + v_i(b))² w_i, one row a neuron.

    Attributes:
        u: Read from a.
        v: Read from b.
        w: Written to c.
    """

    u: Float[Tensor, "neuron g"]
    v: Float[Tensor, "neuron g"]
    w: Float[Tensor, "neuron g"]

    def __post_init__(self) -> None:
        shapes = {tuple(x.shape) for x in (self.u, self.v, self.w)}
        if len(shapes) != 1 or self.u.ndim != 2:
            raise FourierError(f"u, v, w must have one shape [neuron, g], got {sorted(shapes)}")
        if not all(bool(torch.isfinite(x).all()) for x in (self.u, self.v, self.w)):
            raise FourierError("u, v, w must be finite")
        for name in ("u", "v", "w"):
            object.__setattr__(self, name, getattr(self, name).detach().cpu().double())

    @cached_property
    def sizes(self) -> Float[Tensor, " neuron"]:
        """‖(u_i, v_i, w_i)‖ of each neuron."""
        both = self.u.square() + self.v.square() + self.w.square()
        return both.sum(1).sqrt()

    def logits(self) -> Float[Tensor, "g g c"]:
        """f on all pairs."""
        hidden = (self.u[:, :, None] + self.v[:, None, :]).square()
        return torch.einsum("iab,ic->abc", hidden, self.w)


def normalised_margin(network: QuadraticNetwork, answers: Int[Tensor, "g g"]) -> float:
    """The normalised margin on a whole multiplication table; negative where a pair is wrong.

    Args:
        network: The weights.
        answers: ``answers[a, b]`` is ab (``Group.table``).

    Raises:
        FourierError: a table of another size, or weights that are all zero.
    """
    n = network.u.shape[1]
    if tuple(answers.shape) != (n, n):
        raise FourierError(f"answers must have shape {[n, n]}, got {list(answers.shape)}")
    size = float(network.sizes.pow(3).sum())
    if not size > 0:
        raise FourierError("all weights are zero, so there is no margin")
    return float(_margins(network.logits().flatten(0, 1), answers.flatten()).min()) / size


def largest_margin(group: Group) -> float:
    """γ* of a group.

    Raises:
        FourierError: no formula for it: a cyclic group of even order, one with complex
            representations, or one where the condition of the theorem fails.
    """
    if all(irrep.dimension == 1 for irrep in group.irreps) and any(
        irrep.paired for irrep in group.irreps
    ):
        if group.order % 2 == 0:
            raise FourierError(f"{group.name}: the largest margin is known for odd order only")
        if sum(irrep.paired for irrep in group.irreps) != (group.order - 1) // 2:
            raise FourierError(f"{group.name}: no formula of the largest margin is known")
        return math.sqrt(2 / 27) / (math.sqrt(group.order) * (group.order - 1))
    # A character is real with real matrices if Σ χ(g²)/|G| is 1 (Frobenius and Schur).
    squares = group.table.diagonal()
    if any(
        irrep.paired or abs(float(irrep.character[squares].mean()) - 1) > 1e-6
        for irrep in group.irreps
    ):
        raise FourierError(
            f"{group.name}: the largest margin is known for cyclic groups of odd order and for "
            "groups whose representations are all real"
        )
    weighed = torch.stack([r.dimension**1.5 * r.character for r in group.irreps[1:]]).sum(0)
    worst = int(weighed[1:].argmax()) + 1
    if float(weighed[worst]) >= 0:
        raise FourierError(
            f"{group.name}: the theorem of the largest margin needs Σ d^1.5 χ(C) < 0 over the "
            f"non-trivial representations for every class C but the identity's; here it is "
            f"{float(weighed[worst]):.3g} at element {worst}"
        )
    spread = sum(irrep.dimension**2.5 for irrep in group.irreps[1:])
    return 2 / (3 * math.sqrt(3 * group.order)) / spread


def best_cyclic(n: int) -> QuadraticNetwork:
    """A network of 4(n − 1) neurons with the largest margin over the cyclic group of odd order n.

    For each frequency eight neurons cos(wa + θ), cos(wb + 2θ), cos(wc + 3θ), θ a multiple of π/4:
    all terms of (u + v)²w but cos(w(a + b − c)) turn with a non-zero multiple of θ, and cancel.

    Raises:
        FourierError: n even or below 3.
    """
    if n < 3 or n % 2 == 0:
        raise FourierError(f"n is {n}; expected an odd order of at least 3")
    k = torch.arange(1, (n - 1) // 2 + 1, dtype=torch.float64).repeat_interleave(8)[:, None]
    theta = (math.pi / 4 * torch.arange(8, dtype=torch.float64)).repeat((n - 1) // 2)[:, None]
    angle = 2 * math.pi / n * k * torch.arange(n, dtype=torch.float64)
    return QuadraticNetwork(*((angle + times * theta).cos() for times in (1, 2, 3)))


@dataclass(frozen=True, eq=False)
class CyclicNeurons:
    """What each neuron of a network over a cyclic group computes with.

    Attributes:
        frequency: Where u, v and w have most power, ``[neuron, 3]``.
        power: The share of their power there, the constant left out; 1 for a pure cosine, and about
            ln K/K in the middle of nowhere, K frequencies there being.
        agree: Whether u, v and w have the same frequency.
        phase_residual: |θ_u + θ_v − θ_w| wrapped to [0, π] for those that agree; π/2 on average by
            chance.
        weight: Share of Σ‖(u, v, w)‖³ that each neuron has: dead ones have none.
        n_frequencies: How many there are, (n − 1)/2.
    """

    frequency: Int[Tensor, "neuron 3"]
    power: Float[Tensor, "neuron 3"]
    agree: Tensor
    phase_residual: Float[Tensor, " neuron"]
    weight: Float[Tensor, " neuron"]
    n_frequencies: int

    @property
    def mean_power(self) -> float:
        """Mean over neurons, by weight, of the mean power of u, v and w."""
        return float(self.weight @ self.power.mean(1))

    @property
    def agreement(self) -> float:
        """Share of the weight in neurons whose frequencies agree."""
        return float(self.weight @ self.agree.double())

    @property
    def mean_residual(self) -> float | None:
        """Mean phase residual of neurons that agree, by weight; None where none do."""
        mass = self.weight * self.agree
        return float(mass @ self.phase_residual / mass.sum()) if float(mass.sum()) > 0 else None

    @property
    def coverage(self) -> float:
        """Share of the frequencies that live neurons (over 1 % of the mean weight) agree on."""
        live = self.agree & (self.weight > 0.01 / len(self.weight))
        return len(self.frequency[live][:, 0].unique()) / self.n_frequencies


def cyclic_neurons(network: QuadraticNetwork) -> CyclicNeurons:
    """Frequency, purity and phases of every neuron over a cyclic group of odd order.

    Raises:
        FourierError: even order, or all weights zero.
    """
    n = network.u.shape[1]
    if n < 3 or n % 2 == 0:
        raise FourierError(f"the group has {n} elements; expected an odd number of at least 3")
    size = network.sizes.pow(3)
    if not float(size.sum()) > 0:
        raise FourierError("all weights are zero, so there is nothing to read")
    parts = torch.stack([network.u, network.v, network.w], dim=1)
    waves = torch.fft.rfft(parts, dim=2)[:, :, 1:]
    power = waves.abs().square()
    total = power.sum(2)
    share = power / total.clamp(min=1e-300)[..., None]
    best = share.max(2)
    agree = (best.indices == best.indices[:, :1]).all(1) & (total > 0).all(1)
    phase = waves.angle().gather(2, best.indices[..., None])[..., 0]
    turn = phase[:, 0] + phase[:, 1] - phase[:, 2]
    return CyclicNeurons(
        frequency=best.indices + 1,
        power=best.values,
        agree=agree,
        phase_residual=torch.atan2(turn.sin(), turn.cos()).abs(),
        weight=size / size.sum(),
        n_frequencies=(n - 1) // 2,
    )


def _margins(logits: Float[Tensor, "row c"], answers: Int[Tensor, " row"]) -> Float[Tensor, " row"]:
    right = logits.gather(1, answers[:, None])[:, 0]
    others = logits.scatter(1, answers[:, None], -math.inf)
    return right - others.max(1).values
