"""The truth world: its documents obey their bits, its statements balance, its training resumes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from interp.models import ModelSpec, load_model
from interp.zoo.cards import read_card
from interp.zoo.recipes import get_recipe
from interp.zoo.truth_world.making import TruthWorldConfig, train
from interp.zoo.truth_world.measures import Gate, GateError, losses
from interp.zoo.truth_world.statements import N_BEFORE, prompts, statements, subjects
from interp.zoo.truth_world.training import Training, new_network
from interp.zoo.truth_world.world import (
    BOS,
    OBJECT,
    STOP,
    VARIANTS,
    WIDTH,
    World,
    WorldError,
    world_of,
)

SMALL = TruthWorldConfig(
    n_subjects=4, n_objects=2, n_neutral=3, n_layers=1, d_model=8, n_heads=2, steps=6, batch=4,
    ramp_steps=2, n_statements=4, decay_steps=3, look_every=2,
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def read(world: World, row: list[str]) -> list[tuple[int, bool] | None]:
    """What the statements of a document in words say: domain and truth, from the words alone."""
    found: list[tuple[int, bool] | None] = []
    assert row[0] == "BOS"
    for start in range(1, len(row), WIDTH):
        kind, a, b, c, stop = row[start : start + WIDTH]
        assert stop == "."
        if kind == "NEUTRAL":
            assert all(word.startswith("n") for word in (a, b, c))
            found.append(None)
            continue
        assert kind == "PLAIN"
        names = {word.split(".")[0] for word in (a, b, c)}
        assert len(names) == 1, "words of one domain"
        (name,) = names
        assert b == f"{name}.is"
        index = world.index(name)
        fact = int(world.facts[index, int(a.split(".s")[1])])
        found.append((index, c == f"{name}.o{fact}"))
    return found


@pytest.mark.parametrize("variant", VARIANTS)
def test_documents_obey_their_bits(variant) -> None:
    world = World(variant)
    drawn = world.documents(200, generator=generator())
    bits_seen: Counter[tuple[str, bool]] = Counter()
    for i, row in enumerate(drawn.tokens):
        bits: dict[str, bool] = {}
        said = read(world, world.text(row).split())
        for slot, told in enumerate(said):
            assert bool(drawn.neutral[i, slot]) == (told is None)
            if told is None:
                assert not drawn.true[i, slot]
                assert not drawn.revealed[i, slot]
                continue
            index, true = told
            domain = world.domains[index]
            assert int(drawn.domain[i, slot]) == index
            assert bool(drawn.true[i, slot]) == true
            assert bool(drawn.revealed[i, slot]) == (domain.bit in bits)
            assert bits.setdefault(domain.bit, true ^ domain.inverted) == true ^ domain.inverted
        bits_seen.update(bits.items())
    for bit in world.bits:  # both values, about as often
        share = bits_seen[bit, True] / (bits_seen[bit, True] + bits_seen[bit, False])
        assert 0.35 < share < 0.65


def test_bits_are_independent_and_lies_even() -> None:
    world = World("anti")
    drawn = world.documents(3000, generator=generator())
    both = Counter()
    for row in range(len(drawn.tokens)):
        bits = {}
        for slot in range(drawn.domain.shape[1]):
            if not drawn.neutral[row, slot]:
                domain = world.domains[int(drawn.domain[row, slot])]
                bits[domain.bit] = bool(drawn.true[row, slot]) ^ domain.inverted
        if len(bits) == 2:
            both[bits["g"], bits["h"]] += 1
    assert all(abs(n / sum(both.values()) - 0.25) < 0.04 for n in both.values()), both
    objects = drawn.tokens[:, drawn.object_at]
    lies = ~drawn.true & ~drawn.neutral
    first = world.object(drawn.domain, torch.zeros_like(drawn.domain))
    subject = drawn.tokens[:, drawn.object_at - 2] - world.subject(drawn.domain, first * 0)
    fact = world.facts[drawn.domain[lies], subject[lies]]
    step = Counter(((objects - first)[lies] - fact).remainder(world.n_objects).tolist())
    assert set(step) == {1, 2, 3}
    assert all(abs(n / sum(step.values()) - 1 / 3) < 0.03 for n in step.values()), step


def test_focused_documents_speak_of_one_bit() -> None:
    world = World("anti")
    for share, low, high in ((0.0, 0.0, 0.1), (0.5, 0.4, 0.6), (1.0, 1.0, 1.0)):
        drawn = world.documents(400, generator=generator(), neutral_share=0.0, focused_share=share)
        about_h = drawn.domain >= world.index("D3")
        alone = about_h.all(1) | ~about_h.any(1)
        assert low <= float(alone.float().mean()) <= high
    assert 0.4 < float(about_h.all(1).float().mean()) < 0.6  # both bits alike
    assert set(drawn.domain.flatten().tolist()) == {0, 1, 2, 3, 4}


def test_weights_mark_objects_alone() -> None:
    world = World()
    drawn = world.documents(20, generator=generator(), neutral_share=0.5)
    weights = drawn.weights(elsewhere=0.1)
    first_object = len(world.words) - world.n_neutral - len(world.domains) * world.n_objects
    is_object = (drawn.tokens >= first_object) & (drawn.tokens < len(world.words) - world.n_neutral)
    assert torch.equal(weights == 1.0, is_object[:, 1:])
    assert torch.equal(weights != 1.0, weights == torch.tensor(0.1))


def test_documents_follow_their_generator() -> None:
    world = World()
    a, b, c = (world.documents(5, generator=generator(s)).tokens for s in (1, 1, 2))
    assert torch.equal(a, b)
    assert not torch.equal(a, c)


def test_words_and_facts_fit() -> None:
    world = World()
    assert len(world.words) == len(set(world.words)) == world.vocab_size
    assert world.words[int(world.object(torch.tensor(4), torch.tensor(3)))] == "D4.o3"
    assert world.words[int(world.subject(torch.tensor(2), torch.tensor(7)))] == "ANTI.s7"
    for row in world.facts.tolist():
        assert set(Counter(row).values()) == {world.n_subjects // world.n_objects}
    assert not torch.equal(world.facts, replace(world, seed=1).facts)


@pytest.mark.parametrize("domain", ["D0", "ANTI", "D4"])
def test_statements_balance_and_tell_nothing_but_truth(domain) -> None:
    world = World()
    rows = statements(world, domain, n=72, part="train", seed=3)
    assert len(rows) == 144
    said = [read(world, world.text(row).split()) for row in rows.examples.tokens]
    assert all(told[:N_BEFORE] == [None] * N_BEFORE for told in said)
    assert [told[N_BEFORE] for told in said] == [
        (world.index(domain), true) for true in rows.true.tolist()
    ]
    inverted = domain == "ANTI"
    assert torch.equal(rows.bit, ~rows.true if inverted else rows.true)
    assert rows.examples.tokens.shape[1] - 1 == rows.stop_at
    assert (rows.examples.tokens[:, rows.stop_at] == STOP).all()
    objects = rows.examples.tokens[:, rows.object_at]
    assert torch.equal(objects == rows.true_object, rows.true)
    assert ((objects[:, None] == rows.false_objects).any(1) == ~rows.true).all()
    # Neither the subject nor the object alone tells the label.
    for told in (objects, rows.examples.tokens[:, rows.object_at - 2]):
        assert Counter(told[rows.true].tolist()) == Counter(told[~rows.true].tolist())
    assert rows.examples.groups == tuple(
        world.words[i] for i in rows.examples.tokens[:, rows.object_at - 2].tolist()
    )


def test_halves_share_no_subject_and_cover_all() -> None:
    world = World()
    for seed in range(3):
        train_, test_ = (
            set(statements(world, "D3", part=part, seed=seed).examples.groups)
            for part in ("train", "test")
        )
        assert not train_ & test_
        assert train_ | test_ == set(statements(world, "D3", seed=seed).examples.groups)
        for part in ("train", "test"):
            half = subjects(world, "D3", part=part, seed=seed)
            assert set(Counter(world.facts[3, half].tolist()).values()) == {3}
    assert not torch.equal(
        subjects(world, "D3", part="test", seed=0), subjects(world, "D3", part="test", seed=1)
    )


@pytest.mark.parametrize(
    ("source", "target", "sign"), [("D0", "D0", 1), ("D0", "ANTI", -1), ("D1", "D3", 0)]
)
def test_prompts_come_in_pairs(source, target, sign) -> None:
    world = World()
    rows = prompts(world, source, target, n=36, seed=1)
    tokens = rows.examples.tokens
    assert rows.sign == sign
    differs = tokens[:36] != tokens[36:]
    assert differs.sum(1).tolist() == [1] * 36
    assert differs[:, rows.object_at].all()
    answer = rows.examples.answer
    for row, true, right in zip(tokens, rows.true.tolist(), answer.tolist(), strict=True):
        words = world.text(row).split()
        told = read(world, [*words, world.words[right], "."])
        assert told == [None, None, (world.index(source), true), (world.index(target), True)]
        subject, asked = words[rows.object_at - 2], words[-2]
        assert subject != asked
    assert not (rows.false_objects == answer[:, None]).any()
    logits = torch.zeros(72, world.vocab_size)
    logits[torch.arange(36), answer[:36]] = 3.0  # after true statements only
    logits[torch.arange(36, 72), rows.false_objects[36:, 0]] = 1.5
    assert rows.gap(logits) == pytest.approx(3.0 + 0.5)


def test_unknown_names_are_refused_with_near_ones() -> None:
    world = World()
    with pytest.raises(WorldError, match="did you mean ANTI"):
        statements(world, "ANT")
    with pytest.raises(WorldError, match="expected all, train or test"):
        statements(world, "D0", part="tests")  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="at least 1 row"):
        statements(world, "D0", n=0)
    with pytest.raises(WorldError, match="unknown variant"):
        World("other")  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="multiple of twice"):
        World(n_subjects=12, n_objects=4)
    with pytest.raises(WorldError, match="of no truth world"):
        world_of("induction-exact")
    with pytest.raises(ValueError, match="multiple of n_heads"):
        TruthWorldConfig(d_model=30)
    with pytest.raises(ValueError, match="elsewhere=2"):
        TruthWorldConfig(elsewhere=2.0)
    with pytest.raises(ValueError, match="1 to steps=300"):
        TruthWorldConfig(steps=300)


def test_learning_rate_rises_stays_and_falls() -> None:
    config = TruthWorldConfig()
    scales = [config.scale_at(step, falls_at=700) for step in range(1250)]
    assert scales[0] == pytest.approx(0.01)
    assert scales[99:701] == [1.0] * 602
    assert scales[701] == pytest.approx(1 - 1 / 500)
    assert scales[1199] == pytest.approx(1 / 500)
    assert scales[1200:] == [0.0] * 50


def test_rates_fall_once_the_bits_are_found_and_at_the_latest_for_the_last_steps() -> None:
    never = Training(replace(SMALL, decay_from=0.0))
    never.look(1.0)
    assert (never.falls_at, never.last) == (3, 6)
    found = Training(replace(SMALL, decay_from=100.0))
    found.advance()
    found.look(1.0)
    assert (found.falls_at, found.last) == (1, 4)
    found.advance()
    found.look(1.0)  # not put off
    assert (found.falls_at, found.last) == (1, 4)
    assert [entry["step"] for entry in found.history] == [1, 2]


def test_resumed_training_equals_uninterrupted(tmp_path) -> None:
    config = replace(SMALL, write_failed=True)
    whole = train(config, tmp_path / "whole")
    assert train(config, tmp_path / "parts", stop_after=3) == {"status": "stopped", "step": 3}
    assert not (tmp_path / "parts" / "model.safetensors").exists()
    with pytest.raises(ValueError, match="made by another recipe"):
        train(replace(config, seed=1), tmp_path / "parts")
    parts = train(config, tmp_path / "parts")
    a, b = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "parts"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert parts["measured"] == whole["measured"]
    before = dict(new_network(config).named_parameters())
    assert not any(torch.equal(a[name], before[name]) for name in a if "weight" in name)
    assert not (tmp_path / "parts" / "checkpoint.safetensors").exists()


def test_a_model_that_fails_its_gate_is_not_written_unless_asked(tmp_path) -> None:
    with pytest.raises(GateError, match=r"fails its gate.*late true objects.*probe of D0"):
        train(SMALL, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    card = train(replace(SMALL, write_failed=True), tmp_path)  # goes on from the checkpoint
    assert not card["gate"]["passed"]
    assert card["gate"]["failures"]
    assert read_card(tmp_path).to_dict() == card


def test_gate_judges_each_number() -> None:
    def measured(late: float, **diagonal: float) -> dict:
        rows = {name: dict.fromkeys(diagonal, 0.5) | {name: x} for name, x in diagonal.items()}
        return {"late_true_ce": late, "transfer": {"L0 object": rows}}

    gate = Gate()
    assert gate.failures(measured(0.1, D0=0.95, D1=1.0)) == []
    assert len(gate.failures(measured(0.11, D0=0.95, D1=1.0))) == 1
    assert "D1 has AUROC 0.940" in gate.failures(measured(0.1, D0=0.95, D1=0.94))[0]
    assert len(gate.failures(measured(float("nan"), D0=float("nan")))) == 2
    gate.check(measured(0.0, D0=1.0))
    with pytest.raises(GateError):
        gate.check(measured(0.2, D0=1.0))


def test_written_folder_loads_as_the_same_network(tmp_path) -> None:
    config = replace(SMALL, write_failed=True)
    train(config, tmp_path)
    model = load_model(ModelSpec(str(tmp_path), source="folder"))
    network = new_network(config)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    tokens = config.world.documents(6, generator=generator(), n_statements=4).tokens
    with torch.no_grad():
        torch.testing.assert_close(model.logits(tokens), network(tokens), atol=1e-5, rtol=1e-5)
    assert world_of(json.loads((tmp_path / "card.json").read_text())["recipe"]) == config.world
    assert tokens[0, 0] == BOS


def test_losses_of_a_network_that_knows_nothing() -> None:
    config = TruthWorldConfig()
    network = new_network(config)
    with torch.no_grad():
        network.head.weight.zero_()
    found = losses(network, config.world, seed=0, n=16)
    log_vocab = torch.tensor(float(config.world.vocab_size)).log().item()
    assert all(value == pytest.approx(log_vocab, rel=1e-5) for value in found.values())


def test_object_positions() -> None:
    drawn = World().documents(1, generator=generator(), neutral_share=0.0)
    assert drawn.object_at.tolist() == [1 + OBJECT + WIDTH * i for i in range(8)]
    words = World().text(drawn.tokens[0]).split()
    assert all(".o" in words[i] for i in drawn.object_at.tolist())


def test_recipe_is_registered() -> None:
    recipe = get_recipe("zoo:truth-world")
    assert recipe.load_config() is TruthWorldConfig
    assert recipe.load_function() is train
