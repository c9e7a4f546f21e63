"""The lean network is the bridge's, its tables and training, its snapshots."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from interp.models import load_model
from interp.zoo.modular.bridging import as_model, weights_of, write_folder
from interp.zoo.modular.making import (
    MemoriserConfig,
    ModularConfig,
    new_training,
    train,
    training_pairs,
)
from interp.zoo.modular.network import Network
from interp.zoo.modular.snapshots import (
    SnapshotError,
    list_snapshots,
    put,
    read_snapshot,
    save_snapshot,
)
from interp.zoo.modular.tables import Table, TableError, modular_addition
from interp.zoo.modular.training import TableTraining, Training
from interp.zoo.world_training import GateError

TINY = {"p": 11, "d_model": 16, "n_heads": 2, "d_mlp": 24, "seed": 0, "look_every": 5}


def tiny(*, stirred: bool = False) -> Network:
    """A network; stirred, its biases and weights are all at work."""
    made = Network(n=11, n_answers=11, d_model=16, n_heads=2, d_mlp=24, seed=0)
    if stirred:
        generator = torch.Generator().manual_seed(1)
        for p in made.parameters():
            p.data += 0.3 * torch.randn(p.shape, generator=generator)
    return made


# -- tables ---------------------------------------------------------------------------------------


def test_the_table_of_addition():
    table = modular_addition(5)
    assert table.answers[3, 4] == 2
    assert table.pairs[7].tolist() == [1, 2]
    examples = table.examples(table.answers == 0)
    assert len(examples) == 5
    assert bool(((examples.tokens[:, 0] + examples.tokens[:, 1]) % 5 == examples.answer).all())
    assert set(examples.tokens[:, 2].tolist()) == {5}
    groups = dict(zip(map(tuple, examples.tokens[:, :2].tolist()), examples.groups, strict=True))
    assert groups[1, 4] == groups[4, 1] != groups[2, 3]


def test_any_operation_will_do():
    table = Table(torch.tensor([[0, 1], [1, 5]]), "odd", n_answers=6)
    assert (table.n, table.n_answers) == (2, 6)
    for answers, said in (
        (torch.zeros(2, 3).long(), "square"),
        (torch.zeros(2, 2), "whole numbers"),
        (torch.full((2, 2), 2), r"0…1"),
    ):
        with pytest.raises(TableError, match=said):
            Table(answers, "bad")


def test_a_split_is_of_the_size_asked_for_and_the_seed_decides():
    table = modular_addition(11)
    train = table.split(0.3, seed=1)
    assert int(train.sum()) == 36
    assert torch.equal(train, table.split(0.3, seed=1))
    assert not torch.equal(train, table.split(0.3, seed=2))
    for fraction in (0, 1, 0.001, -1):
        with pytest.raises(TableError, match="train_fraction"):
            table.split(fraction, seed=0)


# -- the network ----------------------------------------------------------------------------------


@pytest.mark.parametrize("stirred", [False, True])
def test_lean_and_bridge_give_the_same_logits(stirred):
    network, table = tiny(stirred=stirred), modular_addition(11)
    model = as_model(network)
    with torch.no_grad():
        lean = network(table.pairs)
    whole = model.logits(table.examples().tokens)[:, -1]
    assert float((lean - whole).abs().max()) <= 1e-5
    assert float(whole.std()) > 0.1


def test_the_full_size_too():
    network = Network(n=113, n_answers=113, d_model=128, n_heads=4, d_mlp=512, seed=0)
    table = modular_addition(113)
    some = torch.randperm(113**2, generator=torch.Generator().manual_seed(0))[:500]
    with torch.no_grad():
        lean = network(table.pairs[some])
    whole = as_model(network).logits(table.examples().tokens[some])[:, -1]
    assert float((lean - whole).abs().max()) <= 1e-5


def test_gradients_are_those_of_the_bridge():
    network, table = tiny(stirred=True), modular_addition(11)
    model = as_model(network)
    table_loss = torch.nn.functional.cross_entropy
    table_loss(network(table.pairs), table.answers.flatten()).backward()
    ids = table.examples().tokens
    table_loss(model.forward(ids)[:, -1], table.answers.flatten()).backward()
    for name, parameter in model.bridge.original_model.named_parameters():
        own = dict(network.named_parameters()).get(name.replace("._original_component", ""))
        if own is not None and own.requires_grad:
            torch.testing.assert_close(own.grad, parameter.grad, atol=1e-6, rtol=1e-4)


def test_a_folder_is_the_model(tmp_path):
    network = tiny(stirred=True)
    write_folder(tmp_path, network.native_config(), weights_of(network))
    assert load_model(str(tmp_path)).fingerprint == as_model(network).fingerprint


def test_heads_must_divide_the_stream():
    with pytest.raises(ValueError, match="multiple"):
        Network(n=5, n_answers=5, d_model=10, n_heads=4, d_mlp=8, seed=0)


# -- training -------------------------------------------------------------------------------------


def test_biases_stay_zero_and_pairs_are_learnt():
    training = new_training(ModularConfig(**TINY, steps=60, train_fraction=0.8))
    training.run()
    assert training.history[0].step == 0
    assert training.history[-1].step == 60
    assert training.history[-1].train_accuracy > 0.6
    assert training.history[-1].train_loss < 1.5 < training.history[0].train_loss
    for name, parameter in training.network.named_parameters():
        assert bool(parameter.any()) != name.endswith("bias")


def test_it_ends_where_it_is_told_to():
    how = TableTraining(steps=60, look_every=5, stop_at_train_loss=1.0, train_fraction=0.8)
    training = Training(tiny(), modular_addition(11), how)
    training.run()
    assert training.step < 60
    assert training.history[-1].train_loss < 1.0 <= training.history[-2].train_loss
    assert training.done


def test_an_interrupted_training_ends_the_same(tmp_path):
    config = ModularConfig(**TINY, steps=25)
    whole, first, second = (new_training(config) for _ in range(3))
    whole.run()
    first.run(until=12)
    first.save(tmp_path / "c.safetensors")
    second.load(tmp_path / "c.safetensors")
    assert second.step == 12
    second.run()
    for one, other in zip(whole.network.parameters(), second.network.parameters(), strict=True):
        assert torch.equal(one, other)
    assert [look.step for look in second.history] == [0, 5, 10, 15, 20, 25]
    assert second.history == whole.history
    other = new_training(dataclasses.replace(config, lr=0.1))
    with pytest.raises(
        ValueError, match=r"another recipe or corpus: lr \(begun with .*, now 0.1\);"
    ):
        other.load(tmp_path / "c.safetensors")


@pytest.mark.parametrize(
    "changes", [{"threads": 2}, {"keep_every": 3}, {"least_test_accuracy": 0.5}, {"steps": 99}]
)
def test_what_does_not_change_the_training_may_change_on_the_way(changes, tmp_path):
    config = ModularConfig(p=11, d_model=8, d_mlp=8, steps=4, look_every=2)
    begun = new_training(config)
    begun.run(until=2)
    begun.save(tmp_path / "c.safetensors")
    again = new_training(dataclasses.replace(config, **changes))
    again.load(tmp_path / "c.safetensors")
    assert again.step == 2


def test_a_training_that_diverges_says_so():
    training = new_training(ModularConfig(**TINY, steps=50, lr=1e30))
    with pytest.raises(ValueError, match="diverged"):
        training.run()


@pytest.mark.parametrize(
    "wrong", [{"steps": 0}, {"lr": 0.0}, {"weight_decay": -1.0}, {"train_fraction": 1.0}]
)
def test_impossible_settings_are_refused(wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        TableTraining(**wrong)


# -- what is written ------------------------------------------------------------------------------


def test_the_recipe_writes_a_loadable_folder_and_resumes(tmp_path):
    config = MemoriserConfig(
        **TINY, steps=200, lr=1e-2, train_fraction=0.5, most_test_accuracy=1.0, keep_every=2
    )
    assert train(config, tmp_path / "a", stop_after=7)["status"] == "stopped"
    card = train(config, tmp_path / "a")
    again = train(config, tmp_path / "b")
    assert card["measured"] == again["measured"]
    one, other = (tmp_path / n / "model.safetensors" for n in "ab")
    assert one.read_bytes() == other.read_bytes()
    assert not (tmp_path / "a" / "checkpoint.safetensors").exists()
    assert card["name"] == "modular-11-memoriser"
    assert load_model(str(tmp_path / "a")).d_vocab == 12
    assert torch.equal(training_pairs(card["recipe"]), new_training(config).train)
    assert list(list_snapshots(tmp_path / "a" / "snapshots"))[:3] == [0, 10, 20]


def test_a_model_that_fails_its_gate_is_not_written(tmp_path):
    with pytest.raises(GateError, match="fails its gate"):
        train(ModularConfig(**TINY, steps=3), tmp_path)
    assert not (tmp_path / "model.safetensors").exists()
    assert (tmp_path / "checkpoint.safetensors").exists()


def test_a_card_of_another_model_has_no_pairs():
    with pytest.raises(ValueError, match="train_fraction"):
        training_pairs({"p": 5})


def test_snapshots_go_and_come_back(tmp_path):
    network, other = tiny(stirred=True), tiny()
    save_snapshot(tmp_path, network, 20)
    save_snapshot(tmp_path, other, 5)
    found = list_snapshots(tmp_path)
    assert list(found) == [5, 20]
    put(other, read_snapshot(found[20]))
    for (name, one), (_, two) in zip(
        network.named_parameters(), other.named_parameters(), strict=True
    ):
        assert torch.equal(one, two) or name.endswith("bias")
    small = Network(n=5, n_answers=5, d_model=16, n_heads=2, d_mlp=24, seed=0)
    with pytest.raises(SnapshotError, match="does not fit"):
        put(small, read_snapshot(found[20]))
    with pytest.raises(SnapshotError, match="no snapshots"):
        list_snapshots(tmp_path / "none")
    found[5].write_bytes(b"nonsense")
    with pytest.raises(SnapshotError, match="cannot be read"):
        read_snapshot(found[5])
