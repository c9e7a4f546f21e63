"""TCAV finds what is planted, and random concepts at the rate it promises.

The published t-test is measured beside it: it calls many sets of sentences drawn for nothing
significant, since it takes one concept's scores against several negatives for independent.
"""

from __future__ import annotations

import dataclasses
from functools import cache

import numpy as np
import pytest
import torch
from scipy.stats import binom

from experiments import bias_lens
from interp.evidence import holm, smallest_p
from interp.models import Examples, load_model
from interp.zoo.bias_world.prompts import prompts
from interp.zoo.bias_world.sentences import sentences
from interp.zoo.bias_world.world import World, world_of
from probes.cav import concept_evidence, metric_gradients, relative_vector, tcav
from probes.cav.captured import captured
from probes.cav.randoms import draw
from probes.cav.testing import ConceptTest, run_tests
from probes.concept_bias import reference_log_odds
from probes.domains import Domain

N_CONCEPTS, N, D = 120, 60, 24
LAST = "L2.resid_post"


@cache
def synthetic(seed: int) -> dict[str, ConceptTest]:
    """Activations far from round, a gradient, concepts of nothing, and two of something."""
    g = torch.Generator().manual_seed(seed)
    scale = torch.logspace(0.7, -0.7, D)
    gradient = torch.randn(D, generator=g)

    def rows(n: int) -> torch.Tensor:
        return torch.randn(n, D, generator=g) * scale

    concepts = {f"random {i}": rows(N) for i in range(N_CONCEPTS)}
    aside = torch.randn(D, generator=g)
    aside -= (aside @ gradient) / (gradient @ gradient) * gradient
    concepts["planted"] = rows(N) + 3 * gradient / gradient.norm()
    concepts["aside"] = rows(N) + 3 * aside / aside.norm()
    gradients = gradient + 0.5 * torch.randn(64, D, generator=g)
    groups = {name: [f"{name} {i}" for i in range(N)] for name in concepts}
    pool = rows(1500)
    pool_groups = [str(i) for i in range(len(pool))]
    drawn = draw(groups, pool_groups, n_random=199, n_partners=4, seed=seed)
    tests, *_ = run_tests(
        "site",
        drawn,
        concepts,
        pool,
        {"metric": gradients},
        concept_groups=groups,
        pool_groups=pool_groups,
        seed=seed,
    )
    return {test.concept: test for test in tests}


@pytest.mark.parametrize("seed", [0, 1])
def test_random_concepts_pass_no_oftener_than_they_may(seed):
    tests = [t for name, t in synthetic(seed).items() if name.startswith("random")]
    low, high = binom.interval(0.99, N_CONCEPTS, 0.05)
    for which in ("p", "p_fraction"):
        passed = sum(getattr(t, which) <= 0.05 for t in tests)
        assert low <= passed <= high, which
    assert np.mean([t.above_chance for t in tests]) < 0.12, "nor are they concepts at all"
    published = np.mean([t.p_welch is not None and t.p_welch <= 0.05 for t in tests])
    assert published > 0.2, "the published test finds a fifth of them and more"


@pytest.mark.parametrize("seed", [0, 1])
def test_a_planted_concept_passes_and_one_aside_of_the_gradient_does_not(seed):
    planted, aside = synthetic(seed)["planted"], synthetic(seed)["aside"]
    assert planted.above_chance and aside.above_chance
    assert planted.p == planted.p_smallest and planted.z > 4 and planted.effect > 3
    assert aside.p > 0.05
    assert abs(aside.magnitude) < 0.5 * planted.magnitude


@pytest.mark.parametrize(
    ("preset", "layers", "concepts"),
    # Two references, and on the world one concept of nothing; a site a layer unless named.
    [("smoke", 3, 3), ("default", 3, 3), ("small-hub", 6, 2), ("paper", 12, 2)],
)
def test_a_planted_concept_can_pass_holm_in_every_preset(preset, layers, concepts):
    config = dataclasses.replace(bias_lens.Config(), **bias_lens.PRESETS[preset])
    n_tests = concepts * (len(bias_lens.split(config.sites or "")) or layers)
    planted = synthetic(0)["planted"]
    assert planted.p == planted.p_smallest == 1 / 200
    best = dataclasses.replace(planted, p=smallest_p(config.randoms))
    adjusted = holm([best.p] + [1.0] * (n_tests - 1))[0]
    passed = dataclasses.replace(best, p_smallest=best.p, p_holm=float(adjusted))
    assert passed.verdict(alpha=config.alpha, n_tests=n_tests) == "sensitive"
    # With too few random concepts for so many tests it is told so, and not called insensitive.
    few = smallest_p(n_tests)
    scarce = dataclasses.replace(best, p=few, p_smallest=few, p_holm=min(1.0, n_tests * few))
    assert scarce.verdict(alpha=config.alpha, n_tests=n_tests).startswith("underpowered")


def spoken(world: World, name: str, n: int, seed: int = 0) -> Examples:
    rows = sentences(world, name, n=n, part="train", seed=seed).examples
    return dataclasses.replace(rows, name=name if seed == 0 else "nothing")


def test_on_bias_world_the_references_pass_and_a_hundred_draws_of_nothing_do_not():
    world, model = world_of("bias-world"), load_model("zoo:bias-world")
    asked = prompts(world, "neutral", n=48, part="test", place="next", seed=0)
    metric = reference_log_odds(asked.first, asked.second)
    found = tcav(
        model,
        {"neutral": asked.examples},
        [spoken(world, name, 100) for name in ("r1", "r2")],
        random=spoken(world, "neutral", 600, seed=5),
        sites=[LAST],
        metric=metric,
        n_random=99,
        n_partners=2,
        seed=0,
    )
    first, second = found.tests
    verdicts = set(found.table()["verdict"])
    assert first.magnitude > 0.5 and second.magnitude < -0.5
    assert verdicts == {"sensitive"}
    others = prompts(world, "neutral", n=32, part="test", place="next", seed=7).examples
    away = concept_evidence(
        model,
        found,
        others,
        metric,
        site=LAST,
        concept="r1",
        target="neutral",
        amount=-5.0,
        where="answer",
        seed=0,
    )
    assert away.verdict == "load-bearing" and away.has_signature, away.reason
    gradient = metric_gradients(model, asked.examples, metric, LAST)
    (site,) = gradient
    pool = captured(model, spoken(world, "neutral", 600, seed=5), [LAST])
    new = captured(model, spoken(world, "neutral", 5000, seed=6), [LAST]).at[site]
    nothing = {f"nothing {i}": new[50 * i : 50 * i + 50] for i in range(100)}
    groups = {name: [f"{name} {i}" for i in range(50)] for name in nothing}
    drawn = draw(groups, pool.groups, n_random=199, n_partners=2, seed=1)
    tests, *_ = run_tests(
        LAST,
        drawn,
        nothing,
        pool.at[site],
        {"neutral": gradient[site]},
        concept_groups=groups,
        pool_groups=pool.groups,
        seed=1,
    )
    low, high = binom.interval(0.99, len(tests), 0.05)
    assert low <= sum(t.p <= 0.05 for t in tests) <= high


def test_on_bias_world_the_axis_between_the_references_moves_what_is_said():
    world, model = world_of("bias-world"), load_model("zoo:bias-world")
    asked = prompts(world, "neutral", n=48, part="test", place="next", seed=0)
    metric = reference_log_odds(asked.first, asked.second)
    (gradient,) = metric_gradients(model, asked.examples, metric, LAST).values()
    one, other = (captured(model, spoken(world, name, 100), [LAST]) for name in ("r1", "r2"))
    ((site, first),) = one.at.items()
    domain = Domain.build(
        "r1 − r2",
        torch.cat([first, other.at[site]]),
        np.arange(200) < 100,
        groups=[*one.groups, *other.groups],
    )
    found = relative_vector(domain, {"neutral": gradient}, seed=0)
    assert found.vector.above_chance and found.p_loss == 0.005
    assert found.tests[0].p == 0.005 and found.tests[0].effect > 2 and found.tests[0].z > 10
