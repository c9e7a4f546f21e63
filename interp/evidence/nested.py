"""An interval for a mean over prompts, within tasks, within training seeds.

Prompts of one task are alike, and so are all tasks of one trained model. An interval over prompts
alone says how another draw of prompts would have come out on the *same* models; it is far too
narrow for a statement about a way of training. The steps here:

1. Units are drawn with replacement from the outermost level inwards: seeds, in each drawn seed
   tasks, in each drawn task groups of prompts. A level of one unit cannot be drawn from, and the
   result says so.
2. That alone counts the noise of the inner levels twice, once in the spread of the outer units and
   once in their own draws (Davison & Hinkley 1997, §3.8). So the draws give the interval its
   shape, and the outermost units that there are several of give it its width: the standard error
   of their mean, times Student's t for as many. It holds for two seeds as for fifty, and with two
   it is as wide as two deserve.
3. The p-value flips the signs of whole outermost units.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

from interp.evidence.nesting import Labels, Level, Tree
from interp.evidence.statistics import StatisticsError, Values, holm, permutation_p

if TYPE_CHECKING:
    import pandas as pd

# Six is where the smallest two-sided sign-flip p, 2 · 2⁻⁶, first passes .05.
FEWEST_UNITS = 6
_ROUNDING = 1e-9


@dataclass(frozen=True)
class NestedInterval:
    """A mean with an interval that knows what was drawn independently of what.

    Attributes:
        estimate: The mean: outer units count alike, and within the innermost outer unit rows do
            (by their weight).
        interval: For the mean over new units of the level ``unit``; None where no level has two
            units.
        confidence: Its coverage.
        p_value: Two-sided, of a mean of zero, by sign flips of whole units; None likewise.
        p_smallest: The smallest that so many units can give.
        unit: The outermost level with several units, from which both follow.
        n_units: How many of them.
        levels: Every level, outermost first.
        n_rows: How many numbers went in.
        warning: What the interval cannot bear, or None.
    """

    estimate: float
    interval: tuple[float, float] | None
    confidence: float
    p_value: float | None
    p_smallest: float | None
    unit: str | None
    n_units: int
    levels: tuple[Level, ...]
    n_rows: int
    warning: str | None

    @property
    def resampled(self) -> tuple[str, ...]:
        """Names of the levels that were resampled."""
        return tuple(level.name for level in self.levels if level.resampled)

    @property
    def underpowered(self) -> bool:
        """Whether there are too few units for any p below .05, or none to draw."""
        return self.n_units < FEWEST_UNITS

    @property
    def statement(self) -> str:
        """What was drawn, in one sentence."""
        sizes = ", ".join(map(str, self.levels))
        fixed = [level.name for level in self.levels if not level.resampled]
        said = f"{sizes}; resampled: {', then '.join(self.resampled) or 'nothing'}"
        if fixed:
            said += f"; not resampled, one only: {', '.join(fixed)}"
        names = [level.name for level in self.levels]
        inner = self.levels[names.index(self.unit) + 1 :] if self.unit else ()
        if inner and inner[0].recurs and inner[0].resampled:
            said += f"; every {self.unit} has the same {inner[0].name}s, and it is about these"
        return f"{said}."

    def __str__(self) -> str:
        if self.interval is None:
            return f"{self.estimate:.4g}, no interval; {self.warning}"
        low, high = self.interval
        said = f"{self.estimate:.4g} [{low:.4g}, {high:.4g}] ({self.confidence:.0%})"
        said += f", p {self.p_value:.2g}; {self.statement}"
        return said + (f" {self.warning}" if self.warning else "")

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(str(self))}</p>"

    def to_dict(self) -> dict[str, object]:
        """Return plain numbers and text, for JSON or as a row of a frame."""
        low, high = self.interval or (None, None)
        return {
            "estimate": self.estimate,
            "low": low,
            "high": high,
            "confidence": self.confidence,
            "p_value": self.p_value,
            "p_smallest": self.p_smallest,
            "unit": self.unit,
            "n_units": self.n_units,
            "n_rows": self.n_rows,
            "levels": self.statement,
            "warning": self.warning,
        }


def nested_interval(
    values: Values,
    levels: Mapping[str, Labels],
    *,
    weights: Values | None = None,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int,
) -> NestedInterval:
    """Interval for the mean of paired differences, nested prompt in task in seed.

    With a tidy table: ``nested_interval(table["harm"], {name: table[name] for name in ("seed",
    "task", "prompt")}, seed=0)``.

    The interval is for new units of the outermost level that has several. Where every seed has
    the same tasks, it speaks of new seeds on these tasks, not of new tasks.

    Args:
        values: One paired difference a row, such as the loss added by an ablation.
        levels: Labels a row by level, outermost first, such as seed, task and prompt. Labels are
            read within their outer unit: prompt 0 of one task is not prompt 0 of another. The
            innermost may be left out if rows are independent within the last one.
        weights: How much each row counts within the last outer unit, such as its number of
            tokens; all alike when omitted.
        confidence: Coverage, strictly between 0 and 1.
        n_resamples: Bootstrap samples.
        seed: Seeds the resampling.

    Raises:
        StatisticsError: values or weights that are not finite, labels of another length, or no
            levels.
    """
    if not 0 < confidence < 1:
        raise StatisticsError(f"confidence must lie strictly between 0 and 1, got {confidence}")
    tree = Tree(values, levels, weights)
    units = tree.units()
    estimate = float(tree.means(0)[0])
    found, told = tree.levels, tree.outermost
    if told is None:
        said = ", ".join(map(str, found))
        warning = f"{said}: nothing to draw from, so no interval and no p"
        return NestedInterval(
            estimate, None, confidence, None, None, None, 1, found, tree.n_rows, warning
        )
    n = len(units)
    error = float(np.std(units, ddof=1)) / np.sqrt(n)
    interval = (estimate, estimate)
    if error > _ROUNDING * float(np.abs(tree.sums / tree.sizes).max()):
        draws = tree.draw(n_resamples, np.random.default_rng(seed))
        tail = (1 - confidence) / 2
        t_over_z = stats.t.isf(tail, n - 1) / stats.norm.isf(tail)
        ends = np.quantile(draws, [tail, 1 - tail]) - draws.mean()
        low, high = estimate + ends * (t_over_z * error / float(draws.std()))
        interval = (float(low), float(high))
    p_smallest = max(2.0 ** (1 - n), 2 / (n_resamples + 1))  # two-sided: both tails
    few: str | None = None
    if n < FEWEST_UNITS:
        few = f"Only {n} {found[told].name}s: underpowered, p cannot be below {p_smallest:.2g}."
    return NestedInterval(
        estimate=estimate,
        interval=interval,
        confidence=confidence,
        p_value=permutation_p(tree.flippable(), n_resamples=n_resamples, seed=seed),
        p_smallest=p_smallest,
        unit=found[told].name,
        n_units=n,
        levels=found,
        n_rows=tree.n_rows,
        warning=few,
    )


@dataclass(frozen=True)
class TaskTable:
    """Intervals of several tasks, with p-values corrected for there being several.

    Attributes:
        tasks: Their names.
        intervals: One a task.
        p_adjusted: By Holm's method over the tasks that have a p-value; None for the others.
    """

    tasks: tuple[str, ...]
    intervals: tuple[NestedInterval, ...]
    p_adjusted: tuple[float | None, ...]

    def frame(self) -> pd.DataFrame:
        """Return one row a task."""
        import pandas as pd

        rows = [
            {"task": task, **found.to_dict(), "p_adjusted": p}
            for task, found, p in zip(self.tasks, self.intervals, self.p_adjusted, strict=True)
        ]
        numbers = dict.fromkeys(("low", "high", "p_value", "p_smallest", "p_adjusted"), "Float64")
        words = dict.fromkeys(("task", "unit", "levels", "warning"), "string")
        return pd.DataFrame(rows).astype({**numbers, **words})

    def __str__(self) -> str:
        return "\n".join(
            f"{task}: {found}" + ("" if p is None else f" Holm over tasks: p {p:.2g}.")
            for task, found, p in zip(self.tasks, self.intervals, self.p_adjusted, strict=True)
        )

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"


def by_task(
    values: Values,
    tasks: Labels,
    levels: Mapping[str, Labels],
    *,
    confidence: float = 0.95,
    n_resamples: int = 9999,
    seed: int,
) -> TaskTable:
    """Weigh each task by itself, and correct the p-values over tasks by Holm's method.

    Args:
        values: One paired difference a row.
        tasks: The task of each row.
        levels: The other levels, outermost first, such as seed and prompt (``nested_interval``).
        confidence: Coverage of each interval; these are not corrected.
        n_resamples: Bootstrap samples.
        seed: Seeds the resampling.

    Raises:
        StatisticsError: as ``nested_interval``.
    """
    array = np.asarray(values, dtype=np.float64)
    named = [str(task) for task in tasks]
    columns = {name: list(labels) for name, labels in levels.items()}
    if any(len(column) != len(array) for column in (named, *columns.values())):
        raise StatisticsError(f"{len(array)} values need as many labels of task and every level")
    order = tuple(dict.fromkeys(named))
    intervals = []
    for task in order:
        rows = [i for i, name in enumerate(named) if name == task]
        intervals.append(
            nested_interval(
                array[rows],
                {name: [column[i] for i in rows] for name, column in columns.items()},
                confidence=confidence,
                n_resamples=n_resamples,
                seed=seed,
            )
        )
    tested = [i for i, found in enumerate(intervals) if found.p_value is not None]
    adjusted: list[float | None] = [None] * len(order)
    if tested:
        p_values = [p for found in intervals if (p := found.p_value) is not None]
        for i, p in zip(tested, holm(p_values), strict=True):
            adjusted[i] = p
    return TaskTable(order, tuple(intervals), tuple(adjusted))
