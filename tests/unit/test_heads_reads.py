"""The sweep unembeds what a metric reads and no more, and the numbers are the plain loop's."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from interp.evidence import METRICS, get_metric, hits_at, kl_from
from interp.heads import ablate, sweep
from interp.heads.reads import reads_of
from interp.models import Examples

SETS = [[], [(0, 1)], [(2, 3), (1, 0)], [(2, 2)]]
OF_THE_ANSWER = ["answer-nll", "log-odds", "hits@1", "hits@3", "hits@5"]


def draw(rows: int, width: int, seed: int) -> torch.Tensor:
    return torch.randint(0, 29, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def examples(padded) -> Examples:
    tokens, mask = padded(draw(6, 9, seed=3), [9, 6, 4, 9, 5, 8], "right")
    return Examples(
        tokens, mask, answer=torch.arange(6), answer_at=torch.tensor([8, 5, 3, 4, 4, 7])
    )


@pytest.mark.parametrize("name", OF_THE_ANSWER)
def test_the_sweep_is_the_plain_loop(load_tiny, examples, name):
    model, metric = load_tiny("llama"), get_metric(name)
    slow = ablate(model, examples, metric, SETS, kind="zero")
    fast = sweep(model, examples, metric, SETS, kind="zero", tokens_per_forward=40)
    torch.testing.assert_close(fast.clean, slow.clean, rtol=0, atol=1e-5)
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)
    assert torch.equal(fast.ablated[0], fast.clean)
    if not name.startswith("hits"):
        assert float(fast.effects[1:].abs().max()) > 1e-3


@pytest.mark.parametrize("name", OF_THE_ANSWER)
def test_one_position_an_example_is_read(examples, name):
    found = reads_of(get_metric(name), examples)
    assert found is not None
    assert found.at.tolist() == [[8], [5], [3], [4], [4], [7]]


def test_every_registered_metric_says_what_it_reads(examples):
    assert all(metric.reads != "everything" for metric in METRICS.values())
    assert reads_of(kl_from(torch.zeros(6, 11, 29)), examples) is None
    # Accuracy falls back on the scored positions where there is no answer.
    accuracy = get_metric("accuracy")
    assert reads_of(accuracy, examples).at.shape == (6, 1)
    unanswered = dataclasses.replace(examples, answer=None, answer_at=None)
    assert reads_of(accuracy, unanswered).at.shape == (6, 9)


def test_hits_differ_with_k(load_tiny, examples):
    model = load_tiny("gpt2")
    logits = model.logits(examples.tokens, examples.mask)
    values = [float(hits_at(k).per_example(logits, examples).mean()) for k in (1, 14, 28)]
    assert values == sorted(values) and values[0] < values[-1]
