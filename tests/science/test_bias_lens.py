"""The bias lens as a whole where there is nothing to find, and its comparison of SAE and raw."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from experiments.bias_lens import PRESETS, Config
from experiments.bias_lens_measuring import measure
from experiments.bias_lens_numbers import sae_less_cav
from experiments.bias_lens_stages import Job, Latents, Measured, corrected
from experiments.bias_lens_text import random_sentences
from experiments.bias_lens_words import conclusion
from experiments.bias_lens_world import world_for, world_subject
from interp.evidence import Evidence, RandomDraws, loss, weigh
from interp.models import load_model
from interp.runs import Run
from interp.sae import SaeError
from interp.sae.carrying_measures import NoLatentError
from interp.zoo.bias_world.world import WIDTH
from probes.data import StatementSet
from probes.data.checks import DataError
from probes.data.concepts import concept_set, neutral_texts


def test_laid_against_other_targets_values_nothing_is_found_and_nothing_is_judged(
    tmp_path, monkeypatch
):
    """The model leans as ever, and its references are apart; what is planted is dealt out anew."""
    from experiments import bias_lens_world

    true = bias_lens_world.world_subject

    def permuted(config, world):
        subject = true(config, world)
        values = np.random.default_rng(4).permutation(list(subject.planted.values()))
        return replace(subject, planted=dict(zip(subject.planted, values.tolist(), strict=True)))

    monkeypatch.setattr(bias_lens_world, "world_subject", permuted)
    config = Config(**{**PRESETS["smoke"], "sites": "L2.resid_post", "samples": 40_000})
    with Run.create("bias-lens", config, out=tmp_path / "run") as run:
        found = measure(config, run, load_model(config.model))
        from experiments.bias_lens_report import save

        save(config, run, found)
    (one,) = found.measured
    assert all(row.references_apart for row in one.bias.amplitudes)
    for agreement in one.bias.agreements:
        if agreement.yardstick == "planted":
            assert agreement.p > 0.05 and agreement.low < 0 < agreement.high, agreement
        else:
            assert agreement.rho > 0.8
    (axis,) = one.axis
    assert axis.verdict == "not load-bearing" and not axis.has_signature
    (latents,) = one.latents
    assert latents.carrying is None and "there is none to take away" in latents.reason
    said = run.metrics["conclusion"]
    assert said == conclusion(found, run.metrics["triples"])
    assert "no latents were judged" in said


def told(rows) -> set[tuple[int, ...]]:
    """Last sentences, full stop and all."""
    return {tuple(row) for row in rows.tokens[:, -WIDTH:].tolist()}


def test_prompts_are_no_sentences_of_a_concept_and_of_one_split_each():
    subject = world_subject(Config(**PRESETS["smoke"]), world_for("zoo:bias-world"))
    spoken = [told(one) for one in (*subject.targets, subject.first, subject.second)]
    asked = [subject.asked, *(one.biased for one in (subject.select, subject.tune, subject.test))]
    for i, prompts in enumerate(asked):
        assert len(told(prompts)) == 20 * 4 and not told(prompts) & set().union(*spoken)
        assert not any(told(prompts) & told(other) for other in asked[:i])
    of_concepts = {group for one in subject.targets for group in one.groups}
    of_prompts = set(subject.sensitive.groups)
    assert len(of_prompts) == 48
    for one in (subject.first, subject.neutral, subject.random, subject.nothing):
        assert not of_prompts & set(one.groups)
    assert not of_concepts & of_prompts
    assert told(subject.nothing) != told(subject.neutral)
    assert not told(subject.tune.recognition) & told(subject.test.recognition)


def test_more_prompts_than_frames_are_refused():
    with pytest.raises(ValueError, match=r"prompts is 300.*ask for fewer"):
        world_subject(Config(prompts=300, sentences=20), world_for("zoo:bias-world"))


@pytest.mark.parametrize(("prompts", "known"), [(7, False), (8, True)])
def test_behaviour_over_few_prompts_has_no_interval(prompts, known):
    config = Config(prompts=prompts, sentences=20)
    subject = world_subject(config, world_for(config.model))
    frame = Job(config, SimpleNamespace(), load_model(config.model), subject).behaviour()
    assert frame["behaviour"].corr(frame["planted"], method="spearman") > 0.9
    assert frame["low"].notna().all() == frame["no_interval"].isna().all() == known
    if known:
        assert (frame["low"] <= frame["behaviour"]).all()


def test_the_level_reaches_the_latents_and_only_a_finding_is_a_reason(monkeypatch):
    asked = []

    def carrying(*_, raised=NoLatentError, **settings):
        asked.append(settings["alpha"])
        raise raised("none found")

    config = Config(prompts=2, sentences=20, alpha=0.2)
    job = Job(config, SimpleNamespace(), None, world_subject(config, world_for(config.model)))
    monkeypatch.setattr("interp.sae.carrying", carrying)
    assert job.latents(None, {}, None) == {"carrying": None, "reason": "none found"}
    assert asked == [0.2]
    monkeypatch.setattr("interp.sae.carrying", partial(carrying, raised=SaeError))
    with pytest.raises(SaeError, match="none found"):
        job.latents(None, {}, None)


def test_random_sentences_are_of_no_concept():
    first, second = concept_set("pleasant"), concept_set("unpleasant")
    pool = random_sentences(first, second, [concept_set("nurse")])
    assert set(pool.texts) == set(neutral_texts())
    assert not set(pool.texts) & {*first.texts, *second.texts}
    people = random_sentences(concept_set("women"), concept_set("men"), [])
    assert len(people) == 320 and len(set(people.groups)) == 40
    taken = StatementSet.build(
        [neutral_texts()[0], "They were kind."], [True, False], groups=["a", "b"], name="wide"
    )
    with pytest.raises(DataError, match=r"wide: .* take it out"):
        random_sentences(first, second, [taken])


@dataclass(frozen=True)
class Carried:
    """As much of what latents carry as is corrected."""

    evidence: Evidence


def test_latents_and_axes_of_all_triples_are_one_family_each():
    row = weigh(
        "x",
        signature_name="s",
        signature=1.0,
        signature_null=0.0,
        has_signature=True,
        metric=loss,
        clean=torch.zeros(8),
        ablated=1 + torch.arange(8) / 8,
        control_effects=torch.rand(99, 8, generator=torch.Generator().manual_seed(0)) / 9,
        controls=RandomDraws("random", 99),
        seed=0,
    )

    def evidence(p: float):
        return replace(row, p_value=p)

    def measured(axis: float, latents: float | None):
        return Measured(
            *[SimpleNamespace()] * 4,
            axis=(evidence(axis),),
            latents=(Latents("0", None if latents is None else Carried(evidence(latents)), None),),
        )

    found = corrected([measured(0.01, 0.02), measured(0.04, None), measured(0.5, 0.04)])
    assert [one.axis[0].p_holm for one in found] == pytest.approx([0.03, 0.08, 0.5])
    edits = [one.latents[0].carrying for one in found]
    assert edits[1] is None
    assert [edits[i].evidence.p_holm for i in (0, 2)] == pytest.approx([0.04, 0.04])


def laid(form: np.ndarray) -> SimpleNamespace:
    """Twenty targets, raw vectors that agree with them but for a little noise, and an SAE form."""
    scores = np.linspace(-1, 1, 20)
    raw = scores + 0.1 * np.random.default_rng(0).standard_normal(20)
    names = [f"t{i}" for i in range(20)]
    frame = pd.DataFrame(
        [
            {"site": "L0", "method": method, "target": name, "bias": value}
            for method, values in (("cav", raw), ("sae 0", form))
            for name, value in zip(names, values, strict=True)
        ]
    )
    yardsticks = {"behaviour": dict(zip(names, scores, strict=True))}
    return SimpleNamespace(
        bias=SimpleNamespace(intervals=lambda: frame, yardsticks=yardsticks),
        subject=SimpleNamespace(yardstick="behaviour"),
        latents=[SimpleNamespace(name="0")],
    )


@pytest.mark.parametrize(("noise", "sign"), [(0.1, 0), (3.0, -1)])
def test_the_sae_form_is_worse_where_it_is_noise_and_as_good_where_it_is_not(noise, sign):
    scores = np.linspace(-1, 1, 20)
    form = scores + noise * np.random.default_rng(1).standard_normal(20)
    difference, low, high = sae_less_cav(laid(form), "L0", seed=0)["0"]
    assert low <= difference <= high
    assert (high < 0) if sign < 0 else (low <= 0 <= high)
