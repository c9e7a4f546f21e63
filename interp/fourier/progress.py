"""Restricted and excluded loss: what the key frequencies alone can do, and what is left without.

Loads, not signatures: logits are changed and the loss is read. With L the logits on all pairs,
R = Σ_key Proj_k L their part along cos and sin(w_k(a + b)) over pairs for the key frequencies
(Nanda et al. 2023, §5.1 and the published code):

* **restricted**: the loss of R, with the mean over pairs of L − R added back. Falls while the
  circuit forms, long before the test loss; near 0 once the key frequencies suffice.
* **excluded**: the loss of L − R *on training pairs*, nothing added back. A memoriser does not
  need R: its excluded loss is as low as its training loss. Rises as the circuit takes over.

Losses are cross-entropies in nats, in float64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from interp.fourier.basis import FourierError, check_frequencies, fourier_basis, row_frequencies
from interp.fourier.pairs import check_logits, mean_by_sum, sums

SMALL = 0.01
"""Loss, in nats, so small that a larger one of the model's own is not asked for."""


@dataclass(frozen=True)
class Losses:
    """One loss on the pairs trained on, on the held-out ones, and on all, in nats.

    Attributes:
        train: None where it is not known which pairs were trained on.
        test: None likewise.
        all: Over all pairs.
    """

    train: float | None
    test: float | None
    all: float


@dataclass(frozen=True)
class Progress:
    """The losses of a model, with the key frequencies alone, and without them.

    Attributes:
        keys: The frequencies.
        full: Of the logits as they are.
        restricted: Of the key frequencies alone.
        excluded: Without them. The published measure is ``excluded.train``.
        excluded_each: Without one of them, by frequency.
    """

    keys: tuple[int, ...]
    full: Losses
    restricted: Losses
    excluded: Losses
    excluded_each: dict[int, Losses]

    @property
    def suffices(self) -> bool:
        """Whether the key frequencies alone do no worse than the model.

        That is, restricted loss at most the model's own, or below :data:`SMALL`; on held-out pairs,
        or all where it is not known which are.
        """
        own, alone = (
            part.all if part.test is None else part.test for part in (self.full, self.restricted)
        )
        return alone <= max(own, SMALL)


def key_part(logits: Float[Tensor, "p p p"], frequencies: Sequence[int]) -> Float[Tensor, "sum c"]:
    """R: the part of the logits along the given frequencies of a + b.

    It depends on a and b through their sum only, and is given as that sum's, ``[a + b, c]``.

    Raises:
        FourierError: logits of another shape, or frequencies outside 1 … p//2.
    """
    p = check_logits(logits)
    return _filtered(mean_by_sum(logits.detach().cpu()), check_frequencies(list(frequencies), p))


def restricted_logits(
    logits: Float[Tensor, "p p p"], frequencies: Sequence[int]
) -> Float[Tensor, "p p p"]:
    """The logits with the given frequencies alone; the mean over pairs of the rest is kept.

    Raises:
        FourierError: as :func:`key_part`.
    """
    part = key_part(logits, frequencies)
    p = len(part)
    # Frequencies above 0 have mean zero, so the mean of the rest is that of the whole.
    mean = logits.detach().cpu().double().mean((0, 1))
    return (part + mean)[sums(p)].reshape(p, p, p)


def excluded_logits(
    logits: Float[Tensor, "p p p"], frequencies: Sequence[int]
) -> Float[Tensor, "p p p"]:
    """The logits without the given frequencies.

    Raises:
        FourierError: as :func:`key_part`.
    """
    part = key_part(logits, frequencies)
    p = len(part)
    return logits.detach().cpu().double() - part[sums(p)].reshape(p, p, p)


def progress_losses(
    logits: Float[Tensor, "p p p"],
    frequencies: Sequence[int],
    *,
    train: Bool[Tensor, "p p"] | None = None,
    each: bool = True,
) -> Progress:
    """Restricted and excluded loss at given key frequencies.

    Args:
        logits: On all pairs.
        frequencies: The keys; over a training, those of its end.
        train: True at the pairs trained on; None where that is not known.
        each: Also exclude every frequency by itself.

    Raises:
        FourierError: as :func:`key_part`, or a mask of another shape or without held-out pairs.
    """
    p = check_logits(logits)
    keys = check_frequencies(list(frequencies), p)
    if train is not None:
        check_mask(train, p)
    wide = logits.detach().cpu().double()
    by_sum, mean, of = mean_by_sum(wide), wide.mean((0, 1)), sums(p)
    flat = wide.flatten(0, 1)

    def without(which: tuple[int, ...]) -> Losses:
        return _losses(flat - _filtered(by_sum, which)[of], train)

    return Progress(
        keys=keys,
        full=_losses(flat, train),
        restricted=_losses((_filtered(by_sum, keys) + mean)[of], train),
        excluded=without(keys),
        excluded_each={k: without((k,)) for k in keys} if each else {},
    )


def losses(logits: Float[Tensor, "p p p"], *, train: Bool[Tensor, "p p"] | None = None) -> Losses:
    """The losses of logits on all pairs as they are.

    Raises:
        FourierError: logits or a mask that do not fit.
    """
    p = check_logits(logits)
    if train is not None:
        check_mask(train, p)
    return _losses(logits.detach().cpu().double().flatten(0, 1), train)


def check_mask(train: Tensor, p: int) -> None:
    """Refuse a mask of training pairs that does not fit.

    Raises:
        FourierError: another shape, not booleans, or all pairs on one side.
    """
    if train.shape != (p, p) or train.dtype != torch.bool:
        raise FourierError(
            f"train must be booleans of shape {[p, p]}, got {train.dtype} of {list(train.shape)}"
        )
    if bool(train.all()) or not bool(train.any()):
        raise FourierError("train must leave pairs on both sides: some trained on, some held out")


def _filtered(
    by_sum: Float[Tensor, "sum c"], frequencies: tuple[int, ...]
) -> Float[Tensor, "sum c"]:
    p = len(by_sum)
    rows = fourier_basis(p)[torch.isin(row_frequencies(p), torch.tensor(frequencies))]
    return rows.T @ (rows @ by_sum)


def _losses(logits: Float[Tensor, "pair c"], train: Tensor | None) -> Losses:
    nll = F.cross_entropy(logits, sums(logits.shape[1]), reduction="none")
    if train is None:
        return Losses(None, None, float(nll.mean()))
    chosen = train.flatten()
    return Losses(float(nll[chosen].mean()), float(nll[~chosen].mean()), float(nll.mean()))
