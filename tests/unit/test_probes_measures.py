"""AUROC and its intervals, against their definitions and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import roc_auc_score

from probes.measures import MeasureError, _weighted, auroc, auroc_interval, auroc_lead

LABELS = np.array([True, False] * 20)
EACH = [str(i) for i in range(40)]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=2, max_size=40))
def test_auroc_is_that_of_scikit_learn(rows: list[tuple[int, bool]]) -> None:
    scores = np.array([s for s, _ in rows], dtype=float)
    labels = np.array([y for _, y in rows])
    if labels.all() or not labels.any():
        with pytest.raises(MeasureError, match="all rows here have the same one"):
            auroc(scores, labels)
        return
    assert auroc(scores, labels) == pytest.approx(roc_auc_score(labels, scores))


def test_weighted_auroc_is_that_of_repeated_rows() -> None:
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 6, 30).astype(float), rng.random(30) < 0.5
    weights = rng.integers(0, 4, (5, 30))
    found = _weighted(scores, labels, weights.astype(float))
    for row, value in zip(weights, found, strict=True):
        assert value == pytest.approx(auroc(np.repeat(scores, row), np.repeat(labels, row)))


def test_the_interval_holds_the_estimate_and_repeats_with_its_seed() -> None:
    scores = np.random.default_rng(0).normal(size=40) + LABELS
    low, high = auroc_interval(scores, LABELS, EACH, seed=3)
    assert 0 < low < auroc(scores, LABELS) < high < 1
    assert (low, high) == auroc_interval(scores, LABELS, EACH, seed=3)
    wide = auroc_interval(scores, LABELS, EACH, seed=3, confidence=0.99)
    assert wide[0] < low
    assert wide[1] > high


def test_rows_that_belong_together_do_not_count_twice() -> None:
    rng = np.random.default_rng(1)
    scores = rng.normal(size=40) + 0.5 * LABELS
    many = np.repeat(scores, 10)
    labels, groups = np.repeat(LABELS, 10), np.repeat(EACH, 10).tolist()
    low, high = auroc_interval(scores, LABELS, EACH, seed=0)
    grouped = auroc_interval(many, labels, groups, seed=0)
    assert grouped == pytest.approx((low, high), abs=0.01)
    apart = auroc_interval(many, labels, [str(i) for i in range(400)], seed=0)
    assert apart[1] - apart[0] < 0.5 * (high - low)


def test_perfect_separation_is_not_certainty() -> None:
    scores = LABELS.astype(float)
    low, high = auroc_interval(scores, LABELS, EACH, seed=0)
    assert high == 1.0
    assert low == pytest.approx(0.025 ** (1 / 20))
    assert auroc_interval(-scores, LABELS, EACH, seed=0) == pytest.approx((0.0, 1 - low))
    # Pairs in one group make half as many disjoint pairs of groups.
    paired = auroc_interval(scores, LABELS, [str(i // 2) for i in range(40)], seed=0)
    assert paired[0] == pytest.approx(0.025 ** (1 / 10))


def test_constant_scores_know_nothing() -> None:
    assert auroc_interval(np.zeros(40), LABELS, EACH, seed=0) == (0.5, 0.5)


def test_the_lead_is_paired() -> None:
    rng = np.random.default_rng(2)
    scores = rng.normal(size=40) + 3 * LABELS
    assert auroc_lead(scores, scores, LABELS, EACH, seed=0) == (0.0, 0.0)
    assert auroc_lead(scores, rng.normal(size=40), LABELS, EACH, seed=0)[0] > 0
    low, high = auroc_lead(scores, scores + 0.01 * rng.normal(size=40), LABELS, EACH, seed=0)
    assert high - low < 0.05


@pytest.mark.parametrize(
    ("scores", "labels", "groups", "why"),
    [
        (np.zeros(4), [1, 1, 0, 0], ["a", "a", "b", "c"], "at least two groups with each label"),
        (np.zeros(4), [1, 1, 1, 1], ["a", "b", "c", "d"], "all rows here have the same one"),
        (np.array([0, np.nan, 0, 0]), [1, 0, 1, 0], ["a", "b", "c", "d"], "score 1 is not finite"),
        (np.zeros(3), [1, 0, 1, 0], ["a", "b", "c", "d"], "one score for each of 4 labels"),
        (np.zeros(4), [1, 0, 1, 0], ["a"], "4 labels need as many groups"),
    ],
)
def test_bad_input_gives_no_number(
    scores: np.ndarray, labels: list[int], groups: list[str], why: str
) -> None:
    y = np.array(labels, dtype=bool)
    with pytest.raises(MeasureError, match=why):
        auroc_interval(scores, y, groups, seed=0)
    with pytest.raises(MeasureError, match=why):
        auroc_lead(scores, scores, y, groups, seed=0)
