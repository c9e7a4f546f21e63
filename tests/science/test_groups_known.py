"""Networks of groups, calibrated: learnt, untrained, of shuffled answers, with renamed elements.

The acceptance figures are those at which a network that multiplies can be told from the others with
a margin. One is trained here from scratch, so that they are not those of one file.
"""

from __future__ import annotations

from functools import cache

import pytest
import torch

from interp.fourier import (
    GroupReading,
    GroupRun,
    coset_concentration,
    cyclic_group,
    key_representations,
    named_group,
    read_group,
    read_modular,
    run_group,
    symmetric_group,
    weigh_representations,
)
from interp.models import Model, load_model
from interp.zoo import cards
from interp.zoo.groups.making import GroupConfig, new_training, training_pairs, write_network
from interp.zoo.groups.network import HiddenLayer
from interp.zoo.groups.tables import group_table
from interp.zoo.modular.making import training_pairs as modular_pairs
from interp.zoo.modular.tables import Table
from interp.zoo.modular.training import Training

RENAMED = 39


@cache
def bundled(name: str) -> Model:
    return load_model(f"zoo:{name}")


@cache
def ran(name: str) -> GroupRun:
    return run_group(bundled(name), named_group(name))


@cache
def reading(name: str) -> GroupReading:
    train = training_pairs(cards.get_card(name).recipe)
    renamed = RENAMED if name == "s4" else 9
    return read_group(ran(name), named_group(name), train=train, n_relabellings=renamed)


def of_network(network: HiddenLayer, group) -> GroupRun:
    """What a network computes, without loading it as a model."""
    W_a, W_b, W_U = (w.detach().double() for w in network.effective())
    neurons = (W_a[:, None] + W_b).relu()
    return GroupRun(neurons @ W_U, neurons, W_a - W_a.mean(0), W_b - W_b.mean(0), W_U.T, 1.0)


# -- learnt ---------------------------------------------------------------------------------------


def test_s4_is_learnt_in_seconds_and_rests_on_few_representations():
    training = new_training(GroupConfig())
    training.run()
    assert training.history[-1].test_accuracy >= 0.99
    assert training.clock.read()["cpu"] < 20
    group = symmetric_group(4)
    assert isinstance(training.network, HiddenLayer)
    run = of_network(training.network, group)
    found = read_group(run, group, train=training.train, n_relabellings=RENAMED)
    assert found.learnt and found.keys is not None and found.losses is not None
    full, restricted, excluded = (
        getattr(found.losses, name) for name in ("full", "restricted", "excluded")
    )
    assert restricted.test < 0.5 * full.test
    assert restricted.all < 0.5 * full.all
    assert excluded.train > 3
    assert 0.5 < found.shares.logit_fve < 0.95


@pytest.mark.parametrize(("name", "least"), [("s4", 0.6), ("s5", 0.3)])
def test_the_bundled_networks_meet_the_published_figures(name, least):
    found = reading(name)
    assert found.learnt and found.keys is not None and found.losses is not None
    assert found.accuracy.train == 1
    assert found.losses.restricted.test < 0.1 * found.losses.full.test
    assert found.losses.excluded.train > 4
    assert found.shares.logit_fve > least
    assert found.share_in_keys("W_a") > 0.99 and found.share_in_keys("W_b") > 0.99
    assert found.share_in_keys("W_U") > 0.9
    assert found.share_in_keys("neurons") > 0.8
    assert found.additive > 1 - 1e-9, "a hidden layer reads W_a[a] + W_b[b] and nothing else"


def test_s4_leaves_a_representation_out():
    found, i = reading("s4"), named_group("s4").names.index("(2,1,1)")
    assert found.keys == ("(3,1)", "(1,1,1,1)", "(2,2)")
    assert float(found.shares.chance[i]) == pytest.approx(9 / 23)
    assert float(found.shares.W_a[i]) < 0.01
    assert float(found.shares.W_b[i]) < 0.01
    assert abs(float(found.shares.similarity[i])) < 0.01


def judged(table: Table, chosen: torch.Tensor, n: int):
    pairs = table.examples(chosen)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return pairs.select(order[:n])


def held_out(name: str, n: int):
    train = training_pairs(cards.get_card(name).recipe)
    return judged(group_table(name), ~train, n)


S4_KEYS = ("(3,1)", "(2,2)", "(1,1,1,1)")


@pytest.mark.parametrize("n", [64, 288])
def test_the_key_representations_of_s4_together_are_load_bearing(n):
    # With all held-out pairs judged, half the table is left to fit directions to.
    together, *singles = weigh_representations(
        bundled("s4"), named_group("s4"), S4_KEYS, held_out("s4", n), n_controls=199, seed=0
    )
    assert together.control_family == "renamed-elements"
    assert together.verdict == "load-bearing" and together.effect > 3
    assert together.has_signature and together.signature > 5 * together.signature_null
    # The controls are hard: as many directions of another multiplication cost much as well.
    assert sum(together.controls) / 199 > 0.5 * together.effect
    alone = {row.subject: row for row in singles if row.control_family == "renamed-elements"}
    assert alone["(3,1)"].effect > 1.5 and alone["(3,1)"].p_value < 0.05
    assert [alone[name].verdict for name in S4_KEYS[1:]] == ["not load-bearing"] * 2


def test_a_representation_of_s5_that_is_relied_on_is_load_bearing():
    table = weigh_representations(
        bundled("s5"), named_group("s5"), ["(4,1)"], held_out("s5", 256), n_controls=39, seed=0
    )
    row = next(row for row in table if row.control_family == "renamed-elements")
    assert row.has_signature and row.verdict == "load-bearing"


def test_one_that_is_not_used_is_not_load_bearing():
    unused = weigh_representations(
        bundled("s4"), named_group("s4"), ["(2,1,1)"], held_out("s4", 96), n_controls=99, seed=0
    )
    assert [row.verdict for row in unused] == ["not load-bearing"] * 2
    assert not unused[0].has_signature
    # Where there is nothing to fit, noise is fitted, in the controls as well.
    assert unused[0].excess < 0


def test_both_readings_of_the_neurons_hold():
    found = coset_concentration(ran("s4").W_a, named_group("s4"), n_renamings=9)
    assert found is not None
    assert found.share_above_null > 0.6 and found.share_of_pure > 0.4
    assert found.mean > found.null_level
    assert float(found.concentration.median()) > 0.99
    assert found.p_concentration == found.p_purity == 0.1, "the smallest that 9 renamings give"


# -- nothing to find ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s4", "d7", "c13"])
def test_an_untrained_network_has_no_key_representation(name):
    group = named_group(name)
    network = HiddenLayer(n=group.order, d_embed=256, hidden=128, seed=5)
    run = of_network(network, group)
    found = read_group(run, group, n_relabellings=RENAMED)
    assert not found.learnt and found.keys is None and found.losses is None
    assert key_representations(found.shares, group) == ()
    gap = (found.shares.W_a - found.shares.chance).abs()
    assert float(gap.max()) < 0.06
    cosets = coset_concentration(run.W_a, group, n_renamings=9)
    assert cosets is None or cosets.share_above_null < 0.2


def test_shuffled_answers_leave_nothing_to_find():
    group, table = symmetric_group(4), group_table("s4")
    order = torch.randperm(576, generator=torch.Generator().manual_seed(0))
    shuffled = Table(table.answers.flatten()[order].reshape(24, 24), "S4 shuffled")
    network = HiddenLayer(n=24, d_embed=256, hidden=128, seed=0)
    training = Training(network, shuffled, GroupConfig(steps=300))
    training.run()
    assert training.history[-1].train_accuracy == 1, "it knows its pairs by heart"
    found = read_group(of_network(network, group), group, n_relabellings=RENAMED)
    assert not found.learnt and found.keys is None
    assert key_representations(found.shares, group) == ()
    assert float((found.shares.W_a - found.shares.chance).abs().max()) < 0.15


def test_renamed_elements_leave_nothing_to_find():
    group = symmetric_group(4)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1)) + 1
    renamed = group.relabelled(torch.cat([torch.zeros(1, dtype=torch.int64), order]))
    found = read_group(ran("s4"), renamed, n_relabellings=RENAMED)
    assert not found.learnt and found.keys is None
    assert key_representations(found.shares, renamed) == ()
    assert found.shares.logit_fve < 0.05 and reading("s4").shares.logit_fve > 0.5
    score = coset_concentration(ran("s4").W_a, renamed, n_renamings=9)
    assert score is not None and score.share_above_null < 0.2
    assert score.p_concentration > 0.1


@pytest.mark.parametrize("name", ["renamed", "d12", "c24"])
def test_s4_read_with_the_wrong_group_is_not_load_bearing(name):
    if name == "renamed":
        order = torch.randperm(23, generator=torch.Generator().manual_seed(1)) + 1
        group = named_group("s4").relabelled(torch.cat([torch.zeros(1, dtype=torch.int64), order]))
    else:
        group = named_group(name)
    names = group.names[1:5]
    table = weigh_representations(bundled("s4"), group, names, held_out("s4", 96), n_controls=99)
    assert {row.verdict for row in table} == {"not load-bearing"}
    assert not table[0].has_signature


@pytest.mark.parametrize("seed", [0, 1])
def test_answers_known_by_heart_are_not_load_bearing(tmp_path, seed):
    group, table = symmetric_group(4), group_table("s4")
    order = torch.randperm(576, generator=torch.Generator().manual_seed(seed))
    shuffled = Table(table.answers.flatten()[order].reshape(24, 24), "S4 shuffled")
    network = HiddenLayer(n=24, d_embed=256, hidden=128, seed=seed)
    training = Training(network, shuffled, GroupConfig(steps=300))
    training.run()
    write_network(tmp_path, network)
    known = judged(shuffled, training.train, 96)
    table = weigh_representations(
        load_model(str(tmp_path)), group, S4_KEYS, known, n_controls=99, seed=seed
    )
    assert {row.verdict for row in table} == {"not load-bearing"}
    assert not any(row.has_signature for row in table)


# -- cyclic groups are the Fourier reading --------------------------------------------------------


def test_addition_mod_113_read_by_characters_is_read_by_frequency():
    model, group = bundled("modular-113"), cyclic_group(113)
    train = modular_pairs(cards.get_card("modular-113").recipe)
    ours = read_group(model, group, train=train, n_relabellings=9)
    theirs = read_modular(model, train=train, n_shuffles=9)
    squares = ours.shares.similarity[1:].square()
    assert torch.allclose(squares, theirs.components.cos_fve, atol=1e-9)
    assert theirs.key_frequencies is not None and ours.keys is not None
    named = [f"k={k}" for k in theirs.key_frequencies]
    assert list(ours.keys[: len(named)]) == named
    assert theirs.spectra is not None
    power = theirs.spectra.readout.power
    assert torch.allclose(ours.shares.W_U[1:], power, atol=1e-6)
    assert ours.additive < 0.999, "attention is not additive in the operands"


def test_the_memoriser_has_not_learnt():
    name = "modular-113-memoriser"
    train = modular_pairs(cards.get_card(name).recipe)
    found = read_group(bundled(name), cyclic_group(113), train=train, n_relabellings=3)
    assert not found.learnt and found.keys is None and "not learnt" in found.reason
    assert found.accuracy.train == 1 and found.shares.logit_fve < 0.4


# -- cards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["s4", "s5"])
def test_the_card_is_of_these_weights(name):
    card, found = cards.get_card(name), reading(name)
    assert card.fingerprint == bundled(name).fingerprint
    assert card.measured["test_accuracy"] == pytest.approx(found.accuracy.test, abs=1e-3)
    assert found.losses is not None
    assert card.measured["test_loss"] == pytest.approx(found.losses.full.test, rel=1e-2)
    assert sum(path.stat().st_size for path in (cards.WEIGHTS / name).iterdir()) < 2_000_000
