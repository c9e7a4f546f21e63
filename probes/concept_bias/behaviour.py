"""Bias as a model shows it, as metrics: which reference it speaks of next, and how that goes with
what is said to be there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.evidence import Metric
from interp.evidence.reading import answered, check_finite, check_ids, mean_per_example
from interp.models import Examples
from probes.concept_bias.rows import ConceptBiasError

_FEWEST_TARGETS = 3


def reference_log_odds(first: Int[Tensor, " word"], second: Int[Tensor, " word"]) -> Metric:
    """Make the metric log P(any of the first words) − log P(any of the second) at ``answer_at``.

    Args:
        first: Token ids of the first reference's words.
        second: Of the second's; none of them also of the first.

    Raises:
        ConceptBiasError: no words, or one of both references.
    """
    if not len(first) or not len(second) or set(first.tolist()) & set(second.tolist()):
        raise ConceptBiasError("each reference needs words of its own, and no word may be of both")

    def odds(logits: Tensor, examples: Examples) -> Tensor:
        places = answered(logits, _answering(examples))
        for words, name in ((first, "a word of the first"), (second, "a word of the second")):
            check_ids(logits, words, name)
        check_finite(logits, places, "reference log-odds")
        one, other = first.to(logits.device), second.to(logits.device)

        def term(picked: Tensor, where: slice) -> Tensor:
            return picked[:, one].logsumexp(1) - picked[:, other].logsumexp(1)

        return mean_per_example(logits, places, term, "reference log-odds")

    return Metric(
        "reference log-odds", "nats", higher_is_better=True, per_example=odds, reads="answer"
    )


def slope_metric(behaviour: Metric, scores: Mapping[str, float]) -> Metric:
    """Make the metric whose mean over examples is the slope of behaviour on scores over targets.

    The least-squares slope is a weighted sum of the targets' mean behaviour, weights
    (s_t − s̄) / Σ(s − s̄)²; each example carries its target's weight, times the number of targets,
    so that the mean over examples is the slope where every target has as many. An offset that
    all targets share does not count.

    Args:
        behaviour: A metric of each prompt.
        scores: Of each target, which the examples' groups name.

    Raises:
        ConceptBiasError: fewer than three targets, or scores that are not finite or all the same;
            and, when it is measured, a group without a score.
    """
    names = list(scores)
    values = np.array([float(scores[name]) for name in names])
    if len(names) < _FEWEST_TARGETS or not np.isfinite(values).all() or np.ptp(values) == 0:
        raise ConceptBiasError(
            f"a slope needs at least {_FEWEST_TARGETS} targets with different finite scores, got "
            f"{len(names)}"
        )
    centred = values - values.mean()
    weights = dict(zip(names, len(names) * centred / (centred**2).sum(), strict=True))

    def weighted(logits: Tensor, examples: Examples) -> Tensor:
        missing = set(examples.groups) - weights.keys()
        if missing:
            raise ConceptBiasError(
                f"no score for {sorted(missing)[0]!r}; groups of the prompts must be the targets"
            )
        own = torch.tensor([weights[group] for group in examples.groups])
        measured = behaviour.per_example(logits, examples)
        return own.to(measured) * measured

    return Metric(
        f"slope of {behaviour.name}",
        f"{behaviour.units} by unit of score",
        higher_is_better=True,
        per_example=weighted,
        reads=behaviour.reads,
    )


def by_target(prompts: Mapping[str, Examples], *, name: str = "prompts") -> Examples:
    """Put each target's prompts together, padded on the right, the target's name their group.

    Args:
        prompts: By target, as many of each.
        name: What the whole is called.

    Raises:
        ConceptBiasError: no targets, or not as many prompts of each.
    """
    if not prompts or len({len(one) for one in prompts.values()}) > 1:
        raise ConceptBiasError("expected prompts of some targets, as many of each")
    width = max(one.tokens.shape[1] for one in prompts.values())
    parts: list[Examples] = list(prompts.values())
    if any(one.answer_at is None for one in parts):
        raise ConceptBiasError("every prompt needs answer_at, where its metric is read")

    def padded(rows: Tensor) -> Tensor:
        return torch.nn.functional.pad(rows, (0, width - rows.shape[1]))

    return Examples(
        tokens=torch.cat([padded(one.tokens) for one in parts]),
        mask=torch.cat([padded(one.mask) for one in parts if one.mask is not None]),
        answer_at=torch.cat([one.answer_at for one in parts if one.answer_at is not None]),
        groups=tuple(target for target, one in prompts.items() for _ in range(len(one))),
        name=name,
        seed=parts[0].seed,
    )


def target_means(values: Float[Tensor, " example"], groups: Sequence[str]) -> dict[str, float]:
    """Return the mean of a metric over each target's prompts.

    Args:
        values: Of each prompt.
        groups: Its target.
    """
    return {
        name: float(values[[i for i, g in enumerate(groups) if g == name]].mean())
        for name in dict.fromkeys(groups)
    }


def _answering(examples: Examples) -> Examples:
    """Examples as the reader of answers wants them: it asks for a right one, and there is none."""
    if examples.answer is not None:
        return examples
    return replace(examples, answer=torch.zeros(len(examples), dtype=torch.int64))
