"""From one vector a token to what a probe reads: the last token, a mean, every token, a chosen one.

Pure functions of activations ``[example, pos, d]`` and masks ``[example, pos]``: padding may stand
on either side, and what stands there is never read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.data import DataError


class PoolingError(DataError):
    """Some example has no token to pool; the message says which."""


def last_token(
    values: Float[Tensor, "example pos d"], mask: Bool[Tensor, "example pos"]
) -> Float[Tensor, "example d"]:
    """Return each example's last real token.

    Args:
        values: Activations.
        mask: True at the tokens that count.

    Raises:
        PoolingError: shapes differ, or an example has no token.
    """
    _check(values, mask)
    reach = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return chosen_token(values, (mask * reach).argmax(1))


def mean_over(
    values: Float[Tensor, "example pos d"], mask: Bool[Tensor, "example pos"]
) -> Float[Tensor, "example d"]:
    """Return the mean over each example's tokens in the mask, such as a span's.

    Args:
        values: Activations.
        mask: True at the tokens to average; not the padding, and rarely the beginning-of-sequence
            token, whose activation is many times larger than others in most models.

    Raises:
        PoolingError: shapes differ, or an example has no token.
    """
    _check(values, mask)
    # Not a product with the mask: what stands at padding may be infinite.
    kept = values.masked_fill(~mask[..., None], 0.0).sum(1, dtype=torch.float64)
    return (kept / mask.sum(1, keepdim=True)).to(values.dtype)


def every_token(
    values: Float[Tensor, "example pos d"], mask: Bool[Tensor, "example pos"]
) -> tuple[Float[Tensor, "token d"], Int[Tensor, " token"]]:
    """Return every token in the mask as a row of its own, and which example each belongs to.

    Tokens of one example share its label and must share its group: a split that separates them
    leaks. ``labels[examples]`` and ``[groups[i] for i in examples]`` line them up.

    Raises:
        PoolingError: shapes differ, or an example has no token.
    """
    _check(values, mask)
    return values[mask], mask.nonzero()[:, 0]


def chosen_token(
    values: Float[Tensor, "example pos d"], at: Int[Tensor, " example"]
) -> Float[Tensor, "example d"]:
    """Return one token of each example, by its index along the axis of positions.

    Raises:
        PoolingError: an index lies outside.
    """
    if at.shape != values.shape[:1] or bool(((at < 0) | (at >= values.shape[1])).any()):
        raise PoolingError(
            f"expected {len(values)} positions from 0 to {values.shape[1] - 1}, got {at.tolist()}"
        )
    return values[torch.arange(len(values), device=values.device), at]


def tokens_in_spans(
    offsets: Int[Tensor, "example pos 2"],
    mask: Bool[Tensor, "example pos"],
    spans: Sequence[tuple[int, int]],
) -> Bool[Tensor, "example pos"]:
    """Return which tokens overlap each example's run of characters.

    Args:
        offsets: First character of each token and the one after its last, as a fast tokenizer
            gives them. Tokens without characters, such as marks, overlap nothing.
        mask: True at real tokens.
        spans: For each example, the first character and the one after the last.

    Raises:
        PoolingError: shapes differ, or a span falls on no token.
    """
    if offsets.shape != (*mask.shape, 2) or len(spans) != len(mask):
        raise PoolingError(
            f"expected offsets of shape {[*mask.shape, 2]} and {len(mask)} spans, got "
            f"{list(offsets.shape)} and {len(spans)}"
        )
    bounds = torch.tensor([list(span) for span in spans], device=offsets.device)
    begin, end = offsets[..., 0], offsets[..., 1]
    found = mask & (begin < end) & (begin < bounds[:, 1:]) & (bounds[:, :1] < end)
    _some(found, lambda row: f"characters {list(spans[row])} fall on no token")
    return found


def token_at_character(
    offsets: Int[Tensor, "example pos 2"],
    mask: Bool[Tensor, "example pos"],
    characters: Sequence[int],
) -> Int[Tensor, " example"]:
    """Return the position of the token that holds each example's chosen character.

    Where several tokens share a character, as the bytes of one do, it is the last of them, which
    has seen it whole.

    Args:
        offsets: As for ``tokens_in_spans``.
        mask: True at real tokens.
        characters: One index an example.

    Raises:
        PoolingError: shapes differ, or a character lies in no token.
    """
    held = tokens_in_spans(offsets, mask, [(c, c + 1) for c in characters])
    reach = torch.arange(1, mask.shape[1] + 1, device=mask.device)
    return (held * reach).argmax(1)


def _check(values: Tensor, mask: Tensor) -> None:
    if values.ndim != 3 or values.shape[:2] != mask.shape or mask.dtype != torch.bool:
        raise PoolingError(
            f"expected activations [example, pos, d] and a boolean mask [example, pos], got "
            f"{list(values.shape)} and {mask.dtype} of {list(mask.shape)}"
        )
    _some(mask, lambda row: "no token to pool over")


def _some(found: Tensor, reason: Callable[[int], str]) -> None:
    empty = ~found.any(1)
    if bool(empty.any()):
        row = int(empty.nonzero()[0])
        raise PoolingError(
            f"{int(empty.sum())} of {len(found)} examples cannot be pooled, the first at row "
            f"{row}: {reason(row)}"
        )
