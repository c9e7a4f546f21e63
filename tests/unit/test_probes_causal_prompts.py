"""Prompts with true and false continuations: places, gaps, and everything that is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from interp.models import Examples
from interp.models.prompts import PromptSet
from probes.causal.continuations import Continuations, ContinuationsError, NaturalGap


def examples(**changes: Any) -> Examples:
    """Three prompts of lengths 3, 2 and 4, padded on the left."""
    held: dict[str, Any] = {
        "tokens": torch.tensor([[0, 1, 2, 3], [0, 0, 4, 5], [6, 7, 8, 9]]),
        "mask": torch.tensor([[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]).bool(),
        "answer": torch.tensor([1, 2, 3]),
        "wrong": torch.tensor([4, 5, 6]),
        "answer_at": torch.tensor([3, 3, 3]),
        "groups": ("a", "b", "c"),
        "name": "three",
    }
    return Examples(**(held | changes))


def test_places_are_counted_over_real_tokens() -> None:
    def at(place: Any) -> list[list[int]]:
        return Continuations.of(examples(), at=place).changed.int().tolist()

    assert at("last") == [[0, 0, 0, 1]] * 3
    assert at("every") == [[0, 1, 1, 1], [0, 0, 1, 1], [1, 1, 1, 1]]
    assert at(0) == [[0, 1, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert at(-2) == [[0, 0, 1, 0], [0, 0, 1, 0], [0, 0, 1, 0]]
    assert at(torch.tensor([0, 1, 3])) == [[0, 1, 0, 0], [0, 0, 0, 1], [0, 0, 0, 1]]


def test_several_wrong_answers_are_averaged() -> None:
    prompts = Continuations.of(examples(), wrong=torch.tensor([[4, 5], [5, 6], [6, 7]]))
    logits = torch.arange(30, dtype=torch.float32).reshape(3, 10)
    found = prompts.read(logits, torch.tensor([0, 1, 2]))
    assert found.tolist() == [1 - 4.5, 2 - 5.5, 3 - 6.5]
    assert prompts.read(logits[:1], torch.tensor([2])).tolist() == [3 - 6.5]


def test_the_contrast_has_the_difference_as_its_mean_and_no_offset_in_its_spread() -> None:
    prompts = Continuations.of(examples(), labels=[True, False, True])
    values = torch.tensor([[5.0, 1, 7], [105, 101, 107]], dtype=torch.float64)
    found = prompts.contrast(values)
    assert found.mean(1).tolist() == pytest.approx([5, 5])
    torch.testing.assert_close(found[0], found[1])  # what all prompts share is no difference
    inverted = Continuations.of(examples(), labels=[True, False, True], sign=-1)
    torch.testing.assert_close(inverted.contrast(values), -found)


def test_the_contrasts_interval_is_that_of_a_difference_of_means() -> None:
    n = 400
    rng = np.random.default_rng(0)
    labels = np.arange(n) < 100  # unbalanced
    held = Examples(
        torch.zeros((n, 2), dtype=torch.int64),
        answer=torch.zeros(n, dtype=torch.int64),
        wrong=torch.ones(n, dtype=torch.int64),
        answer_at=torch.ones(n, dtype=torch.int64),
        groups=tuple(map(str, range(n))),
    )
    values = rng.normal(size=n) * np.where(labels, 3.0, 1.0) + 50 + 2 * labels
    gap = Continuations.of(held, labels=labels).natural_gap(torch.from_numpy(values), seed=0)
    error = np.sqrt(values[labels].var() / 100 + values[~labels].var() / 300)
    wanted = values[labels].mean() - values[~labels].mean()
    assert gap.value == pytest.approx(wanted)
    assert (gap.high - gap.low) / 2 == pytest.approx(1.96 * error, rel=0.12)
    assert gap.shown and not NaturalGap(1, -0.1, 2).shown


def test_corrupt_prompts_are_those_of_label_0() -> None:
    corrupt = Examples(examples().tokens + 1, examples().mask)
    pairs = PromptSet(examples(), corrupt, 0, 0, 0)
    both = Continuations.of_pairs(pairs)
    assert both.labels is not None and both.labels.tolist() == [True] * 3 + [False] * 3
    assert both.examples.groups == ("a", "b", "c") * 2
    assert both.wrong[:, 0].tolist() == [4, 5, 6] * 2
    torch.testing.assert_close(both.examples.tokens[3:], corrupt.tokens)
    alone = Continuations.of_pairs(PromptSet(examples(), None, 0, 0, 0))
    assert alone.labels is None and len(alone) == 3


@pytest.mark.parametrize(
    ("changes", "options", "message"),
    [
        ({"answer": None}, {}, "has no answers"),
        ({"answer_at": None}, {}, "has no answers"),
        ({"wrong": None}, {}, "has no wrong answers"),
        ({}, {"wrong": torch.ones(3)}, "token ids"),
        ({}, {"wrong": torch.ones((2, 1), dtype=torch.int64)}, "3 prompts need as many rows"),
        ({}, {"wrong": torch.ones((3, 0), dtype=torch.int64)}, "3 prompts need as many rows"),
        ({"wrong": torch.tensor([4, 2, 6])}, {}, "row 1 of 'three' has its answer among"),
        ({}, {"labels": [True, False]}, "need as many labels"),
        ({}, {"labels": [True] * 3}, "have one label"),
        ({}, {"labels": [0, 1, 2]}, "must be 0 or 1"),
        ({}, {"sign": 0}, "expected 1 or -1"),
        ({}, {"at": "first"}, "unknown place 'first'"),
        ({}, {"at": 2}, "row 1 of 'three' has 2 tokens; there is no place 2"),
        ({}, {"at": -4}, "row 0 of 'three' has 3 tokens"),
        ({}, {"at": torch.tensor([0, 1])}, "need as many places"),
        ({}, {"at": torch.tensor([0.5, 1, 1])}, "whole numbers"),
        ({"answer_at": torch.tensor([2, 3, 3])}, {}, "row 0 of 'three': the place stands behind"),
    ],
)
def test_what_shows_nothing_is_refused(changes: Any, options: Any, message: str) -> None:
    with pytest.raises(ContinuationsError, match=message):
        Continuations.of(examples(**changes), **options)


def test_logits_that_cannot_be_read_are_refused() -> None:
    prompts = Continuations.of(examples())
    rows = torch.tensor([0, 1, 2])
    with pytest.raises(ContinuationsError, match="outside the 5 outputs"):
        prompts.read(torch.zeros((3, 5)), rows)
    with pytest.raises(ContinuationsError, match="not finite"):
        prompts.read(torch.full((3, 10), torch.nan), rows)
    with pytest.raises(ContinuationsError, match="no labels"):
        prompts.contrast(torch.zeros(3))
