"""Which frequency each neuron computes with, and how purely.

Signature: a neuron of a model that adds by rotating is, as a function of (a, b), a polynomial of
degree two in the sines and cosines of one frequency (Nanda et al. 2023, §4.3). ``fve`` is the share
of its variance over pairs in the eight terms of one frequency k, {1, cos, sin}(w_k·a) ×
{1, cos, sin}(w_k·b) without 1 × 1; the best k is taken. In [0, 1]. Null: an unstructured function
has 8/(p² − 1) at each frequency, next to nothing; a neuron that depends on one operand only, in an
unstructured way, about 2/(p − 1).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.pair_spectra import pair_energy


@dataclass(frozen=True, eq=False)
class NeuronClusters:
    """Neurons by frequency.

    Attributes:
        frequency: The best frequency of each neuron.
        fve: Share of its variance there; 0 for a dead one.
        alive: Whether it varies over pairs at all.
    """

    frequency: Int[Tensor, " neuron"]
    fve: Float[Tensor, " neuron"]
    alive: Bool[Tensor, " neuron"]

    def sizes(self, *, least: float = 0.85) -> dict[int, int]:
        """How many neurons each frequency has with at least so much of their variance there."""
        chosen = self.frequency[self.alive & (self.fve > least)]
        found = {int(k): int((chosen == k).sum()) for k in chosen.unique()}
        return dict(sorted(found.items(), key=lambda item: -item[1]))

    def share(self, *, least: float = 0.85) -> float:
        """Share of live neurons with at least so much of their variance at one frequency."""
        alive = int(self.alive.sum())
        return float((self.fve[self.alive] > least).double().mean()) if alive else 0.0

    @property
    def mean_fve(self) -> float | None:
        """Mean over live neurons; None where all are dead."""
        return float(self.fve[self.alive].mean()) if bool(self.alive.any()) else None


def neuron_clusters(neurons: Float[Tensor, "p p neuron"]) -> NeuronClusters:
    """Assign every neuron its best frequency.

    Args:
        neurons: Activations on all pairs.

    Raises:
        FourierError: activations of another shape, or not finite.
    """
    if neurons.ndim != 3 or neurons.shape[0] != neurons.shape[1] or len(neurons) < 3:
        raise FourierError(
            f"neurons on all pairs must have shape [p, p, neuron], got {list(neurons.shape)}"
        )
    if not bool(torch.isfinite(neurons).all()):
        raise FourierError("neurons on all pairs must be finite")
    wide = neurons.detach().cpu().double()
    energy = pair_energy(wide - wide.mean((0, 1)))
    total = energy.sum((0, 1))
    # Below rounding of the neuron's own size nothing varies.
    alive = total > 1e-12 * wide.square().sum((0, 1)).clamp(min=torch.finfo(torch.float64).tiny)
    own = torch.diagonal(energy, dim1=0, dim2=1).T[1:] + energy[0, 1:] + energy[1:, 0]
    share = torch.where(alive, own / total.clamp(min=torch.finfo(torch.float64).tiny), 0.0)
    best = share.max(0)
    return NeuronClusters(best.indices + 1, best.values, alive)
