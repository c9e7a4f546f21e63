"""Spectra: how much of anything indexed by a residue stands at each frequency, beside its null.

Signature: the share of the energy at each frequency, the constant left out; ``[0, 1]``, adding up
to 1. In the true order of the residues a periodic code puts nearly all of it on few frequencies;
the null is the same vectors in shuffled order, where every frequency gets 1/K on average (K = n//2
frequencies; half as much at n/2, where n is even). A smooth trend, such as a number line, also
concentrates, on the lowest frequencies: low frequencies alone do not show that a code is circular.

Power and Gini as in Nanda et al. (2023), "Progress measures for grokking via mechanistic
interpretability", §4.1 and appendix C.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import (
    FourierError,
    by_frequency,
    check_frequencies,
    fourier_basis,
    transform_fft,
)
from interp.models import Model


@dataclass(frozen=True, eq=False)
class Spectrum:
    """One spectrum and its null.

    Attributes:
        name: Of what.
        n: Size of the group.
        power: Share of the energy at frequencies 1 … n//2, the constant left out; adds up to 1.
        constant: Share of the whole energy that is the constant.
        gini: Inequality of the non-constant rows' norms, 0 (all equal) to 1 (one alone).
        null_max: The largest power of each shuffled order; empty where none was asked for.
        null_gini: The Gini of each.
    """

    name: str
    n: int
    power: Float[Tensor, " frequency"]
    constant: float
    gini: float
    null_max: Float[Tensor, " shuffle"]
    null_gini: Float[Tensor, " shuffle"]

    @cached_property
    def p_values(self) -> Float[Tensor, " frequency"]:
        """For each frequency, how often a shuffled order's *largest* power is as large.

        (1 + #{null ≥ power}) / (1 + #null), so corrected for the number of frequencies.

        Raises:
            FourierError: no shuffles.
        """
        if not len(self.null_max):
            raise FourierError(f"{self.name}: no p-values without shuffles; ask for n_shuffles=99")
        # A relabelled order can give the same spectrum: equal up to rounding counts as equal.
        above = self.null_max >= self.power[:, None] * (1 - 1e-9)
        return (1 + above.sum(1)).double() / (1 + len(self.null_max))

    def keys(self, *, alpha: float = 0.05) -> tuple[int, ...]:
        """Frequencies with more power than chance: p ≤ ``alpha`` in :attr:`p_values`."""
        return tuple(int(k) + 1 for k in (self.p_values <= alpha).nonzero()[:, 0])

    def share(self, frequencies: Sequence[int]) -> float:
        """Share of the power that stands at some frequencies.

        Raises:
            FourierError: none, or one outside 1 … n//2.
        """
        chosen = check_frequencies(list(frequencies), self.n)
        return float(self.power[torch.tensor(chosen) - 1].sum())

    def top(self, k: int = 5) -> list[tuple[int, float]]:
        """The strongest frequencies, with their share."""
        found = self.power.topk(min(k, len(self.power)))
        return [(int(i) + 1, float(v)) for v, i in zip(found.values, found.indices, strict=True)]

    def __repr__(self) -> str:
        strongest = ", ".join(f"{k}: {share:.2f}" for k, share in self.top(5))
        return f"Spectrum({self.name}, n={self.n}, Gini {self.gini:.2f}, strongest {strongest})"


def gini(values: Float[Tensor, " value"]) -> float:
    """Gini coefficient of values ≥ 0: Σ(2i − n − 1)·v_i / (n·Σv), v ascending; 0 if all are 0."""
    ordered = values.double().flatten().sort().values
    n, total = len(ordered), float(ordered.sum())
    weights = 2 * torch.arange(1, n + 1, dtype=torch.float64) - n - 1
    return float(weights @ ordered) / (n * total) if total > 0 else 0.0


def spectrum(
    values: Float[Tensor, ...],
    *,
    name: str = "values",
    dim: int = 0,
    n_shuffles: int = 0,
    seed: int = 0,
) -> Spectrum:
    """The spectrum of anything indexed by a residue.

    Args:
        values: Rows of an embedding ``[residue, d_model]``, a neuron's or head's value at each
            residue ``[residue]``, anything; axes other than ``dim`` are added up.
        name: Of what, for tables.
        dim: Which axis counts residues, in their order.
        n_shuffles: Shuffled orders for the null; 0 for none.
        seed: Draws them.

    Raises:
        FourierError: fewer than 3 residues, values that are not finite, all rows alike, or a
            negative number of shuffles.
    """
    check_shuffles(n_shuffles, least=0)
    rows = (
        values.detach().cpu().double().movedim(dim, 0).flatten(1)
        if values.ndim > 1
        else (values.detach().cpu().double()[:, None])
    )
    n = len(rows)
    if n < 3:
        raise FourierError(f"{name}: a spectrum needs at least 3 residues, got {n}")
    if not bool(torch.isfinite(rows).all()):
        raise FourierError(f"{name}: values must be finite")
    energy = transform_fft(rows).square().sum(1)
    total, varying = float(energy.sum()), float(energy[1:].sum())
    if not varying > 1e-20 * total:
        raise FourierError(f"{name}: all residues have the same values, so there is no spectrum")
    null = _shuffled_energy(rows, n_shuffles, seed)
    return Spectrum(
        name=name,
        n=n,
        power=by_frequency(energy)[1:] / varying,
        constant=float(energy[0]) / total,
        gini=gini(energy[1:].sqrt()),
        null_max=by_frequency(null, dim=1)[:, 1:].amax(1) / varying,
        null_gini=torch.tensor([gini(row[1:].clamp(min=0).sqrt()) for row in null]),
    )


def unit_spectra(
    values: Float[Tensor, "residue unit"], *, name: str = "unit"
) -> Float[Tensor, "unit frequency"]:
    """The power of each of many units at once (neurons, heads), without nulls.

    A unit that is the same at every residue, up to rounding, has a row of zeros.

    Raises:
        FourierError: values that are not finite.
    """
    wide = values.detach().cpu().double()
    if not bool(torch.isfinite(wide).all()):
        raise FourierError(f"{name}: values must be finite")
    energy = by_frequency(transform_fft(wide - wide.mean(0)).square())[1:]
    total, tiny = energy.sum(0), torch.finfo(torch.float64).tiny
    # Below rounding of the unit's own size nothing varies.
    varies = total > 1e-12 * wide.square().sum(0).clamp(min=tiny)
    return torch.where(varies, energy / total.clamp(min=tiny), 0.0).T


def embedding_spectrum(
    model: Model, ids: Sequence[int], *, name: str = "W_E", n_shuffles: int = 99, seed: int = 0
) -> Spectrum:
    """Spectrum of token embeddings, in the order of ``ids``.

    Raises:
        FourierError: as :func:`spectrum`, an id given twice, or no shuffles.
        ModelError: an id outside the vocabulary.
    """
    check_shuffles(n_shuffles)
    _check_ids(ids)
    model.check_tokens(torch.tensor([[i] for i in ids]))
    return spectrum(model.W_E[list(ids)], name=name, n_shuffles=n_shuffles, seed=seed)


def unembedding_spectrum(
    model: Model, ids: Sequence[int], *, name: str = "W_U", n_shuffles: int = 99, seed: int = 0
) -> Spectrum:
    """Spectrum of unembedding columns, in the order of ``ids``, with the final norm's gain.

    Raises:
        FourierError: as :func:`spectrum`, an id that the model has no output for, an id given
            twice, or no shuffles.
    """
    check_shuffles(n_shuffles)
    _check_ids(ids)
    W_U = model.folded_unembedding()
    if min(ids) < 0 or max(ids) >= W_U.shape[1]:
        raise FourierError(
            f"{model.spec.name} has outputs 0…{W_U.shape[1] - 1}, not {min(ids)}…{max(ids)}"
        )
    return spectrum(W_U[:, list(ids)].T, name=name, n_shuffles=n_shuffles, seed=seed)


def check_shuffles(n_shuffles: int, *, least: int = 1) -> None:
    """Refuse too few shuffled orders.

    Raises:
        FourierError: fewer than ``least``.
    """
    if n_shuffles < least:
        raise FourierError(f"n_shuffles is {n_shuffles}; expected at least {least}, such as 99")


def _check_ids(ids: Sequence[int]) -> None:
    if len(ids) < 3 or len(set(ids)) != len(ids):
        raise FourierError(f"a spectrum needs at least 3 different token ids, got {list(ids)[:8]}")


def _shuffled_energy(
    rows: Float[Tensor, "n feature"], n_shuffles: int, seed: int
) -> Float[Tensor, "shuffle row"]:
    """Energy at each row of the basis for shuffled orders, off the Gram matrix alone."""
    n = len(rows)
    gram, basis = rows @ rows.T, fourier_basis(n)
    generator = torch.Generator().manual_seed(seed)
    found = rows.new_empty((n_shuffles, n))
    for i in range(n_shuffles):
        order = torch.randperm(n, generator=generator)
        found[i] = ((basis @ gram[order][:, order]) * basis).sum(1)
    return found
