"""Ordered tokens in language models: what is planted is found and weighed, what is not is not."""

from __future__ import annotations

import math
from functools import cache

import pytest
import torch

from interp.fourier import (
    FourierError,
    TokenForms,
    read_order,
    read_rows,
    token_spectrum,
    weigh_order,
    with_members,
)
from interp.models import Examples, Model, load_model

N, D = 10, 16
FORMS = TokenForms("places", tuple(map(str, range(N))), tuple(range(N)), "as written")


@cache
def counting(reads: str) -> Model:
    """A model that names the next of ten tokens on a wheel, by the wheel or by each token's own.

    Its embeddings hold both: a circle, and a direction for each token. Nothing but the unembedding
    reads them.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=N + 2,
                n_positions=8,
                n_embd=D,
                n_layer=1,
                n_head=2,
                bos_token_id=None,
                eos_token_id=None,
                tie_word_embeddings=False,
            )
        )
    turn = 2 * math.pi * torch.arange(N) / N
    wheel, own = torch.zeros(N, D), torch.zeros(N, D)
    wheel[:, 0], wheel[:, 1] = turn.cos(), -turn.cos()
    wheel[:, 2], wheel[:, 3] = turn.sin(), -turn.sin()
    own[:, 4 : 4 + N] = torch.eye(N) - 1 / N
    said = {"wheel": 2 * wheel, "own": 3 * own}[reads]
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.zero_()
        made.transformer.ln_f.weight.fill_(1)
        made.transformer.h[0].ln_1.weight.fill_(1)
        made.transformer.h[0].ln_2.weight.fill_(1)
        made.transformer.wte.weight[:N] = wheel + own
        made.transformer.wte.weight[N:] = 0.1
        made.lm_head.weight[:N] = said.roll(1, 0)
    return load_model(f"counting-{reads}", hf_model=made)


def counted() -> Examples:
    """Ten stretches of counting on the wheel, one from each place."""
    rows = (torch.arange(N)[:, None] + torch.arange(6)) % N
    return with_members(Examples(rows, name="counting"), FORMS)


@pytest.mark.parametrize(("reads", "used"), [("wheel", True), ("own", False)])
def test_a_wheel_is_load_bearing_only_where_it_is_read(reads, used):
    model = counting(reads)
    reading = read_rows(model.W_E[:N], FORMS, matrix="embedding", n_shuffles=199)
    assert reading.detrended.keys() == (1,) and not reading.gap_longest
    table = weigh_order(model, reading, ["trend", 1, 3], counted(), chosen=False, n_controls=99)
    trend, first, third = table
    assert first.has_signature and not third.has_signature
    assert (first.verdict == "load-bearing") == used
    assert used or trend.verdict == "not load-bearing"
    assert third.verdict == "not load-bearing"


@pytest.mark.parametrize(("reads", "used"), [("wheel", True), ("own", False)])
def test_a_frequency_that_was_found_is_load_bearing_only_where_it_is_read(reads, used):
    # Every third place: there the wheel turns three times and is no trend.
    ids = tuple(3 * i % N for i in range(N))
    forms = TokenForms("thirds", tuple(map(str, ids)), ids, "as written")
    model = counting(reads)
    reading = read_rows(model.W_E[list(ids)], forms, matrix="embedding", n_shuffles=199)
    assert reading.detrended.keys() == (3,)
    found, other = weigh_order(model, reading, [3, 1], counted(), n_controls=199)
    assert (found.verdict == "load-bearing") == used
    assert other.verdict == "not load-bearing"


def test_the_strongest_frequency_of_an_order_that_means_nothing_passes_as_often_as_it_should():
    # Embeddings in two dimensions: of five frequencies one often holds most of them by chance.
    model, generator = counting("wheel"), torch.Generator().manual_seed(0)
    passed = {True: 0, False: 0}
    for seed in range(60):
        ids = tuple(torch.randperm(N, generator=generator).tolist())
        forms = TokenForms("shuffled", tuple(map(str, ids)), ids, "as written")
        reading = read_rows(model.W_E[list(ids)], forms, matrix="embedding", n_shuffles=1)
        strongest = reading.detrended.top(1)[0][0]
        for chosen in passed:
            (row,) = weigh_order(
                model, reading, [strongest], counted(), chosen=chosen, n_controls=19, seed=seed
            )
            passed[chosen] += row.p_value <= 0.05
    assert passed[True] <= 6 < passed[False]


def test_digits_of_the_code_model_are_a_line_and_no_circle():
    model = load_model("zoo:code-lm")
    assert token_spectrum(model, "digits", n_shuffles=199).keys() == (1,)
    found = read_order(model, "digits", n_shuffles=199)
    assert found.trend_p < 0.02 and found.trend > 2 / (N - 1)
    assert found.detrended.keys() == ()


def test_shuffled_digits_are_in_no_order():
    order = torch.randperm(10, generator=torch.Generator().manual_seed(1)).tolist()
    found = read_order(load_model("zoo:code-lm"), [str(i) for i in order])
    assert found.trend_p > 0.05 and found.detrended.keys() == ()


def test_stories260k_keeps_its_digits_in_no_order(shared_models):
    found = read_order(load_model(str(shared_models / "stories260k")), "digits", n_shuffles=199)
    assert found.trend_p > 0.05 and found.detrended.keys() == ()
    assert "not to be told" in found.said()


def test_what_cannot_be_weighed_is_refused():
    model = counting("own")
    reading = read_rows(model.W_E[:N], FORMS, matrix="unembedding", n_shuffles=19)
    with pytest.raises(FourierError, match="read matrix='embedding'"):
        weigh_order(model, reading, ["trend"], counted())
    with pytest.raises(FourierError, match="give more text"):
        with_members(Examples(torch.full((4, 5), N), name="none of them"), FORMS)
