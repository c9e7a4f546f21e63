"""Which logits a metric reads, and the mean over them, a few at a time.

Only the positions that count are ever indexed out of the logits, and the softmax is taken over
those alone, some 2²⁴ numbers at a time, so that the peak of memory does not grow with the context.

Where an example has nothing to read (no scored position, no answer) there is an error. There is
never NaN: one such number in a mean would silently swallow all the others.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

if TYPE_CHECKING:
    from interp.models.examples import Examples

_CHUNK_ELEMENTS = 2**24


class MetricError(ValueError):
    """A metric cannot be computed as asked; the message says what is missing."""


@dataclass(frozen=True)
class Metric:
    """One number an example, read off the logits.

    Attributes:
        name: As in the registry and in tables.
        units: What a difference of 1 is a difference of.
        higher_is_better: Decides the sign of :func:`damage`.
        per_example: ``(logits[example pos vocab], examples) -> values[example]``.
        reads: At which positions it looks, so that the others need not be unembedded: at
            ``everything``, at the ``scored`` ones, at the ``answer``'s, or at the ``answer`` where
            there is one and else at the scored ones.
    """

    name: str
    units: str
    higher_is_better: bool
    per_example: Callable[[Float[Tensor, "example pos vocab"], Examples], Float[Tensor, " example"]]
    reads: Literal["everything", "scored", "answer", "answer or scored"] = "everything"


@dataclass(frozen=True)
class Places:
    """Which logits are read: entry i is position ``at[i]`` of example ``row[i]``."""

    row: Int[Tensor, " place"]
    at: Int[Tensor, " place"]
    target: Int[Tensor, " place"]


def _check_shape(logits: Tensor, examples: Examples) -> None:
    if logits.ndim != 3 or tuple(logits.shape[:2]) != tuple(examples.tokens.shape):
        raise MetricError(
            f"logits of shape {list(logits.shape)} do not belong to examples of shape "
            f"{list(examples.tokens.shape)}; expected [example, pos, vocab] of the same batch"
        )


def scored(logits: Tensor, examples: Examples) -> Places:
    """Read every scored position; unmarked examples are scored wherever a real token follows."""
    _check_shape(logits, examples)
    real = torch.ones_like(examples.tokens, dtype=torch.bool)
    if examples.mask is not None:
        real = examples.mask
    counts = real[:, :-1] & real[:, 1:]
    if examples.scored is not None:
        counts = counts & examples.scored[:, :-1]
    unscored = (~counts.any(dim=1)).nonzero()
    if len(unscored):
        raise MetricError(
            f"example {int(unscored[0])} of {examples.name!r} has no scored position; mark one in "
            "`scored` or leave the example out"
        )
    row, at = counts.nonzero(as_tuple=True)
    return _on_device(logits, Places(row, at, examples.tokens[row, at + 1]))


def answered(logits: Tensor, examples: Examples) -> Places:
    """Read the one position an example whose logits hold its answer."""
    _check_shape(logits, examples)
    if examples.answer is None or examples.answer_at is None:
        missing = "answer" if examples.answer is None else "answer_at"
        raise MetricError(
            f"{examples.name!r} has no `{missing}`; this metric needs `answer` and `answer_at` "
            "(use `loss` or `accuracy` on scored positions where there is no single answer)"
        )
    row = torch.arange(len(examples.tokens))
    return _on_device(logits, Places(row, examples.answer_at, examples.answer))


def answered_or_scored(logits: Tensor, examples: Examples) -> Places:
    """Read at the answer where there is one, else at the scored positions."""
    return scored(logits, examples) if examples.answer is None else answered(logits, examples)


def _on_device(logits: Tensor, places: Places) -> Places:
    check_ids(logits, places.target, "a token to be predicted")
    device = logits.device
    return Places(places.row.to(device), places.at.to(device), places.target.to(device))


def check_ids(logits: Tensor, ids: Tensor, what: str) -> None:
    """Refuse token ids that the model has no output for."""
    vocab = logits.shape[-1]
    outside = ids[(ids < 0) | (ids >= vocab)]
    if len(outside):
        raise MetricError(
            f"{what} has id {int(outside[0])}, outside the {vocab} outputs of the model; check "
            "that the examples were made for this model's vocabulary"
        )


def mean_per_example(
    logits: Tensor, places: Places, term: Callable[[Tensor, slice], Tensor], name: str
) -> Tensor:
    """Average ``term`` over each example's places.

    ``term`` maps a chunk of the logits read [place vocab], at least float32, and which of the
    places they are to one value a place.
    """
    n_places = len(places.row)
    step = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
    values = []
    for start in range(0, n_places, step):
        where = slice(start, min(start + step, n_places))
        values.append(term(pick(logits, places, where), where))
    value = torch.cat(values)
    # A dense sum rather than index_add_, whose order, and so whose rounding, varies on a GPU.
    dense = value.new_zeros(tuple(logits.shape[:2]))
    dense[places.row, places.at] = value
    count = torch.bincount(places.row, minlength=logits.shape[0])
    mean = dense.sum(dim=1) / count
    bad = (~torch.isfinite(mean)).nonzero()
    if len(bad):
        raise MetricError(
            f"{name} of example {int(bad[0])} is not finite; the logits hold NaN or infinities "
            "(try a wider dtype such as float32)"
        )
    return mean


def pick(logits: Tensor, places: Places, where: slice) -> Tensor:
    """Take the logits of some places, [place vocab], at least as wide as float32."""
    picked = logits[places.row[where], places.at[where]]
    return picked.to(torch.promote_types(picked.dtype, torch.float32))


def check_finite(logits: Tensor, places: Places, name: str) -> None:
    """Refuse logits that hold NaN or +∞ where a metric compares them, which would hide either."""
    if not bool(torch.isfinite(logits[places.row, places.at].amax(dim=-1)).all()):
        raise MetricError(
            f"{name}: the logits hold NaN or infinities (try a wider dtype such as float32)"
        )
