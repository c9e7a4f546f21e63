"""Activations of one site as an endless, shuffled stream of batches, in bounded memory.

Rows are shuffled over all the data, anew in every epoch, and taken in *blocks*: as many rows as fit
the buffer. A block's activations are computed, shuffled once more and given out in batches. So at
most one buffer of activations is ever held, and where the stream stands is one number: a training
that was interrupted computes its block again and goes on as if nothing had been.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks import Site, session
from interp.hooks.capture import TOKENS_PER_FORWARD
from interp.hooks.packing import in_packs, pack
from interp.models import Examples, Model
from interp.sae.dictionary import SaeError, site_width

# Streams of random numbers drawn from one seed.
_ROWS, _BLOCK = 1, 2


def kept_positions(
    model: Model, tokens: Int[Tensor, "row pos"], mask: Bool[Tensor, "row pos"], *, skip_bos: bool
) -> Bool[Tensor, "row pos"]:
    """Where activations count: at real tokens, beginning-of-sequence marks left out if asked.

    Those marks often have norms a hundred times those of all else, and nothing to say.
    """
    if not skip_bos or model.bos_id is None:
        return mask
    return mask & (tokens != model.bos_id)


class ActivationStream:
    """Batches of activations, ``[batch, d_in]`` in float32, for ever.

    Attributes:
        d_in: Width of the activations.
        n_activations: How many there are in one epoch.
    """

    def __init__(
        self,
        model: Model,
        examples: Examples,
        site: Site | str,
        *,
        batch: int,
        buffer: int,
        seed: int,
        skip_bos: bool = True,
        tokens_per_forward: int = TOKENS_PER_FORWARD,
    ) -> None:
        """Open a stream; nothing is computed yet.

        Args:
            model: The model.
            examples: What it reads. May be padded.
            site: Where.
            batch: Activations a batch.
            buffer: Most activations held at a time.
            seed: Decides all shuffling.
            skip_bos: Leave out beginning-of-sequence marks.
            tokens_per_forward: Tokens at a time, with padding; reduced on out-of-memory.

        Raises:
            SaeError: too few activations for a batch, or too small a buffer.
        """
        self.model, self.examples, self.site = model, examples, Site.parse(site)
        self.site.point(model)
        self.d_in = site_width(model, self.site)
        self.batch, self.seed, self.skip_bos = batch, seed, skip_bos
        self.tokens_per_forward = tokens_per_forward
        assert examples.mask is not None
        kept = kept_positions(model, examples.tokens, examples.mask, skip_bos=skip_bos)
        self._counts = kept.sum(1).cpu().numpy()
        self._lengths = examples.lengths.cpu()
        self.n_activations = int(self._counts.sum())
        self._buffer = buffer
        if batch < 1 or self.n_activations < batch:
            raise SaeError(
                f"{examples.name} gives {self.n_activations} activations, a batch takes {batch}; "
                "give more text or a smaller batch"
            )
        longest = int(self._counts.max())
        if buffer < batch + longest:
            raise SaeError(
                f"a buffer of {buffer} activations is too small; expected a batch and a row at "
                f"least, {batch} + {longest}"
            )

    def batches(self, start: int = 0) -> Iterator[Float[Tensor, "batch d_in"]]:
        """Yield batches, beginning after so many."""
        done = 0
        for epoch in count():
            for number, rows in enumerate(self._blocks(epoch)):
                n = int(self._counts[rows].sum()) // self.batch
                if done + n > start:
                    values = self._activations(rows)
                    order = self._draw(_BLOCK, epoch, number, n=len(values)).to(values.device)
                    for i in range(max(0, start - done), n):
                        yield values[order[i * self.batch : (i + 1) * self.batch]]
                    del values  # before the next block is computed, not after
                done += n

    def _blocks(self, epoch: int) -> Iterator[np.ndarray]:
        """Rows in a new order, as many at a time as fit the buffer."""
        order = self._draw(_ROWS, epoch, n=len(self._counts)).numpy()
        ends = np.cumsum(self._counts[order])
        first = 0
        while first < len(order):
            before = ends[first - 1] if first else 0
            stop = int(np.searchsorted(ends, before + self._buffer, side="right"))
            yield order[first:stop]
            first = stop

    def _activations(self, rows: np.ndarray) -> Float[Tensor, "n d_in"]:
        """What the site holds at the kept positions of some rows."""
        chosen = torch.from_numpy(rows)
        chosen = chosen[torch.argsort(self._lengths[chosen], stable=True)]
        ends = np.cumsum(self._counts[chosen.numpy()])
        values = torch.empty(int(ends[-1]), self.d_in, device=self.model.device)

        def work(part: slice) -> None:
            tokens, mask = pack(self.examples, chosen[part])
            keep = kept_positions(self.model, tokens, mask, skip_bos=self.skip_bos)
            with session(self.model, capture=self.site) as s:
                s.run_until_captured(tokens, mask)
                found = s[self.site].flatten(2)[keep.to(self.model.device)]
            start = ends[part.start - 1] if part.start else 0
            values[start : start + len(found)] = found

        in_packs(self._lengths[chosen].tolist(), self.tokens_per_forward, work)
        return values

    def _draw(self, *which: int, n: int) -> Int[Tensor, " n"]:
        """A permutation that depends on the seed and on nothing drawn before."""
        state = np.random.SeedSequence([self.seed, *which]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(state >> np.uint64(1)))
        return torch.randperm(n, generator=generator)
