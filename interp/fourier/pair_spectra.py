"""Spectra of anything indexed by two residues: a neuron, a head's pattern or a logit over pairs.

Signature: the share of the energy at each pair of frequencies (j, k), j of the first residue and k
of the second, the constant (0, 0) left out; in [0, 1], adding up to 1. (k, 0) and (0, k) depend on
one operand alone; a function of a + b stands at (k, k). Null: the same values with the residues in
shuffled order, both operands alike. What depends on one operand then spreads over some n//2 places,
what depends on both over the square of that.

After Nanda et al. (2023), "Progress measures for grokking via mechanistic interpretability", §4.1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError, by_frequency, transform_fft
from interp.fourier.spectra import check_shuffles, gini


@dataclass(frozen=True, eq=False)
class PairSpectrum:
    """A spectrum over pairs of residues, and its null.

    Attributes:
        name: Of what.
        n: Size of the group.
        power: Share of the energy at each pair of frequencies 0 … n//2; 0 at (0, 0).
        constant: Share of the whole energy that is the constant.
        gini: Inequality of the norms of the n² − 1 other products of two basis rows.
        null_max: The largest power of each shuffled order; empty where none was asked for.
        null_gini: The Gini of each.
    """

    name: str
    n: int
    power: Float[Tensor, "frequency_a frequency_b"]
    constant: float
    gini: float
    null_max: Float[Tensor, " shuffle"]
    null_gini: Float[Tensor, " shuffle"]

    @cached_property
    def p_values(self) -> Float[Tensor, "frequency_a frequency_b"]:
        """For each pair, how often a shuffled order's *largest* power is as large.

        Raises:
            FourierError: no shuffles.
        """
        if not len(self.null_max):
            raise FourierError(f"{self.name}: no p-values without shuffles; ask for n_shuffles=99")
        above = self.null_max >= self.power[..., None] * (1 - 1e-9)
        return (1 + above.sum(2)).double() / (1 + len(self.null_max))

    def keys(self, *, alpha: float = 0.05) -> tuple[tuple[int, int], ...]:
        """Pairs of frequencies with more power than chance, strongest first: p ≤ ``alpha``."""
        passed = int((self.p_values <= alpha).sum())
        return tuple((j, k) for j, k, _ in self.top(passed))

    def share(self, pairs: Sequence[tuple[int, int]]) -> float:
        """Share of the power that stands at some pairs of frequencies.

        Raises:
            FourierError: none, (0, 0), or one outside 0 … n//2.
        """
        chosen, last = set(pairs), self.n // 2
        if not chosen or (0, 0) in chosen or not all(0 <= k <= last for x in chosen for k in x):
            raise FourierError(
                f"pairs of frequencies {list(pairs)} over Z_{self.n}: expected some such as "
                f"(1, 0), up to ({last}, {last})"
            )
        return float(sum(self.power[j, k] for j, k in chosen))

    def top(self, n: int = 5) -> list[tuple[int, int, float]]:
        """The strongest pairs of frequencies, with their share."""
        found = self.power.flatten().topk(min(n, self.power.numel() - 1))
        width = self.power.shape[1]
        return [
            (int(i) // width, int(i) % width, float(v))
            for v, i in zip(found.values, found.indices, strict=True)
        ]

    def __repr__(self) -> str:
        strongest = ", ".join(f"({j}, {k}): {share:.2f}" for j, k, share in self.top(5))
        return f"PairSpectrum({self.name}, n={self.n}, Gini {self.gini:.2f}, strongest {strongest})"


def pair_energy(
    values: Float[Tensor, "a b *rest"],
) -> Float[Tensor, "frequency_a frequency_b *rest"]:
    """Energy of an activation indexed by two residues, at each pair of frequencies (0 included).

    Energy adds up to that of the values; entry (j, k) holds the products of frequency j in the
    first residue and k in the second.
    """
    return _by_pair(_products(values.detach().cpu()).square())


def pair_spectrum(
    values: Float[Tensor, "a b *rest"],
    *,
    name: str = "values",
    n_shuffles: int = 0,
    seed: int = 0,
) -> PairSpectrum:
    """The spectrum of anything indexed by two residues.

    >>> pair_spectrum(run_pairs(model).neurons[..., 7], name="neuron 7", n_shuffles=99).keys()

    Args:
        values: A neuron or a logit on all pairs ``[a, b]``, or many of them: axes after the second
            are added up.
        name: Of what, for tables.
        n_shuffles: Shuffled orders for the null; 0 for none. Each costs as much as the spectrum.
        seed: Draws them.

    Raises:
        FourierError: not n × n with n of at least 3, values that are not finite or the same for all
            pairs, or a negative number of shuffles.
    """
    check_shuffles(n_shuffles, least=0)
    shape = list(values.shape)
    if len(shape) < 2 or shape[0] != shape[1] or shape[0] < 3:
        raise FourierError(f"{name}: expected values on all pairs, [n, n] or more, got {shape}")
    wide = values.detach().cpu().double().reshape(*shape[:2], -1)
    if not bool(torch.isfinite(wide).all()):
        raise FourierError(f"{name}: values must be finite")
    energy = _products(wide).square().sum(2)
    total, constant = float(energy.sum()), float(energy[0, 0])
    varying = total - constant
    if not varying > 1e-20 * total:
        raise FourierError(f"{name}: all pairs have the same values, so there is no spectrum")
    generator = torch.Generator().manual_seed(seed)
    null = []
    for _ in range(n_shuffles):
        order = torch.randperm(len(wide), generator=generator)
        null.append(_products(wide[order][:, order]).square().sum(2))
    return PairSpectrum(
        name=name,
        n=len(wide),
        power=_shares(energy, varying),
        constant=constant / total,
        gini=_inequality(energy),
        null_max=torch.tensor([float(_shares(e, varying).max()) for e in null]),
        null_gini=torch.tensor([_inequality(e) for e in null]),
    )


def _products(values: Tensor) -> Float[Tensor, "row_a row_b *rest"]:
    """Coordinates along the products of two rows of the Fourier basis."""
    return transform_fft(transform_fft(values, dim=0), dim=1)


def _by_pair(energy: Tensor) -> Float[Tensor, "frequency_a frequency_b *rest"]:
    return by_frequency(by_frequency(energy, dim=0), dim=1)


def _shares(energy: Tensor, varying: float) -> Float[Tensor, "frequency_a frequency_b"]:
    shares = _by_pair(energy) / varying
    shares[0, 0] = 0.0
    return shares


def _inequality(energy: Float[Tensor, "row_a row_b"]) -> float:
    return gini(energy.flatten()[1:].sqrt())
