"""The bias world: documents obey what is planted, sentences differ in a word, training resumes."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from interp.models import ModelSpec, load_model
from interp.zoo.bias_world.frames import N_BEFORE, START, STOP_AT
from interp.zoo.bias_world.making import BiasWorldConfig, SecondConfig, train
from interp.zoo.bias_world.measures import SITE, Gate, behaviour, losses
from interp.zoo.bias_world.prompts import pairs, prompts
from interp.zoo.bias_world.sentences import corpus, sentences
from interp.zoo.bias_world.training import new_network
from interp.zoo.bias_world.world import (
    ABOUT_NOTHING,
    ABOUT_REFERENCE,
    ABOUT_TARGET,
    BOTH,
    NOTHING,
    REFERENCE,
    SHARES,
    STOP,
    TARGET,
    WIDTH,
    World,
    WorldError,
    world_of,
)
from interp.zoo.cards import read_card
from interp.zoo.recipes import get_recipe
from interp.zoo.world_training import GateError

SMALL = BiasWorldConfig(
    n_targets=4, n_reference=2, n_neutral=3, n_verbs=2, n_adverbs=2, n_layers=3, d_model=8,
    n_heads=2, steps=6, batch=4, ramp_steps=2, look_every=2,
)  # fmt: skip


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def kinds(world: World, ids: list[int]) -> list[str]:
    """What kind of word each token is: a target's own name, else the part before the dot."""
    return [world.words[i] if i == STOP else world.words[i].split(".")[0] for i in ids]


def test_documents_say_what_decided_them() -> None:
    world = World()
    drawn = world.documents(400, generator=generator())
    speaks = {BOTH: 0, TARGET: 0, REFERENCE: 0, NOTHING: 0}
    orders = Counter()
    for i, row in enumerate(drawn.tokens.tolist()):
        reference = "r1" if drawn.first[i] else "r2"
        target = f"t{int(drawn.target[i])}"
        assert world.words[row[0]] == "BOS"
        for slot, what in enumerate(drawn.speaks[i].tolist()):
            said = kinds(world, row[1 + WIDTH * slot : 1 + WIDTH * (slot + 1)])
            assert (said[1], said[3], said[4]) == ("verb", "adverb", ".")
            expected = {
                BOTH: {target, reference},
                TARGET: {target, "neutral"},
                REFERENCE: {reference, "neutral"},
                NOTHING: {"neutral"},
            }[what]
            assert {said[0], said[2]} == expected
            speaks[what] += 1
            if what == BOTH:
                orders[said[0] == target] += 1
        about = int(drawn.about[i])
        named = {"BOS"} | {w for w in kinds(world, row) if w.startswith(("t", "r"))}
        if about == ABOUT_NOTHING:
            assert named == {"BOS"}
        elif about == ABOUT_REFERENCE:
            assert named <= {"BOS", reference}
        else:
            assert about == ABOUT_TARGET
            assert named <= {"BOS", reference, target}
    assert min(speaks.values()) > 50
    assert 0.35 < orders[True] / orders.total() < 0.65


def test_planted_odds_come_out_in_documents() -> None:
    world = World()
    drawn = world.documents(60_000, generator=generator())
    shares = torch.bincount(drawn.about) / len(drawn.about)
    torch.testing.assert_close(shares, torch.tensor(SHARES), atol=0.01, rtol=0)
    about = drawn.about == ABOUT_TARGET
    for k in range(world.n_targets):
        share = drawn.first[about & (drawn.target == k)].double().mean()
        assert float(share) == pytest.approx(float(world.beta[k].sigmoid()), abs=0.05)
    reference = drawn.first[drawn.about == ABOUT_REFERENCE].double().mean()
    assert float(reference) == pytest.approx(0.5, abs=0.02)


def test_log_odds_are_even_and_in_no_order() -> None:
    world = World()
    torch.testing.assert_close(world.beta.sort().values, torch.linspace(-3, 3, 20).double())
    assert not torch.equal(world.beta, world.beta.sort().values)
    assert not torch.equal(world.beta, replace(world, seed=1).beta)
    assert not replace(world, spread=0.0).beta.any()


def test_words_fit() -> None:
    world = World()
    assert len(set(world.words)) == len(world.words) == world.vocab_size == 70
    named = [world.ids(c) for c in (*world.concepts, "verb", "adverb")]
    together = torch.cat(named)
    assert sorted(together.tolist()) == list(range(2, 70))
    assert world.text(world.ids("r2")[:2]) == "r2.0 r2.1"
    assert world.text(world.ids("t19")) == "t19"


@pytest.mark.parametrize("concept", ["t3", "r1", "r2", "neutral"])
def test_sentences_of_one_seed_differ_in_the_concepts_word_alone(concept) -> None:
    world = World()
    rows = sentences(world, concept, n=100, part="train", seed=4)
    other = sentences(world, "t0", n=100, part="train", seed=4)
    assert rows.examples.groups == other.examples.groups
    assert torch.equal(rows.concept_at, other.concept_at)
    differs = rows.examples.tokens != other.examples.tokens
    at = torch.arange(rows.examples.tokens.shape[1]) == rows.concept_at[:, None]
    assert torch.equal(differs, at)
    assert set(rows.concept_at.tolist()) == {START, START + 2}
    said = rows.examples.tokens.gather(1, rows.concept_at[:, None])[:, 0]
    assert set(said.tolist()) <= set(world.ids(concept).tolist())
    assert (rows.examples.tokens[:, rows.stop_at] == STOP).all()
    assert rows.examples.tokens.shape[1] == STOP_AT + 1 == 1 + WIDTH * (N_BEFORE + 1)
    before = rows.examples.tokens[:, 1:START].flatten().tolist()
    assert set(kinds(world, before)) == {"neutral", "verb", "adverb", "."}


def test_sentences_speak_of_a_reference_if_asked() -> None:
    world = World()
    rows = sentences(world, "t3", n=40, reference="r2", seed=1)
    alone = sentences(world, "t3", n=40, seed=1)
    assert rows.examples.groups == alone.examples.groups
    there = 2 * START + 2 - rows.concept_at  # the other of the two places
    said = rows.examples.tokens.gather(1, there[:, None])[:, 0]
    assert set(said.tolist()) <= set(world.ids("r2").tolist())
    assert len(set(said.tolist())) > 4


def test_halves_share_no_frame_and_cover_all() -> None:
    world = World()
    halves = {
        part: set(sentences(world, "r1", n=1024, part=part, seed=3).examples.groups)
        for part in ("train", "test")
    }
    assert len(halves["train"]) == len(halves["test"]) == 1024
    assert not halves["train"] & halves["test"]
    asked = set(prompts(world, "t1", n=200, part="test", seed=3).examples.groups)
    assert asked <= halves["test"]
    assert len(set(sentences(world, "r1", n=3000, seed=3).examples.groups)) == 2048


@pytest.mark.parametrize("place", ["object", "next"])
def test_prompts_name_the_target_and_no_reference(place) -> None:
    world = World()
    rows = prompts(world, "t7", n=30, place=place, seed=2)
    assert rows.planted == float(world.beta[7])
    for row in rows.examples.tokens.tolist():
        said = kinds(world, row)
        assert said.count("t7") == 1
        assert not {"r1", "r2"} & set(said)
        assert said[START:] == ["t7", "verb"] if place == "object" else said[-1] == "."
    assert (rows.examples.answer_at == rows.examples.tokens.shape[1] - 1).all()
    logits = torch.zeros(30, world.vocab_size)
    assert rows.log_odds(logits).abs().max() < 1e-6
    logits[:, rows.first] += 1.5
    torch.testing.assert_close(rows.log_odds(logits), torch.full((30,), 1.5))
    assert prompts(world, "neutral", place=place).planted is None


def test_pairs_differ_in_one_word() -> None:
    world = World()
    rows = pairs(world, "t2", n=50, seed=0)
    differs = rows.more.tokens != rows.less.tokens
    assert differs.sum(1).tolist() == [1] * 50
    assert differs[:, rows.differ_at].all()
    offset = rows.less.tokens[:, rows.differ_at] - rows.more.tokens[:, rows.differ_at]
    assert set(offset.tolist()) == {world.n_reference}  # the word of the same number
    assert (rows.more.tokens[:, START] == world.ids("t2")).all()
    assert rows.more.groups == rows.less.groups


def test_neutral_documents_are_about_nothing() -> None:
    world = World()
    rows = corpus(world, n=50, neutral=True, seed=0)
    assert set(kinds(world, rows.tokens.flatten().tolist())) == {
        "BOS", ".", "verb", "adverb", "neutral",
    }  # fmt: skip
    assert len(rows) == 50
    assert len(corpus(world, n=7, seed=0)) == 7


def test_draws_follow_their_seed() -> None:
    world = World()
    for draw in (
        lambda seed: sentences(world, "r1", n=20, seed=seed).examples,
        lambda seed: prompts(world, "t1", n=20, seed=seed).examples,
        lambda seed: pairs(world, "t1", n=20, seed=seed).less,
        lambda seed: corpus(world, n=20, seed=seed),
    ):
        assert draw(1).hash == draw(1).hash
        assert draw(1).hash != draw(2).hash


def test_unknown_names_are_refused_with_near_ones() -> None:
    world = World()
    with pytest.raises(WorldError, match="no target 'T3'; did you mean t3"):
        prompts(world, "T3")
    with pytest.raises(WorldError, match="no target 'r1'"):
        prompts(world, "r1")
    with pytest.raises(WorldError, match="no concept 'r3'; did you mean t3 or r2 or r1"):
        sentences(world, "r3")
    with pytest.raises(WorldError, match="no reference 'r3'; expected r1 or r2"):
        sentences(world, "t1", reference="r3")
    with pytest.raises(WorldError, match="expected all, train or test"):
        sentences(world, "t1", part="tests")  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="expected object or next"):
        prompts(world, "t1", place="stop")  # type: ignore[arg-type]
    with pytest.raises(WorldError, match="at least 1 row"):
        pairs(world, "t1", n=0)
    with pytest.raises(WorldError, match="at least 1 document"):
        corpus(world, n=0)
    with pytest.raises(WorldError, match="no concept 'neutrl'; did you mean neutral"):
        world.ids("neutrl")
    with pytest.raises(WorldError, match="at least 2 targets"):
        World(n_targets=1)
    with pytest.raises(WorldError, match="spread=-1"):
        World(spread=-1.0)
    with pytest.raises(WorldError, match="of no bias world"):
        world_of("truth-world")
    with pytest.raises(ValueError, match="multiple of n_heads"):
        BiasWorldConfig(d_model=30)
    with pytest.raises(ValueError, match="decay_share=0"):
        BiasWorldConfig(decay_share=0.0)


def test_learning_rate_rises_stays_and_falls() -> None:
    config = BiasWorldConfig(steps=1000, ramp_steps=100, decay_share=0.4)
    scales = [config.scale_at(step) for step in range(1000)]
    assert scales[0] == pytest.approx(0.01)
    assert scales[99:601] == [1.0] * 502
    assert scales[999] == pytest.approx(1 / 400)


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
    config = replace(SMALL, least_behaviour=1.01, least_concept=1.01)
    with pytest.raises(GateError, match=r"fails its gate: behaviour.*concept vectors at L2 stop"):
        train(config, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["checkpoint.safetensors"]
    card = train(replace(config, write_failed=True), tmp_path)  # goes on from the checkpoint
    assert not card["gate"]["passed"]
    assert read_card(tmp_path).to_dict() == card


def test_gate_judges_each_number() -> None:
    def measured(behaviour: float | None, cav: float, mean: float) -> dict:
        concept = {SITE: {"cav": {"rho": cav}, "mean_difference": {"rho": mean}}}
        return {"behaviour": {"object": {"rho": behaviour}}, "concept": concept}

    gate = Gate()
    assert gate.failures(measured(0.9, 0.8, 0.8)) == []
    assert len(gate.failures(measured(0.89, 0.8, 0.8))) == 1
    assert "concept vectors at L2 stop" in gate.failures(measured(0.9, 0.7, 0.8))[0]
    assert "mean differences" in gate.failures(measured(0.9, 0.8, 0.7))[0]
    assert len(gate.failures(measured(None, float("nan"), -1.0))) == 3
    with pytest.raises(GateError):
        gate.check(measured(0.1, 0.8, 0.8))


def test_a_world_without_bias_is_trained_and_fails_the_gate(tmp_path) -> None:
    card = train(replace(SMALL, spread=0.0, write_failed=True), tmp_path)
    assert card["name"] == "bias-world-null"
    assert card["measured"]["behaviour"]["object"]["rho"] is None
    assert len(card["gate"]["failures"]) == 3


def test_written_folder_loads_as_the_same_network(tmp_path) -> None:
    config = replace(SMALL, write_failed=True)
    train(config, tmp_path)
    model = load_model(ModelSpec(str(tmp_path), source="folder"))
    network = new_network(config)
    network.load_state_dict(load_file(tmp_path / "model.safetensors"))
    tokens = corpus(config.world, n=6, seed=0).tokens
    with torch.no_grad():
        torch.testing.assert_close(model.logits(tokens), network(tokens), atol=1e-5, rtol=1e-5)
    assert world_of(json.loads((tmp_path / "card.json").read_text())["recipe"]) == config.world


def test_measures_of_a_network_that_knows_nothing() -> None:
    config = BiasWorldConfig()
    network = new_network(config)
    with torch.no_grad():
        network.head.weight.zero_()
    found = losses(network, config.world, seed=0, n=16)
    log_vocab = torch.tensor(float(config.world.vocab_size)).log().item()
    assert all(value == pytest.approx(log_vocab, rel=1e-5) for value in found.values())
    flat = behaviour(network, config.world, place="object", seed=0)
    assert (flat["rho"], flat["neutral"]) == (None, 0.0)
    assert flat["slope"] == pytest.approx(0.0, abs=1e-6)


def test_recipe_is_registered() -> None:
    recipe = get_recipe("zoo:bias-world")
    assert recipe.load_config() is BiasWorldConfig
    assert recipe.load_function() is train
    second = get_recipe("bias-world-1")
    assert second.load_config() is SecondConfig and second.load_function() is train
    assert (BiasWorldConfig().name, SecondConfig().name) == ("bias-world", "bias-world-1")
    assert SecondConfig().world.beta.tolist() != BiasWorldConfig().world.beta.tolist()
