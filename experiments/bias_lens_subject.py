"""What is measured, in one form for made-up worlds and for text: concepts, prompts, splits."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from interp.evidence import Metric
    from interp.models import Examples
    from interp.sae import BiasSplit
    from interp.sae.carrying_measures import Tokens
    from probes.cav.captured import Concept


@dataclass(frozen=True, eq=False)
class Subject:
    """Targets between two references, and everything that they are measured on.

    Attributes:
        name: What it is called in tables.
        targets: Sentences of each target; on no prompt's frame.
        first: Of the reference that a positive bias points to.
        second: Of the other.
        neutral: Sentences of nobody, or None for what the concepts' own sets have.
        random: Sentences that random concepts are drawn from.
        nothing: A concept of nothing, that sensitivity must not be found for; None where there
            are no sentences to spare.
        behaviour: Log-odds of the first reference's words.
        asked: Prompts about the targets that behaviour as a yardstick is read on; no sentences of a
            concept, and none of those that axis and latents are judged on.
        sensitive: Prompts on which behaviour is differentiated.
        select: Those that latents are selected on.
        tune: Those that the edit is chosen on.
        test: Those that axis and latents are judged on.
        planted: Planted log-odds by target, where they are known.
        recognised: Whether a reference that was named is the likelier one.
        tokens: Which tokens latents are edited at; all but the mark at the beginning where None.
        where: Which tokens the axis is taken out at.
    """

    name: str
    targets: tuple[Concept, ...]
    first: Concept
    second: Concept
    neutral: Concept | None
    random: Concept
    nothing: Concept | None
    behaviour: Metric
    asked: Examples
    sensitive: Examples
    select: BiasSplit
    tune: BiasSplit
    test: BiasSplit
    planted: Mapping[str, float] | None
    recognised: Metric | None
    tokens: Tokens | None
    where: Literal["every", "answer"]

    @property
    def yardstick(self) -> str:
        """What bias is laid against first: what is planted, where that is known."""
        return "behaviour" if self.planted is None else "planted"


def recognition(behaviour: Metric, first: tuple[int, ...]) -> Metric:
    """Make the metric that is 1 where the reference that the text has named is the likelier one.

    Args:
        behaviour: Log-odds of the first reference's words.
        first: Their ids; an example's ``answer`` is one of them where the first was named.
    """
    import torch

    from interp.evidence import Metric

    def right(logits: torch.Tensor, examples: Examples) -> torch.Tensor:
        odds = behaviour.per_example(logits, examples)
        assert examples.answer is not None
        named = torch.isin(examples.answer, torch.tensor(first)).to(odds.device)
        return (torch.where(named, odds, -odds) > 0).to(odds.dtype)

    return Metric("recognition", "fraction", True, right, "answer")
