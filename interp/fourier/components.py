"""How much of the logits the trigonometric identity accounts for, frequency by frequency.

Signature: a model that adds by rotating has logits Σ_k α_k·cos(w_k(a + b − c)), w_k = 2πk/p, over
a few key frequencies k (Nanda et al. 2023, §4.2). With C the logits centred over c and then over
pairs, and T_k that cosine as a table ``[a, b, c]``:

* ``cos_fve[k]`` = ⟨T_k, C⟩² / (‖T_k‖²‖C‖²), the share of variance along T_k. In [0, 1], and
  additive over k.
* ``pair_fve[k]``: the share along the two directions cos, sin(w_k(a + b)) over pairs, whatever
  their outputs: at least ``cos_fve[k]``.

Null: being right is itself a sum of all these cosines, so a perfect lookup table has
``cos_fve`` = 1/K at *each* of its K frequencies. A key frequency must therefore stand out: see
:func:`key_frequencies`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import by_frequency, transform_fft
from interp.fourier.pairs import check_logits, mean_by_sum
from interp.fourier.spectra import check_shuffles

KEY_SHARE = 0.01
"""Least ``cos_fve`` of a key frequency."""

LOOKUP_FACTOR = 4.0
"""By how much a key frequency must exceed what a lookup table as right as the model would have."""


@dataclass(frozen=True, eq=False)
class TrigComponents:
    """Logits by trigonometric component.

    Attributes:
        p: The modulus.
        cos_fve: Share of variance along cos(w_k(a + b − c)), k = 1 … p//2.
        alpha: The coefficient of that cosine, in logits.
        pair_fve: Share along cos and sin(w_k(a + b)) over pairs.
    """

    p: int
    cos_fve: Float[Tensor, " frequency"]
    alpha: Float[Tensor, " frequency"]
    pair_fve: Float[Tensor, " frequency"]

    @property
    def total(self) -> float:
        """Share of variance along all these cosines together."""
        return float(self.cos_fve.sum())

    @property
    def lookup_share(self) -> float:
        """``cos_fve`` that each frequency would have in a lookup table as right as these logits.

        The part of C along the table of right answers, which is the sum of all T_k, shared out
        evenly: the squared mean over k of the signed roots of ``cos_fve``.
        """
        roots = self.cos_fve.sqrt() * self.alpha.sign()
        return float(roots.mean()) ** 2


def trig_components(logits: Float[Tensor, "p p p"]) -> TrigComponents:
    """Project logits on all pairs onto the trigonometric components.

    Raises:
        FourierError: logits of another shape, or not finite.
    """
    p = check_logits(logits)
    centred = _centred(logits)
    total = float(centred.square().sum())
    if not total > 0:  # the same logits for every pair: nothing varies, nothing is explained
        none = torch.zeros(p // 2, dtype=torch.float64)
        return TrigComponents(p, none, none, none)
    along, alpha = _along_cosines(centred, torch.arange(p))
    # A direction that depends on a + b alone has p equal entries for each sum.
    paired = p * by_frequency(transform_fft(mean_by_sum(centred)).square().sum(1))[1:]
    return TrigComponents(p, along / total, alpha, paired / total)


def shuffled_components(
    logits: Float[Tensor, "p p p"], *, n: int, seed: int
) -> Float[Tensor, "shuffle frequency"]:
    """``cos_fve`` with the residues in shuffled order, in operands and answers alike: the null.

    Raises:
        FourierError: logits of another shape, or not finite; or n below 1.
    """
    check_shuffles(n)
    p = check_logits(logits)
    centred = _centred(logits)
    total = float(centred.square().sum())
    generator = torch.Generator().manual_seed(seed)
    found = torch.zeros((n, p // 2), dtype=torch.float64)
    for i in range(n if total > 0 else 0):
        order = torch.randperm(p, generator=generator)
        found[i] = _along_cosines(centred, order)[0] / total
    return found


def key_frequencies(
    components: TrigComponents, shuffled: Float[Tensor, "shuffle frequency"] | None = None
) -> tuple[int, ...]:
    """Frequencies on which the logits rest, strongest first.

    Those with α_k > 0 whose ``cos_fve`` is above :data:`KEY_SHARE`, above :data:`LOOKUP_FACTOR`
    times what being right alone gives every frequency, and above the largest of any shuffled
    order. (The published code takes the union of the neurons' best frequencies, without a
    threshold.) Meaningful for a model that has grokked; :func:`interp.fourier.read_modular` says.

    Args:
        components: From :func:`trig_components`.
        shuffled: From :func:`shuffled_components`, where the null is wanted too.
    """
    least = max(KEY_SHARE, LOOKUP_FACTOR * components.lookup_share)
    if shuffled is not None and shuffled.numel():
        least = max(least, float(shuffled.max()))
    strong = (components.cos_fve > least) & (components.alpha > 0)
    order = components.cos_fve.argsort(descending=True)
    return tuple(int(i) + 1 for i in order if bool(strong[i]))


def _centred(logits: Tensor) -> Float[Tensor, "p p p"]:
    wide = logits.detach().cpu().double()
    wide = wide - wide.mean(2, keepdim=True)
    return wide - wide.mean((0, 1))


def _along_cosines(
    centred: Float[Tensor, "p p p"], residue: Tensor
) -> tuple[Float[Tensor, " frequency"], Float[Tensor, " frequency"]]:
    """⟨T_k, C⟩²/‖T_k‖² and ⟨T_k, C⟩/‖T_k‖², with the i-th row standing for ``residue[i]``."""
    p = len(residue)
    # Only a + b − c matters, so p³ terms become p sums before any cosine is taken.
    by_sum = (residue[:, None] + residue)[..., None] - residue
    added = torch.bincount((by_sum % p).flatten(), weights=centred.flatten(), minlength=p)
    k = torch.arange(1, p // 2 + 1, dtype=torch.float64)
    cosines = (2 * math.pi / p * k[:, None] * torch.arange(p)).cos()
    inner = cosines @ added
    squares = p**2 * cosines.square().sum(1)
    return inner.square() / squares, inner / squares
