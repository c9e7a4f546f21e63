"""Subgroups and coset concentration where both are known."""

from __future__ import annotations

import pytest
import torch

from interp.fourier import FourierError, coset_concentration, named_group, subgroups


def noise(n, columns, seed=0):
    return torch.randn(n, columns, generator=torch.Generator().manual_seed(seed)).double()


@pytest.mark.parametrize(
    ("name", "count"), [("c7", 0), ("c12", 4), ("d4", 8), ("d5", 6), ("s3", 4), ("s4", 28)]
)
def test_subgroups_are_counted(name, count):
    group = named_group(name)
    found = subgroups(group)
    assert len(found) == count
    for held in found:
        members = torch.tensor(sorted(held))
        assert group.order % len(held) == 0
        assert set(group.table[members][:, members].flatten().tolist()) == held


def test_too_many_subgroups_are_refused(monkeypatch):
    monkeypatch.setattr("interp.fourier.cosets.MOST_SUBGROUPS", 5)
    with pytest.raises(FourierError, match="more than 5 subgroups"):
        subgroups(named_group("s4"))


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_is_constant_on_cosets_scores_one(side):
    group = named_group("s4")
    held = next(h for h in subgroups(group) if len(h) == 6)  # fixes a point: not normal
    members = torch.tensor(sorted(held))
    cosets = group.table[:, members] if side == "left" else group.table[members].T
    values = noise(24, 40)[cosets.min(1).values]
    found = coset_concentration(values, group, n_renamings=9)
    assert found is not None
    assert float(found.concentration.min()) == pytest.approx(1)
    assert set(found.index.tolist()) == {4}, "the largest subgroup, not one of its own"
    assert found.share_above_null == 1
    assert found.p_concentration == 0.1, "the smallest that nine renamings give"
    # Constant on four cosets: the representations (4) and (3,1) alone.
    assert float(found.purity.min()) == pytest.approx(1)


def test_unstructured_inputs_come_out_null():
    group = named_group("s4")
    found = coset_concentration(noise(24, 300), group, n_renamings=9)
    assert found is not None
    assert found.share_above_null < 0.12
    assert found.share_of_pure < 0.12
    assert min(found.p_concentration, found.p_purity) > 0.1
    assert abs(float(found.null[:, 1].mean()) - found.null_level) < 1e-12
    assert found.subgroups == 28 and found.alive == 300


def test_pure_in_a_representation_need_not_be_constant_on_cosets():
    group = named_group("d5")
    pure = group.projection(group.irrep("k=1")) @ noise(10, 60)
    found = coset_concentration(pure, group, n_renamings=9)
    assert found is not None
    assert float(found.purity.min()) == pytest.approx(1)
    assert float(found.concentration.median()) < 0.95


def test_dead_neurons_are_left_out_and_nothing_is_refused():
    group = named_group("d4")
    values = noise(8, 5)
    values[:, 2] = 3.0
    found = coset_concentration(values, group, n_renamings=3)
    assert found is not None and found.alive == 4 and len(found.concentration) == 4
    assert coset_concentration(noise(7, 3), named_group("c7")) is None
    with pytest.raises(FourierError, match="8 finite rows"):
        coset_concentration(noise(7, 3), group)
    with pytest.raises(FourierError, match="no neuron"):
        coset_concentration(torch.ones(8, 3), group)
    with pytest.raises(FourierError, match="at least 1"):
        coset_concentration(values, group, n_renamings=0)
