"""Passes begun in the middle: cheaper equals of modules, and rows of many layers in one pass."""

from __future__ import annotations

import logging

import torch

from interp.evidence import logit_difference
from interp.heads import ablate, sweep
from interp.hooks import quick
from interp.hooks.borrowing import first_rows, gather, spread
from interp.models import Examples, Model, load_model

SINGLES = [[(layer, head)] for layer in range(3) for head in range(4)]
SOME = [[(2, 0)], [(0, 1), (1, 2)], [(1, 3)], [(0, 0), (0, 2), (2, 3)], [(1, 0)], [(0, 3)]]


def questions(n=9, width=9):
    generator = torch.Generator().manual_seed(2)
    tokens = torch.randint(0, 29, (n, width), generator=generator)
    at = torch.full((n,), width - 1)
    at[0] = 3
    return Examples(tokens, answer=torch.arange(n), wrong=torch.arange(n) + 9, answer_at=at)


def assert_exact(model, examples, sets, **options):
    slow = ablate(model, examples, logit_difference, sets, kind="zero")
    fast = sweep(model, examples, logit_difference, sets, kind="zero", **options)
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)
    assert float(fast.effects.abs().max()) > 1e-3


def test_an_mlp_in_slices_gives_the_same(model, monkeypatch):
    for tokens in (1, 20, 200):
        monkeypatch.setattr(quick, "_TOKENS", tokens)
        assert_exact(model, questions(), SOME)


def test_as_many_rows_as_positions(model):
    examples = questions()
    assert len(examples) == examples.tokens.shape[1]
    for rows in (8, 9, 10, 27):
        assert_exact(model, examples, SOME, tokens_per_forward=9 * rows)
    assert_exact(model, questions(n=1), SINGLES[:9])


def test_sets_of_all_layers_share_a_pass(gpt2, monkeypatch):
    examples, rows = questions(n=2), []
    sweep(gpt2, examples, logit_difference, SINGLES[:1], kind="zero")  # tried before counting
    forward = Model.forward

    def counting(self, tokens, mask=None):
        rows.append(len(tokens))
        return forward(self, tokens, mask)

    monkeypatch.setattr(Model, "forward", counting)
    sweep(gpt2, examples, logit_difference, SINGLES, kind="zero")
    assert rows == [2, 24]


def test_cheaper_equals_that_differ_are_given_up(make_hf, monkeypatch, caplog):
    model = load_model("tiny-gpt2", hf_model=make_hf("gpt2"))
    assert quick.plainly(model)  # there are some
    del model.__dict__["_quick"]
    monkeypatch.setattr(quick, "_gelu", lambda x: x)
    with caplog.at_level(logging.WARNING):
        assert_exact(model, questions(), SOME)
    assert "one set at a time" not in caplog.text
    assert not quick.plainly(model)


def test_spread_undoes_gather():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn((3, 5, 2), generator=generator)
    reads = torch.tensor([[4, 0], [1, 2], [3, 0]])
    found = spread(gather(x, reads), reads, 5)
    for row in range(3):
        for position in range(5):
            kept = position in reads[row]
            assert torch.equal(found[row, position], x[row, position] * kept)


def test_first_rows_cuts_what_has_rows_and_nothing_else():
    mask, angles, positions = torch.zeros(4, 1, 6, 6), torch.zeros(1, 6, 8), torch.arange(4)
    given = ((mask, angles), {"positions": positions, "cache": None, "two": [mask, 3]})
    (cut, same), rest = first_rows(given, 2, 4)
    assert cut.shape == (2, 1, 6, 6) and same is angles and rest["positions"] is positions
    assert rest["cache"] is None and rest["two"][0].shape == (2, 1, 6, 6) and rest["two"][1] == 3
    assert first_rows(given, 4, 4) is given
