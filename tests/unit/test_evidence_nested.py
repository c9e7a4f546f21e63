"""Nested intervals: what is resampled, of how many, and that the result says so."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interp.evidence import (
    StatisticsError,
    bootstrap_interval,
    by_task,
    holm,
    nested_interval,
    permutation_p,
)


def table(n_seeds: int, n_tasks: int, n_prompts: int, *, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    of_seed = rng.normal(size=n_seeds)
    rows = [
        {"seed": s, "task": f"t{t}", "prompt": p, "harm": of_seed[s] + rng.normal()}
        for s in range(n_seeds)
        for t in range(n_tasks)
        for p in range(n_prompts)
    ]
    return pd.DataFrame(rows)


def nested(frame: pd.DataFrame, *levels: str, **options):
    names = levels or ("seed", "task", "prompt")
    return nested_interval(
        frame["harm"], {name: frame[name] for name in names}, n_resamples=499, seed=0, **options
    )


def test_it_says_what_was_resampled_and_of_how_many():
    found = nested(table(8, 3, 10))
    assert found.resampled == ("seed", "task", "prompt")
    assert (found.unit, found.n_units, found.n_rows) == ("seed", 8, 240)
    assert [level.n_units for level in found.levels] == [8, 24, 240]
    assert found.statement == (
        "8 seeds, 24 tasks (3 each), 240 prompts (10 each); resampled: seed, then task, then "
        "prompt; every seed has the same tasks, and it is about these."
    )
    assert found.warning is None and not found.underpowered
    assert found.p_smallest == 2 / 2**8


def test_a_level_of_one_unit_is_not_resampled_and_that_is_said():
    frame = table(1, 3, 10)
    found = nested(frame)
    assert found.resampled == ("task", "prompt")
    assert found.unit == "task" and found.n_units == 3
    assert "not resampled, one only: seed" in found.statement
    assert found.underpowered and "Only 3 tasks: underpowered" in found.warning
    only_prompts = nested(table(1, 1, 12))
    assert only_prompts.resampled == ("prompt",) and only_prompts.unit == "prompt"


def test_one_unit_of_everything_gives_no_interval():
    found = nested(table(1, 1, 1))
    assert found.interval is None and found.p_value is None
    assert "nothing to draw from" in found.warning and found.underpowered
    assert "no interval" in str(found)
    # Two rows of one group are still one unit.
    assert nested_interval([1.0, 2.0], {"group": ["a", "a"]}, seed=0).interval is None


def test_the_estimate_counts_seeds_and_tasks_alike_and_rows_within_a_task():
    harm = [1.0, 1.0, 1.0, 5.0, 8.0, 2.0, 4.0]
    task = ["a", "a", "a", "a", "b", "c", "c"]
    seed = [0, 0, 0, 0, 0, 1, 1]
    found = nested_interval(harm, {"seed": seed, "task": task, "row": range(7)}, seed=0)
    assert found.estimate == pytest.approx(((2.0 + 8.0) / 2 + 3.0) / 2)
    weighted = nested_interval([1.0, 4.0], {"g": [0, 1]}, weights=[3, 1], seed=0)
    assert weighted.estimate == pytest.approx(7 / 4)


@pytest.mark.parametrize("n_seeds", [2, 3, 8])
def test_its_width_is_that_of_students_t_over_the_seeds(n_seeds):
    frame = table(n_seeds, 2, 6)
    low, high = nested(frame).interval
    means = frame.groupby("seed")["harm"].mean()
    found = stats.ttest_1samp(means, 0).confidence_interval()
    assert high - low == pytest.approx(found.high - found.low, rel=0.12)


def test_over_prompts_alone_it_agrees_with_the_plain_bootstrap():
    rng = np.random.default_rng(3)
    harm, groups = rng.exponential(size=90), np.sqrt(np.arange(90) * 10).astype(int).tolist()
    found = nested_interval(harm, {"prompt": groups}, seed=0)
    plain = bootstrap_interval(harm, groups, seed=0)
    assert found.interval == pytest.approx(plain, abs=0.1 * (plain[1] - plain[0]))
    shifted = harm - harm.mean() + 0.1  # not significant, so that p has digits to compare
    found = nested_interval(shifted, {"prompt": groups}, seed=0)
    assert found.p_value == permutation_p(shifted, groups, seed=0)
    assert 0.05 < found.p_value < 1


def test_labels_are_read_within_their_outer_unit():
    # Prompt 0 of either task: four prompts, not two.
    found = nested_interval(
        [1.0, 2.0, 3.0, 4.0], {"task": "aabb", "prompt": [0, 1, 0, 1]}, n_resamples=99, seed=0
    )
    assert [level.n_units for level in found.levels] == [2, 4]


def test_unbalanced_levels_draw_only_units_that_exist():
    # Padding that leaked in would draw the 1000 of another task.
    harm = [0.0, 0.1, 0.2, 1000.0]
    levels = {"task": "aaab", "prompt": [0, 1, 2, 0]}
    found = nested_interval([*harm[:3], 0.3], levels, n_resamples=999, seed=0)
    assert -1.5 < found.interval[0] < found.interval[1] < 2
    assert nested_interval(harm, levels, n_resamples=99, seed=0).estimate == pytest.approx(500.05)


def test_all_equal_is_an_interval_of_no_width():
    found = nested_interval([0.25] * 6, {"seed": [0, 0, 1, 1, 2, 2], "row": range(6)}, seed=0)
    assert found.interval == (0.25, 0.25)
    zero = nested_interval([0.0] * 6, {"row": range(6)}, seed=0)
    assert zero.interval == (0.0, 0.0) and zero.p_value == 1.0


@settings(deadline=None, max_examples=30)
@given(scale=st.floats(1e-6, 1e6), shift=st.floats(-10, 10), seed=st.integers(0, 20))
def test_it_moves_and_stretches_with_the_values(scale, shift, seed):
    frame = table(4, 2, 3, seed=seed)
    plain = nested(frame)
    moved = nested(frame.assign(harm=scale * (frame["harm"] + shift)))
    ends = [scale * (end + shift) for end in plain.interval]
    assert moved.interval == pytest.approx(ends, rel=1e-6, abs=1e-6 * scale * 20)


def test_it_is_the_same_again_with_the_same_seed():
    frame = table(6, 2, 5)
    assert nested(frame) == nested(frame)


@pytest.mark.parametrize(
    ("values", "levels", "weights", "said"),
    [
        ([1.0, np.nan], {"g": [0, 1]}, None, "finite"),
        ([], {"g": []}, None, "at least one"),
        ([1.0, 2.0], {"g": [0]}, None, "as many g labels"),
        ([1.0, 2.0], {}, None, "at least one level"),
        ([1.0, 2.0], {"g": [0, 1]}, [1.0, 0.0], "above 0"),
    ],
)
def test_refusals(values, levels, weights, said):
    with pytest.raises(StatisticsError, match=said):
        nested_interval(values, levels, weights=weights, seed=0)


def test_confidence_out_of_range_is_refused():
    with pytest.raises(StatisticsError, match="between 0 and 1"):
        nested_interval([1.0, 2.0], {"g": [0, 1]}, confidence=95, seed=0)


def test_by_task_is_each_task_alone_with_holm_over_them():
    frame = table(6, 3, 4)
    frame.loc[frame["task"] == "t1", "harm"] += 5
    found = by_task(
        frame["harm"],
        frame["task"],
        {"seed": frame["seed"], "prompt": frame["prompt"]},
        n_resamples=499,
        seed=0,
    )
    alone = frame[frame["task"] == "t1"]
    assert found.tasks == ("t0", "t1", "t2")
    assert found.intervals[1] == nested(alone, "seed", "prompt")
    assert found.p_adjusted == holm([i.p_value for i in found.intervals])
    assert found.p_adjusted[1] == 3 * 2 / 2**6
    shown = found.frame()
    assert shown["task"].tolist() == ["t0", "t1", "t2"]
    assert shown["p_adjusted"].dtype == "Float64"
    assert "Holm over tasks" in str(found)


def test_a_task_without_a_p_value_is_left_out_of_the_correction():
    found = by_task(
        [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0], list("aaaaaab"), {"prompt": range(7)}, seed=0
    )
    assert found.p_adjusted == (2 / 2**6, None)
    assert bool(found.frame()["low"].isna()[1])


def test_text_is_escaped():
    found = by_task([1.0, 2.0], ["<b>", "<b>"], {"<i>": [0, 1]}, n_resamples=99, seed=0)
    assert "<b>" not in found._repr_html_() and "&lt;b&gt;" in found._repr_html_()
    assert "<i>" not in found.intervals[0]._repr_html_()
