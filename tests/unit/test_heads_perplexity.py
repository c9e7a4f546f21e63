"""The guardrail: perplexity without heads is exp of the loss a token, and no harm is exactly 1."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from interp.evidence import loss
from interp.heads import AblationError, ablate, perplexity
from interp.models import Examples


def draw(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 29, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def held_out(padded) -> Examples:
    tokens, mask = padded(draw(8, 12, seed=3), [12, 3, 8, 12, 5, 12, 2, 9], "right")
    return Examples(tokens, mask, groups=tuple("aabbccdd"), name="text")


SETS = {"none": [], "one": [(0, 1)], "two": [(1, 2), (2, 3)]}


def test_it_is_the_exponential_of_the_loss_a_token(load_tiny, held_out):
    model = load_tiny("gpt2")
    found = perplexity(model, held_out, SETS, kind="zero")
    logits = model.logits(held_out.tokens, held_out.mask)
    losses = torch.nn.functional.cross_entropy(
        logits[:, :-1].transpose(1, 2), held_out.tokens[:, 1:], reduction="none"
    )
    real = held_out.mask[:, 1:]
    assert found.clean == pytest.approx(math.exp(float(losses[real].mean())), rel=1e-5)
    assert found.n_tokens == int(real.sum()) and found.n_groups == 4
    # Weighted by tokens: the mean over examples is another number.
    assert found.clean != pytest.approx(math.exp(float(loss.per_example(logits, held_out).mean())))
    slow = ablate(model, held_out, loss, [SETS["two"]], kind="zero")
    tokens = real.sum(1)
    wanted = math.exp(float((slow.ablated[0] * tokens).sum() / tokens.sum()))
    assert found["two"].perplexity == pytest.approx(wanted, rel=1e-4)
    assert found["two"].ratio == pytest.approx(wanted / found.clean, rel=1e-4)
    assert found["two"].heads == {(1, 2), (2, 3)}
    low, high = found["two"].interval
    assert 0 < low < found["two"].ratio < high


def test_removing_nothing_is_exactly_no_harm(load_tiny, held_out):
    found = perplexity(load_tiny("llama"), held_out, SETS, kind="zero")
    assert found["none"].ratio == 1.0 and found["none"].interval == (1.0, 1.0)
    assert found["none"].perplexity == found.clean
    assert found["one"].ratio != 1.0


def test_mean_ablation_wants_its_reference(load_tiny, held_out):
    with pytest.raises(AblationError, match="reference="):
        perplexity(load_tiny("gpt2"), held_out, SETS)
    reference = Examples(draw(6, 12, seed=9))
    found = perplexity(load_tiny("gpt2"), held_out, SETS, reference=reference)
    assert found.kind == "mean" and found["none"].ratio == 1.0


def test_one_group_of_text_has_no_interval_and_few_are_warned_of(load_tiny, held_out):
    model = load_tiny("gpt2")
    one = perplexity(
        model, dataclasses.replace(held_out, groups=("a",) * 8), {"one": [(0, 1)]}, kind="zero"
    )
    assert one["one"].interval is None and "no interval" in one.warning
    assert bool(one.frame()["low"].isna()[0])
    few = perplexity(model, held_out, SETS, kind="zero")
    assert "Only 4 groups" in few.warning
    assert "without two (zero)" in str(few) and few.frame()["set"].tolist() == list(SETS)
    with pytest.raises(KeyError, match="there are none, one, two"):
        few["three"]


def test_only_scored_predictions_count(load_tiny, held_out):
    scored = torch.zeros_like(held_out.mask)
    scored[:, 0] = True
    found = perplexity(
        load_tiny("gpt2"), dataclasses.replace(held_out, scored=scored), SETS, kind="zero"
    )
    assert found.n_tokens == 8
