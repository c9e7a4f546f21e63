"""The split: no group straddles, and both sides hold both labels in proportion."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes import DataError
from probes.data.split import group_split, shuffled_labels


@settings(max_examples=60, deadline=None)
@given(
    rows=st.lists(st.tuples(st.booleans(), st.integers(0, 12)), min_size=4, max_size=80),
    held_out=st.floats(0.1, 0.9),
    seed=st.integers(0, 5),
)
def test_no_group_straddles(rows: list[tuple[bool, int]], held_out: float, seed: int) -> None:
    labels = [label for label, _ in rows]
    groups = [f"g{group}" for _, group in rows]
    try:
        known, new = group_split(labels, groups, held_out=held_out, seed=seed)
    except DataError:
        return
    assert sorted([*known, *new]) == list(range(len(rows)))
    assert not {groups[i] for i in known} & {groups[i] for i in new}
    for side in (known, new):
        for label in (False, True):
            assert len({groups[i] for i in side if labels[i] == label}) >= 2


def test_single_rows_are_stratified_to_the_row_and_differ_by_seed() -> None:
    labels = [True] * 30 + [False] * 70
    groups = [str(i) for i in range(100)]
    parts = [group_split(labels, groups, held_out=0.3, seed=seed)[1] for seed in (0, 0, 1)]
    for part in parts:
        assert sum(labels[i] for i in part) == 9
        assert len(part) == 30
    assert np.array_equal(parts[0], parts[1])
    assert not np.array_equal(parts[0], parts[2])


def test_pairs_and_uneven_groups_come_near_their_share() -> None:
    pairs = [str(i // 2) for i in range(200)]
    _, new = group_split([True, False] * 100, pairs, held_out=0.25, seed=0)
    assert len(new) == 50
    rng = np.random.default_rng(0)
    groups = np.repeat([f"g{i}" for i in range(40)], rng.integers(1, 12, 40)).tolist()
    labels = rng.random(len(groups)) < 0.3
    _, new = group_split(labels, groups, held_out=0.3, seed=0)
    assert len(new) / len(groups) == pytest.approx(0.3, abs=0.05)
    assert labels[new].mean() == pytest.approx(labels.mean(), abs=0.05)


def test_too_few_groups_are_refused() -> None:
    with pytest.raises(DataError, match=r"3 groups .* cannot be split"):
        group_split([True, False, True, False], ["a", "a", "b", "c"], held_out=0.3, seed=0)
    with pytest.raises(DataError, match="held_out is 1"):
        group_split([True, False] * 8, [str(i) for i in range(16)], held_out=1.0, seed=0)


def test_shuffles_keep_what_binds_groups() -> None:
    rng = np.random.default_rng(0)
    pairs = [str(i // 2) for i in range(200)]
    labels = np.array([True, False] * 100)
    shuffled = shuffled_labels(labels, pairs, rng=rng)
    assert (shuffled.reshape(-1, 2).sum(1) == 1).all()
    assert 20 < (shuffled != labels).sum() < 180

    pure = [str(i // 5) for i in range(200)]
    labels = np.repeat(np.arange(40) % 2 == 0, 5)
    shuffled = shuffled_labels(labels, pure, rng=rng)
    assert set(shuffled.reshape(-1, 5).sum(1)) == {0, 5}
    assert shuffled.sum() == 100

    single = [str(i) for i in range(50)]
    labels = np.arange(50) < 10
    assert shuffled_labels(labels, single, rng=rng).sum() == 10


def test_shuffles_of_uneven_groups_keep_both_labels() -> None:
    rng = np.random.default_rng(0)
    labels = np.array([True, False, False, False, True])
    for _ in range(50):
        shuffled = shuffled_labels(labels, ["a", "a", "a", "b", "c"], rng=rng)
        assert 0 < shuffled.sum() < 5
