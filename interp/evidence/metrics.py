"""How well a model does on an example, as one number, and how much worse an intervention makes it.

Most read a single position, that of the answer: whether it is right (``accuracy``, ``hits@k``), how
probable it is (``answer-nll``, ``log-odds``) and how far ahead of a wrong one
(``logit_difference``). Where accuracy is at its floor or its ceiling the others still move.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence.reading import (
    Metric,
    MetricError,
    Places,
    answered,
    answered_or_scored,
    check_finite,
    check_ids,
    mean_per_example,
    pick,
    scored,
)

if TYPE_CHECKING:
    from interp.models.examples import Examples


def _loss(logits: Tensor, examples: Examples) -> Tensor:
    return _nll(logits, scored(logits, examples), "loss")


def _answer_nll(logits: Tensor, examples: Examples) -> Tensor:
    return _nll(logits, answered(logits, examples), "answer-nll")


def _nll(logits: Tensor, places: Places, name: str) -> Tensor:
    def term(picked: Tensor, where: slice) -> Tensor:
        return torch.nn.functional.cross_entropy(picked, places.target[where], reduction="none")

    return mean_per_example(logits, places, term, name)


def _logit_difference(logits: Tensor, examples: Examples) -> Tensor:
    places = answered(logits, examples)
    if examples.wrong is None:
        raise MetricError(
            f"{examples.name!r} has no `wrong`; logit_difference needs a wrong answer to take the "
            "difference against (use `accuracy` or `loss` where there is none)"
        )
    check_ids(logits, examples.wrong, "a wrong answer")
    wrong = examples.wrong.to(logits.device)

    def term(picked: Tensor, where: slice) -> Tensor:
        right = picked.gather(1, places.target[where, None])
        return (right - picked.gather(1, wrong[where, None])).squeeze(1)

    return mean_per_example(logits, places, term, "logit_difference")


def _accuracy(logits: Tensor, examples: Examples) -> Tensor:
    places = answered_or_scored(logits, examples)

    def term(picked: Tensor, where: slice) -> Tensor:
        top = picked == picked.amax(dim=1, keepdim=True)
        hit = top.gather(1, places.target[where, None]).squeeze(1)
        # k equal maxima share the credit: argmax would give it all to the lowest id, which makes
        # a model with uniform logits look right whenever the answer is token 0.
        return hit.to(picked.dtype) / top.sum(dim=1).clamp(min=1)

    check_finite(logits, places, "accuracy")
    return mean_per_example(logits, places, term, "accuracy")


def _log_odds(logits: Tensor, examples: Examples) -> Tensor:
    places = answered(logits, examples)

    def term(picked: Tensor, where: slice) -> Tensor:
        target = places.target[where, None]
        # log p − log(1 − p) = logit − logsumexp of the others, which never forms 1 − p: that is
        # 0 in float32 from p = 1 − 6e-8 on.
        others = picked.scatter(1, target, -torch.inf).logsumexp(dim=1)
        return picked.gather(1, target).squeeze(1) - others

    return mean_per_example(logits, places, term, "log-odds")


loss = Metric("loss", "nats", higher_is_better=False, per_example=_loss, reads="scored")
"""Mean negative log-likelihood of the next token over the scored positions, in nats, ≥ 0.

Without ``scored``, every position that is followed by a real token is scored."""

logit_difference = Metric(
    "logit_difference",
    "logits",
    higher_is_better=True,
    per_example=_logit_difference,
    reads="answer",
)
"""Logit of ``answer`` minus logit of ``wrong`` at ``answer_at`` (Wang et al. 2022, IOI, §3)."""

accuracy = Metric(
    "accuracy",
    "fraction correct",
    higher_is_better=True,
    per_example=_accuracy,
    reads="answer or scored",
)
"""Whether the largest logit is the right one, 0 to 1: at ``answer_at`` where the examples have an
``answer``, else averaged over the scored positions. Equal largest logits share the credit."""

answer_nll = Metric(
    "answer-nll", "nats", higher_is_better=False, per_example=_answer_nll, reads="answer"
)
"""−log p(answer) at ``answer_at``, in nats, ≥ 0: of the answer's token and no other."""

log_odds = Metric("log-odds", "nats", higher_is_better=True, per_example=_log_odds, reads="answer")
"""log p(answer) − log(1 − p(answer)) at ``answer_at``; 0 is as likely as not. Unlike the
probability it has neither floor nor ceiling."""


def hits_at(k: int) -> Metric:
    """Make HITS@k: whether ``answer`` is among the k most probable tokens at ``answer_at``, 0 or 1.

    Tokens as probable as the answer count as ahead of it, so that logits which are all equal score
    0; ``hits@1`` is therefore ``accuracy`` except where the largest logits are equal.

    Raises:
        MetricError: k below 1; and, when it is measured, a k that every token would reach.
    """
    if k < 1:
        raise MetricError(f"hits@k needs a k of at least 1, got {k}")
    name = f"hits@{k}"

    def hit(logits: Tensor, examples: Examples) -> Tensor:
        places = answered(logits, examples)
        if k >= logits.shape[-1]:
            raise MetricError(f"{name} of {logits.shape[-1]} outputs is always 1; take a smaller k")
        check_finite(logits, places, name)

        def term(picked: Tensor, where: slice) -> Tensor:
            rank = (picked >= picked.gather(1, places.target[where, None])).sum(dim=1)
            return (rank <= k).to(picked.dtype)

        return mean_per_example(logits, places, term, name)

    return Metric(name, "fraction correct", higher_is_better=True, per_example=hit, reads="answer")


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
        places = answered_or_scored(logits, examples)
        clean = clean_logits.to(logits.device)

        def term(picked: Tensor, where: slice) -> Tensor:
            log_p = pick(clean, places, where).log_softmax(dim=1)
            log_q = picked.log_softmax(dim=1)
            p = log_p.exp()
            return torch.where(p > 0, p * (log_p - log_q), 0.0).sum(dim=1)

        return mean_per_example(logits, places, term, "kl")

    return Metric("kl", "nats", higher_is_better=False, per_example=divergence)


METRICS: Mapping[str, Metric] = {
    m.name: m
    for m in (loss, logit_difference, accuracy, answer_nll, log_odds, hits_at(1), hits_at(3))
}


def get_metric(name: str) -> Metric:
    """Look a metric up by name; ``hits@k`` is known for every k.

    Raises:
        MetricError: no such metric (names the nearest), or ``kl``, which needs clean logits.
    """
    if name in METRICS:
        return METRICS[name]
    if name == "kl":
        raise MetricError("kl needs the clean model's logits: build it with kl_from(clean_logits)")
    if (found := re.fullmatch(r"hits@(\d+)", name)) is not None:
        return hits_at(int(found[1]))
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
