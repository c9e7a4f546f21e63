"""Two worlds of planted bias: every measure finds it, and a few latents carry it.

Weights, documents and the odds of every target differ between the worlds; at each site two
autoencoders are trained, as ``interp run bias-lens`` trains them. Concepts are measured after the
last block: the SAE form is weaker before it. Latents are edited after the second, where those that
carry the bias are few: after the last, random ones that fire as often take up to .28 of it.
"""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.stats import spearmanr

from experiments.bias_lens import PRESETS, Config
from experiments.bias_lens_measuring import sae_settings
from experiments.bias_lens_subject import Subject
from experiments.bias_lens_world import world_documents, world_subject
from interp.models import Model, load_model
from interp.sae import Carrying, Dictionary, carrying, train_sae
from interp.zoo.bias_world.world import world_of
from probes.concept_bias import ConceptBias, axis_evidence, concept_bias, target_means

WORLDS = ("bias-world", "bias-world-1")
SEEDS = (0, 1)
MIDDLE, LAST = "L1.resid_post", "L2.resid_post"
RAW = ("cav", "mean difference", "reference probe")


@cache
def config(name: str) -> Config:
    return Config(**{**PRESETS["default"], "model": f"zoo:{name}"})


@cache
def model_of(name: str) -> Model:
    return load_model(f"zoo:{name}")


@cache
def subject(name: str) -> Subject:
    return world_subject(config(name), world_of(name))


@cache
def behaviour(name: str) -> dict[str, float]:
    asked = subject(name).asked
    values = subject(name).behaviour.per_example(model_of(name).logits(asked.tokens), asked)
    return target_means(values, asked.groups)


@pytest.fixture(scope="module")
def saes(tmp_path_factory):
    """Both autoencoders of a world and site."""

    @cache
    def trained(name: str, site: str) -> dict[int, Dictionary]:
        train, held_out = world_documents(config(name), world_of(name))
        return {
            seed: train_sae(
                model_of(name),
                train,
                site,
                out=tmp_path_factory.mktemp(f"{name}-{site}") / str(seed),
                settings=sae_settings(config(name), seed=seed),
                held_out=held_out,
            ).dictionary
            for seed in SEEDS
        }

    return trained


@pytest.fixture(scope="module")
def measured(saes):
    """Bias in concept space by every method, both autoencoders' among them."""

    @cache
    def measure(name: str) -> ConceptBias:
        own = subject(name)
        return concept_bias(
            model_of(name),
            own.targets,
            own.first,
            own.second,
            neutral=own.neutral,
            sites=[MIDDLE, LAST],
            saes={LAST: {f"sae {seed}": sae for seed, sae in saes(name, LAST).items()}},
            yardsticks={"planted": own.planted, "behaviour": behaviour(name)},
            n_shuffles=100,
            n_resamples=0,
            seed=0,
        )

    return measure


@pytest.fixture(scope="module")
def carried(saes, measured):
    """What came of setting five latents to their mean on neutral text."""

    @cache
    def edited(name: str, seed: int) -> Carrying:
        own = subject(name)
        return carrying(
            model_of(name),
            saes(name, MIDDLE)[seed],
            own.behaviour,
            select=own.select,
            tune=own.tune,
            test=own.test,
            scores=own.planted,
            recognised=own.recognised,
            direction=measured(name).axes[MIDDLE],
            tokens=own.tokens,
            counts=(5,),
            kinds=("neutral mean",),
            n_random=99,
            n_directions=19,
            seed=0,
        )

    return edited


def test_the_worlds_are_two():
    planted = [np.array(list(subject(name).planted.values())) for name in WORLDS]
    assert sorted(planted[0]) == pytest.approx(sorted(planted[1]))
    assert abs(spearmanr(*planted).statistic) < 0.5
    assert model_of(WORLDS[0]).fingerprint != model_of(WORLDS[1]).fingerprint


@pytest.mark.parametrize("name", WORLDS)
def test_the_model_behaves_as_planted(name):
    planted = subject(name).planted
    found = spearmanr([planted[t] for t in planted], [behaviour(name)[t] for t in planted])
    assert found.statistic >= 0.90


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("method", [*RAW, "sae 0", "sae 1"])
def test_bias_in_concept_space_goes_with_what_is_planted_and_with_behaviour(measured, name, method):
    found = [a for a in measured(name).agreements if a.method == method]
    assert {a.yardstick for a in found} == {"planted", "behaviour"}
    for one in found:
        assert one.rho >= 0.80 and one.low > 0.5 and one.p < 0.01, one
        assert one.slope_z is not None and one.slope_z >= 10, one


@pytest.mark.parametrize("name", WORLDS)
def test_it_is_larger_than_with_shuffled_references(measured, name):
    assert not measured(name).near_chance()
    for size in measured(name).amplitudes:
        assert size.p == pytest.approx(1 / 101) and size.size > 3 * size.null_high, size
        assert size.references_apart


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_five_latents_take_the_bias_away(carried, name, seed):
    found = carried(name, seed)
    assert found.chosen.n == 5 and found.evidence.n_groups == 20
    assert found.chosen.slope >= 0.50 and found.chosen.interval[0] > 0.2, found


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_neutral_text_hardly_suffers_and_named_references_stay_recognised(carried, name, seed):
    found = carried(name, seed)
    assert found.chosen.ce <= 0.03 and found.chosen.kl <= 0.03
    assert found.recognition > 0.95 and found.chosen.recognition > found.recognition - 0.05
    (plain,) = (row for row in found.baselines if row.name == "reconstruction")
    assert abs(plain.slope) < 0.25


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("seed", SEEDS)
def test_random_latents_that_fire_as_often_take_little(carried, name, seed):
    found = carried(name, seed)
    assert len(found.random_latents) == 99
    assert found.random_latents.max() <= 0.20
    assert found.evidence.verdict == "load-bearing" and found.evidence.p_value == 0.01


@pytest.mark.parametrize("name", WORLDS)
@pytest.mark.parametrize("site", [MIDDLE, LAST])
def test_the_axis_between_the_references_carries_it(measured, name, site):
    found, against_any = (
        axis_evidence(
            model_of(name),
            measured(name),
            subject(name).test.biased,
            subject(name).behaviour,
            site=site,
            yardstick="planted",
            where="answer",
            n_random=99,
            isotropic=isotropic,
            seed=0,
        )
        for isotropic in (False, True)
    )
    assert found.verdict == against_any.verdict == "load-bearing"
    assert found.share is not None and found.share >= 0.80
    assert found.n_groups == 20 and found.has_signature
    shares = np.array(against_any.controls) / found.clean
    assert abs(shares.mean()) <= 0.05 and shares.max() <= 0.25 * found.share
    assert max(found.controls) > max(against_any.controls), "the harder control is harder"
