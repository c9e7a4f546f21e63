"""Coverage on data whose answer is known, and null data that come out null."""

from __future__ import annotations

import numpy as np
import pytest

from interp.evidence import compare_arms, mcnemar, nested_interval

N_SETS = 400
SHAPE = (8, 2, 6)  # seeds, tasks, prompts


def draw(rng: np.random.Generator, shape: tuple[int, int, int], of_seed: float, of_task: float):
    n_seeds, n_tasks, _ = shape
    values = of_seed * rng.normal(size=(n_seeds, 1, 1))
    values = values + of_task * rng.normal(size=(n_seeds, n_tasks, 1))
    values = values + rng.normal(size=shape)
    seed, task, prompt = np.indices(shape).reshape(3, -1)
    return values.ravel(), {"seed": seed, "task": task, "prompt": prompt}


def holds_zero(interval: tuple[float, float]) -> bool:
    return interval[0] <= 0 <= interval[1]


@pytest.mark.parametrize(
    ("shape", "of_seed", "of_task"), [(SHAPE, 1.0, 0.5), (SHAPE, 0.0, 0.0), ((2, 2, 6), 1.0, 0.5)]
)
def test_the_nested_interval_covers_as_often_as_it_says(shape, of_seed, of_task):
    rng = np.random.default_rng(0)
    nested = over_prompts = significant = 0
    for i in range(N_SETS):
        values, levels = draw(rng, shape, of_seed, of_task)
        found = nested_interval(values, levels, n_resamples=199, seed=i)
        nested += holds_zero(found.interval)
        significant += found.p_value <= 0.05
        prompts = nested_interval(
            values, {"prompt": np.arange(len(values))}, n_resamples=199, seed=i
        )
        over_prompts += holds_zero(prompts.interval)
    assert 0.90 <= nested / N_SETS <= 0.98
    assert significant / N_SETS <= 0.08  # the null comes out null
    if of_seed:  # to ignore that seeds differ is to find effects where there are none
        assert over_prompts / N_SETS < 0.7
    else:  # and where they do not differ it is right, so it is the seeds that break it
        assert 0.90 <= over_prompts / N_SETS <= 0.98


def test_an_effect_that_is_there_is_found():
    rng = np.random.default_rng(1)
    found = 0
    for i in range(100):
        values, levels = draw(rng, SHAPE, 1.0, 0.5)
        result = nested_interval(values + 2.0, levels, n_resamples=199, seed=i)
        found += result.interval[0] > 0 and result.p_value <= 0.05
    assert found >= 95


@pytest.mark.parametrize("paired", [True, False])
def test_arms_that_do_not_differ_come_out_so(paired):
    rng = np.random.default_rng(2)
    false = covered = 0
    for _ in range(N_SETS):
        shared = rng.normal(size=4)  # what one initialisation gives every arm
        first = dict(enumerate(shared + 0.5 * rng.normal(size=4)))
        other = shared if paired else rng.normal(size=4)
        second = dict(enumerate(other + 0.5 * rng.normal(size=4), start=0 if paired else 10))
        found = compare_arms(first, second)
        false += found.p_value <= 0.05
        covered += holds_zero(found.interval)
    assert found.method == ("paired t" if paired else "Welch's t")
    assert 0.02 <= false / N_SETS <= 0.08
    assert 0.92 <= covered / N_SETS <= 0.98


def test_prompts_taken_for_seeds_would_find_arms_to_differ_that_do_not():
    # The mistake that compare_arms is there to prevent.
    rng = np.random.default_rng(3)
    false = 0
    for i in range(100):
        first, _ = draw(rng, (2, 1, 30), 1.0, 0.0)
        second, _ = draw(rng, (2, 1, 30), 1.0, 0.0)
        prompts = {"prompt": np.arange(len(first))}
        false += not holds_zero(
            nested_interval(first - second, prompts, n_resamples=199, seed=i).interval
        )
    assert false > 40


def test_items_that_share_groups_are_flipped_by_group():
    rng = np.random.default_rng(4)
    by_items = by_groups = 0
    for i in range(200):
        groups = np.repeat(np.arange(12), 10)
        changed = rng.integers(0, 3, size=12)[groups]  # a template is lost, gained or kept whole
        found = mcnemar(changed != 1, changed != 2, groups.tolist(), n_resamples=499, seed=i)
        by_groups += found.p_value <= 0.05
        by_items += found.p_items <= 0.05
    assert by_groups / 200 <= 0.09
    assert by_items / 200 > 0.3
