"""Whether a model can do a task at all: where it cannot, what removing heads does means nothing.

* Prompts with an answer: it is right more often than the better guesser (``interp.heads.chance``),
  or, where there is a wrong answer beside it, prefers the right one more often than someone who
  knows only which tokens are usually right. Either is enough; exact binomial over different
  prompts, Holm over the two.
* Everything else: its loss is below that of guessing uniformly, ln(vocabulary).
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

from scipy import stats

from interp.evidence import holm, logit_difference, loss
from interp.heads.chance import judge_icl
from interp.heads.icl import score_icl
from interp.heads.sweep import sweep
from interp.models import Examples, Model


@dataclass(frozen=True)
class Ability:
    """Whether a model can do a task.

    Attributes:
        able: Shown to be above chance.
        reason: One sentence with the numbers.
    """

    able: bool
    reason: str


def task_ability(
    model: Model, examples: Examples, *, alpha: float = 0.05, batch_size: int = 16
) -> Ability:
    """Compare the unmodified model with a guesser.

    Args:
        model: The model.
        examples: The task.
        alpha: Level of the test, where there is one.
        batch_size: Rows at a time.
    """
    if examples.answer is None:
        mean = float(sweep(model, examples, loss, [], kind="zero").clean.double().mean())
        return loss_ability(mean, model.d_vocab)
    score = score_icl(model, examples, batch_size=batch_size)
    mark = judge_icl([score], alpha=alpha).marks[0]
    if examples.wrong is None:
        return Ability(not mark.at_chance, mark.reason.partition(";")[0])
    first = score.first_of_group
    difference = sweep(model, examples, logit_difference, [], kind="zero").clean[first]
    wins = int((difference > 0).sum())
    rate = _preference(examples.answer[first].tolist(), examples.wrong[first].tolist())
    n = len(difference)
    p = float(stats.binomtest(wins, n, rate, alternative="greater").pvalue) if rate < 1 else 1.0
    p_hits, p_wins = holm([mark.p_value, p])
    able = min(p_hits, p_wins) <= alpha
    if p_hits <= alpha:
        return Ability(True, mark.reason.partition(";")[0])
    said = (
        f"the right answer is ahead of the wrong one on {wins} of {n} prompts, "
        f"{'more' if able else 'not shown more'} often than for a guesser who knows which tokens "
        f"are usually right ({rate:.2f}; p {p_wins:.2g})"
    )
    return Ability(able, said if able else f"{mark.reason.partition(';')[0]}; {said}")


def loss_ability(mean: float, d_vocab: int) -> Ability:
    """Compare a model's loss with that of guessing uniformly.

    Args:
        mean: The unmodified model's mean loss, in nats a token.
        d_vocab: Size of its vocabulary.
    """
    chance = math.log(d_vocab)
    able = mean < chance
    verb = "below" if able else "not below"
    return Ability(
        able, f"its loss is {mean:.3g} nats a token, {verb} the {chance:.3g} of guessing"
    )


def _preference(answers: list[int], wrong: list[int]) -> float:
    """How often one is right who always prefers tokens that are right more than wrong, or 1/2."""
    balance: Counter[int] = Counter(answers)
    balance.subtract(wrong)
    leads = [balance[a] - balance[w] for a, w in zip(answers, wrong, strict=True)]
    return max(0.5, sum(1.0 if lead > 0 else 0.5 * (lead == 0) for lead in leads) / len(leads))
