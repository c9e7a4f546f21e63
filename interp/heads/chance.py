"""Which in-context tasks a model is at chance on, so that no verdict rests on them.

Removing a head from a model that cannot do a task shows nothing. So the clean model's HITS@1 is
compared with the better of two guessers who have not read the demonstrations: one always gives
the most frequent answer of these very items, the other picks blindly among what the query offers
(a list's items, the classes). Exact binomial, one-sided, Holm over tasks; of a query that stands
twice its first item counts. A task that does not exceed the guesser is marked with the reason, left
out of verdicts, and always listed.
"""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from scipy import stats

from interp.evidence import holm
from interp.heads.icl import IclScore
from interp.heads.scores import HeadsError

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class ChanceMark:
    """Whether a model is at chance on a task, and why that is said.

    Attributes:
        task: The task's name.
        shots: Demonstrations in each prompt.
        n: Different queries.
        hits: How many of them are right at the first token.
        baseline: The better guesser's rate.
        guesser: Which guesser that is.
        p_value: Probability of so many hits at the baseline's rate.
        p_holm: The same, adjusted over the tasks judged together.
        at_chance: Not shown to be above the baseline.
        reason: One sentence with the numbers.
    """

    task: str
    shots: int
    n: int
    hits: int
    baseline: float
    guesser: str
    p_value: float
    p_holm: float
    at_chance: bool
    reason: str


@dataclass(frozen=True, eq=False)
class IclReport:
    """Scores of several tasks, with those marked that are at chance.

    Attributes:
        scores: Everything that was scored, in the order given.
        marks: For each score the mark of its task and number of shots. Permuted labels are judged
            by the unpermuted: they are meant to fail.
    """

    scores: tuple[IclScore, ...]
    marks: tuple[ChanceMark, ...]

    @property
    def kept(self) -> tuple[IclScore, ...]:
        """Scores that may enter a verdict."""
        pairs = zip(self.scores, self.marks, strict=True)
        return tuple(score for score, mark in pairs if not mark.at_chance)

    @property
    def left_out(self) -> tuple[ChanceMark, ...]:
        """Marks of the tasks that may not, each once."""
        return tuple(dict.fromkeys(mark for mark in self.marks if mark.at_chance))

    def table(self) -> pd.DataFrame:
        """Lay everything out, one row a score: means, the guesser beside them, the mark."""
        import pandas as pd

        rows = []
        for score, mark in zip(self.scores, self.marks, strict=True):
            means = {name: score.mean(name) for name in score.values}
            rows.append(
                {
                    "task": score.task,
                    "shots": score.shots,
                    "permuted": score.permuted,
                    "items": len(score),
                    "dropped": sum(count for _, count in score.dropped),
                    **means,
                    "guesser": mark.baseline,
                    "echo": None if score.echo is None else float(score.echo.double().mean()),
                    "p_holm": mark.p_holm,
                    "at_chance": mark.at_chance,
                    "reason": mark.reason,
                }
            )
        return pd.DataFrame(rows).astype({"task": "string", "echo": "Float64", "reason": "string"})

    def __repr__(self) -> str:
        tasks = {(mark.task, mark.shots) for mark in self.marks}
        return f"IclReport({len(tasks)} tasks, {len(self.left_out)} of them at chance)"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(repr(self))}</p>{self.table().to_html(escape=True)}"


def judge_icl(scores: Sequence[IclScore], *, alpha: float = 0.05) -> IclReport:
    """Mark the tasks on which the clean model is at chance.

    Args:
        scores: Of the clean model, of all tasks that are judged together. A score with permuted
            labels needs its unpermuted one beside it, of the same task and number of shots.
        alpha: Level, over all tasks together.

    Raises:
        HeadsError: nothing to judge, a task scored twice, or permuted labels alone.
    """
    if not scores:
        raise HeadsError("no scores to judge; give at least one, from score_icl")
    if not 0 < alpha < 1:
        raise HeadsError(f"alpha={alpha}: expected a number between 0 and 1")
    clean: dict[tuple[str, int], IclScore] = {}
    for score in scores:
        key = (score.task, score.shots)
        if score.permuted:
            continue
        if key in clean:
            raise HeadsError(f"{score.task} with {score.shots} shots is scored twice; judge once")
        clean[key] = score
    alone = [s for s in scores if (s.task, s.shots) not in clean]
    if alone:
        raise HeadsError(
            f"{alone[0].task} with {alone[0].shots} shots is there with permuted labels only; "
            "score the unpermuted prompts as well, which say whether the task is at chance"
        )
    tests = [_test(score) for score in clean.values()]
    adjusted = holm([test[-1] for test in tests])
    marks = {
        key: _mark(score, test, p_holm, alpha)
        for (key, score), test, p_holm in zip(clean.items(), tests, adjusted, strict=True)
    }
    return IclReport(tuple(scores), tuple(marks[s.task, s.shots] for s in scores))


_Test = tuple[int, int, float, str, float]


def _test(score: IclScore) -> _Test:
    """Queries, hits, the better guesser's rate, which that is, and p."""
    first = score.first_of_group
    n = int(first.sum())
    hits = round(float(score.values["hits@1"][first].sum()))
    counts = Counter(score.answer[first].tolist())
    rate = counts.most_common(1)[0][1] / n
    guesser = f"always the most frequent of {len(counts)} first tokens"
    if score.guess is not None and (blind := float(score.guess[first].mean())) > rate:
        rate, guesser = blind, "one of what the query offers, blindly"
    # A guesser that is always right cannot be beaten.
    p = float(stats.binomtest(hits, n, rate, alternative="greater").pvalue) if rate < 1 else 1.0
    return n, hits, rate, guesser, p


def _mark(score: IclScore, test: _Test, p_holm: float, alpha: float) -> ChanceMark:
    n, hits, rate, guesser, p = test
    at_chance = p_holm > alpha
    verb = "not shown above" if at_chance else "above"
    reason = (
        f"{hits} of {n} right ({hits / n:.2f}), {verb} the {rate:.2f} of a guesser "
        f"({guesser}); Holm-adjusted p = {p_holm:.2g}"
    )
    return ChanceMark(
        task=score.task,
        shots=score.shots,
        n=n,
        hits=hits,
        baseline=rate,
        guesser=guesser,
        p_value=p,
        p_holm=p_holm,
        at_chance=at_chance,
        reason=reason,
    )
