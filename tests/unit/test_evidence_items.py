"""McNemar's test on items, against the binomial by hand and against statsmodels."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from statsmodels.stats.contingency_tables import mcnemar as reference

from interp.evidence import StatisticsError, mcnemar, permutation_p


def items(both: int, lost: int, gained: int, neither: int) -> tuple[list[int], list[int]]:
    clean = [1] * (both + lost) + [0] * (gained + neither)
    ablated = [1] * both + [0] * lost + [1] * gained + [0] * neither
    return clean, ablated


def test_eight_lost_and_one_gained():
    found = mcnemar(*items(20, 8, 1, 11), seed=0)
    assert (found.n_items, found.n_groups, found.lost, found.gained) == (40, 40, 8, 1)
    assert found.difference == pytest.approx(7 / 40)
    assert found.p_value == pytest.approx(2 * (1 + 9) / 2**9)
    assert found.p_items == found.p_value and found.independent
    low, high = found.interval
    a, b = 9 / 42, 2 / 42
    half = 1.959964 * math.sqrt((a + b - (a - b) ** 2) / 42)
    assert (low, high) == pytest.approx((a - b - half, a - b + half))
    assert low < found.difference < high
    assert "accuracy -0.175 [-0.3" in str(found)


@settings(deadline=None, max_examples=30)
@given(st.tuples(*[st.integers(0, 30)] * 4).filter(sum))
def test_p_is_statsmodels(counts):
    both, lost, gained, neither = counts
    found = mcnemar(*items(*counts), seed=0)
    wanted = 1.0
    if lost + gained:
        wanted = reference([[both, lost], [gained, neither]], exact=True).pvalue
    assert found.p_value == pytest.approx(wanted)
    assert -1 <= found.interval[0] <= found.difference <= found.interval[1] <= 1


def test_nothing_changed_is_p_one_with_an_interval_that_has_a_width():
    found = mcnemar([1, 1, 0], [1, 1, 0], seed=0)
    assert found.p_value == 1.0 and found.difference == 0
    assert found.interval[0] < 0 < found.interval[1]


def test_groups_are_flipped_whole():
    clean, ablated = items(10, 8, 0, 6)
    groups = [str(i // 4) for i in range(24)]
    found = mcnemar(clean, ablated, groups, seed=0)
    assert not found.independent and found.n_groups == 6
    harm = [float(a - b) for a, b in zip(clean, ablated, strict=True)]
    assert found.p_value == permutation_p(harm, groups, seed=0)
    assert found.p_items == pytest.approx(2 / 2**8) and found.p_value > found.p_items
    assert "sign flips of 6 groups" in found.method and "in 6 groups" in str(found)
    one = mcnemar(clean, ablated, ["a"] * 24, seed=0)
    assert one.interval is None and one.p_value == 1.0 and "no interval" in str(one)


def test_tensors_and_booleans_do():
    clean = torch.tensor([True, True, False])
    found = mcnemar(clean, clean.float(), seed=0)
    assert found.lost == found.gained == 0
    assert found.to_dict()["n_items"] == 3


@pytest.mark.parametrize(
    ("clean", "ablated", "groups", "said"),
    [
        ([1, 0.5], [1, 0], None, "hits@1"),
        ([1, math.nan], [1, 0], None, "0 or 1"),
        ([1, 0], [2, 0], None, "ablated must be 0 or 1"),
        ([1], [1, 0], None, "cannot be paired"),
        ([], [], None, "at least one"),
        ([1, 0], [1, 0], ["a"], "group labels"),
    ],
)
def test_refusals(clean, ablated, groups, said):
    with pytest.raises(StatisticsError, match=said):
        mcnemar(clean, ablated, groups, seed=0)
