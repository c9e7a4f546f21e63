"""Random concepts: sets of sentences drawn for nothing, to which a concept's score is compared.

Every set, of a concept or a random one, is fitted against a few sets of negatives (*partners*),
drawn from the pool anew for it, so that what one draw happens to hold is not common to all.
A random concept and its partners share no sentence, and no pair is also taken the other way round,
whose score is minus the first (as in the published code): pairs are unordered and disjoint. Which
of a pair is the concept is a toss, so that scores of random concepts lie symmetrically about zero.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from probes.cav.fitting import Fits, fit_each
from probes.cav.vectors import CAVError

_FEWEST_ROWS = 5
# Sets of the pool that must fit into it: a random concept and two of negatives.
_SETS_IN_POOL = 3


@dataclass(frozen=True, eq=False)
class Draw:
    """Which rows make up concepts, random concepts, and the negatives of each.

    Attributes:
        names: The concepts, in order.
        concepts: Rows of each concept's own activations.
        randoms: Rows of the pool.
        partners: Rows of the pool, for the concepts and then the random ones.
        held_out: Rows of the pool on which vectors are tested.
        concepts_held_out: The same of each concept.
    """

    names: tuple[str, ...]
    concepts: Int[Tensor, "concept row"]
    randoms: Int[Tensor, "random row"]
    partners: Int[Tensor, "set partner row"]
    held_out: Int[Tensor, " row"]
    concepts_held_out: tuple[Int[Tensor, " row"], ...]

    @property
    def size(self) -> int:
        """Rows of every set."""
        return self.concepts.shape[1]


def draw(
    concept_groups: Mapping[str, Sequence[str]],
    pool_groups: Sequence[str],
    *,
    n_random: int,
    n_partners: int,
    largest: int = 100,
    held_out: float = 0.25,
    seed: int,
) -> Draw:
    """Draw sets for all concepts at once; the same at every site.

    All sets are as large as the smallest concept's fitted part, a third of the pool's, or
    ``largest``, whichever is least.

    Args:
        concept_groups: For each concept the group of every row.
        pool_groups: The same of the pool.
        n_random: Random concepts.
        n_partners: Sets of negatives of each.
        largest: Rows of a set at most.
        held_out: Share of each concept's rows, and of the pool's, to test on; no group in both.
        seed: Seeds everything.

    Raises:
        CAVError: the pool or a concept is too small.
    """
    if n_random < 1 or n_partners < 2:
        raise CAVError(f"n_random={n_random}, n_partners={n_partners}: expected at least 1 and 2")
    rng = np.random.default_rng(seed)
    away, pool = _cut(pool_groups, held_out, rng)
    split = {name: _cut(groups, held_out, rng) for name, groups in concept_groups.items()}
    size = min(largest, len(pool) // _SETS_IN_POOL, *(len(fitted) for _, fitted in split.values()))
    if size < _FEWEST_ROWS or not len(away) or any(not len(out) for out, _ in split.values()):
        least = min(concept_groups, key=lambda name: len(concept_groups[name]))
        raise CAVError(
            f"{len(pool_groups)} random sentences and {len(concept_groups[least])} of {least} make "
            f"sets of {size}; expected at least {_FEWEST_ROWS}, so give more of them (six times as "
            "many random ones as of a concept do well)"
        )

    def partners(left: np.ndarray) -> np.ndarray:
        order = rng.permutation(left)
        if len(order) >= n_partners * size:
            return order[: n_partners * size].reshape(n_partners, size)
        return np.stack([rng.permutation(left)[:size] for _ in range(n_partners)])

    negatives = [partners(pool) for _ in split]
    randoms = []
    for _ in range(n_random):
        order = rng.permutation(pool)
        randoms.append(order[:size])
        negatives.append(partners(order[size:]))
    return Draw(
        names=tuple(concept_groups),
        concepts=torch.from_numpy(np.stack([rng.permutation(f)[:size] for _, f in split.values()])),
        randoms=torch.from_numpy(np.stack(randoms)),
        partners=torch.from_numpy(np.stack(negatives)),
        held_out=torch.from_numpy(away),
        concepts_held_out=tuple(torch.from_numpy(out) for out, _ in split.values()),
    )


def fit_draw(
    drawn: Draw,
    concepts: Mapping[str, Float[Tensor, "row d"]],
    pool: Float[Tensor, "row d"],
    *,
    C: float,
) -> Fits:
    """Fit every concept and random concept against every partner of its own, all in one solve.

    Args:
        drawn: The sets.
        concepts: Activations of each concept's sentences.
        pool: Activations of the random sentences.
        C: Inverse strength of the penalty.

    Returns:
        One fit a set and partner, partners fastest: the concepts', then the random ones'.
    """
    rows = torch.cat([pool, *concepts.values()])
    starts = np.cumsum([len(pool), *(len(values) for values in concepts.values())])[:-1]
    own = drawn.concepts + torch.from_numpy(starts)[:, None]
    positives = torch.cat([own, drawn.randoms]).repeat_interleave(drawn.partners.shape[1], dim=0)
    index = torch.cat([positives, drawn.partners.flatten(0, 1)], dim=1)
    labels = torch.zeros(index.shape, dtype=torch.bool)
    labels[:, : drawn.size] = True
    return fit_each(rows, index, labels, C=C)


def _cut(
    groups: Sequence[str], share: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Cut rows in two by group: (about this share, the rest)."""
    names, of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    order = rng.permutation(len(names))
    counts = np.bincount(of)[order]
    # A group belongs where its middle falls.
    first = np.zeros(len(names), dtype=bool)
    first[order] = (np.cumsum(counts) - counts / 2) < share * counts.sum()
    return np.flatnonzero(first[of]), np.flatnonzero(~first[of])
