"""Pooling reads the right tokens, wherever the padding stands, and never the padding."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from probes.pooling import (
    PoolingError,
    chosen_token,
    every_token,
    last_token,
    mean_over,
    token_at_character,
    tokens_in_spans,
)

LENGTHS = [3, 1, 5]
# Characters of the tokens of each example: "ab c def", one word, and one with a mark first.
OFFSETS = [
    [(0, 2), (2, 4), (4, 8)],
    [(0, 3)],
    [(0, 0), (0, 1), (1, 2), (1, 2), (2, 6)],
]


def laid_out(side: str) -> tuple[Any, Any, Any, Any]:
    """Values, mask, offsets, and for each example the index of its first token."""
    width = 6
    values = torch.full((3, width, 2), float("inf"))
    mask = torch.zeros((3, width), dtype=torch.bool)
    offsets = torch.full((3, width, 2), -7)
    starts = [0 if side == "right" else width - n for n in LENGTHS]
    for i, (n, start) in enumerate(zip(LENGTHS, starts, strict=True)):
        real = slice(start, start + n)
        mask[i, real] = True
        values[i, real] = torch.arange(n)[:, None] + torch.tensor([10.0 * i, -1.0])
        offsets[i, real] = torch.tensor(OFFSETS[i])
    return values, mask, offsets, starts


@pytest.mark.parametrize("side", ["right", "left"])
def test_padding_on_either_side_is_never_read(side: str) -> None:
    values, mask, _, _ = laid_out(side)
    assert last_token(values, mask).tolist() == [[2, 1], [10, -1], [24, 3]]
    assert mean_over(values, mask).tolist() == [[1, 0], [10, -1], [22, 1]]
    tokens, examples = every_token(values, mask)
    assert examples.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 2]
    assert tokens[:, 0].tolist() == [0, 1, 2, 10, 20, 21, 22, 23, 24]


@pytest.mark.parametrize("side", ["right", "left"])
def test_spans_and_characters_are_found(side: str) -> None:
    values, mask, offsets, starts = laid_out(side)
    found = tokens_in_spans(offsets, mask, [(1, 3), (0, 3), (0, 2)])
    kept = [(found[i].nonzero()[:, 0] - starts[i]).tolist() for i in range(3)]
    # A mark has no characters, and the character of two tokens is in both.
    assert kept == [[0, 1], [0], [1, 2, 3]]
    assert mean_over(values, found)[:, 0].tolist() == [0.5, 10, 22]
    at = token_at_character(offsets, mask, [4, 2, 1])
    assert (at - torch.tensor(starts)).tolist() == [2, 0, 3]
    assert chosen_token(values, at)[:, 0].tolist() == [2, 10, 23]


def test_what_has_no_token_is_refused_with_its_row() -> None:
    values, mask, offsets, _ = laid_out("right")
    with pytest.raises(
        PoolingError, match=r"1 of 3 .* row 1: characters \[5, 6\] fall on no token"
    ):
        token_at_character(offsets, mask, [0, 5, 0])
    with pytest.raises(PoolingError, match="row 0: characters"):
        tokens_in_spans(offsets, mask, [(2, 2), (0, 1), (0, 1)])
    empty = mask.clone()
    empty[2] = False
    for pool in (last_token, mean_over, every_token):
        with pytest.raises(PoolingError, match="row 2: no token to pool over"):
            pool(values, empty)
        with pytest.raises(PoolingError, match="boolean mask"):
            pool(values, mask[:, :3])
        with pytest.raises(PoolingError, match="boolean mask"):
            pool(values, mask.float())
    with pytest.raises(PoolingError, match="positions from 0 to 5"):
        chosen_token(values, torch.tensor([0, 6, 0]))
    with pytest.raises(PoolingError, match="3 spans, got"):
        tokens_in_spans(offsets, mask, [(0, 1)])


def test_a_mean_of_half_precision_keeps_its_type_and_its_digits() -> None:
    values = torch.full((1, 3000, 1), 30.0, dtype=torch.float16)
    found = mean_over(values, torch.ones((1, 3000), dtype=torch.bool))
    assert found.dtype == torch.float16
    assert float(found) == 30.0
