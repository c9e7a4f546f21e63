"""How well a model does on an example, as one number, and how much worse an intervention makes it.

A :class:`Metric` turns logits and the :class:`~interp.models.examples.Examples` they were computed
on into one number an example. Only the positions that count are ever indexed out of the logits,
and the softmax is taken over those alone, some 2²⁴ numbers at a time, so that the peak of memory
does not grow with the context.

Where an example has nothing to read (no scored position, no answer) the metric raises. It never
returns NaN: one such number in a mean would silently swallow all the others.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

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
    """

    name: str
    units: str
    higher_is_better: bool
    per_example: Callable[[Float[Tensor, "example pos vocab"], Examples], Float[Tensor, " example"]]


@dataclass(frozen=True)
class _Reads:
    """Which logits are read: entry i is position ``at[i]`` of example ``row[i]``."""

    row: Int[Tensor, " read"]
    at: Int[Tensor, " read"]
    target: Int[Tensor, " read"]


def _check_shape(logits: Tensor, examples: Examples) -> None:
    if logits.ndim != 3 or tuple(logits.shape[:2]) != tuple(examples.tokens.shape):
        raise MetricError(
            f"logits of shape {list(logits.shape)} do not belong to examples of shape "
            f"{list(examples.tokens.shape)}; expected [example, pos, vocab] of the same batch"
        )


def _scored(logits: Tensor, examples: Examples) -> _Reads:
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
    return _on_device(logits, _Reads(row, at, examples.tokens[row, at + 1]))


def _answered(logits: Tensor, examples: Examples) -> _Reads:
    """Read the one position an example whose logits hold its answer."""
    _check_shape(logits, examples)
    if examples.answer is None or examples.answer_at is None:
        missing = "answer" if examples.answer is None else "answer_at"
        raise MetricError(
            f"{examples.name!r} has no `{missing}`; this metric needs `answer` and `answer_at` "
            "(use `loss` or `accuracy` on scored positions where there is no single answer)"
        )
    row = torch.arange(len(examples.tokens))
    return _on_device(logits, _Reads(row, examples.answer_at, examples.answer))


def _reads(logits: Tensor, examples: Examples) -> _Reads:
    """Read at the answer where there is one, else at the scored positions."""
    return _scored(logits, examples) if examples.answer is None else _answered(logits, examples)


def _on_device(logits: Tensor, reads: _Reads) -> _Reads:
    _check_ids(logits, reads.target, "a token to be predicted")
    device = logits.device
    return _Reads(reads.row.to(device), reads.at.to(device), reads.target.to(device))


def _check_ids(logits: Tensor, ids: Tensor, what: str) -> None:
    vocab = logits.shape[-1]
    outside = ids[(ids < 0) | (ids >= vocab)]
    if len(outside):
        raise MetricError(
            f"{what} has id {int(outside[0])}, outside the {vocab} outputs of the model; check "
            "that the examples were made for this model's vocabulary"
        )


def _mean_per_example(
    logits: Tensor, reads: _Reads, term: Callable[[Tensor, slice], Tensor], name: str
) -> Tensor:
    """Average ``term`` over each example's reads.

    ``term`` maps a chunk of read logits [read vocab], at least float32, and the chunk's place
    among the reads to one value a read.
    """
    n_reads = len(reads.row)
    step = max(1, _CHUNK_ELEMENTS // logits.shape[-1])
    values = []
    for start in range(0, n_reads, step):
        where = slice(start, min(start + step, n_reads))
        values.append(term(_pick(logits, reads, where), where))
    value = torch.cat(values)
    # A dense sum rather than index_add_, whose order, and so whose rounding, varies on a GPU.
    dense = value.new_zeros(tuple(logits.shape[:2]))
    dense[reads.row, reads.at] = value
    count = torch.bincount(reads.row, minlength=logits.shape[0])
    mean = dense.sum(dim=1) / count
    bad = (~torch.isfinite(mean)).nonzero()
    if len(bad):
        raise MetricError(
            f"{name} of example {int(bad[0])} is not finite; the logits hold NaN or infinities "
            "(try a wider dtype such as float32)"
        )
    return mean


def _pick(logits: Tensor, reads: _Reads, where: slice) -> Tensor:
    picked = logits[reads.row[where], reads.at[where]]
    return picked.to(torch.promote_types(picked.dtype, torch.float32))


def _loss(logits: Tensor, examples: Examples) -> Tensor:
    reads = _scored(logits, examples)

    def term(picked: Tensor, where: slice) -> Tensor:
        return torch.nn.functional.cross_entropy(picked, reads.target[where], reduction="none")

    return _mean_per_example(logits, reads, term, "loss")


def _logit_difference(logits: Tensor, examples: Examples) -> Tensor:
    reads = _answered(logits, examples)
    if examples.wrong is None:
        raise MetricError(
            f"{examples.name!r} has no `wrong`; logit_difference needs a wrong answer to take the "
            "difference against (use `accuracy` or `loss` where there is none)"
        )
    _check_ids(logits, examples.wrong, "a wrong answer")
    wrong = examples.wrong.to(logits.device)

    def term(picked: Tensor, where: slice) -> Tensor:
        right = picked.gather(1, reads.target[where, None])
        return (right - picked.gather(1, wrong[where, None])).squeeze(1)

    return _mean_per_example(logits, reads, term, "logit_difference")


def _accuracy(logits: Tensor, examples: Examples) -> Tensor:
    reads = _reads(logits, examples)

    def term(picked: Tensor, where: slice) -> Tensor:
        top = picked == picked.amax(dim=1, keepdim=True)
        hit = top.gather(1, reads.target[where, None]).squeeze(1)
        # k equal maxima share the credit: argmax would give it all to the lowest id, which makes
        # a model with uniform logits look right whenever the answer is token 0.
        return hit.to(picked.dtype) / top.sum(dim=1).clamp(min=1)

    if not bool(torch.isfinite(logits[reads.row, reads.at].amax(dim=-1)).all()):
        raise MetricError(
            "accuracy: the logits hold NaN or infinities (try a wider dtype such as float32)"
        )
    return _mean_per_example(logits, reads, term, "accuracy")


loss = Metric("loss", "nats", higher_is_better=False, per_example=_loss)
"""Mean negative log-likelihood of the next token over the scored positions, in nats, ≥ 0.

Without ``scored``, every position that is followed by a real token is scored."""

logit_difference = Metric(
    "logit_difference", "logits", higher_is_better=True, per_example=_logit_difference
)
"""Logit of ``answer`` minus logit of ``wrong`` at ``answer_at`` (Wang et al. 2022, IOI, §3)."""

accuracy = Metric("accuracy", "fraction correct", higher_is_better=True, per_example=_accuracy)
"""Whether the largest logit is the right one, 0 to 1: at ``answer_at`` where the examples have an
``answer``, else averaged over the scored positions. Equal largest logits share the credit."""


def kl_from(clean_logits: Float[Tensor, "example pos vocab"]) -> Metric:
    """Make the metric KL(clean ‖ x): how far the output distribution moved, in nats, ≥ 0.

    It is averaged over the positions that :data:`accuracy` reads (the answer's, else the scored
    ones). Probabilities the clean model puts at 0 contribute 0.

    Args:
        clean_logits: The unmodified model's logits on the very batch the metric is called with.

    Returns:
        A metric whose clean value is 0 and whose damage is the divergence itself.
    """

    def divergence(logits: Tensor, examples: Examples) -> Tensor:
        if logits.shape != clean_logits.shape:
            raise MetricError(
                f"kl: logits of shape {list(logits.shape)} cannot be compared with clean logits "
                f"of shape {list(clean_logits.shape)}; build kl_from for each batch"
            )
        reads = _reads(logits, examples)
        clean = clean_logits.to(logits.device)

        def term(picked: Tensor, where: slice) -> Tensor:
            log_p = _pick(clean, reads, where).log_softmax(dim=1)
            log_q = picked.log_softmax(dim=1)
            p = log_p.exp()
            return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1)

        return _mean_per_example(logits, reads, term, "kl")

    return Metric("kl", "nats", higher_is_better=False, per_example=divergence)


METRICS: Mapping[str, Metric] = {m.name: m for m in (loss, logit_difference, accuracy)}


def get_metric(name: str) -> Metric:
    """Look a metric up by name.

    Raises:
        MetricError: no such metric (names the nearest), or ``kl``, which needs clean logits.
    """
    if name in METRICS:
        return METRICS[name]
    if name == "kl":
        raise MetricError("kl needs the clean model's logits: build it with kl_from(clean_logits)")
    near = difflib.get_close_matches(name.lower().replace(" ", "_"), METRICS, n=1, cutoff=0.5)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise MetricError(f"unknown metric {name!r}; expected one of {', '.join(METRICS)}{hint}")


def damage(
    metric: Metric,
    clean: Float[Tensor, " example"],
    ablated: Float[Tensor, "*runs example"],
) -> Float[Tensor, "*runs example"]:
    """Say how much worse each example got, in the metric's units; positive is worse.

    Args:
        metric: Gives the direction.
        clean: The metric of the unmodified model.
        ablated: The metric after the intervention, with any leading axes.

    Raises:
        MetricError: the examples do not match, or a value is not finite.
    """
    if clean.ndim != 1 or ablated.ndim < 1 or ablated.shape[-1] != clean.shape[0]:
        raise MetricError(
            f"damage needs the same examples in both: clean has shape {list(clean.shape)}, "
            f"ablated {list(ablated.shape)}"
        )
    for which, values in (("clean", clean), ("ablated", ablated)):
        if not bool(torch.isfinite(values).all()):
            raise MetricError(f"{metric.name}: a {which} value is not finite")
    return clean - ablated if metric.higher_is_better else ablated - clean
