"""Scores of in-context prompts, and the marks of tasks a model is at chance on."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import answer_nll, hits_at, log_odds
from interp.heads import HeadsError, IclScore, judge_icl, score_icl
from interp.hooks import session
from interp.models import Examples


def answered(padded, side):
    lengths = [9, 5, 7, 9, 3]
    ids = torch.randint(0, 29, (5, 9), generator=torch.Generator().manual_seed(3))
    tokens, mask = padded(ids, lengths, side)
    width = tokens.shape[1]
    at = [length - 1 if side == "right" else width - 1 for length in lengths]
    return Examples(
        tokens,
        mask=mask,
        answer=torch.arange(5) + 3,
        wrong=torch.arange(5) + 9,
        answer_at=torch.tensor(at),
        groups=tuple("abcda"),
        name="some",
    )


@pytest.mark.parametrize("side", ["left", "right"])
def test_equals_the_metrics_on_all_logits(model, padded, side):
    if side == "left" and not model.checks.get("left_padding_agrees", 1.0):
        pytest.skip("this architecture takes no padding on the left")
    examples = answered(padded, side)
    score = score_icl(model, examples, batch_size=2)
    logits = model.logits(examples.tokens, examples.mask)
    for metric in (hits_at(1), hits_at(3), answer_nll, log_odds):
        expected = metric.per_example(logits, examples)
        torch.testing.assert_close(score.values[metric.name], expected, rtol=0, atol=1e-5)
    assert (score.task, score.groups) == ("some", examples.groups)
    assert score.first_of_group.tolist() == [True, True, True, True, False]


def test_only_the_answers_position_is_unembedded(gpt2, padded, monkeypatch):
    seen = []
    run = gpt2.bridge.unembed.forward

    def look(hidden, *args, **kwargs):
        seen.append(tuple(hidden.shape))
        return run(hidden, *args, **kwargs)

    score_icl(gpt2, answered(padded, "right"))  # tries the architecture out, once
    monkeypatch.setitem(gpt2.bridge.unembed.__dict__, "forward", look)
    score_icl(gpt2, answered(padded, "right"))
    assert [shape[:2] for shape in seen] == [(5, 1)]


def test_hooks_on_the_model_take_part(gpt2, padded):
    from interp.hooks import zero

    examples = answered(padded, "right")
    with session(gpt2, intervene=zero("L0.attn_out")) as s:
        inside = score_icl(gpt2, examples)
        expected = answer_nll.per_example(s.run(examples), examples)
    torch.testing.assert_close(inside.values["answer-nll"], expected, rtol=0, atol=1e-5)
    outside = score_icl(gpt2, examples)
    assert not torch.allclose(outside.values["answer-nll"], expected, atol=1e-3)


def test_means_and_intervals(gpt2, padded):
    score = score_icl(gpt2, answered(padded, "right"))
    low, high = score.interval("answer-nll")
    assert low < score.mean("answer-nll") < high
    with pytest.raises(HeadsError, match=r"hits@1, hits@3"):
        score.mean("hits@2")
    with pytest.raises(HeadsError, match="no answer"):
        score_icl(gpt2, Examples(torch.zeros((1, 3), dtype=torch.int64)))
    assert "some" in repr(score)


def made(task, hits, *, answer=None, guess=None, shots=10, permuted=False, groups=None):
    n = len(hits)
    return IclScore(
        task=task,
        shots=shots,
        permuted=permuted,
        values={"hits@1": torch.tensor(hits, dtype=torch.float32)},
        answer=torch.arange(n) if answer is None else torch.tensor(answer),
        groups=tuple(map(str, range(n))) if groups is None else groups,
        guess=None if guess is None else torch.full((n,), guess),
    )


def test_the_better_guesser_is_the_baseline():
    right = [1] * 12 + [0] * 18
    often = made("often", right, answer=[7] * 12 + list(range(100, 118)))
    listed = made("listed", right, guess=1 / 3)
    free = made("free", right)
    marks = {m.task: m for m in judge_icl([often, listed, free]).marks}
    assert marks["often"].baseline == pytest.approx(0.4)
    assert "most frequent of 19" in marks["often"].guesser
    assert marks["listed"].baseline == pytest.approx(1 / 3) and "blindly" in marks["listed"].guesser
    assert marks["free"].baseline == pytest.approx(1 / 30)
    assert [marks[t].at_chance for t in ("often", "listed", "free")] == [True, True, False]
    assert "12 of 30 right (0.40), not shown above the 0.33" in marks["listed"].reason


def test_p_is_exact_and_holm_counts_the_tasks():
    # 5 of 5 where 1 of 2 is right by chance: 1/32.
    alone = judge_icl([made("a", [1] * 5, guess=0.5)])
    assert alone.marks[0].p_value == pytest.approx(1 / 32) and not alone.marks[0].at_chance
    both = judge_icl([made("a", [1] * 5, guess=0.5), made("b", [0] * 5, guess=0.5)])
    assert both.marks[0].p_holm == pytest.approx(2 / 32) and both.marks[0].at_chance
    sure = judge_icl([made("c", [1] * 9, answer=[4] * 9)])
    assert sure.marks[0].p_value == 1.0 and sure.marks[0].at_chance


def test_a_query_that_stands_twice_counts_once():
    groups = tuple("aabbccddee")
    twice = judge_icl([made("t", [1] * 10, guess=0.5, groups=groups)])
    assert (twice.marks[0].n, twice.marks[0].hits) == (5, 5)
    assert twice.marks[0].p_value == pytest.approx(1 / 32)


def test_tasks_at_chance_are_left_out_and_listed():
    good, bad = made("good", [1] * 20), made("bad", [0] * 20)
    moved = made("bad", [1] * 20, permuted=True), made("good", [0] * 20, permuted=True)
    report = judge_icl([bad, good, *moved])
    assert report.kept == (good, moved[1]), "permuted labels go with the unpermuted task"
    assert [mark.task for mark in report.left_out] == ["bad"]
    table = report.table()
    assert list(table["task"]) == ["bad", "good", "bad", "good"]
    assert list(table["at_chance"]) == [True, False, True, False]
    assert table["echo"].isna().all() and "of them at chance" in repr(report)
    assert "<table" in report._repr_html_()


def test_what_cannot_be_judged():
    with pytest.raises(HeadsError, match="no scores"):
        judge_icl([])
    with pytest.raises(HeadsError, match="scored twice"):
        judge_icl([made("a", [1]), made("a", [1])])
    with pytest.raises(HeadsError, match="permuted labels only"):
        judge_icl([made("a", [1] * 3, permuted=True)])
    with pytest.raises(HeadsError, match="between 0 and 1"):
        judge_icl([made("a", [1])], alpha=1.0)
    # Another number of shots is another task.
    assert len(judge_icl([made("a", [1, 1]), made("a", [1, 0], shots=1)]).marks) == 2
