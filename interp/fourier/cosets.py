"""Coset concentration: are a neuron's inputs constant on the cosets of a subgroup?

The other reading of the same networks. Stander et al. (2023), "Grokking Group Multiplication with
Cosets" (arXiv 2312.06581), take networks of S₅ and S₆ apart into neurons that tell cosets of
subgroups from one another. This measures one thing that they describe, and only that:

For a neuron with input weights w over the elements, and a partition of the group into the left
cosets xH or the right cosets Hx of a subgroup H, R² is the share of w's variance that lies between
cosets. A random partition with m cosets has R² = (m − 1)/(|G| − 1) on average, so

    concentration = 1 − (1 − R²)(|G| − 1)/(|G| − m),

the adjusted R² of one-way analysis of variance: 0 on average without structure, 1 if w is constant
on every coset. A neuron's score is the largest over all subgroups but the trivial one and the whole
group, left and right. A function constant on the cosets of H is so on those of every subgroup of H:
``index`` is that of the largest subgroup that comes near the largest score. Being a largest of many
the score exceeds 0 by chance, so it stands beside the same largest for randomly renamed elements.

It does not decide between the readings. Functions constant on the cosets of H are sums of matrix
entries of the representations in the permutation of G/H, so a neuron can be pure in both:
``purity`` of the same neuron, its largest share in one representation, is given beside it. Nor is
it a load.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.evidence import rank_p_value
from interp.fourier.basis import FourierError
from interp.fourier.groups import Group
from interp.fourier.groups_shares import weight_shares

MOST_SUBGROUPS = 2000
"""More than this are not enumerated."""

_NEAR = 0.05


@dataclass(frozen=True, eq=False)
class CosetScore:
    """Coset concentration and representation purity of each neuron.

    Attributes:
        concentration: Largest adjusted R² over subgroups and sides, of each live neuron.
        index: |G|/|H| for the largest subgroup that comes within .05 of it.
        null: The largest of any neuron, and the 95th percentile over neurons, in each renaming,
            ``[renaming, 2]``.
        purity: The largest share of a neuron's input variance in one representation.
        null_purity: The same two numbers for purity.
        subgroups: How many were tried.
        alive: How many neurons have inputs that vary.
    """

    concentration: Float[Tensor, " neuron"]
    index: Int[Tensor, " neuron"]
    null: Float[Tensor, "renaming 2"]
    purity: Float[Tensor, " neuron"]
    null_purity: Float[Tensor, "renaming 2"]
    subgroups: int
    alive: int

    @property
    def mean(self) -> float:
        """Mean concentration over live neurons."""
        return float(self.concentration.mean())

    @property
    def null_level(self) -> float:
        """The 95th percentile of neurons under renaming, the mean over renamings."""
        return float(self.null[:, 1].mean())

    @property
    def share_above_null(self) -> float:
        """Share of live neurons above :attr:`null_level`; .05 where there is nothing to find."""
        return float((self.concentration > self.null_level).double().mean())

    @property
    def share_of_pure(self) -> float:
        """Share of live neurons whose purity is above its own 95th percentile under renaming."""
        return float((self.purity > float(self.null_purity[:, 1].mean())).double().mean())

    @property
    def p_concentration(self) -> float:
        """Rank of the neurons' 95th percentile of concentration among renamings, never 0."""
        return _rank(self.concentration, self.null)

    @property
    def p_purity(self) -> float:
        """The same for purity."""
        return _rank(self.purity, self.null_purity)


def subgroups(group: Group) -> list[frozenset[int]]:
    """All subgroups but the trivial one and the whole group, the smallest first.

    Joins of cyclic subgroups, until no new one appears.

    Raises:
        FourierError: there are more than :data:`MOST_SUBGROUPS`.
    """
    table = group.table.numpy()
    cyclic = {_closure(table, (x,)) for x in range(1, group.order)}
    found, fresh = set(cyclic), set(cyclic)
    while fresh:
        joined = {
            _closure(table, tuple(old | one)) for old in fresh for one in cyclic if not one <= old
        }
        fresh = joined - found
        found |= fresh
        if len(found) > MOST_SUBGROUPS:
            raise FourierError(f"{group.name} has more than {MOST_SUBGROUPS} subgroups")
    proper = [held for held in found if len(held) < group.order]
    return sorted(proper, key=lambda held: (len(held), sorted(held)))


def coset_concentration(
    inputs: Float[Tensor, "g neuron"], group: Group, *, n_renamings: int = 19, seed: int = 0
) -> CosetScore | None:
    """How near each neuron's inputs are to being constant on cosets of one subgroup.

    Args:
        inputs: W_a or W_b, one row an element (``GroupRun``).
        group: The group.
        n_renamings: Random renamings of the elements, for the null.
        seed: Draws them.

    Returns:
        The scores of neurons whose inputs vary; None where the group has no subgroups to speak of,
        as a cyclic group of prime order.

    Raises:
        FourierError: another number of rows, not finite, no neuron that varies, or too many
            subgroups.
    """
    if len(inputs) != group.order or not bool(torch.isfinite(inputs).all()):
        raise FourierError(
            f"inputs over {group.name} must be {group.order} finite rows, got {len(inputs)}"
        )
    if n_renamings < 1:
        raise FourierError(f"n_renamings is {n_renamings}; expected at least 1")
    held = subgroups(group)
    if not held:
        return None
    wide = inputs.detach().cpu().double()
    centred = wide - wide.mean(0)
    energy = centred.square().sum(0)
    alive: Bool[Tensor, " neuron"] = energy > 1e-12 * float(energy.max())
    if not bool(alive.any()) or not float(energy.max()) > 0:
        raise FourierError("no neuron's inputs vary over the group")
    units = (centred / energy.sqrt().clamp(min=1e-300))[:, alive]
    partitions, owner, counts = _partitions(group, held)

    def scored(rows: Tensor) -> tuple[Tensor, Tensor]:
        sums = partitions @ rows  # [coset of any partition, neuron]
        sizes = partitions.sum(1, keepdim=True)
        between = torch.zeros((len(counts), rows.shape[1]), dtype=torch.float64)
        between.index_add_(0, owner, sums.square() / sizes)
        free = (group.order - 1) / (group.order - counts.double())[:, None]
        found = 1 - (1 - between) * free
        best = found.max(0).values
        near = torch.where(found >= best - _NEAR, counts[:, None], group.order)
        return best, near.min(0).values

    def purity(rows: Tensor) -> Tensor:
        return weight_shares(rows, group, each=True).max(1).values

    generator = torch.Generator().manual_seed(seed)
    null, null_purity = [], []
    for _ in range(n_renamings):
        renamed = units[torch.randperm(group.order, generator=generator)]
        null.append(_top(scored(renamed)[0]))
        null_purity.append(_top(purity(renamed)))
    concentration, index = scored(units)
    return CosetScore(
        concentration=concentration,
        index=index,
        null=torch.stack(null),
        purity=purity(units),
        null_purity=torch.stack(null_purity),
        subgroups=len(held),
        alive=int(alive.sum()),
    )


def _rank(values: Tensor, null: Float[Tensor, "renaming 2"]) -> float:
    return rank_p_value(float(_top(values)[1]), null[:, 1].tolist())


def _top(values: Tensor) -> Float[Tensor, " 2"]:
    return torch.stack([values.max(), values.quantile(0.95)])


def _closure(table: np.ndarray, seeds: tuple[int, ...]) -> frozenset[int]:
    """The subgroup that some elements generate; in a finite group products are enough."""
    held = np.unique(np.array([0, *seeds]))
    while True:
        wider = np.unique(table[np.ix_(held, held)])
        if len(wider) == len(held):
            return frozenset(held.tolist())
        held = wider


def _partitions(
    group: Group, held: list[frozenset[int]]
) -> tuple[Float[Tensor, "coset g"], Int[Tensor, " coset"], Int[Tensor, " partition"]]:
    """Cosets of all subgroups as indicator rows, each partition once, and whose they are."""
    known: set[tuple[int, ...]] = set()
    rows, owner = [], []
    counts: list[int] = []
    for subgroup in held:
        members = torch.tensor(sorted(subgroup))
        # The least element of xH, or of Hx, names the coset.
        for names in (group.table[:, members].min(1).values, group.table[members].min(0).values):
            if tuple(names.tolist()) in known:  # a normal subgroup: left and right are the same
                continue
            known.add(tuple(names.tolist()))
            firsts = names.unique()
            rows.append((names == firsts[:, None]).double())
            owner.append(torch.full((len(firsts),), len(counts)))
            counts.append(len(firsts))
    return torch.cat(rows), torch.cat(owner), torch.tensor(counts)
