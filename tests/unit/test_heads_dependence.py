"""Choosing heads and their controls, before anything is removed."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.evidence import NoControlsError, loss
from interp.heads import Ablations, HeadScores, judge, plan_ablations, weigh_heads
from interp.models import Examples


def scores(shape=(4, 12), **high):
    values = torch.full(shape, 0.02)
    for name, value in high.items():
        layer, head = map(int, name.removeprefix("L").split("H"))
        values[layer, head] = value
    return values


def plan(values, *, seed=0, **settings):
    return plan_ablations(
        "induction",
        values,
        torch.full_like(values, 0.02),
        torch.ones_like(values),
        seed=seed,
        **settings,
    )


def test_heads_above_the_threshold_are_the_target():
    made = plan(scores(L1H3=0.9, L2H5=0.8, L2H7=0.31))
    assert made.present
    assert made.target == {(1, 3), (2, 5)}, "0.31 is less than 0.3 above its null of 0.02"
    assert made.subjects[0].heads == made.target
    assert made.subjects[0].has_signature
    assert made.subjects[0].signature == pytest.approx(0.85)
    assert [s.name for s in made.subjects[1:3]] == ["L1H3", "L2H5"]
    assert not made.subjects[3].has_signature


def test_no_signature_crowns_nobody():
    made = plan(scores(L1H3=0.14))
    assert not made.present
    assert made.target == {(1, 3)}
    assert not any(s.has_signature for s in made.subjects)


def test_controls_touch_no_head_that_carries_the_signature():
    carrying = {(1, 3), (1, 4), (2, 5)}
    made = plan(scores(L1H3=0.9, L1H4=0.8, L2H5=0.7), at_most=2)
    assert made.target == {(1, 3), (1, 4)}
    for subject in made.subjects:
        for family in subject.controls:
            for heads in family.sets:
                assert not heads & (carrying | subject.heads)


def test_a_layer_full_of_signatures_leaves_a_smaller_target():
    crowded = {f"L1H{h}": 0.9 - h / 100 for h in range(10)}
    made = plan(scores(**crowded), at_most=8)
    assert len(made.target) == 2, "two heads of the layer are free to stand in for two"
    assert len(made.subjects[0].controls) == 2


def test_a_target_without_layer_controls_is_said_to_be_untested():
    made = plan(scores((2, 2), L1H0=0.9, L1H1=0.8), at_most=2)
    assert any("layer-matched" in reason for reason in made.untested)
    assert all(c.family == "norm-matched" for s in made.subjects[:1] for c in s.controls)


def test_the_target_is_tested_even_where_it_is_none_of_the_strongest():
    crowded = {f"L0H{h}": 0.9 for h in range(12)}
    made = plan(scores(**crowded, L1H3=0.5), top=1)
    assert made.target == {(1, 3)}, "layer 0 has no head left to compare with"
    assert made.subjects[0].heads == made.target


def test_where_every_head_carries_the_signature_there_is_nothing_to_compare_with():
    with pytest.raises(NoControlsError, match="no head of this model can be compared"):
        plan(torch.full((2, 4), 0.9))


def test_nothing_is_removed_that_no_verdict_rests_on():
    made = plan(scores(L1H3=0.9, L2H5=0.8), top=2, n_controls=5)
    families = [family for subject in made.subjects for family in subject.controls]
    used = {s for family in families for s in (*family.sets, *family.null_sets)}
    assert set(made.sets) == used | {subject.heads for subject in made.subjects}
    assert len(set(made.sets)) == len(made.sets)


@given(seed=st.integers(0, 50))
def test_the_plan_depends_on_the_seed_alone(seed):
    values = scores(L1H3=0.9, L2H5=0.8)
    assert plan(values, seed=seed, n_controls=9) == plan(values, seed=seed, n_controls=9)


def test_judge_gives_one_row_for_each_subject_and_family():
    made = plan(scores(L1H3=0.9, L2H5=0.8), n_controls=19, top=2)
    generator = torch.Generator().manual_seed(0)
    clean = torch.rand(20, generator=generator, dtype=torch.float64)
    harm = torch.stack(
        [
            torch.full((20,), 2.0 if heads >= made.target else 0.01, dtype=torch.float64)
            + 0.001 * torch.rand(20, generator=generator, dtype=torch.float64)
            for heads in made.sets
        ]
    )
    table = judge(
        made,
        Ablations(loss, made.sets, clean, clean + harm),
        [str(i) for i in range(20)],
        gain=4.0,
        seed=0,
    )
    assert [row.subject for row in table] == ["L1H3+L2H5"] * 2 + ["L1H3"] * 2 + ["L2H5"] * 2
    assert {row.verdict for row in table[:2]} == {"load-bearing"}
    assert table[0].share == pytest.approx(0.5, abs=0.01)
    assert table[0].p_holm is None, "the target is one test"
    assert all(row.p_holm is not None for row in table[2:])
    assert all(row.verdict != "load-bearing" for row in table[2:])


def test_bad_arguments_are_refused():
    values = scores()
    with pytest.raises(ValueError, match=r"each be \[layer, head\]"):
        plan_ablations("x", values, values[:2], values, seed=0)
    with pytest.raises(ValueError, match="at least 1"):
        plan(values, top=0)
    for threshold in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="how far above its null"):
            plan(values, threshold=threshold)
    with pytest.raises(ValueError, match="no head of this model can be compared"):
        plan(scores((1, 1), L0H0=0.9))


def test_the_same_examples_cannot_choose_and_judge(load_tiny):
    model = load_tiny("llama")
    tokens = torch.arange(8).reshape(2, 4)
    score = HeadScores(
        "induction",
        torch.rand(3, 4),
        "attention",
        0.1,
        control=torch.zeros(3, 4),
    )
    with pytest.raises(ValueError, match="both chose the heads and judge them"):
        weigh_heads(model, score, selected_on=Examples(tokens), judged_on=Examples(tokens[:1]))
    bare = HeadScores("induction", torch.rand(3, 4), "attention", 0.1)
    with pytest.raises(ValueError, match="has no control"):
        weigh_heads(model, bare, selected_on=Examples(tokens), judged_on=Examples(tokens + 9))
