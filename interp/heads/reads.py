"""Which logits a metric reads, so that no others need be computed."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from interp.evidence import Metric
from interp.models import Examples


@dataclass(frozen=True, eq=False)
class Reads:
    """Examples cut down to the positions a metric reads.

    Attributes:
        at: Where each column of ``examples`` stood, [example read].
        examples: The same measurement on those positions alone: the metric gives the same values
            on logits [example read vocab].
    """

    at: Int[Tensor, "example read"]
    examples: Examples


def reads_of(metric: Metric, examples: Examples) -> Reads | None:
    """Cut examples down to what a metric reads, or return None where that is everything.

    A metric says itself what it reads; one that does not say gets everything.
    """
    if metric.reads == "everything":
        return None
    at_answer = metric.reads == "answer" or (
        metric.reads == "answer or scored" and examples.answer is not None
    )
    return _answered(examples) if at_answer else _scored(examples)


def _answered(examples: Examples) -> Reads | None:
    if examples.answer_at is None:
        return None
    at = examples.answer_at.to(torch.int64)[:, None]
    cut = Examples(
        tokens=examples.tokens.gather(1, at),
        answer=examples.answer,
        wrong=examples.wrong,
        answer_at=torch.zeros_like(examples.answer_at),
        groups=examples.groups,
        name=examples.name,
    )
    return Reads(at, cut)


def _scored(examples: Examples) -> Reads | None:
    """Keep scored positions, each with the one after it, whose token is what is predicted."""
    mask = examples.mask
    assert mask is not None
    counts = torch.zeros_like(mask)
    counts[:, :-1] = mask[:, :-1] & mask[:, 1:]
    if examples.scored is not None:
        counts &= examples.scored
    needed = counts.clone()
    needed[:, 1:] |= counts[:, :-1]
    sizes = needed.sum(dim=1)
    width = int(sizes.max())
    if width in (0, mask.shape[1]):
        return None
    at = (~needed).int().argsort(dim=1, stable=True)[:, :width]
    real = torch.arange(width) < sizes[:, None]
    # Rows with fewer positions read their first ones again, behind a mask.
    at = torch.where(real, at, at[:, :1])
    cut = Examples(
        tokens=examples.tokens.gather(1, at),
        mask=real | (torch.arange(width) == 0),
        scored=counts.gather(1, at) & real,
        groups=examples.groups,
        name=examples.name,
    )
    return Reads(at, cut)
