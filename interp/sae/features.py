"""Latents over a data set, streamed: how often each fires, its means, and one vector a text.

Whatever the data's size, no more is held than one batch, sums for each latent, and, where one
vector a text is wanted, its non-zero latents.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks import Site, session
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.splice_sweep import tokens_touched
from interp.sae.splicing import site_of, vectors_of

# Tokens at a time; their latents are dense.
TOKENS = 2048


class Seen(NamedTuple):
    """What a dictionary makes of the chosen tokens of some examples.

    Attributes:
        row: Which example each token is of.
        position: Which token of it.
        vectors: The activations.
        latents: Their latents.
    """

    row: Int[Tensor, " token"]
    position: Int[Tensor, " token"]
    vectors: Float[Tensor, "token d_in"]
    latents: Float[Tensor, "token d_sae"]


@torch.no_grad()
def stream_latents(
    model: Model,
    examples: Examples,
    dictionary: Dictionary,
    *,
    at: Bool[Tensor, "example pos"] | None = None,
    site: Site | str | None = None,
    tokens: int = TOKENS,
) -> Iterator[Seen]:
    """Run the model up to the dictionary's site and yield its latents, a batch at a time.

    Args:
        model: The model.
        examples: What to run, in their order.
        dictionary: The autoencoder.
        at: Which tokens; the real ones where None. The others are not encoded.
        site: Where, for a dictionary that does not say.
        tokens: Tokens a batch.

    Raises:
        SaeError: a dictionary of another model, or tokens that do not fit.
    """
    dictionary.require_fit(model)
    where = site_of(dictionary, site)
    chosen = tokens_touched(examples, at)
    size = max(1, tokens // examples.tokens.shape[1])
    with progress("encoding", total=len(examples)) as advance:
        for rows, batch in examples.batches(size):
            with session(model, capture=where.whole) as s:
                s.run_until_captured(batch.tokens, batch.mask)
                activation = s.captured[where.whole]
            here = chosen[rows]
            vectors = vectors_of(dictionary, where, activation)[here.to(activation.device)]
            row, position = here.nonzero(as_tuple=True)
            yield Seen(row + rows.start, position, vectors.cpu(), dictionary.encode(vectors).cpu())
            advance(len(batch))


@dataclass(frozen=True, eq=False)
class LatentStatistics:
    """Each latent over the chosen tokens of a data set.

    Attributes:
        mean: Mean value; what ``set_latents`` takes for mean ablation.
        rate: Share of tokens at which it is not zero.
        mass: Mean length of what it writes, mean |f_i|·‖d_i‖.
        largest: Largest value.
        n_tokens: Tokens.
    """

    mean: Float[Tensor, " d_sae"]
    rate: Float[Tensor, " d_sae"]
    mass: Float[Tensor, " d_sae"]
    largest: Float[Tensor, " d_sae"]
    n_tokens: int

    @property
    def dead(self) -> Bool[Tensor, " d_sae"]:
        """Latents that never fired here."""
        return self.rate == 0


def latent_statistics(
    model: Model,
    examples: Examples,
    dictionary: Dictionary,
    *,
    at: Bool[Tensor, "example pos"] | None = None,
    site: Site | str | None = None,
) -> LatentStatistics:
    """Measure each latent's mean, rate and size; arguments as ``stream_latents``."""
    d = dictionary.d_sae
    total, size = torch.zeros(d, dtype=torch.float64), torch.zeros(d, dtype=torch.float64)
    fired, largest = torch.zeros(d, dtype=torch.float64), torch.full((d,), -torch.inf)
    n = 0
    for seen in stream_latents(model, examples, dictionary, at=at, site=site):
        latents = seen.latents
        if not len(latents):
            continue
        total += latents.sum(0, dtype=torch.float64)
        size += latents.abs().sum(0, dtype=torch.float64)
        fired += (latents != 0).sum(0)
        largest = torch.maximum(largest, latents.amax(0).float())
        n += len(latents)
    lengths = dictionary.decoder.norm(dim=1).cpu().to(torch.float64)
    return LatentStatistics(
        mean=(total / n).float(),
        rate=(fired / n).float(),
        mass=(lengths * size / n).float(),
        largest=largest,
        n_tokens=n,
    )


@dataclass(frozen=True, eq=False)
class Pooled:
    """One vector a text: means over its chosen tokens.

    Attributes:
        latents: Of latents, sparse, ``scipy.sparse.csr_array`` [example, d_sae].
        vectors: Of the activations themselves.
        groups: The examples' group labels.
    """

    latents: Any
    vectors: Float[np.ndarray, "example d_in"]
    groups: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.vectors)

    def select(self, rows: Int[np.ndarray, " chosen"]) -> Pooled:
        """Return some texts, in the order given."""
        return Pooled(self.latents[rows], self.vectors[rows], tuple(self.groups[i] for i in rows))


def pool_latents(
    model: Model,
    examples: Examples,
    dictionary: Dictionary,
    *,
    at: Bool[Tensor, "example pos"] | None = None,
    site: Site | str | None = None,
) -> Pooled:
    """Average latents and activations over each text's chosen tokens.

    Padding is left out by its mask. (SAEBench zeroes activations there and encodes the zeros, so
    that latents with a bias fire on padding; here they are never encoded.) Arguments as
    ``stream_latents``; every example needs a chosen token.

    Raises:
        SaeError: an example has none.
    """
    from scipy import sparse

    chosen = tokens_touched(examples, at)
    counts = chosen.sum(1)
    if bool((counts == 0).any()):
        row = int((counts == 0).nonzero()[0])
        raise SaeError(f"example {row} has no token to pool; choose at least one in `at`")
    parts, vectors = [], np.zeros((len(examples), dictionary.d_in))
    for seen in stream_latents(model, examples, dictionary, at=at, site=site):
        first, last = int(seen.row[0]), int(seen.row[-1])
        n = last - first + 1
        share = (1 / counts[seen.row]).to(torch.float64)[:, None]
        pooled = torch.zeros((n, dictionary.d_sae), dtype=torch.float64)
        pooled.index_add_(0, seen.row - first, share * seen.latents.to(torch.float64))
        parts.append(sparse.csr_array(pooled.numpy()))
        means = torch.zeros((n, dictionary.d_in), dtype=torch.float64)
        means.index_add_(0, seen.row - first, share * seen.vectors.to(torch.float64))
        vectors[first : last + 1] = means.numpy()
    return Pooled(sparse.vstack(parts, format="csr"), vectors, examples.groups)
