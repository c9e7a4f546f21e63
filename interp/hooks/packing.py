"""Prompts of mixed length in few padded tokens: sorted by length, as many at a time as fit."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.models import Examples
from interp.models.memory import in_batches


def in_packs(lengths: Sequence[int], tokens: int, work: Callable[[slice], None]) -> None:
    """Call ``work(rows)`` over consecutive rows, as many as fit once padded to the longest.

    Args:
        lengths: Of each row, ascending.
        tokens: Budget of a call, padding counted. A row longer than that goes alone. Reduced on
            out-of-memory, as in ``in_batches``.
        work: Does some rows.
    """
    start = 0
    while start < len(lengths):
        size = 1
        while start + size < len(lengths) and (size + 1) * lengths[start + size] <= tokens:
            size += 1
        first = start

        def part(rows: slice, first: int = first) -> None:
            work(slice(first + rows.start, first + rows.stop))

        fitted = in_batches(size, size, part)
        start += size
        if fitted < size:
            tokens = max(1, fitted * lengths[start - 1])


def pack(
    examples: Examples, chosen: Int[Tensor, " row"]
) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Return rows as right-padded ids with their mask, no wider than the longest. On the CPU."""
    assert examples.mask is not None
    real = examples.mask.cpu()[chosen]
    lengths = real.sum(dim=1)
    width = int(lengths.max())
    tokens = torch.zeros((len(chosen), width), dtype=torch.int64)
    mask = torch.arange(width)[None, :] < lengths[:, None]
    tokens[mask] = examples.tokens.cpu()[chosen][real]
    return tokens, mask
