"""Margins of networks written down, not trained: the largest is reached and not exceeded."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.fourier import (
    FourierError,
    QuadraticNetwork,
    best_cyclic,
    best_parity,
    cyclic_group,
    cyclic_neurons,
    dihedral_group,
    group_of_table,
    largest_margin,
    largest_parity_margin,
    normalised_margin,
    read_parity,
    symmetric_group,
)
from interp.zoo.groups.quadratic import (
    QuadraticConfig,
    parity_data,
    train_on_group,
    train_on_parity,
)


def drawn(n, neurons=20, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return QuadraticNetwork(*(torch.randn(neurons, n, generator=generator) for _ in range(3)))


@pytest.mark.parametrize("n", [3, 5, 7, 9, 11, 17])
def test_the_construction_has_the_largest_margin(n):
    group, network = cyclic_group(n), best_cyclic(n)
    assert len(network.u) == 4 * (n - 1)
    assert abs(normalised_margin(network, group.table) / largest_margin(group) - 1) < 1e-12
    found = cyclic_neurons(network)
    assert found.mean_power == pytest.approx(1)
    assert found.agreement == found.coverage == 1
    assert found.mean_residual == pytest.approx(0, abs=1e-6)


@settings(deadline=None, max_examples=20)
@given(st.sampled_from([3, 5, 7]), st.integers(0, 10_000), st.floats(0, 3))
def test_nothing_near_it_has_a_larger_one(n, seed, size):
    best, noise = best_cyclic(n), drawn(n, 4 * (n - 1), seed)
    moved = QuadraticNetwork(*(getattr(best, x) + size * getattr(noise, x) for x in "uvw"))
    group = cyclic_group(n)
    assert normalised_margin(moved, group.table) <= largest_margin(group) * (1 + 1e-9)


def test_the_margin_does_not_depend_on_the_scale():
    group, network = cyclic_group(5), drawn(5)
    larger = QuadraticNetwork(*(3 * getattr(network, x) for x in "uvw"))
    margin = normalised_margin(network, group.table)
    assert normalised_margin(larger, group.table) == pytest.approx(margin)
    assert margin < 0, "an untrained network is wrong somewhere"


def test_other_phases_or_frequencies_show():
    best = best_cyclic(7)
    turned = QuadraticNetwork(best.u, best.v, best.w.roll(1, dims=1))
    residual = cyclic_neurons(turned).mean_residual
    assert residual is not None and residual > 0.5
    assert normalised_margin(turned, cyclic_group(7).table) < 0
    one = best.w.clone()
    one[8:] = 0
    only = QuadraticNetwork(best.u * (one != 0), best.v * (one != 0), one)
    assert cyclic_neurons(only).coverage == pytest.approx(1 / 3)
    null = cyclic_neurons(drawn(101, 400))
    assert null.mean_power < 0.15 and null.agreement < 0.05


def test_the_largest_margin_by_formula():
    assert largest_margin(cyclic_group(5)) == pytest.approx(math.sqrt(2 / 27) / (math.sqrt(5) * 4))
    dims = 1 + 2**2.5
    assert largest_margin(symmetric_group(3)) == pytest.approx(2 / (3 * math.sqrt(18)) / dims)
    assert largest_margin(dihedral_group(3)) == pytest.approx(largest_margin(symmetric_group(3)))
    assert largest_margin(group_of_table(cyclic_group(5).table)) == pytest.approx(
        largest_margin(cyclic_group(5))
    )


def test_where_no_formula_is_known_it_is_refused():
    with pytest.raises(FourierError, match="odd order"):
        largest_margin(cyclic_group(6))
    assert largest_margin(symmetric_group(5)) > 0
    with pytest.raises(FourierError, match="the theorem of the largest margin needs"):
        largest_margin(symmetric_group(6))
    table = torch.cartesian_prod(torch.arange(3), torch.arange(5))
    product = (table[:, None] + table) % torch.tensor([3, 5])
    # Residues mod 15 in another order: cyclic all the same.
    fifteen = group_of_table(product[..., 0] * 5 + product[..., 1])
    assert largest_margin(fifteen) == pytest.approx(largest_margin(cyclic_group(15)))
    mixed = torch.cartesian_prod(torch.arange(3), torch.arange(6))
    turned = 1 - 2 * (mixed[:, 1] // 3)
    left = (mixed[:, 0][:, None] + mixed[:, 0]) % 3
    dihedral = (mixed[:, 1] % 3)[:, None] + turned[:, None] * (mixed[:, 1] % 3)
    both = (
        left * 6 + dihedral % 3 + 3 * ((mixed[:, 1] // 3)[:, None] + mixed[:, 1] // 3).remainder(2)
    )
    with pytest.raises(FourierError, match="all real"):
        largest_margin(group_of_table(both, name="C3 × S3"))


@pytest.mark.parametrize(("n", "k"), [(2, 2), (5, 2), (5, 3), (6, 4)])
def test_the_parity_construction_has_the_largest_margin(n, k):
    u, w = best_parity(n, k)
    rows, answers = parity_data(n, k)
    found = read_parity(u, w, rows, answers, list(range(k)))
    assert abs(found.margin / largest_parity_margin(k) - 1) < 1e-12
    assert found.share == pytest.approx(1)
    assert found.on_support == pytest.approx(1) and found.evenness == pytest.approx(1)
    uneven = u.clone()
    uneven[:, 0] *= 1.3
    less = read_parity(uneven, w, rows, answers, list(range(k)))
    assert less.share < 1 and less.evenness == pytest.approx(1 / 1.3)


def test_what_does_not_fit_is_refused():
    with pytest.raises(FourierError, match="one shape"):
        QuadraticNetwork(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 4))
    with pytest.raises(FourierError, match="finite"):
        QuadraticNetwork(*([torch.full((2, 3), float("inf"))] * 3))
    nothing = QuadraticNetwork(*([torch.zeros(2, 3)] * 3))
    for measure in (lambda: normalised_margin(nothing, cyclic_group(3).table),):
        with pytest.raises(FourierError, match="all weights are zero"):
            measure()
    with pytest.raises(FourierError, match="all weights are zero"):
        cyclic_neurons(nothing)
    with pytest.raises(FourierError, match=r"\[3, 3\]"):
        normalised_margin(nothing, cyclic_group(5).table)
    with pytest.raises(FourierError, match="odd"):
        best_cyclic(6)
    with pytest.raises(FourierError, match="odd"):
        cyclic_neurons(drawn(6))
    with pytest.raises(FourierError, match="at least 2"):
        largest_parity_margin(1)
    with pytest.raises(FourierError, match="2 ≤ k ≤ n"):
        best_parity(3, 4)
    with pytest.raises(FourierError, match=r"w \[neuron, 2\]"):
        read_parity(torch.zeros(2, 3), torch.zeros(2, 3), *parity_data(3, 2), [0, 1])
    with pytest.raises(ValueError, match="2 ≤ k ≤ n"):
        parity_data(3, 9)
    with pytest.raises(ValueError, match="lr"):
        QuadraticConfig(lr=0)
    with pytest.raises(ValueError, match="hidden"):
        QuadraticConfig(hidden=0)


def test_training_is_the_same_from_the_same_seed_and_can_diverge():
    how = QuadraticConfig(hidden=8, steps=5)
    one, other = (train_on_group(cyclic_group(3).table, how) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(one, other, strict=True))
    assert one[0].dtype == torch.float64 and one[0].shape == (8, 3)
    with pytest.raises(ValueError, match="diverged"):
        train_on_parity(3, 2, QuadraticConfig(hidden=4, steps=4, lr=1e30))
