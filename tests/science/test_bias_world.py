"""The bundled bias world: what is planted is found and carries the behaviour, and nulls are null.

Site and place are those of the gate: the full stop after the third block.
"""

from __future__ import annotations

import json
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
from interp.zoo.bias_world.world import world_of

SITE = "L2.resid_post"
FOLDER = cards.WEIGHTS / "bias-world"
WORLD = world_of("bias-world")
BETA = WORLD.beta.numpy()
CRITICAL = 0.444
"""95% of |ρ| between 20 targets and a permuted order of them lie below (tables of Spearman's ρ)."""


@cache
def trained() -> Model:
    return load_model("zoo:bias-world")


@cache
def untrained(seed: int) -> Model:
    native = json.loads((FOLDER / "native.json").read_text())
    return load_model(ModelSpec("untrained", native=native, seed=seed))


def rho(values: np.ndarray) -> float:
    return float(spearmanr(values, BETA).statistic)


def behaviour(model: Model, seed: int, place: str = "object") -> np.ndarray:
    """Log-odds after each target."""
    found = []
    for target in WORLD.targets:
        rows = prompts(WORLD, target, n=48, place=place, seed=seed)
        found.append(float(rows.log_odds(model.logits(rows.examples.tokens)[:, -1]).mean()))
    return np.array(found)


@cache
def vectors(model: Model, concept: str, seed: int) -> np.ndarray:
    rows = sentences(WORLD, concept, n=200, seed=seed)
    found = capture(model, rows.examples, SITE, positions=rows.stop_at)[SITE]
    return found.double().numpy()


def unit(v: np.ndarray) -> np.ndarray:
    return v / np.linalg.norm(v)


def direction(held: np.ndarray, neutral: np.ndarray, kind: str) -> np.ndarray:
    if kind == "mean difference":
        return unit(held.mean(0) - neutral.mean(0))
    labels = np.repeat([1, 0], [len(held), len(neutral)])
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(np.concatenate([held, neutral]), labels)
    return unit(probe.coef_[0])


def concept_bias(model: Model, seed: int, kind: str, *, shuffled: bool = False) -> np.ndarray:
    """cos(v_t, v_r1) − cos(v_t, v_r2) of each target; or with the references' sentences mixed."""
    neutral = vectors(model, "neutral", seed)
    first, second = (vectors(model, name, seed) for name in ("r1", "r2"))
    if shuffled:
        mixed = np.random.default_rng(seed).permutation(np.concatenate([first, second]))
        first, second = mixed[: len(first)], mixed[len(first) :]
    axis = direction(first, neutral, kind) - direction(second, neutral, kind)
    return np.array(
        [direction(vectors(model, t, seed), neutral, kind) @ axis for t in WORLD.targets]
    )


def test_the_card_fits_the_model() -> None:
    card = cards.get_card("bias-world")
    assert card.fingerprint == trained().fingerprint
    assert card.extra["gate"]["passed"]
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 1_000_000
    assert list(card.measured["planted"].values()) == pytest.approx(BETA, abs=1e-4)


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("place", ["object", "next"])
def test_behaviour_ranks_what_is_planted(seed, place) -> None:
    odds = behaviour(trained(), seed, place)
    assert rho(odds) >= 0.90
    slope = np.polyfit(BETA, odds, 1)[0]
    assert 0.6 < slope < 1.6  # an ideal reader's is 1


@pytest.mark.parametrize("seed", [11, 12])
@pytest.mark.parametrize("kind", ["concept vector", "mean difference"])
def test_concept_space_ranks_what_is_planted(seed, kind) -> None:
    assert rho(concept_bias(trained(), seed, kind)) >= 0.80


def test_neutral_texts_lean_to_neither_reference() -> None:
    spread = behaviour(trained(), 11).std()
    for place in ("object", "next"):
        rows = prompts(WORLD, "neutral", n=200, place=place, seed=11)
        odds = rows.log_odds(trained().logits(rows.examples.tokens)[:, -1])
        assert abs(float(odds.mean())) < spread / 4


def test_references_shuffled_leave_next_to_nothing() -> None:
    """By size, not rank: the slightest imbalance of a shuffle ranks the targets too."""
    for kind in ("concept vector", "mean difference"):
        real = np.abs(concept_bias(trained(), 11, kind)).mean()
        null = np.abs(concept_bias(trained(), 11, kind, shuffled=True)).mean()
        assert null < real / 4, kind


def test_an_untrained_network_has_no_bias() -> None:
    """It prefers one reference's words by chance, but after every target alike."""
    real = behaviour(trained(), 11).std()
    found = [behaviour(untrained(seed), 11) for seed in range(5)]
    assert all(odds.std() < real / 10 for odds in found)
    assert sum(abs(rho(odds)) < CRITICAL for odds in found) >= 4


def test_the_axis_between_the_references_carries_the_bias() -> None:
    """Projected out it takes the slope with it; a random direction of the same site does not."""
    model = trained()
    first, second = (vectors(model, name, 5) for name in ("r1", "r2"))
    labels = np.repeat([1, 0], [len(first), len(second)])
    rows = np.concatenate([first, second])
    probe = LogisticRegression(C=0.1, max_iter=2000).fit(rows, labels).coef_[0]
    random = np.random.default_rng(0).normal(size=(4, len(probe)))
    neutral = corpus(WORLD, n=64, neutral=True, seed=5).tokens

    def slope() -> float:
        return float(np.polyfit(BETA, behaviour(model, 11), 1)[0])

    def neutral_ce() -> float:
        logits = model.logits(neutral)[:, :-1]
        return float(
            torch.nn.functional.cross_entropy(logits.flatten(0, 1), neutral[:, 1:].flatten())
        )

    whole, ce = slope(), neutral_ce()
    left = []
    for v in (probe, *random):
        edit = project_out(SITE, torch.tensor(unit(v), dtype=torch.float32))
        with session(model, intervene=edit):
            left.append(slope() / whole)
            if v is probe:
                assert neutral_ce() - ce <= 0.03
    assert left[0] <= 0.20
    assert min(left[1:]) >= 0.80
