"""The one-hidden-layer network, the same as a loaded model, and how it is trained."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch

from interp.evidence import answer_nll, damage
from interp.fourier import (
    FourierError,
    named_group,
    remove_representations,
    run_group,
    weigh_representations,
)
from interp.fourier.groups_removal import _Bench, _renamed_tables, representation_directions
from interp.hooks import session
from interp.models import load_model
from interp.zoo.groups.making import (
    GroupConfig,
    S5Config,
    new_training,
    train,
    training_pairs,
    write_network,
)
from interp.zoo.groups.network import HiddenLayer
from interp.zoo.groups.tables import group_table
from interp.zoo.modular.tables import TableError
from interp.zoo.world_training import GateError

QUICK = GroupConfig(
    group="s3", train_fraction=0.8, steps=400, look_every=100, hidden=16, d_embed=8,
    least_test_accuracy=0.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """A network of D4 and the same as a loaded model."""
    network = HiddenLayer(n=8, d_embed=6, hidden=12, seed=3)
    folder = tmp_path_factory.mktemp("d4")
    write_network(folder, network)
    return network, load_model(str(folder))


@pytest.mark.parametrize("name", ["c5", "d4", "d5", "s3", "s4"])
def test_the_tables_are_those_of_the_groups(name):
    assert torch.equal(group_table(name).answers, named_group(name).table)


@pytest.mark.parametrize("name", ["q8", "s", "s7", "c2", "d500", "S4"])
def test_other_tables_are_refused(name):
    with pytest.raises(TableError, match="expected"):
        group_table(name)


def test_the_loaded_model_computes_the_same(pair):
    network, model = pair
    table = group_table("d4")
    with torch.no_grad():
        ours = network(table.pairs).reshape(8, 8, 8).double()
    ran = run_group(model, named_group("d4"))
    assert float((ran.logits - ours).abs().max()) < 1e-5
    W_a, W_b, W_U = (w.detach().double() for w in network.effective())
    assert torch.allclose(ran.W_a, W_a - W_a.mean(0), atol=1e-6)
    assert torch.allclose(ran.W_b, W_b - W_b.mean(0), atol=1e-6)
    assert torch.allclose(ran.W_U, W_U.T, atol=1e-6)
    assert ran.additive == pytest.approx(1, abs=1e-9)
    neurons = (W_a[:, None] + W_b).relu()
    assert torch.allclose(ran.neurons, neurons, atol=1e-5)


def test_a_model_of_another_group_is_refused(pair):
    _, model = pair
    with pytest.raises(FourierError, match="8 elements and S3 has 6"):
        run_group(model, named_group("s3"))


def test_removal_takes_away_what_it_says(pair):
    _, model = pair
    group, pairs = named_group("d4"), group_table("d4").examples()
    ran = run_group(model, group)
    rows = representation_directions(ran, group, ["k=1"])
    assert rows.shape == (4, 12)
    assert torch.allclose(rows @ rows.T, torch.eye(4).double(), atol=1e-9)
    with session(model, intervene=remove_representations(model, group, ["k=1"])) as s:
        logits = s.run(pairs).cpu()
    left = ran.neurons - (ran.neurons @ rows.T) @ rows
    direct = (left @ ran.W_U.T).flatten(0, 1)
    assert float((logits[:, -1].double() - direct).abs().max()) < 1e-5
    clean = answer_nll.per_example(torch.zeros(64, 3, 8) + ran.logits.reshape(64, 1, 8), pairs)
    harmed = answer_nll.per_example(logits, pairs)
    bench = _Bench(model, pairs, answer_nll)
    effect = damage(answer_nll, bench.clean, bench.without(rows))
    assert torch.allclose(effect, (harmed - clean).double(), atol=1e-5)


def test_removal_is_fitted_without_the_pairs_that_judge_it(pair):
    _, model = pair
    group = named_group("d4")
    pairs = group_table("d4").examples().select(torch.arange(0, 64, 5))
    table = weigh_representations(model, group, ["k=1", "sign"], pairs, n_controls=9, seed=1)
    assert [(row.subject, row.control_family) for row in table] == [
        ("k=1+sign", "renamed-elements"),
        ("k=1", "renamed-elements"),
        ("sign", "renamed-elements"),
        ("k=1", "random-product-subspace"),
        ("sign", "random-product-subspace"),
    ]
    assert table[1].p_holm is not None
    ran, fitted = run_group(model, group), torch.ones(8, 8, dtype=torch.bool)
    fitted[pairs.tokens[:, 0], pairs.tokens[:, 1]] = False
    rows = representation_directions(ran, group, ["k=1"], fitted=fitted)
    bench = _Bench(model, pairs, answer_nll)
    effect = damage(answer_nll, bench.clean, bench.without(rows))
    assert table[1].effect == pytest.approx(float(effect.mean()))
    moved = ran.neurons + 9.0 * ~fitted[..., None]
    other = dataclasses.replace(ran, neurons=moved)
    assert torch.allclose(representation_directions(other, group, ["k=1"], fitted=fitted), rows)
    with pytest.raises(FourierError, match="judge fewer"):
        weigh_representations(model, group, ["k=1"], group_table("d4").examples())


def test_renamings_change_the_products():
    tables = _renamed_tables(named_group("c5"), 99, 0)
    assert len(tables) == 5, "120 orders, of which 20 leave the products together"
    with pytest.raises(FourierError, match="no renaming"):
        _renamed_tables(named_group("c3"), 9, 0)


def test_removal_of_nothing_is_refused(pair):
    _, model = pair
    group = named_group("d4")
    ran = run_group(model, group)
    with pytest.raises(FourierError, match="at least one"):
        representation_directions(ran, group, [])
    with pytest.raises(FourierError, match="no representation 'k=9'"):
        representation_directions(ran, group, ["k=9"])
    flat = dataclasses.replace(ran, neurons=torch.ones_like(ran.neurons))
    with pytest.raises(FourierError, match="do not vary with sign"):
        representation_directions(flat, group, ["sign"])


def test_a_training_goes_on_where_it_stopped(tmp_path):
    whole = train(QUICK, tmp_path / "whole")
    stopped = train(QUICK, tmp_path / "parts", stop_after=150)
    assert stopped == {"status": "stopped", "step": 150}
    train(QUICK, tmp_path / "parts")
    for name in ("model.safetensors", "native.json"):
        one, other = ((tmp_path / f / name).read_bytes() for f in ("whole", "parts"))
        assert one == other
    assert whole["measured"]["train_accuracy"] == 1
    assert sorted(p.name for p in (tmp_path / "whole").iterdir()) == [
        "card.json",
        "model.safetensors",
        "native.json",
    ]
    held = json.loads((tmp_path / "whole" / "card.json").read_text())
    assert torch.equal(training_pairs(held["recipe"]), new_training(QUICK).train)


def test_the_gate_and_bad_recipes(tmp_path):
    strict = dataclasses.replace(QUICK, steps=2, least_test_accuracy=1.0)
    with pytest.raises(GateError, match="fails its gate"):
        train(strict, tmp_path)
    with pytest.raises(ValueError, match="at least 1"):
        GroupConfig(hidden=0)
    with pytest.raises(TableError):
        GroupConfig(group="x3")
    with pytest.raises(ValueError, match="it has no group"):
        training_pairs({"p": 113})
    assert (GroupConfig().name, S5Config().name) == ("s4", "s5")
