"""Units within units: prompts in tasks in seeds, their means, and resamples of them all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from interp.evidence.statistics import StatisticsError, Values

Labels = Sequence[object] | npt.NDArray[np.generic]

# Resamples are drawn in batches of at most this many units, so memory stays bounded.
_BATCH_ELEMENTS = 2**22


@dataclass(frozen=True)
class Level:
    """One level of a nested sample.

    Attributes:
        name: Such as ``seed``, ``task`` or ``prompt``.
        n_units: How many in all, those of different outer units counted apart.
        fewest: In the outer unit that has the fewest.
        most: In the one that has the most.
        resampled: Whether any outer unit has more than one, so that there is something to draw.
        recurs: Whether every outer unit has the same labels, so that these units are given
            rather than drawn: the same tasks for every seed.
    """

    name: str
    n_units: int
    fewest: int
    most: int
    resampled: bool
    recurs: bool

    def __str__(self) -> str:
        each = str(self.most) if self.fewest == self.most else f"{self.fewest} to {self.most}"
        inner = f" ({each} each)" if self.n_units != self.most else ""
        plural = "" if self.n_units == 1 else "s"
        return f"{self.n_units} {self.name}{plural}{inner}"


class Tree:
    """Units within units; those of one outer unit stand side by side."""

    def __init__(self, values: Values, levels: Mapping[str, Labels], weights: Values | None):
        array = np.asarray(values, dtype=np.float64)
        weight = np.ones_like(array) if weights is None else np.asarray(weights, dtype=np.float64)
        if array.ndim != 1 or not len(array) or not np.isfinite(array).all():
            raise StatisticsError("values must be a list of at least one number, all finite")
        if weight.shape != array.shape or not (np.isfinite(weight) & (weight > 0)).all():
            raise StatisticsError("weights must be one number above 0 a value")
        if not levels:
            raise StatisticsError("name at least one level, such as {'prompt': groups}")
        self.n_rows = len(array)
        unit = np.zeros(len(array), dtype=np.int64)  # of each row, at the level reached
        self.counts: list[npt.NDArray[np.int64]] = []  # units inside each outer unit
        found = []
        for name, given in levels.items():
            labels = list(given)
            if len(labels) != len(array):
                raise StatisticsError(
                    f"{len(array)} values need as many {name} labels, got {len(labels)}"
                )
            # dict.fromkeys keeps first-seen order for labels of any kind, comparable or not.
            index = {label: i for i, label in enumerate(dict.fromkeys(labels))}
            label = np.array([index[one] for one in labels], dtype=np.int64)
            pairs, inside = np.unique(unit * len(index) + label, return_inverse=True)
            count = np.bincount(pairs // len(index))
            self.counts.append(count)
            recurs = len(count) > 1 and len(pairs) == len(count) * len(index)
            found.append(
                Level(
                    name,
                    len(pairs),
                    int(count.min()),
                    int(count.max()),
                    resampled=bool(count.max() > 1),
                    recurs=recurs,
                )
            )
            unit = inside
        self.levels = tuple(found)
        self.starts = [np.cumsum(count) - count for count in self.counts]
        self.sums = np.bincount(unit, weights=array * weight).astype(np.float64)
        self.sizes = np.bincount(unit, weights=weight).astype(np.float64)
        self.outermost = next((i for i, level in enumerate(found) if level.resampled), None)

    def means(self, depth: int) -> npt.NDArray[np.float64]:
        """The mean of every unit ``depth`` levels in; the root is 0."""
        last = len(self.counts) - 1
        if depth > last:
            return np.asarray(self.sums / self.sizes)
        starts = self.starts[last]
        means: npt.NDArray[np.float64]
        means = np.add.reduceat(self.sums, starts) / np.add.reduceat(self.sizes, starts)
        for level in range(last - 1, depth - 1, -1):
            means = np.add.reduceat(means, self.starts[level]) / self.counts[level]
        return means

    def units(self) -> npt.NDArray[np.float64]:
        """One number for each outermost unit, whose plain mean is the estimate."""
        if self.outermost is None:
            return self.means(0)
        if self.outermost < len(self.counts) - 1:
            return self.means(self.outermost + 1)
        # The mean of rows is a ratio of sums: what a group adds to it, to first order.
        mean = self.sums.sum() / self.sizes.sum()
        return np.asarray(mean + (self.sums - mean * self.sizes) / self.sizes.mean())

    def flippable(self) -> npt.NDArray[np.float64]:
        """One number for each outermost unit, whose sum is zero where the estimate is.

        For groups of rows it is their sum, which a flip of all signs within flips exactly.
        """
        return self.sums if self.outermost == len(self.counts) - 1 else self.units()

    def draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        """Means of ``n`` resamples."""
        width = int(np.prod([count.max() for count in self.counts]))
        batch = max(1, _BATCH_ELEMENTS // width)
        parts = [self._draw(min(batch, n - i), rng) for i in range(0, n, batch)]
        return np.concatenate(parts)

    def _draw(self, n: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
        at = np.zeros(n, dtype=np.int64)
        real = []
        for starts, counts in zip(self.starts, self.counts, strict=True):
            most = int(counts.max())
            count = counts[at][..., None]
            drawn = (rng.random((*at.shape, most)) * count).astype(np.int64)
            real.append(np.arange(most) < count)  # outer units with fewer are padded
            at = starts[at][..., None] + drawn
        means = (self.sums[at] * real[-1]).sum(-1) / (self.sizes[at] * real[-1]).sum(-1)
        for some in reversed(real[:-1]):
            means = (means * some).sum(-1) / some.sum(-1)
        return np.asarray(means)
