"""Intervals and p-values against their definitions."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.evidence import (
    StatisticsError,
    bootstrap_interval,
    holm,
    permutation_p,
    rank_p_value,
    smallest_p,
)

numbers = st.floats(-1e6, 1e6, allow_nan=False)


@given(effect=numbers, controls=st.lists(numbers, min_size=1, max_size=30))
def test_rank_p_value_is_a_rank(effect: float, controls: list[float]) -> None:
    p = rank_p_value(effect, controls)
    assert smallest_p(len(controls)) <= p <= 1
    clearly = [c for c in controls if abs(c - effect) > 1e-8 * max(abs(c), abs(effect))]
    ties = len(controls) - len(clearly)
    at_least = sum(c > effect for c in clearly)
    assert round(p * (len(controls) + 1)) - 1 in range(at_least, at_least + ties + 1)


def test_ties_count_against_the_target() -> None:
    assert rank_p_value(0.0, [0.0] * 9) == 1.0
    assert rank_p_value(0.3, [0.1 + 0.2, 0.0]) == pytest.approx(2 / 3)
    assert rank_p_value(0.1 + 0.2, [0.3, 0.0]) == pytest.approx(2 / 3)
    assert rank_p_value(2e-7, [1e-7] * 9) == pytest.approx(0.1)
    assert rank_p_value(2e-7, [1e-7] * 9, resolution=1e-6) == 1.0


def test_p_values_need_controls_and_finite_numbers() -> None:
    with pytest.raises(StatisticsError, match="at least one"):
        rank_p_value(1.0, [])
    with pytest.raises(StatisticsError, match="finite"):
        rank_p_value(float("nan"), [1.0])
    with pytest.raises(StatisticsError, match="finite"):
        rank_p_value(1.0, [float("inf")])
    with pytest.raises(StatisticsError, match="at least one control"):
        smallest_p(0)


@given(value=numbers, n=st.integers(2, 20))
def test_constant_data_has_an_interval_of_zero_width(value: float, n: int) -> None:
    low, high = bootstrap_interval([value] * n, seed=0)
    assert low == high == pytest.approx(value)


def test_equal_group_means_have_an_interval_of_zero_width() -> None:
    low, high = bootstrap_interval([0.0, 2.0, 1.0, -1.0, 3.0], ["a", "a", "b", "c", "c"], seed=0)
    assert low == high == 1.0


@given(values=st.lists(numbers, min_size=2, max_size=25), scale=st.sampled_from([1e-150, 1.0, 1e9]))
@settings(max_examples=60, deadline=None)
def test_the_interval_is_finite_ordered_and_within_the_data(
    values: list[float], scale: float
) -> None:
    scaled = [value * scale for value in values]
    low, high = bootstrap_interval(scaled, n_resamples=199, seed=0)
    slack = 1e-9 * max(abs(v) for v in scaled)
    assert min(scaled) - slack <= low <= high <= max(scaled) + slack


def test_more_confidence_is_wider_and_the_seed_decides() -> None:
    values = np.random.default_rng(0).normal(1, 1, 30)
    low, high = bootstrap_interval(values, seed=1)
    wider = bootstrap_interval(values, confidence=0.99, seed=1)
    assert wider[0] < low < values.mean() < high < wider[1]
    assert bootstrap_interval(values, seed=1) == (low, high)


def test_the_interval_is_about_students_on_normal_data() -> None:
    """With eight values the plain bootstrap is some 20% too narrow; the widened one is not."""
    rng = np.random.default_rng(0)
    ratios = []
    for _ in range(30):
        values = rng.normal(0, 1, 8)
        low, high = bootstrap_interval(values, n_resamples=1999, seed=0)
        ratios.append((high - low) / (2 * 2.365 * values.std(ddof=1) / np.sqrt(8)))
    assert np.mean(ratios) == pytest.approx(0.99, abs=0.05)


def test_duplicating_examples_within_their_group_adds_no_certainty() -> None:
    values = np.random.default_rng(2).normal(size=15)
    once = bootstrap_interval(values, seed=0)
    labels = [f"g{i}" for i in range(15)]
    many = bootstrap_interval(np.repeat(values, 10), np.repeat(labels, 10).tolist(), seed=0)
    assert many == pytest.approx(once)
    naive = bootstrap_interval(np.repeat(values, 10), seed=0)
    assert naive[1] - naive[0] < 0.5 * (many[1] - many[0])


def test_large_groups_weigh_as_in_the_plain_mean() -> None:
    rng = np.random.default_rng(0)
    labels = [0] * 400 + [i for i in range(1, 41) for _ in range(10)]
    values = rng.normal(0, 0.01, 800)
    values[:400] += 1
    low, high = bootstrap_interval(values, labels, seed=0)
    assert low < values.mean() < high


def test_intervals_need_two_groups() -> None:
    with pytest.raises(StatisticsError, match="two groups"):
        bootstrap_interval([1.0], seed=0)
    with pytest.raises(StatisticsError, match="two groups"):
        bootstrap_interval([1.0, 2.0], ["a", "a"], seed=0)
    with pytest.raises(StatisticsError, match="group labels"):
        bootstrap_interval([1.0, 2.0], ["a"], seed=0)
    with pytest.raises(StatisticsError, match="finite"):
        bootstrap_interval([1.0, float("nan")], seed=0)
    with pytest.raises(StatisticsError, match="confidence"):
        bootstrap_interval([1.0, 2.0], confidence=1.0, seed=0)


@given(values=st.lists(st.integers(-5, 5), min_size=2, max_size=7))
@settings(max_examples=40, deadline=None)
def test_sign_flips_are_exact_when_few(values: list[int]) -> None:
    flips = [
        sum(s * v for s, v in zip(signs, values, strict=True))
        for signs in itertools.product((1, -1), repeat=len(values))
    ]
    greater = sum(total >= sum(values) for total in flips) / len(flips)
    assert permutation_p(values, alternative="greater", seed=0) == pytest.approx(greater)
    less = sum(total <= sum(values) for total in flips) / len(flips)
    assert permutation_p(values, seed=0) == pytest.approx(min(1.0, 2 * min(greater, less)))


def test_sign_flips_go_by_group() -> None:
    values, labels = [1.0] * 12, ["a"] * 6 + ["b"] * 6
    assert permutation_p(values, alternative="greater", seed=0) == pytest.approx(2**-12)
    assert permutation_p(values, labels, alternative="greater", seed=0) == pytest.approx(0.25)
    assert permutation_p(values, ["a"] * 12, alternative="greater", seed=0) == 0.5
    assert permutation_p([0.0] * 5, seed=0) == 1.0
    assert permutation_p([0.0], alternative="greater", seed=0) == 1.0


def test_sampled_sign_flips_are_never_zero() -> None:
    assert permutation_p(np.ones(40), alternative="greater", n_resamples=99, seed=0) == 0.01


def test_holm_is_the_step_down_adjustment() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx((0.03, 0.06, 0.06))
    assert holm([0.2]) == pytest.approx((0.2,))
    with pytest.raises(StatisticsError, match="between 0 and 1"):
        holm([1.5])


@pytest.mark.parametrize("n", [1, 2, 7, 40])
def test_holm_equals_statsmodels(n: int) -> None:
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(n).choice(np.linspace(0, 1, 30) ** 3, n)
    assert holm(p) == pytest.approx(multitest.multipletests(p, method="holm")[1])


@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_and_keeps_the_order(p: list[float]) -> None:
    adjusted = holm(p)
    assert all(a >= b - 1e-15 for a, b in zip(adjusted, p, strict=True))
    assert max(adjusted) <= 1
    by_p = sorted(range(len(p)), key=p.__getitem__)
    ordered = [adjusted[i] for i in by_p]
    assert ordered == sorted(ordered)
