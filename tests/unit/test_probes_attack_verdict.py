"""What may be said of an attack: never more than it does beyond random suffixes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from probes.attack.measuring import AttackRow, Condition, share_interval
from probes.attack.report import summary_rows
from probes.attack.result import AttackResult
from probes.attack.training import Budget

N = 30


def row(condition: Condition, caught: int, *, kept: int = N, draw: int = 0) -> AttackRow:
    groups = [str(i) for i in range(N)]
    low, high = share_interval(np.arange(N) < caught, groups, seed=0)
    return AttackRow(
        round=0,
        condition=condition,
        against="" if condition == "clean" else "it",
        draw=draw,
        monitor="it",
        recall=caught / N,
        recall_low=low,
        recall_high=high,
        auroc=0.5,
        auroc_low=0.4,
        auroc_high=0.6,
        false_alarms=0.01,
        kept=kept / N,
        kept_low=0.0,
        kept_high=1.0,
        kl=0.0,
        n=N,
        n_groups=N,
    )


def made(rows: Sequence[AttackRow], *, n_random: int = 2) -> AttackResult:
    return AttackResult(
        rows=tuple(rows),
        attacked=("it",),
        asked=("it",),
        model="m",
        fingerprint="f",
        data="d",
        data_hash="h",
        sites=("L0.resid_post",),
        position="last",
        label=1,
        budget=Budget(),
        rounds=1,
        n_next=1,
        n_random=n_random,
        seed=0,
        probe=None,
        n_known=N,
        n_practice=N,
        n_calibration=N,
        suffixes={},
    )


@pytest.mark.parametrize(
    ("clean", "attack", "kept", "random", "said"),
    [
        (30, 0, 30, (30, 30), "broken"),
        (30, 1, 27, (30, 20), "broken"),
        (6, 0, 30, (6, 5), "broken"),
        (30, 0, 20, (30, 30), "evaded, behaviour lost"),
        # Random suffixes do as much, whether or not the intervals before and after are apart.
        (6, 0, 30, (0, 0), "no better than random"),
        (6, 0, 20, (0, 0), "no better than random"),
        (30, 0, 30, (0, 30), "no better than random"),
        (30, 28, 30, (28, 30), "no better than random"),
        # They do less, but not by more than the attack's own interval.
        (6, 0, 30, (2, 6), "no better than random"),
        (6, 1, 20, (2, 6), "no better than random"),
        (30, 15, 30, (16, 30), "no better than random"),
        (30, 15, 30, (30, 29), "weakened"),
        (30, 15, 10, (30, 29), "not broken at this budget"),
        (30, 29, 30, (30, 30), "not broken at this budget"),
        (30, 30, 30, (30, 30), "not broken at this budget"),
        (30, 30, 30, (10, 30), "not broken at this budget"),
        (1, 0, 30, (1, 1), "nothing to attack"),
        (30, 0, 30, (30,), "not reached"),
        (30, 0, 30, (), "not reached"),
    ],
)
def test_the_verdict_claims_no_more_than_is_beyond_random(clean, attack, kept, random, said):
    rows = [row("clean", clean), row("attack", attack, kept=kept)]
    rows += [row("random", n, draw=i) for i, n in enumerate(random)]
    result = made(rows)
    assert result.verdict("it") == said
    assert summary_rows(result)[0][-1] == said
    assert f"it: {said}" in result.conclusion()


def test_what_was_not_attacked_is_not_judged():
    result = made([row("clean", 30)])
    assert result.verdict("it") == "not reached"
    assert result.conclusion() == "it: not attacked."


def test_one_random_suffix_is_one():
    result = made([row("clean", 30), row("attack", 0), row("random", 30)], n_random=1)
    assert "under 1 random suffix 1.00 at the least" in result.conclusion()
    two = made([row("clean", 30), row("attack", 0), *([row("random", 30)] * 2)])
    assert "under 2 random suffixes 1.00 at the least" in two.conclusion()
