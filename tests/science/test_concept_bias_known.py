"""Bias in concept space recovers what zoo:bias-world plants, and the model's behaviour rests on it.

Measured at the full stop after the second block and after the third, 300 sentences a concept
against neutral ones, and laid beside the planted log-odds and the model's own, read off prompts of
other frames.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch

from interp.models import Examples, Model, load_model
from interp.zoo.bias_world.prompts import prompts
from interp.zoo.bias_world.sentences import sentences
from interp.zoo.bias_world.world import World, world_of
from probes.concept_bias import (
    BiasRows,
    ConceptBias,
    ConceptRows,
    axis_evidence,
    bias_of_rows,
    by_target,
    concept_bias,
    reference_log_odds,
    target_means,
)

MIDDLE, LAST = "L1.resid_post", "L2.resid_post"


def spoken(world: World, name: str) -> Examples:
    rows = sentences(world, name, n=300, part="train", seed=0).examples
    return dataclasses.replace(rows, name=name)


@cache
def asked(seed: int = 0) -> tuple[Model, World, Examples, dict[str, float]]:
    world, model = world_of("bias-world"), load_model("zoo:bias-world")
    rows = by_target(
        {t: prompts(world, t, n=8, part="test", seed=seed).examples for t in world.targets}
    )
    values = metric(world).per_example(model.logits(rows.tokens), rows)
    return model, world, rows, target_means(values, rows.groups)


def metric(world: World):
    return reference_log_odds(world.ids("r1"), world.ids("r2"))


@cache
def measured() -> ConceptBias:
    model, world, _, behaviour = asked()
    return concept_bias(
        model,
        [spoken(world, name) for name in world.targets],
        spoken(world, "r1"),
        spoken(world, "r2"),
        neutral=spoken(world, "neutral"),
        sites=[MIDDLE, LAST],
        yardsticks={
            "planted": dict(zip(world.targets, world.beta.tolist(), strict=True)),
            "behaviour": behaviour,
        },
        n_shuffles=200,
        n_resamples=10,
        seed=0,
    )


def test_every_vector_tells_its_concept_apart():
    assert not measured().near_chance()


@pytest.mark.parametrize("site", [MIDDLE, LAST])
@pytest.mark.parametrize("method", ["cav", "mean difference", "reference probe"])
@pytest.mark.parametrize("yardstick", ["planted", "behaviour"])
def test_bias_in_concept_space_ranks_targets_as_planted_and_as_the_model_behaves(
    site, method, yardstick
):
    (found,) = [
        a
        for a in measured().agreements
        if (a.site, a.method, a.yardstick) == (site, method, yardstick)
    ]
    assert found.rho >= 0.80 and found.low > 0.5 and found.p < 0.01
    # Class means keep the noise of both classes: shuffled, they shrink with √n alone, where
    # regressions find next to nothing to fit.
    assert found.slope_z is not None
    assert found.slope_z >= (5 if method == "mean difference" else 10)


def test_size_beats_two_hundred_shuffles_of_the_references():
    for size in measured().amplitudes:
        assert size.p == pytest.approx(1 / 201) and size.size > 3 * size.null_high
        assert size.references_apart


@pytest.mark.parametrize("site", [MIDDLE, LAST])
def test_projecting_the_axis_out_takes_the_bias_away_and_random_directions_do_not(site):
    model, world, rows, _ = asked()
    found, against_any = (
        axis_evidence(
            model,
            measured(),
            rows,
            metric(world),
            site=site,
            yardstick="planted",
            where="answer",
            n_random=99,
            isotropic=isotropic,
            seed=0,
        )
        for isotropic in (False, True)
    )
    assert found.verdict == "load-bearing" and found.p_value == 0.01
    assert found.share is not None and found.share >= 0.80
    if site == LAST:  # in the middle it overshoots: what reads the stream leans the other way then
        assert found.share <= 1.20
    assert against_any.verdict == "load-bearing" and against_any.effect == found.effect
    shares = torch.tensor(against_any.controls) / found.clean
    assert abs(float(shares.mean())) <= 0.05 and float(shares.abs().median()) <= 0.05
    assert float(shares.max()) <= 0.25 * found.share
    assert max(found.controls) > max(against_any.controls), "the harder control is harder"
    assert found.n_groups == 20 and found.has_signature


def mixed(seed: int, *, lean: float) -> BiasRows:
    """Activations in which each target leans on the axis by a known amount, times ``lean``.

    Each has a direction of its own besides, about as long, and by chance somewhat along it.
    """
    g = torch.Generator().manual_seed(seed)
    d, n = 32, 120
    axis = torch.randn(d, generator=g)
    axis = 2 * axis / axis.norm()

    def concept(name: str, mean: torch.Tensor) -> ConceptRows:
        noise = torch.randn(n, d, generator=g)
        return ConceptRows(name, mean + noise, tuple(f"frame {i}" for i in range(n)))

    targets = [
        concept(f"t{i}", lean * b * axis + 0.35 * torch.randn(d, generator=g))
        for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())
    ]
    ends = [concept(name, s * axis + 0.5) for name, s in (("r1", 1), ("r2", -1))]
    return BiasRows.build(targets, *ends, concept("neutral", torch.zeros(d)), seed=seed)


class TopLatents:
    """A random overcomplete dictionary of which the eight largest answers are kept."""

    def __init__(self, d: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(d, 4 * d, generator=g) / d**0.5

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.relu(x @ self.rows)
        kept = z.topk(8, dim=-1)
        return torch.zeros_like(z).scatter(-1, kept.indices, kept.values)


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_leanings_are_found_by_every_method_the_sae_form_among_them(seed):
    planted = {f"t{i}": b for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())}
    found = bias_of_rows(
        {MIDDLE: mixed(seed, lean=1.0)},
        saes={MIDDLE: TopLatents(32, seed)},
        yardsticks={"planted": planted},
        n_shuffles=99,
        n_resamples=0,
        seed=seed,
    )
    assert {a.method for a in found.agreements} >= {"cav", "sae"}
    for one in found.agreements:
        assert one.rho >= 0.80 and one.slope_z is not None and one.slope_z > 4, one


def test_where_nothing_leans_rank_agreement_is_chance_though_the_references_are_apart():
    """The axis is real and targets differ, but not along it in any order."""
    planted = {f"t{i}": b for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())}
    ps = []
    for seed in range(12):
        found = bias_of_rows(
            {MIDDLE: mixed(seed, lean=0.0)},
            yardsticks={"planted": planted},
            n_shuffles=19,
            n_resamples=0,
            seed=seed,
        )
        assert found.amplitudes[0].references_apart
        ps.append(found.agreements[0].p)
    assert sum(p <= 0.05 for p in ps) <= 3
