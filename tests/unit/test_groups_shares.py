"""Shares by representation on logits, weights and neurons whose answer is known."""

from __future__ import annotations

import pytest
import torch

from interp.fourier import (
    FourierError,
    cyclic_group,
    dihedral_group,
    group_losses,
    key_representations,
    logit_similarity,
    neuron_shares,
    progress_losses,
    read_group,
    spectrum,
    symmetric_group,
    trig_components,
    weight_shares,
)
from interp.fourier.groups_shares import GroupRun, shares_of


def lookup(group, size=5.0):
    """Logits of a table that is always right."""
    return size * torch.eye(group.order).double()[group.table]


def of_character(group, name):
    character = group.irrep(name).character
    return character[group.quotients[group.table]]


def made_of(group, logits):
    """A run with those logits, and neurons that are one number for each element."""
    n = group.order
    rows = torch.eye(n).double()
    neurons = rows[group.table]
    return GroupRun(logits, neurons, rows, rows, rows, additive=1.0)


@pytest.mark.parametrize("group", [symmetric_group(4), dihedral_group(6), cyclic_group(8)])
def test_a_character_is_found_alone(group):
    for i, name in enumerate(group.names[1:], start=1):
        found = logit_similarity(3 * of_character(group, name) + 7, group)
        assert float(found[i]) == pytest.approx(1)
        assert float(found.square().sum()) == pytest.approx(1)


def test_a_lookup_table_has_all_of_them_by_rank():
    group = symmetric_group(4)
    found = logit_similarity(lookup(group), group)
    chance = torch.tensor([0, 9, 4, 9, 1]).double() / 23
    assert torch.allclose(found.square(), chance, atol=1e-12)


def test_negative_and_unstructured_logits():
    group = dihedral_group(5)
    assert float(logit_similarity(-of_character(group, "k=2"), group)[3]) == pytest.approx(-1)
    noise = torch.randn(10, 10, 10, generator=torch.Generator().manual_seed(0))
    assert float(logit_similarity(noise, group).abs().max()) < 0.15


def test_over_residues_it_agrees_with_the_fourier_reading():
    n, generator = 11, torch.Generator().manual_seed(1)
    group = cyclic_group(n)
    logits = torch.randn(n, n, n, generator=generator) + 2 * of_character(group, "k=3")
    parts = trig_components(logits)
    found = logit_similarity(logits, group)
    assert torch.allclose(found[1:].square(), parts.cos_fve, atol=1e-12)
    assert torch.equal(found[1:].sign(), parts.alpha.sign())
    weights = torch.randn(n, 6, generator=generator)
    assert torch.allclose(weight_shares(weights, group)[1:], spectrum(weights).power, atol=1e-12)
    train = torch.rand(n, n, generator=generator) < 0.5
    ours = group_losses(logits, group, ["k=3", "k=1"], train=train)
    theirs = progress_losses(logits, [1, 3], train=train)
    for name in ("full", "restricted", "excluded"):
        mine, other = getattr(ours, name), getattr(theirs, name)
        assert (mine.train, mine.test) == pytest.approx((other.train, other.test))
    assert ours.excluded_each["k=3"].all == pytest.approx(theirs.excluded_each[3].all)


def test_weights_of_one_representation():
    group = symmetric_group(4)
    noise = torch.randn(24, 500, generator=torch.Generator().manual_seed(2)).double()
    pure = group.projection(group.irrep("(2,2)")) @ noise + 4
    assert weight_shares(pure, group).tolist() == pytest.approx([0, 0, 1, 0, 0], abs=1e-12)
    spread = weight_shares(noise, group)
    assert spread.tolist() == pytest.approx([0, 9 / 23, 4 / 23, 9 / 23, 1 / 23], abs=0.03)
    each = weight_shares(noise, group, each=True)
    assert each.shape == (500, 5)
    assert torch.allclose(each.sum(1), torch.ones(500).double())
    assert float(weight_shares(torch.ones(24, 3), group).sum()) == 0


def test_neurons_are_split_between_a_b_and_the_product():
    group = dihedral_group(4)
    values = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(3)).double()
    of_a = values[0][:, None].expand(8, 8, 5)
    of_b, of_ab = values[1].expand(8, 8, 5), values[2][group.table]
    for i, neurons in enumerate((of_a, of_b, of_ab)):
        found = neuron_shares(neurons, group)
        assert float(found.sum()) == pytest.approx(1)
        assert float(found[i].sum()) == pytest.approx(1)
        assert torch.allclose(found[i], weight_shares(values[i], group))
    product = values[0][:, None] * values[1]
    assert float(neuron_shares(product - product.mean((0, 1)), group).sum()) < 0.9
    assert float(neuron_shares(torch.ones(8, 8, 2), group).sum()) == 0


def test_keys_restricted_and_excluded_of_made_logits():
    group = symmetric_group(4)
    logits = 3 * of_character(group, "(3,1)") + 3 * of_character(group, "(1,1,1,1)")
    found = read_group(made_of(group, logits), group, n_relabellings=19)
    assert found.learnt and found.accuracy.test is None
    assert found.keys == ("(3,1)", "(1,1,1,1)")
    assert found.losses is not None
    assert found.losses.restricted.all == pytest.approx(found.losses.full.all)
    assert found.losses.excluded.all == pytest.approx(float(torch.tensor(24.0).log()))
    assert found.losses.excluded.train is None
    moved = logits + 2 * torch.randn(24, generator=torch.Generator().manual_seed(6)).double()
    losses = group_losses(moved, group, found.keys)
    assert losses.restricted.all == pytest.approx(losses.full.all), "the mean is added back"
    assert losses.restricted_bare.all == pytest.approx(found.losses.full.all)
    assert found.share_in_keys("W_a") == pytest.approx(10 / 23)
    assert "(3,1), (1,1,1,1)" in found._repr_html_() and "24" in found.lines["product in"]
    assert repr(found).startswith("GroupReading(S4, key representations (3,1)")
    with pytest.raises(FourierError, match="expected W_a"):
        found.share_in_keys("W_c")


def test_what_has_not_learnt_has_no_keys():
    group = symmetric_group(3)
    noise = torch.randn(6, 6, 6, generator=torch.Generator().manual_seed(4)).double()
    found = read_group(made_of(group, noise), group, n_relabellings=9)
    assert not found.learnt and found.keys is None and found.losses is None
    assert "not learnt" in found.reason and found.share_in_keys("W_U") is None
    assert found.lines["key representations"] == "none"


def test_the_null_of_renamed_elements_decides():
    group = cyclic_group(7)
    shares = shares_of(made_of(group, lookup(group)), group, n_relabellings=9, seed=1)
    assert key_representations(shares, group) == group.names[1:] or set(
        key_representations(shares, group)
    ) == set(group.names[1:])
    renamed = shares_of(
        made_of(group, lookup(symmetric_like(group))), group, n_relabellings=39, seed=1
    )
    assert key_representations(renamed, group) == ()


def symmetric_like(group):
    """The same group with other names."""
    order = torch.tensor([0, 3, 5, 1, 6, 2, 4])
    return group.relabelled(order)


def test_what_does_not_fit_is_refused():
    group = symmetric_group(3)
    with pytest.raises(FourierError, match=r"\[6, 6, 6\]"):
        logit_similarity(torch.zeros(5, 5, 5), group)
    with pytest.raises(FourierError, match="nothing varies"):
        logit_similarity(torch.ones(6, 6, 6), group)
    with pytest.raises(FourierError, match="finite"):
        weight_shares(torch.full((6, 2), float("nan")), group)
    with pytest.raises(FourierError, match="6 finite rows"):
        weight_shares(torch.zeros(5, 2), group)
    with pytest.raises(FourierError, match="both sides"):
        train = torch.ones(6, 6, dtype=torch.bool)
        group_losses(lookup(group), group, ["(2,1)"], train=train)
    with pytest.raises(FourierError, match="no representation"):
        group_losses(lookup(group), group, ["(9)"])


def test_known_mirror_images_are_not_taken_for_multiplying():
    group = cyclic_group(113)
    train = torch.ones(113, 113).triu().bool()
    at = torch.randperm(112, generator=torch.Generator().manual_seed(0))[:31]
    train[at, at + 1] = False  # 31 pairs and their mirror images are held out
    train[at[0], at[0]] = False
    known = train | train.T
    logits = lookup(group)
    logits[~known] = torch.zeros(int((~known).sum()), 113).double()
    logits[~known] -= 9 * torch.eye(113).double()[group.table[~known]]
    found = read_group(made_of(group, logits), group, train=train, n_relabellings=1)
    assert found.accuracy.test is not None and found.accuracy.test > 0.99
    assert found.accuracy.unseen == 0 and found.accuracy.n_unseen == 63
    assert found.learnt is False and found.keys is None
    assert "without a mirror image in training right" in found.reason
    train[at, at + 1] = True
    found = read_group(made_of(group, lookup(group)), group, train=train, n_relabellings=1)
    assert found.learnt is None and found.keys is None and "cannot be told" in found.reason


def test_where_order_matters_a_mirror_image_tells_nothing():
    group = symmetric_group(4)
    train = torch.ones(24, 24).triu().bool()
    found = read_group(made_of(group, lookup(group)), group, train=train, n_relabellings=9)
    assert found.learnt is True and found.accuracy.n_unseen == 276
    assert not group.commutative and cyclic_group(5).commutative
