"""Matrices of representations multiply as the group does, and their traces are the characters."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from interp.fourier import (
    FourierError,
    cyclic_group,
    dihedral_group,
    representation_matrices,
    symmetric_group,
)

GROUPS = [cyclic_group(7), cyclic_group(8), dihedral_group(5), dihedral_group(6)]
GROUPS += [symmetric_group(3), symmetric_group(4)]


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_they_multiply_as_the_group_does(group):
    for irrep in group.irreps:
        found = representation_matrices(group, irrep)
        products = torch.einsum("aij,bjk->abik", found, found)
        torch.testing.assert_close(products, found[group.table], atol=1e-9, rtol=0)
        eye = torch.eye(found.shape[1], dtype=torch.float64).expand_as(found)
        torch.testing.assert_close(found @ found.mT, eye, atol=1e-9, rtol=0)
        traces = found.diagonal(dim1=1, dim2=2).sum(1)
        torch.testing.assert_close(traces, irrep.character, atol=1e-9, rtol=0)


@pytest.mark.parametrize("group", GROUPS, ids=lambda g: g.name)
def test_their_entries_span_what_the_projection_keeps(group):
    for irrep in group.irreps:
        entries = representation_matrices(group, irrep).flatten(1)
        torch.testing.assert_close(group.projection(irrep) @ entries, entries, atol=1e-9, rtol=0)
        assert int(torch.linalg.matrix_rank(entries, atol=1e-6)) == irrep.rank


def test_s5_by_name():
    group = symmetric_group(5)
    found = representation_matrices(group, "(3,1,1)")
    assert found.shape == (120, 6, 6)
    torch.testing.assert_close(found[7] @ found[90], found[group.table[7, 90]], atol=1e-9, rtol=0)


def test_what_is_no_irreducible_representation_is_refused():
    group = symmetric_group(4)
    with pytest.raises(FourierError, match="no representation"):
        representation_matrices(group, "(5)")
    one = group.irrep("(3,1)")
    other = dataclasses.replace(one, character=one.character + group.irrep("(4)").character)
    with pytest.raises(FourierError, match="no real matrices"):
        representation_matrices(group, other)
