"""Finite groups with their irreducible representations, and the projection onto each.

Only characters are needed, no matrices (for those see ``representations``): with K_ρ[x, g] =
(d_ρ/|G|)·χ_ρ(xg⁻¹), the functions on G that are matrix entries of ρ are the image of K_ρ, these
images are orthogonal, and Σ_ρ K_ρ = 1 (Schur). A complex representation and its conjugate are taken
together, so that everything is real: over a cyclic group this is the real Fourier basis by
frequency.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from itertools import permutations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.characters import (
    Partition,
    characters_of_table,
    inverses,
    murnaghan_nakayama,
    partitions,
)


@dataclass(frozen=True, eq=False)
class Irrep:
    """One irreducible representation, or a complex one and its conjugate taken together.

    Attributes:
        name: What it is called.
        dimension: d; of one of the two, if paired.
        character: At every element; the sum of both, if paired.
        paired: Whether it stands for two.
    """

    name: str
    dimension: int
    character: Float[Tensor, " g"]
    paired: bool = False

    @property
    def rank(self) -> int:
        """Dimension of the space of its matrix entries: d², or 2d²."""
        return self.dimension**2 * (2 if self.paired else 1)


@dataclass(frozen=True, eq=False)
class Group:
    """A finite group, its elements numbered from the identity, 0.

    Attributes:
        name: What it is called.
        table: ``table[a, b]`` is ab.
        irreps: Its representations, the trivial one first.
    """

    name: str
    table: Int[Tensor, "g g"]
    irreps: tuple[Irrep, ...]

    def __post_init__(self) -> None:
        inverses(self.table)
        first = self.irreps[0].character
        if not bool((first - 1).abs().max() < 1e-9):
            raise FourierError(f"{self.name}: the first representation must be the trivial one")
        if sum(irrep.rank for irrep in self.irreps) != self.order:
            raise FourierError(f"{self.name}: dimensions squared must add up to {self.order}")

    def __repr__(self) -> str:
        return f"Group({self.name}, order {self.order}, {len(self.irreps)} representations)"

    @property
    def order(self) -> int:
        """|G|."""
        return len(self.table)

    @cached_property
    def commutative(self) -> bool:
        """Whether ab is ba for all elements."""
        return torch.equal(self.table, self.table.T)

    @cached_property
    def inverse(self) -> Int[Tensor, " g"]:
        """The inverse of each element."""
        return inverses(self.table)

    @cached_property
    def quotients(self) -> Int[Tensor, "g g"]:
        """``quotients[x, g]`` is xg⁻¹."""
        return self.table[:, self.inverse]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the representations."""
        return tuple(irrep.name for irrep in self.irreps)

    def irrep(self, name: str) -> Irrep:
        """A representation by name.

        Raises:
            FourierError: none of that name.
        """
        if name in self.names:
            return self.irreps[self.names.index(name)]
        near = difflib.get_close_matches(name, self.names, n=3) or self.names[:8]
        raise FourierError(f"{self.name} has no representation {name!r}; did you mean {near}?")

    def projection(self, irrep: Irrep) -> Float[Tensor, "g g"]:
        """K_ρ: the projection of functions on the group onto matrix entries of ρ; float64."""
        return irrep.dimension / self.order * irrep.character[self.quotients]

    def relabelled(self, order: Sequence[int] | Int[Tensor, " g"]) -> Group:
        """The same group with its elements called otherwise: x is called ``order[x]``.

        The identity keeps its number: ``order[0]`` must be 0.

        Raises:
            FourierError: not such an order.
        """
        new = torch.as_tensor(order)
        old = new.argsort()
        if not torch.equal(new[old], torch.arange(self.order)) or int(new[0]) != 0:
            raise FourierError(f"expected each of 0…{self.order - 1} once, beginning with 0")
        irreps = tuple(Irrep(r.name, r.dimension, r.character[old], r.paired) for r in self.irreps)
        return Group(f"{self.name}, relabelled", new[self.table[old][:, old]], irreps)


@cache
def cyclic_group(n: int) -> Group:
    """C_n: element i is the residue i. Representations ``k=1`` … are frequencies.

    Raises:
        FourierError: n below 3.
    """
    _at_least_three("cyclic", n)
    turn = torch.arange(n)
    irreps = [Irrep("trivial", 1, torch.ones(n, dtype=torch.float64))]
    for k in range(1, n // 2 + 1):
        paired = 2 * k < n
        irreps.append(Irrep(f"k={k}", 1, (2 if paired else 1) * _cosine(k, n), paired))
    return Group(f"C{n}", (turn[:, None] + turn) % n, tuple(irreps))


@cache
def dihedral_group(n: int) -> Group:
    """D_n, of order 2n: element i is the rotation rⁱ, n + i is rⁱs, with s a reflection.

    ``sign`` is −1 at reflections; for even n ``r-sign`` is −1 at odd rotations and ``rs-sign`` is
    the product of both; ``k=1`` … have two dimensions and turn r by 2πk/n.

    Raises:
        FourierError: n below 3.
    """
    _at_least_three("dihedral", n)
    turn, flipped = torch.arange(n).repeat(2), torch.arange(2).repeat_interleave(n)
    turned = (turn[:, None] + (1 - 2 * flipped)[:, None] * turn) % n
    table = turned + n * ((flipped[:, None] + flipped) % 2)
    sign, parity = (1.0 - 2 * x.double() for x in (flipped, turn % 2))
    irreps = [Irrep("trivial", 1, torch.ones_like(sign)), Irrep("sign", 1, sign)]
    if n % 2 == 0:
        irreps += [Irrep("r-sign", 1, parity), Irrep("rs-sign", 1, sign * parity)]
    for k in range(1, (n - 1) // 2 + 1):
        on_rotations = 2 * _cosine(k, n)
        irreps.append(Irrep(f"k={k}", 2, torch.cat([on_rotations, torch.zeros(n).double()])))
    return Group(f"D{n}", table, tuple(irreps))


@cache
def symmetric_group(n: int) -> Group:
    """S_n: permutations in lexicographic order; ab is first b, then a.

    Representations are named by partitions: ``(3,1)`` permutes coordinates that add up to 0,
    ``(1,1,1,1)`` is the sign. Characters by :func:`interp.fourier.characters.murnaghan_nakayama`.

    Raises:
        FourierError: n below 3 or above 6 (a table of 5040² is not held here).
    """
    if not 3 <= n <= 6:
        raise FourierError(f"n is {n}; expected the symmetric group on 3 to 6 points")
    elements = list(permutations(range(n)))
    place = {element: i for i, element in enumerate(elements)}
    table = [[place[tuple(a[i] for i in b)] for b in elements] for a in elements]
    types = [_cycle_type(element) for element in elements]
    irreps = []
    for shape in partitions(n):
        values = [float(murnaghan_nakayama(shape, cycles)) for cycles in types]
        name = f"({','.join(map(str, shape))})"
        irreps.append(Irrep(name, int(values[0]), torch.tensor(values, dtype=torch.float64)))
    return Group(f"S{n}", torch.tensor(table), tuple(irreps))


def named_group(name: str) -> Group:
    """A group by a short name: ``c12``, ``d6`` or ``s4``.

    Raises:
        FourierError: another name.
    """
    makers = {"c": cyclic_group, "d": dihedral_group, "s": symmetric_group}
    maker = makers.get(name[:1].lower())
    if maker is None or not name[1:].isdecimal():
        raise FourierError(f"no group {name!r}; expected cN, dN or sN, such as c12, d6 or s4")
    return maker(int(name[1:]))


def group_of_table(table: Int[Tensor, "g g"], *, name: str = "group") -> Group:
    """Any finite group, from its multiplication table alone.

    Args:
        table: ``table[a, b]`` is ab; element 0 is the identity.
        name: What it is called.

    Raises:
        FourierError: the table is not that of a group.
    """
    left = list(characters_of_table(table))
    irreps: list[Irrep] = []
    while left:
        found = left.pop(0)
        dimension = round(float(found[0].real))
        label = f"{dimension}-dimensional {sum(r.dimension == dimension for r in irreps) + 1}"
        if float(found.imag.abs().max()) < 1e-6:
            irreps.append(Irrep(label if irreps else "trivial", dimension, found.real.clone()))
            continue
        gaps = [float((other - found.conj()).abs().max()) for other in left]
        del left[gaps.index(min(gaps))]
        irreps.append(Irrep(label, dimension, 2 * found.real, paired=True))
    return Group(name, table.to(torch.int64), tuple(irreps))


def _cosine(k: int, n: int) -> Float[Tensor, " n"]:
    return (2 * math.pi * k / n * torch.arange(n, dtype=torch.float64)).cos()


def _cycle_type(element: tuple[int, ...]) -> Partition:
    left, lengths = set(range(len(element))), []
    while left:
        at, length = min(left), 0
        while at in left:
            left.remove(at)
            at, length = element[at], length + 1
        lengths.append(length)
    return tuple(sorted(lengths, reverse=True))


def _at_least_three(kind: str, n: int) -> None:
    if n < 3:
        raise FourierError(f"n is {n}; expected a {kind} group with n of at least 3")
