"""The bundled bias worlds: what is planted is found and carries the behaviour, and nulls are null.

Site and place are those of the gate: the full stop after the third block.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression

from interp.hooks import capture, project_out, session
from interp.models import Model, ModelSpec, load_model
from interp.zoo import cards
from interp.zoo.bias_world.prompts import prompts
from interp.zoo.bias_world.sentences import corpus, sentences
from interp.zoo.bias_world.world import World, world_of
from interp.zoo.recipes import get_recipe

SITE = "L2.resid_post"
WORLDS = ("bias-world", "bias-world-1")
each_world = pytest.mark.parametrize("name", WORLDS)
CRITICAL = 0.444
"""95% of |ρ| between 20 targets and a permuted order of them lie below (tables of Spearman's ρ)."""


@cache
def trained(name: str) -> Model:
    return load_model(f"zoo:{name}")


@cache
def world(name: str) -> World:
    return world_of(name)


@cache
def untrained(seed: int) -> Model:
    native = json.loads((cards.WEIGHTS / WORLDS[0] / "native.json").read_text())
    return load_model(ModelSpec("untrained", native=native, seed=seed))


def rho(name: str, values: np.ndarray) -> float:
    return float(spearmanr(values, world(name).beta.numpy()).statistic)


def slope(name: str, values: np.ndarray) -> float:
    return float(np.polyfit(world(name).beta.numpy(), values, 1)[0])


def behaviour(name: str, seed: int, place: str = "object", model: Model | None = None):
    """Log-odds after each target; of another model than the world's own where one is given."""
    model = model or trained(name)
    found = []
    for target in world(name).targets:
        rows = prompts(world(name), target, n=48, place=place, seed=seed)
        found.append(float(rows.log_odds(model.logits(rows.examples.tokens)[:, -1]).mean()))
    return np.array(found)


@cache
def vectors(name: str, concept: str, seed: int) -> np.ndarray:
    rows = sentences(world(name), concept, n=200, seed=seed)
    found = capture(trained(name), rows.examples, SITE, positions=rows.stop_at)[SITE]
    return found.double().numpy()


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def direction(held: np.ndarray, neutral: np.ndarray, kind: str) -> np.ndarray:
    if kind == "mean difference":
        return unit(held.mean(0) - neutral.mean(0))
    labels = np.repeat([1, 0], [len(held), len(neutral)])
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(np.concatenate([held, neutral]), labels)
    return unit(probe.coef_[0])


def concept_bias(name: str, seed: int, kind: str, *, shuffled: bool = False) -> np.ndarray:
    """cos(v_t, v_r1) − cos(v_t, v_r2) of each target; or with the references' sentences mixed."""
    neutral = vectors(name, "neutral", seed)
    first, second = (vectors(name, one, seed) for one in ("r1", "r2"))
    if shuffled:
        mixed = np.random.default_rng(seed).permutation(np.concatenate([first, second]))
        first, second = mixed[: len(first)], mixed[len(first) :]
    axis = direction(first, neutral, kind) - direction(second, neutral, kind)
    return np.array(
        [direction(vectors(name, t, seed), neutral, kind) @ axis for t in world(name).targets]
    )


@each_world
def test_the_card_fits_the_model(name) -> None:
    card = cards.get_card(name)
    assert card.name == name
    assert card.fingerprint == trained(name).fingerprint
    assert card.extra["gate"]["passed"]
    assert sum(path.stat().st_size for path in (cards.WEIGHTS / name).iterdir()) < 1_000_000
    planted = list(card.measured["planted"].values())
    assert planted == pytest.approx(world(name).beta.numpy(), abs=1e-4)
    assert card.recipe == asdict(get_recipe(name).load_config()())


@each_world
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("place", ["object", "next"])
def test_behaviour_ranks_what_is_planted(name, seed, place) -> None:
    odds = behaviour(name, seed, place)
    assert rho(name, odds) >= 0.90
    assert 0.6 < slope(name, odds) < 1.6  # an ideal reader's is 1


@each_world
@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("kind", ["concept vector", "mean difference"])
def test_concept_space_ranks_what_is_planted(name, seed, kind) -> None:
    assert rho(name, concept_bias(name, seed, kind)) >= 0.80


@each_world
def test_neutral_texts_lean_to_neither_reference(name) -> None:
    spread = behaviour(name, 11).std()
    for place in ("object", "next"):
        rows = prompts(world(name), "neutral", n=200, place=place, seed=11)
        odds = rows.log_odds(trained(name).logits(rows.examples.tokens)[:, -1])
        assert abs(float(odds.mean())) < spread / 4


@each_world
def test_references_shuffled_leave_next_to_nothing(name) -> None:
    """By size, not rank: the slightest imbalance of a shuffle ranks the targets too."""
    for kind in ("concept vector", "mean difference"):
        real = np.abs(concept_bias(name, 11, kind)).mean()
        null = np.abs(concept_bias(name, 11, kind, shuffled=True)).mean()
        assert null < real / 4, kind


def test_an_untrained_network_has_no_bias() -> None:
    """It prefers one reference's words by chance, but after every target alike."""
    name = WORLDS[0]
    real = behaviour(name, 11).std()
    found = [behaviour(name, 11, model=untrained(seed)) for seed in range(5)]
    assert all(odds.std() < real / 10 for odds in found)
    assert sum(abs(rho(name, odds)) < CRITICAL for odds in found) >= 4


@each_world
def test_the_axis_between_the_references_carries_the_bias(name) -> None:
    """Projected out it takes the slope with it; a random direction of the same site does not."""
    first, second = (vectors(name, one, 5) for one in ("r1", "r2"))
    labels = np.repeat([1, 0], [len(first), len(second)])
    rows = np.concatenate([first, second])
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(rows, labels).coef_[0]
    random = np.random.default_rng(0).normal(size=(4, len(probe)))
    neutral = corpus(world(name), n=64, neutral=True, seed=5).tokens

    def neutral_ce() -> float:
        logits = trained(name).logits(neutral)[:, :-1]
        return float(
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), neutral[:, 1:].flatten())
        )

    whole, ce = slope(name, behaviour(name, 11)), neutral_ce()
    left = []
    for v in (probe, *random):
        edit = project_out(SITE, torch.tensor(unit(v), dtype=torch.float32))
        with session(trained(name), intervene=edit):
            left.append(slope(name, behaviour(name, 11)) / whole)
            if v is probe:
                assert neutral_ce() - ce <= 0.03
    assert left[0] <= 0.20
    assert min(left[1:]) >= 0.80
