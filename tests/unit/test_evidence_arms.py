"""Arms of training compared by seed, and what that says of a claim."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from interp.evidence import Claim, StatisticsError, compare_arms, compare_with_claim

NAMES = ("copy", "natural")


def test_one_seed_per_arm_is_no_inference_and_says_so():
    found = compare_arms({0: 1.5}, {0: 1.0}, names=NAMES)
    assert found.estimate == 0.5
    assert found.interval is None and found.p_value is None and found.method is None
    assert found.reason == "one seed per arm: no inference between arms"
    assert found.underpowered
    assert str(found) == "copy − natural: 0.5; one seed per arm: no inference between arms"
    claim = compare_with_claim(
        Claim("copies centralise", low=0.0), found.estimate, found.interval, reason=found.reason
    )
    assert claim.verdict == "underpowered" and found.reason in claim.reason
    unpaired = compare_arms({0: 1.5}, {1: 1.0})
    assert unpaired.p_value is None and "one seed per arm" in unpaired.reason


def test_shared_seeds_are_paired():
    first, second = {0: 2.0, 1: 5.0, 2: 9.5, 3: 4.0, 4: 7.0}, {4: 5.5, 3: 3.0, 2: 8.0, 1: 4.5, 0: 1}
    found = compare_arms(first, second, names=NAMES)
    differences = [first[s] - second[s] for s in first]
    wanted = stats.ttest_1samp(differences, 0)
    assert found.method == "paired t" and found.degrees == 4 and not found.underpowered
    assert found.p_value == pytest.approx(wanted.pvalue)
    ends = wanted.confidence_interval()
    assert found.interval == pytest.approx((ends.low, ends.high))
    assert found.reason == "5 seeds, paired"


def test_other_seeds_are_not_paired():
    first, second = {0: 2.0, 1: 5.0, 2: 9.0, 3: 4.0}, {10: 1.0, 11: 2.0, 12: 1.5}
    found = compare_arms(first, second)
    wanted = stats.ttest_ind(list(first.values()), list(second.values()), equal_var=False)
    assert found.method == "Welch's t" and (found.n_first, found.n_second) == (4, 3)
    assert found.p_value == pytest.approx(wanted.pvalue)
    assert found.estimate == pytest.approx(3.5)


def test_seeds_of_one_arm_only_are_left_out_of_the_pairs_and_counted():
    found = compare_arms({0: 1.0, 1: 2.0, 2: 4.0, 7: 99.0}, {0: 0.5, 1: 1.0, 2: 1.0})
    assert found.n_first == 3 and found.estimate == pytest.approx(1.5)
    assert "1 left out" in found.reason
    one = compare_arms({0: 1.0, 1: 2.0}, {0: 0.5, 5: 1.0})
    assert one.p_value is None and one.reason.startswith("one seed per arm")
    lone = compare_arms({0: 1.0, 1: 2.0}, {5: 1.0}, names=NAMES)
    assert lone.p_value is None and "one seed of natural" in lone.reason


def test_two_seeds_are_computed_and_said_to_be_wide():
    found = compare_arms({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.0})
    assert found.interval is not None and found.underpowered
    assert "underpowered: 6.5 times as wide" in found.reason  # 12.706 / 1.960


def test_no_spread_is_no_test():
    same = compare_arms({0: 0.1 + 0.2, 1: 1.3}, {0: 0.2, 1: 1.2})
    assert same.p_value is None and same.interval is None
    assert "the same for every seed" in same.reason
    assert compare_arms({0: 1.0, 1: 1.0}, {2: 0.5, 3: 0.5}).p_value is None


def test_refusals_of_arms():
    with pytest.raises(StatisticsError, match="'natural' has no seeds"):
        compare_arms({0: 1.0}, {}, names=NAMES)
    with pytest.raises(StatisticsError, match="seed 3, is not finite"):
        compare_arms({3: math.nan}, {3: 1.0})
    with pytest.raises(StatisticsError, match="between 0 and 1"):
        compare_arms({0: 1.0}, {0: 1.0}, confidence=95)


POSITIVE = Claim("more", low=0.0)
NEAR_ZERO = Claim("near zero", low=-0.1, high=0.1)


@pytest.mark.parametrize(
    ("claim", "interval", "verdict"),
    [
        (POSITIVE, (0.1, 0.9), "replicates"),
        (POSITIVE, (-0.9, -0.1), "does not"),
        (POSITIVE, (-0.1, 0.9), "underpowered"),
        (POSITIVE, (0.0, 0.9), "underpowered"),  # holds zero, which is not positive
        (POSITIVE, (-0.9, 0.0), "does not"),
        (POSITIVE, (0.0, 0.0), "does not"),
        (POSITIVE, None, "underpowered"),
        (Claim("less", high=0.0), (-0.9, -0.1), "replicates"),
        (Claim("less", high=0.0), (0.1, 0.9), "does not"),
        (NEAR_ZERO, (-0.05, 0.05), "replicates"),
        (NEAR_ZERO, (0.2, 0.5), "does not"),
        (NEAR_ZERO, (-0.5, -0.1), "does not"),
        (NEAR_ZERO, (0.05, 0.5), "underpowered"),
        (NEAR_ZERO, (-3.0, 3.0), "underpowered"),
        (Claim("sizeable", low=0.2), (0.01, 0.1), "does not"),
    ],
)
def test_verdicts(claim, interval, verdict):
    found = compare_with_claim(claim, 0.0 if interval is None else sum(interval) / 2, interval)
    assert found.verdict == verdict
    assert found.to_dict()["verdict"] == verdict


@settings(deadline=None, max_examples=30)
@given(low=st.floats(-5, 5), width=st.floats(0, 5), end=st.floats(-5, 5))
def test_a_claim_and_its_opposite_never_both_replicate(low, width, end):
    interval = (low, low + width)
    up = compare_with_claim(Claim("up", low=end), low, interval).verdict
    down = compare_with_claim(Claim("down", high=end), low, interval).verdict
    if low < end < low + width:
        assert up == down == "underpowered"
    elif end < low or end > low + width:
        assert {up, down} == {"replicates", "does not"}
    else:
        assert "replicates" not in (up, down)


def test_claims_that_say_nothing_are_refused():
    for ends in ({}, {"low": 1.0, "high": 1.0}, {"low": math.inf}, {"high": math.nan}):
        with pytest.raises(StatisticsError, match="needs a finite low"):
            Claim("x", **ends)
    with pytest.raises(StatisticsError, match="low to its high"):
        compare_with_claim(POSITIVE, 0.0, (1.0, -1.0))


def test_text_is_escaped_and_one_line():
    found = compare_with_claim(Claim("<b>a", low=0.0), 1.0, (0.5, 1.5), reason="2 seeds")
    assert "<b>" not in found._repr_html_()
    assert str(found) == (
        "<b>a: replicates (1 [0.5, 1.5] lies inside the claimed range, above 0; 2 seeds)"
    )
