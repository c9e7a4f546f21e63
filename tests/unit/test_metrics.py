"""Metrics against their definitions, and their refusals."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.evidence import (
    METRICS,
    MetricError,
    accuracy,
    answer_nll,
    damage,
    get_metric,
    hits_at,
    kl_from,
    log_odds,
    logit_difference,
    loss,
    reading,
)
from interp.models.examples import Examples


def random_logits(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def ids(*shape: int, below: int, seed: int = 1) -> torch.Tensor:
    return torch.randint(below, shape, generator=torch.Generator().manual_seed(seed))


def answered(**changes: Any) -> Examples:
    fields: dict[str, Any] = {
        "tokens": ids(3, 5, below=7),
        "answer": torch.tensor([1, 2, 3]),
        "wrong": torch.tensor([4, 4, 0]),
        "answer_at": torch.tensor([4, 2, 3]),
    }
    return Examples(**(fields | changes))


@given(
    n=st.integers(1, 4), width=st.integers(2, 6), vocab=st.integers(2, 9), seed=st.integers(0, 99)
)
@settings(max_examples=40, deadline=None)
def test_loss_is_the_mean_negative_log_likelihood_of_scored_positions(
    n: int, width: int, vocab: int, seed: int
) -> None:
    logits, tokens = random_logits(n, width, vocab, seed=seed), ids(n, width, below=vocab)
    scored = random_logits(n, width, seed=seed + 1) > 0
    scored[:, 0] = True
    scored[:, -1] = False
    value = loss.per_example(logits, Examples(tokens, scored=scored))
    for i in range(n):
        log_p = logits[i].double().log_softmax(-1)
        terms = [-float(log_p[q, tokens[i, q + 1]]) for q in range(width - 1) if scored[i, q]]
        assert float(value[i]) == pytest.approx(sum(terms) / len(terms), rel=1e-5)


def test_unmarked_examples_are_scored_wherever_a_real_token_follows() -> None:
    logits, tokens = random_logits(2, 6, 5), ids(2, 6, below=5)
    every = torch.ones(2, 6, dtype=torch.bool)
    every[:, -1] = False
    whole = loss.per_example(logits, Examples(tokens))
    assert torch.equal(whole, loss.per_example(logits, Examples(tokens, scored=every)))


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", ["loss", "accuracy", "kl"])
def test_padding_changes_nothing(side: str, name: str) -> None:
    tokens, logits, clean = (
        ids(2, 5, below=6),
        random_logits(2, 5, 6),
        random_logits(2, 5, 6, seed=5),
    )
    before, after = (2, 0) if side == "left" else (0, 2)
    # What a model says at padding is arbitrary; make it extreme.
    pad = torch.nn.functional.pad
    wide = pad(logits, (0, 0, before, after), value=1e4)
    wide_clean = pad(clean, (0, 0, before, after), value=-1e4)
    mask = pad(torch.ones(2, 5, dtype=torch.bool), (before, after), value=False)
    padded = Examples(pad(tokens, (before, after)), mask=mask)
    short = kl_from(clean) if name == "kl" else get_metric(name)
    long = kl_from(wide_clean) if name == "kl" else get_metric(name)
    torch.testing.assert_close(
        long.per_example(wide, padded), short.per_example(logits, Examples(tokens))
    )


def test_uniform_logits_have_their_analytic_values() -> None:
    logits, examples = torch.zeros(3, 4, 8), Examples(ids(3, 4, below=8))
    torch.testing.assert_close(loss.per_example(logits, examples), torch.full((3,), math.log(8)))
    # Equal maxima share the credit; argmax would call token 0 right.
    torch.testing.assert_close(accuracy.per_example(logits, examples), torch.full((3,), 1 / 8))
    assert float(kl_from(logits).per_example(logits, examples).abs().max()) == 0.0


def test_logit_difference_reads_answer_and_wrong_at_the_answer() -> None:
    examples, logits = answered(), random_logits(3, 5, 7)
    expected = [logits[0, 4, 1] - logits[0, 4, 4], logits[1, 2, 2] - logits[1, 2, 4]]
    value = logit_difference.per_example(logits, examples)
    assert value[:2].tolist() == pytest.approx([float(x) for x in expected])


def test_accuracy_reads_the_answer_where_there_is_one() -> None:
    examples = answered()
    logits = torch.zeros(3, 5, 7)
    logits[0, 4, 1] = 1.0
    logits[1, 2, 6] = 1.0
    logits[2, 3, 3] = 1.0
    assert accuracy.per_example(logits, examples).tolist() == [1.0, 0.0, 1.0]
    logits = torch.zeros(1, 3, 4)
    logits[0, 0, 2] = logits[0, 1, 0] = 1.0
    assert accuracy.per_example(logits, Examples(torch.tensor([[1, 2, 3]]))).tolist() == [0.5]


def test_kl_has_its_definition_and_is_zero_at_the_clean_logits() -> None:
    clean, other = random_logits(2, 4, 6), random_logits(2, 4, 6, seed=9)
    examples = Examples(ids(2, 4, below=6))
    p, q = clean.double().softmax(-1), other.double().softmax(-1)
    expected = (p * (p / q).log()).sum(-1)[:, :-1].mean(1)
    metric = kl_from(clean)
    torch.testing.assert_close(metric.per_example(other, examples).double(), expected)
    assert float(metric.per_example(clean, examples).abs().max()) < 1e-6
    harm = damage(metric, metric.per_example(clean, examples), metric.per_example(other, examples))
    assert bool((harm > 0).all())


def test_kl_survives_probabilities_that_are_exactly_zero() -> None:
    clean = torch.zeros(1, 2, 3)
    clean[..., 2] = -torch.inf
    other = torch.zeros(1, 2, 3)
    value = kl_from(clean).per_example(other, Examples(torch.tensor([[0, 1]])))
    assert float(value) == pytest.approx(math.log(3 / 2))


def test_chunking_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    logits, clean = random_logits(3, 5, 7), random_logits(3, 5, 7, seed=4)
    examples = answered()
    every = [*METRICS.values(), kl_from(clean)]
    whole = [metric.per_example(logits, examples) for metric in every]
    monkeypatch.setattr(reading, "_CHUNK_ELEMENTS", 14)
    for metric, expected in zip(every, whole, strict=True):
        torch.testing.assert_close(metric.per_example(logits, examples), expected)


def test_half_precision_logits_are_widened_before_the_softmax() -> None:
    logits = random_logits(2, 4, 50).to(torch.bfloat16)
    examples = Examples(ids(2, 4, below=50))
    value = loss.per_example(logits, examples)
    assert value.dtype == torch.float32
    torch.testing.assert_close(value, loss.per_example(logits.float(), examples))
    assert loss.per_example(logits.double(), examples).dtype == torch.float64


def test_a_batch_is_its_rows() -> None:
    logits, examples = random_logits(3, 5, 7), answered()
    for metric in METRICS.values():
        rows = [metric.per_example(logits[i : i + 1], examples.select([i])) for i in range(3)]
        torch.testing.assert_close(metric.per_example(logits, examples), torch.cat(rows))


def test_an_example_without_a_scored_position_is_refused() -> None:
    scored = torch.tensor([[True, False, False], [False, False, False]])
    with pytest.raises(MetricError, match="example 1 of 'demo' has no scored position"):
        loss.per_example(
            torch.zeros(2, 3, 4), Examples(ids(2, 3, below=4), scored=scored, name="demo")
        )
    one_token = Examples(ids(1, 1, below=4))
    with pytest.raises(MetricError, match="no scored position"):
        accuracy.per_example(torch.zeros(1, 1, 4), one_token)


def test_answer_nll_and_log_odds_have_their_definitions() -> None:
    examples, logits = answered(), 3 * random_logits(3, 5, 7)
    p = logits.double().softmax(-1)[torch.arange(3), examples.answer_at, examples.answer]
    torch.testing.assert_close(answer_nll.per_example(logits, examples), (-p.log()).float())
    torch.testing.assert_close(
        log_odds.per_example(logits, examples).double(),
        p.log() - (1 - p).log(),
        rtol=1e-5,
        atol=1e-5,
    )
    # Of the answer alone, whatever is scored: not the loss, which is of the next token.
    assert not torch.allclose(
        answer_nll.per_example(logits, examples), loss.per_example(logits, examples)
    )


@pytest.mark.parametrize("lead", [-80.0, 80.0])
def test_log_odds_have_no_ceiling_where_the_probability_has(lead: float) -> None:
    logits = torch.zeros(3, 5, 7)
    logits[torch.arange(3), answered().answer_at, answered().answer] = lead
    value = log_odds.per_example(logits, answered())
    torch.testing.assert_close(value, torch.full((3,), lead - math.log(6)))


def test_hits_count_the_answer_among_the_first_k_and_ties_against_it() -> None:
    logits = torch.zeros(3, 5, 7)
    logits[0, 4] = torch.tensor([5.0, 3.0, 4.0, 0.0, 0.0, 0.0, 0.0])  # answer 1: third
    logits[1, 2] = torch.tensor([0.0, 0.0, 9.0, 0.0, 0.0, 0.0, 0.0])  # answer 2: first
    # Answer 3, on a par with all others.
    values = [hits_at(k).per_example(logits, answered()).tolist() for k in (1, 2, 3, 6)]
    assert values == [[0, 1, 0], [0, 1, 0], [1, 1, 0], [1, 1, 0]]
    assert accuracy.per_example(logits, answered()).tolist() == pytest.approx([0, 1, 1 / 7])


def test_hits_that_cannot_be_are_refused() -> None:
    with pytest.raises(MetricError, match="at least 1"):
        hits_at(0)
    with pytest.raises(MetricError, match="always 1"):
        hits_at(7).per_example(torch.zeros(3, 5, 7), answered())
    assert get_metric("hits@12").name == "hits@12"


@pytest.mark.parametrize("name", ["answer-nll", "log-odds", "hits@1", "hits@3"])
def test_metrics_of_the_answer_need_one(name: str) -> None:
    with pytest.raises(MetricError, match="has no `answer`"):
        get_metric(name).per_example(torch.zeros(3, 5, 7), answered(answer=None))


@pytest.mark.parametrize("missing", ["answer", "answer_at", "wrong"])
def test_a_missing_answer_is_refused(missing: str) -> None:
    with pytest.raises(MetricError, match=f"has no `{missing}`"):
        logit_difference.per_example(torch.zeros(3, 5, 7), answered(**{missing: None}))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("name", sorted(METRICS))
def test_broken_logits_raise_instead_of_giving_nan(name: str, bad: float) -> None:
    logits = random_logits(3, 5, 7)
    logits[1, 2] = bad
    with pytest.raises(MetricError, match="NaN or infinities"):
        get_metric(name).per_example(logits, answered())


def test_ids_outside_the_vocabulary_and_foreign_logits_are_refused() -> None:
    with pytest.raises(MetricError, match="outside the 3 outputs"):
        loss.per_example(torch.zeros(1, 2, 3), Examples(torch.tensor([[0, 3]])))
    with pytest.raises(MetricError, match="wrong answer has id 9"):
        logit_difference.per_example(torch.zeros(3, 5, 7), answered(wrong=torch.tensor([9, 0, 0])))
    with pytest.raises(MetricError, match="do not belong"):
        loss.per_example(torch.zeros(2, 3, 4), Examples(ids(2, 4, below=4)))
    with pytest.raises(MetricError, match="build kl_from for each batch"):
        kl_from(torch.zeros(2, 3, 4)).per_example(
            torch.zeros(1, 3, 4), Examples(ids(1, 3, below=4))
        )


def test_damage_is_positive_when_worse() -> None:
    better, worse = torch.tensor([1.0, 2.0]), torch.tensor([3.0, 3.0])
    assert damage(loss, better, worse).tolist() == [2.0, 1.0]
    assert damage(accuracy, worse, better).tolist() == [2.0, 1.0]
    assert damage(loss, better, worse.expand(4, 2)).shape == (4, 2)


def test_damage_refuses_other_examples_and_nan() -> None:
    with pytest.raises(MetricError, match="same examples"):
        damage(loss, torch.zeros(3), torch.zeros(2))
    with pytest.raises(MetricError, match="ablated value is not finite"):
        damage(loss, torch.zeros(2), torch.tensor([0.0, math.nan]))


@pytest.mark.parametrize(
    ("wrong", "right"),
    [("acuracy", "accuracy"), ("Logit difference", "logit_difference"), ("log odds", "log-odds")],
)
def test_unknown_metrics_name_the_nearest(wrong: str, right: str) -> None:
    with pytest.raises(MetricError, match=f"did you mean {right!r}"):
        get_metric(wrong)
    assert get_metric(right).name == right


def test_kl_by_name_says_how_to_get_it() -> None:
    with pytest.raises(MetricError, match="kl_from"):
        get_metric("kl")
