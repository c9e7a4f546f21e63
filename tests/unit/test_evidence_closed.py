"""Several effects beside one set of controls: closed testing by rank sums."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from interp.evidence import (
    ControlSets,
    Evidence,
    EvidenceError,
    StatisticsError,
    closed_rank_p,
    correct,
    evidence_frame,
    holm,
    loss,
    rank_p_value,
    read_evidence,
    weigh,
)


@pytest.mark.parametrize("effect", [-1.0, 0.35, 0.5, 2.0])
def test_of_one_effect_it_is_the_rank_p_value(effect):
    controls = np.linspace(0, 1, 21)
    assert closed_rank_p([effect], controls) == (pytest.approx(rank_p_value(effect, controls)),)


def test_effects_above_all_controls_keep_their_own_p_where_holm_triples_it():
    controls = np.linspace(0, 1, 53)
    found = closed_rank_p([4.0, 2.0, 3.0], controls)
    assert found == pytest.approx([1 / 54] * 3)
    assert holm([1 / 54] * 3) == pytest.approx([3 / 54] * 3)


def test_it_is_the_largest_p_of_any_set_counted_by_hand():
    tested, controls = [3.5, 9.0, 5.5], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]

    def by_hand(chosen: tuple[float, ...]) -> float:
        pool = [*chosen, *controls]
        ranks = {v: i for i, v in enumerate(sorted(pool))}
        own = sum(ranks[v] for v in chosen)
        draws = [sum(ranks[v] for v in s) for s in itertools.combinations(pool, len(chosen))]
        return sum(drawn >= own for drawn in draws) / len(draws)

    for effect, p in zip(tested, closed_rank_p(tested, controls), strict=True):
        sets = [s for n in (1, 2, 3) for s in itertools.combinations(tested, n) if effect in s]
        assert p == pytest.approx(max(map(by_hand, sets)))


def test_ties_count_against_the_tested():
    assert closed_rank_p([0.0, 0.0], np.zeros(20)) == (1.0, 1.0)
    near = closed_rank_p([1.0], [1.0 + 1e-4, 0.0, 0.0], resolution=1e-3)
    assert near == (pytest.approx(rank_p_value(1.0, [1.0 + 1e-4, 0, 0], resolution=1e-3)),)


@pytest.mark.parametrize("n_real", [0, 1, 2])
def test_false_alarms_stay_at_the_level_whichever_are_real(n_real):
    """Three tested, some with an effect beyond all controls, the others exchangeable with them."""
    rng, alarms, n = np.random.default_rng(n_real), 0, 400
    for _ in range(n):
        tested = rng.normal(size=3) + 9 * (np.arange(3) < n_real)
        found = closed_rank_p(tested, rng.normal(size=53))
        alarms += any(p <= 0.05 for p in found[n_real:])
    assert alarms / n <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / n)


def test_real_effects_among_themselves_are_found_and_one_among_null_ones_needs_more():
    rng = np.random.default_rng(0)
    controls = rng.normal(size=53)
    assert max(closed_rank_p([9.0, 8.0, 7.0], controls)) <= 0.05
    lonely = closed_rank_p([9.0, *np.quantile(controls, (0.4, 0.5))], controls)
    assert lonely[0] > 0.05 and min(lonely[1:]) > 0.4


def test_numbers_that_are_missing_or_not_finite_are_refused():
    with pytest.raises(StatisticsError, match="effects"):
        closed_rank_p([], [1.0])
    with pytest.raises(StatisticsError, match="controls"):
        closed_rank_p([1.0], [math.nan])


def row(effect: float, *, others: float = 1.0) -> Evidence:
    noise = torch.linspace(-0.01, 0.01, 12)
    sets = ControlSets("others", tuple(frozenset({(0, h)}) for h in range(29)), 29, True)
    return weigh(
        "one",
        signature_name="s",
        signature=1.0,
        signature_null=0.0,
        has_signature=True,
        metric=loss,
        clean=torch.ones(12),
        ablated=1 + effect + noise,
        control_effects=torch.linspace(0, others, 29)[:, None] + noise,
        controls=sets,
        n_resamples=99,
        seed=0,
    )


def test_rows_that_share_their_controls_are_judged_together():
    rows = [row(3.0), row(2.0), row(1.5)]
    assert [r.verdict for r in correct(rows)] == ["underpowered"] * 3
    found = correct(rows, together=True)
    assert [r.verdict for r in found] == ["load-bearing"] * 3
    assert [r.p_holm for r in found] == pytest.approx([1 / 30] * 3)
    assert "by rank sums with its family" in found[0].reason
    assert "rank sums 0.0333" in str(found[0]) and "rank sums" in found[0].cells["p (smallest)"]
    assert Evidence.from_dict(found[0].to_dict()) == found[0]
    assert correct(found) == correct(rows), "corrected afresh"
    weak = correct([row(3.0), row(0.3), row(0.4)], together=True)
    assert [r.verdict for r in weak] == ["underpowered", "not load-bearing", "not load-bearing"]
    assert "others of its family do not: p = " in weak[0].reason


def test_tables_keep_how_p_was_adjusted_and_older_ones_are_read():
    rows = correct([row(3.0), row(2.0)], together=True)
    frame = evidence_frame(rows)
    assert read_evidence(frame) == rows
    older = read_evidence(frame.drop(columns="correction"))
    assert [r.correction for r in older] == ["Holm"] * 2


def test_rows_with_different_controls_are_not_judged_together():
    with pytest.raises(EvidenceError, match="must share their null sets"):
        correct([row(3.0), row(2.0, others=0.5)], together=True)
