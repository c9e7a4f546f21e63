"""Character tables by two ways, and groups made of them."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.fourier import (
    FourierError,
    Group,
    Irrep,
    cyclic_group,
    dihedral_group,
    group_of_table,
    named_group,
    symmetric_group,
)
from interp.fourier.basis import fourier_basis
from interp.fourier.characters import (
    characters_of_table,
    conjugacy_classes,
    inverses,
    murnaghan_nakayama,
    partitions,
)

GROUPS = ("c3", "c6", "c7", "d3", "d4", "d5", "d6", "s3", "s4")


def alternating(n: int) -> torch.Tensor:
    def even(p: tuple[int, ...]) -> bool:
        return sum(p[i] > p[j] for i in range(n) for j in range(i + 1, n)) % 2 == 0

    elements = [p for p in permutations(range(n)) if even(p)]
    place = {p: i for i, p in enumerate(elements)}
    return torch.tensor([[place[tuple(a[i] for i in b)] for b in elements] for a in elements])


def quaternions() -> torch.Tensor:
    """1, −1, i, −i, j, −j, k, −k."""
    unit = {(1, 1): (0, 1), (2, 2): (0, 1), (3, 3): (0, 1)}
    for a, b, c in ((1, 2, 3), (2, 3, 1), (3, 1, 2)):
        unit |= {(a, b): (c, 0), (b, a): (c, 1)}

    def times(x: int, y: int) -> int:
        (a, s), (b, t) = divmod(x, 2), divmod(y, 2)
        c, u = unit.get((a, b), (a + b, 0)) if a and b else (a + b, 0)
        return 2 * c + (s + t + u) % 2

    return torch.tensor([[times(x, y) for y in range(8)] for x in range(8)])


def test_the_table_of_s4_is_the_one_in_the_books():
    classes = [(1, 1, 1, 1), (2, 1, 1), (2, 2), (3, 1), (4,)]
    known = {
        (4,): [1, 1, 1, 1, 1],
        (3, 1): [3, 1, -1, 0, -1],
        (2, 2): [2, 0, 2, -1, 0],
        (2, 1, 1): [3, -1, -1, 0, 1],
        (1, 1, 1, 1): [1, -1, 1, 1, -1],
    }
    assert partitions(4) == list(known)
    for shape, values in known.items():
        assert [murnaghan_nakayama(shape, cycles) for cycles in classes] == values


def test_characters_of_s6_are_orthonormal():
    import math

    shapes = partitions(6)
    weights = []
    for cycles in shapes:
        repeats = [cycles.count(part) for part in set(cycles)]
        weights.append(1 / (math.prod(cycles) * math.prod(map(math.factorial, repeats))))
    table = torch.tensor([[murnaghan_nakayama(s, c) for c in shapes] for s in shapes]).double()
    gram = table * torch.tensor(weights, dtype=torch.float64) @ table.T
    assert torch.allclose(gram, torch.eye(len(shapes)).double(), atol=1e-12)


@pytest.mark.parametrize("name", GROUPS)
def test_projections_are_orthogonal_and_add_up_to_one(name):
    group = named_group(name)
    each = [group.projection(irrep) for irrep in group.irreps]
    assert torch.allclose(sum(each), torch.eye(group.order).double(), atol=1e-13)
    for i, (irrep, one) in enumerate(zip(group.irreps, each, strict=True)):
        assert torch.allclose(one @ one, one, atol=1e-13)
        assert float(one.trace()) == pytest.approx(irrep.rank)
        assert all(float((one @ other).abs().max()) < 1e-13 for other in each[:i])


@pytest.mark.parametrize("name", GROUPS)
def test_two_ways_to_the_same_characters(name):
    group = named_group(name)
    found = group_of_table(group.table)
    assert len(found.irreps) == len(group.irreps)
    for irrep in group.irreps:
        gaps = [float((irrep.character - other.character).abs().max()) for other in found.irreps]
        match = found.irreps[gaps.index(min(gaps))]
        assert min(gaps) < 1e-10
        assert (match.dimension, match.paired) == (irrep.dimension, irrep.paired)


@settings(deadline=None, max_examples=15)
@given(st.integers(3, 24))
def test_over_residues_it_is_the_fourier_basis(n):
    group, basis = cyclic_group(n), fourier_basis(n)
    for k, irrep in enumerate(group.irreps):
        rows = basis[(torch.arange(n) + 1) // 2 == k]
        assert torch.allclose(group.projection(irrep), rows.T @ rows, atol=1e-12)


def test_groups_that_have_no_name():
    four = group_of_table(alternating(4), name="A4")
    assert [(r.dimension, r.paired) for r in four.irreps] == [(1, False), (1, True), (3, False)]
    eight = group_of_table(quaternions(), name="Q8")
    assert [r.dimension for r in eight.irreps] == [1, 1, 1, 1, 2]
    total = sum(eight.projection(r) for r in eight.irreps)
    assert torch.allclose(total, torch.eye(8).double(), atol=1e-12)
    assert len(characters_of_table(symmetric_group(4).table)) == 5


def test_classes_and_inverses():
    group = symmetric_group(4)
    assert sorted(torch.bincount(conjugacy_classes(group.table)).tolist()) == [1, 3, 6, 6, 8]
    assert torch.equal(group.table[torch.arange(24), group.inverse], torch.zeros(24).long())
    assert group.quotients[5, 5] == 0
    assert repr(group) == "Group(S4, order 24, 5 representations)"
    assert dihedral_group(6).names == ("trivial", "sign", "r-sign", "rs-sign", "k=1", "k=2")


def test_a_renamed_group_is_the_same_group():
    group = dihedral_group(5)
    order = torch.cat([torch.zeros(1).long(), 1 + torch.randperm(9)])
    renamed = group.relabelled(order)
    assert not torch.equal(renamed.table, group.table)
    a, b = 3, 7
    assert renamed.table[order[a], order[b]] == order[group.table[a, b]]
    for old, new in zip(group.irreps, renamed.irreps, strict=True):
        assert torch.equal(new.character[order], old.character)
    with pytest.raises(FourierError, match="beginning with 0"):
        group.relabelled(torch.arange(10).flip(0))


@pytest.mark.parametrize(
    ("table", "said"),
    [
        (torch.zeros(3, 4).long(), r"\[g, g\]"),
        (torch.tensor([[1, 0], [0, 1]]), "identity"),
        (torch.tensor([[0, 1, 2], [1, 2, 2], [2, 0, 1]]), "each element once"),
        (
            torch.tensor(
                [
                    [0, 1, 2, 3, 4],
                    [1, 0, 3, 4, 2],
                    [2, 4, 0, 1, 3],
                    [3, 2, 4, 0, 1],
                    [4, 3, 1, 2, 0],
                ]
            ),
            "not associative",
        ),
    ],
)
def test_what_is_no_group_is_refused(table, said):
    with pytest.raises(FourierError, match=said):
        inverses(table)


def test_bad_names_and_sizes_are_refused():
    with pytest.raises(FourierError, match="such as c12"):
        named_group("q8")
    with pytest.raises(FourierError, match="at least 3"):
        cyclic_group(2)
    with pytest.raises(FourierError, match="3 to 6"):
        symmetric_group(7)
    with pytest.raises(FourierError, match=r"did you mean .*\(3,1\)"):
        symmetric_group(4).irrep("(3,2)")
    with pytest.raises(FourierError, match="same number"):
        murnaghan_nakayama((2, 1), (2,))
    trivial = Irrep("trivial", 1, torch.ones(3).double())
    with pytest.raises(FourierError, match="add up to 3"):
        Group("half", cyclic_group(3).table, (trivial,))
