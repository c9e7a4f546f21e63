"""Character tables, computed: of symmetric groups by a rule, of any group from its table.

Two ways that share nothing, so that each tests the other:

* :func:`murnaghan_nakayama`: the character of a partition at a cycle type, by taking rim hooks off.
* :func:`characters_of_table`: Burnside's algorithm, in floating point. The sums over conjugacy
  classes commute, and the characters are their common eigenvectors.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import torch
from jaxtyping import Complex, Int
from torch import Tensor

from interp.fourier.basis import FourierError

Partition = tuple[int, ...]


def partitions(n: int) -> list[Partition]:
    """Partitions of n, parts descending: (n) first, (1, …, 1) last."""

    def with_largest(left: int, largest: int) -> Iterator[Partition]:
        if left == 0:
            yield ()
        for part in range(min(left, largest), 0, -1):
            for rest in with_largest(left - part, part):
                yield (part, *rest)

    return list(with_largest(n, n))


def murnaghan_nakayama(shape: Partition, cycles: Partition) -> int:
    """The irreducible character of a symmetric group named by ``shape``, at a cycle type.

    Sum over rim hooks of length ``cycles[0]`` that can be taken off the diagram, minus for odd
    height, of the character of what is left at the other cycles (Murnaghan 1937, Nakayama 1940).
    Diagrams are held as first-column hook lengths: taking off a rim hook of length r lowers one of
    these by r, and its height is the number of others jumped over.

    >>> murnaghan_nakayama((2, 1), (3,))
    -1

    Raises:
        FourierError: not partitions of the same number.
    """
    for name, parts in (("shape", shape), ("cycles", cycles)):
        if any(p < 1 for p in parts) or sum(parts) != sum(shape):
            raise FourierError(f"{name}={parts}: expected two partitions of the same number")
    ordered = sorted(shape)
    return _character(frozenset(part + i for i, part in enumerate(ordered)), cycles)


@cache
def _character(hooks: frozenset[int], cycles: Partition) -> int:
    if not cycles:
        return 1
    first, rest = cycles[0], cycles[1:]
    total = 0
    for hook in hooks:
        lower = hook - first
        if lower >= 0 and lower not in hooks:
            jumped = sum(lower < other < hook for other in hooks)
            total += (-1) ** jumped * _character(hooks - {hook} | {lower}, rest)
    return total


def inverses(table: Int[Tensor, "g g"]) -> Int[Tensor, " g"]:
    """The inverse of every element of a group, from its table with element 0 the identity.

    Raises:
        FourierError: the table is not that of a group; the message says what fails.
    """
    n = len(table)
    if table.ndim != 2 or table.shape[1] != n or n < 2 or table.is_floating_point():
        raise FourierError(f"a group's table must be whole numbers [g, g], got {list(table.shape)}")
    every = torch.arange(n)
    if not (torch.equal(table[0], every) and torch.equal(table[:, 0], every)):
        raise FourierError("element 0 of a group's table must be the identity")
    if any(
        not torch.equal(table.sort(dim=d).values.movedim(d, 1), every.expand(n, n)) for d in (0, 1)
    ):
        raise FourierError("every row and column of a group's table must hold each element once")
    for a in range(n):
        if not torch.equal(table[table[a]], table[a][table]):
            raise FourierError(f"the table is not associative: (a·b)·c ≠ a·(b·c) for a = {a}")
    return (table == 0).int().argmax(1)


def conjugacy_classes(table: Int[Tensor, "g g"]) -> Int[Tensor, " g"]:
    """The number of each element's class; classes in the order of their first elements.

    Raises:
        FourierError: the table is not that of a group.
    """
    inverse = inverses(table)
    conjugates = table[table, inverse[:, None]]  # [x, g]: x g x⁻¹
    lowest = conjugates.min(0).values
    return torch.searchsorted(lowest.unique(), lowest)


def characters_of_table(table: Int[Tensor, "g g"]) -> Complex[Tensor, "irrep g"]:
    """The irreducible characters of any group at its elements, by dimension, the trivial one first.

    With ω(C) = |C|χ(C)/d the class sums multiply as ω(C_r)ω(C_s) = Σ_t a_rst ω(C_t), a_rst counting
    the ways to write an element of C_t as a product from C_r and C_s. So ω is an eigenvector of
    every matrix a_r, and of a random sum of them, whose eigenvalues differ. (Dixon 1967 does this
    in exact arithmetic.)

    Raises:
        FourierError: the table is not that of a group, or the characters found are not orthonormal.
    """
    inverse, of = inverses(table), conjugacy_classes(table)
    n, k = len(table), int(of.max()) + 1
    sizes = torch.bincount(of).double()
    firsts = torch.tensor([int((of == t).int().argmax()) for t in range(k)])
    ways = torch.zeros((k, k, k), dtype=torch.float64)  # [t, r, s]
    for t, z in enumerate(firsts.tolist()):
        pairs = of * k + of[table[inverse, z]]  # z = x · x⁻¹z
        ways[t] = torch.bincount(pairs, minlength=k * k).reshape(k, k)
    weights = torch.randn(k, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    mixed = torch.einsum("trs,r->st", ways, weights)
    omega = torch.linalg.eig(mixed).eigenvectors.T
    omega = omega / omega[:, :1]
    ratio = omega / sizes  # χ/d
    dimensions = (n / (sizes * ratio.abs().square()).sum(1)).sqrt()
    characters = (dimensions[:, None] * ratio)[:, of]
    gram = characters @ characters.conj().T / n
    if not torch.allclose(gram, torch.eye(k, dtype=gram.dtype), atol=1e-7):
        raise FourierError("the characters of this table came out inexact; is it a large group?")
    order = sorted(
        range(k),
        key=lambda i: (round(float(dimensions[i])), -round(float(characters[i].real.sum()))),
    )
    return characters[order]
