"""Control sets against brute force."""

from __future__ import annotations

import itertools
import math
from collections import Counter

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.evidence import (
    ControlsError,
    ControlSets,
    Head,
    NoControlsError,
    layer_matched,
    norm_matched,
)

heads_of_4_by_5 = st.sets(st.tuples(st.integers(0, 3), st.integers(0, 4)), min_size=1, max_size=4)
norms_of_3_by_4 = st.lists(st.floats(0, 100, allow_nan=False), min_size=12, max_size=12).map(
    lambda values: torch.tensor(values, dtype=torch.float64).reshape(3, 4)
)


def per_layer(heads: frozenset[Head] | set[Head]) -> Counter[int]:
    return Counter(layer for layer, _ in heads)


@given(target=heads_of_4_by_5, n=st.integers(1, 60), seed=st.integers(0, 2**32))
@settings(max_examples=80, deadline=None)
def test_layer_matched_sets_match(target: set[Head], n: int, seed: int) -> None:
    counts = per_layer(target)
    if max(counts.values()) > 2:
        with pytest.raises(NoControlsError):
            layer_matched(target, 4, 5, n=n, seed=seed)
        return
    controls = layer_matched(target, 4, 5, n=n, seed=seed)
    assert controls.n_possible == math.prod(math.comb(5 - k, k) for k in counts.values())
    assert len(controls) == min(n, controls.n_possible)
    assert controls.enumerated == (controls.n_possible <= n)
    assert len(set(controls.sets)) == len(controls)
    for heads in controls.sets:
        assert not heads & target
        assert per_layer(heads) == counts
        assert all(0 <= head < 5 for _, head in heads)


@given(
    target=st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=3),
    norms=norms_of_3_by_4,
    n=st.integers(1, 40),
    tolerance=st.floats(1, 8),
)
@settings(max_examples=150, deadline=None)
def test_norm_matched_equals_brute_force(
    target: set[Head], norms: torch.Tensor, n: int, tolerance: float
) -> None:
    """Every set of the right size that can be paired with the target under the documented rule."""
    controls = norm_matched(target, norms, n=n, seed=0, tolerance=tolerance)
    everything = norm_matched(target, norms, n=10_000, seed=0, tolerance=tolerance)
    assert everything.enumerated
    log = norms.clamp(min=1e-6 * float(norms.max())).log() if float(norms.max()) else norms * 0
    rest = [h for h in itertools.product(range(3), range(4)) if h not in target]
    fewest = max(3, len(target))
    # Equal distances make "the nearest" ambiguous: then a superset and a subset bound the answer.
    loose: dict[Head, set[Head]] = {}
    tight: dict[Head, set[Head]] = {}
    for head in target:
        away = {other: abs(float(log[other] - log[head])) for other in rest}
        reach = max(math.log(tolerance), sorted(away.values())[fewest - 1])
        loose[head] = {other for other in rest if away[other] <= reach + 1e-8}
        tight[head] = {other for other in rest if away[other] < reach - 1e-8}

    def paired(allowed: dict[Head, set[Head]]) -> set[frozenset[Head]]:
        order = sorted(target)
        return {
            frozenset(choice)
            for choice in itertools.product(*(allowed[head] for head in order))
            if len(set(choice)) == len(order)
        }

    found = set(everything.sets)
    assert paired(tight) <= found <= paired(loose)
    assert everything.n_possible == len(found) >= 1
    assert controls.n_possible == everything.n_possible
    assert set(controls.sets) <= found
    assert len(controls) == min(n, controls.n_possible)
    for heads in controls.sets:
        assert not heads & target


def test_null_sets_are_all_sets_of_the_shape_but_the_target() -> None:
    target = {(0, 0), (0, 1), (1, 2)}
    found = layer_matched(target, 2, 5, n=999, seed=0)
    alike = {
        frozenset({(0, i), (0, j), (1, k)})
        for i, j in itertools.combinations(range(5), 2)
        for k in range(5)
    }
    assert set(found.null_sets) == alike - {frozenset(target)}
    assert found.n_null_possible == len(found.null_sets) == 49
    assert set(found.sets) == {heads for heads in found.null_sets if not heads & target}
    few = layer_matched(target, 2, 5, n=7, seed=0)
    assert len(few.null_sets) == 7 and set(few.null_sets) <= set(found.null_sets)


def test_null_sets_of_one_head_are_its_controls() -> None:
    for found in (
        layer_matched({(0, 0)}, 2, 5, n=99, seed=0),
        norm_matched({(0, 0)}, torch.ones(2, 5), n=99, seed=0),
    ):
        assert found.null_sets == found.sets
        assert found.n_null_possible == found.n_possible


def test_null_sets_leave_out_what_is_excluded() -> None:
    target, other = {(0, 0), (0, 1)}, (0, 2)
    for found in (
        layer_matched(target, 1, 8, n=999, seed=0, exclude=[other]),
        norm_matched(target, torch.ones(1, 8), n=999, seed=0, exclude=[other]),
    ):
        assert not any(other in heads for heads in found.null_sets)
        assert any(heads & target for heads in found.null_sets)
        assert frozenset(target) not in found.null_sets


def test_norm_ratios_show_how_well_sets_match() -> None:
    norms = torch.tensor([[1.0, 1.5, 0.6, 50.0], [2.0, 0.4, 10.0, 0.0]])
    near = norm_matched({(0, 0)}, norms, n=99, seed=0)
    assert set(near.sets) == {frozenset({(0, 1)}), frozenset({(0, 2)}), frozenset({(1, 0)})}
    assert near.norm_ratios is not None
    by_set = dict(zip(near.sets, near.norm_ratios, strict=True))
    assert by_set[frozenset({(1, 0)})] == pytest.approx(2.0)
    assert by_set[frozenset({(0, 2)})] == pytest.approx(0.6)
    # Nothing is within a factor of two of 50: the three nearest stand in, and it shows.
    far = norm_matched({(0, 3)}, norms, n=99, seed=0)
    assert set(far.sets) == {frozenset({(1, 2)}), frozenset({(1, 0)}), frozenset({(0, 1)})}
    assert far.norm_ratios is not None
    assert sorted(far.norm_ratios) == pytest.approx([1.5 / 50, 2 / 50, 10 / 50])


def test_a_single_head_may_be_matched_with_every_near_head_of_the_model() -> None:
    norms = torch.linspace(1.0, 1.9, 40).reshape(5, 8)
    controls = norm_matched({(0, 0)}, norms, n=99, seed=0)
    assert controls.enumerated
    assert controls.n_possible == 39


def test_dead_heads_match_dead_heads() -> None:
    norms = torch.zeros(2, 6)
    norms[1, 5] = 3.0
    assert norm_matched({(0, 0)}, norms, n=99, seed=0).n_possible == 10
    assert norm_matched({(0, 0)}, torch.zeros(2, 6), n=99, seed=0).n_possible == 11


def test_counts_beyond_64_bits_are_exact_and_drawn_from() -> None:
    target = {(layer, head) for layer in range(24) for head in range(8)}
    controls = layer_matched(target, 24, 24, n=50, seed=3)
    assert controls.n_possible == math.comb(16, 8) ** 24
    assert not controls.enumerated
    assert len(set(controls.sets)) == 50
    assert all(per_layer(heads) == per_layer(target) for heads in controls.sets)


def test_draws_are_seeded() -> None:
    target = {(0, 0), (1, 1)}
    first = layer_matched(target, 2, 12, n=20, seed=1)
    assert first == layer_matched({(1, 1), (0, 0)}, 2, 12, n=20, seed=1)
    assert first != layer_matched(target, 2, 12, n=20, seed=2)


def test_draws_are_uniform_over_sets() -> None:
    """χ² of how often each of the 25 sets comes first (df 24: mean 24, s.d. 7)."""
    first = Counter(
        layer_matched({(0, 0), (1, 1)}, 2, 6, n=1, seed=seed).sets[0] for seed in range(5000)
    )
    assert len(first) == 25
    expected = 5000 / 25
    assert sum((count - expected) ** 2 / expected for count in first.values()) < 24 + 5 * 7


@pytest.mark.parametrize("target", [{(0, 0), (0, 1), (0, 2)}, {(1, h) for h in range(4)}])
def test_no_possible_control_says_what_to_do(target: set[Head]) -> None:
    with pytest.raises(NoControlsError, match="take a smaller target, or norm_matched"):
        layer_matched(target, 2, 4, n=9, seed=0)
    assert norm_matched({(0, 0), (0, 1), (0, 2)}, torch.ones(2, 4), n=99, seed=0).n_possible == 10
    with pytest.raises(NoControlsError, match="leaves 3 for a control set of 5"):
        norm_matched({(0, 0), *((1, h) for h in range(4))}, torch.ones(2, 4), n=9, seed=0)


@pytest.mark.parametrize(
    ("target", "n", "message"),
    [(set(), 9, "empty"), ({(2, 0)}, 9, "L2H0 is not in the model"), ({(0, 0)}, 0, "at least 1")],
)
def test_impossible_requests_are_refused(target: set[Head], n: int, message: str) -> None:
    with pytest.raises(ControlsError, match=message):
        layer_matched(target, 2, 4, n=n, seed=0)
    with pytest.raises(ControlsError, match=message):
        norm_matched(target, torch.ones(2, 4), n=n, seed=0)


def test_impossible_norms_are_refused() -> None:
    with pytest.raises(ControlsError, match="not negative"):
        norm_matched({(0, 0)}, torch.tensor([[1.0, -1.0]]), n=9, seed=0)
    with pytest.raises(ControlsError, match=r"\[layer, head\]"):
        norm_matched({(0, 0)}, torch.ones(3), n=9, seed=0)
    with pytest.raises(ControlsError, match="tolerance"):
        norm_matched({(0, 0)}, torch.ones(2, 2), n=9, seed=0, tolerance=0.5)


def test_control_sets_are_never_empty_doubled_or_more_than_exist() -> None:
    one = frozenset({(0, 0)})
    with pytest.raises(NoControlsError):
        ControlSets("layer-matched", (), 0, True)
    with pytest.raises(ControlsError, match="distinct"):
        ControlSets("layer-matched", (one, one), 5, False)
    with pytest.raises(ControlsError, match="1 possible"):
        ControlSets("layer-matched", (one, frozenset({(0, 1)})), 1, True)
