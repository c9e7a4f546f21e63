"""Critical data size: below how many training pairs does a model not generalise?

Varma et al. (2023): memorising costs more weight the more pairs there are, generalising does not,
so there is a size D_crit at which both cost the same. Two ways to find it:

* **semi-grokking**: train from scratch on D pairs. Near D_crit models end between the two.
* **ungrokking**: go on training a model that has grokked, on D of its pairs. Below D_crit it
  forgets how to add.

Since both costs are weights, weight decay should change how fast this happens and not D_crit:
:func:`seed_ratio` sets seeds trained at two decays beside each other.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.fourier.basis import FourierError

FEWEST_SEEDS = 3
"""With two, Student's t has one degree of freedom, and its interval more pairs than there are."""


@dataclass(frozen=True)
class CriticalSize:
    """Where held-out accuracy crosses a level.

    Attributes:
        size: Geometric mean over seeds, in training pairs; None where some seed does not cross.
        interval: 95 % interval over seeds, Student's t on log sizes; None for fewer than three. It
            holds seeds and not how coarse the sizes are.
        between: The sizes tried within which every seed crosses; None where some seed does not.
            Where it is one step of the sizes, these are what limits the answer.
        by_seed: Each seed's; None where its accuracy does not cross the level.
        level: The accuracy.
        reason: Why there is no size or no interval; None where there are both.
    """

    size: float | None
    interval: tuple[float, float] | None
    between: tuple[float, float] | None
    by_seed: tuple[float | None, ...]
    level: float
    reason: str | None


def critical_size(
    sizes: Sequence[float], accuracies: Float[Tensor, "seed size"], *, level: float = 0.5
) -> CriticalSize:
    """Read the critical data size off held-out accuracies.

    For each seed: the last size below the level, and the next, with log size taken to be linear in
    accuracy between them.

    Args:
        sizes: Training pairs, ascending.
        accuracies: On pairs never trained on, at the end of training.
        level: Crossed at the critical size.

    Raises:
        FourierError: sizes that do not ascend, accuracies of another shape or outside 0 to 1.
    """
    table = accuracies.detach().double().numpy()
    if table.ndim != 2 or not len(table) or table.shape[1] != len(sizes) or len(sizes) < 2:
        raise FourierError(
            f"accuracies of shape {list(table.shape)} for {len(sizes)} sizes: expected "
            "[seed, size] with two sizes at least"
        )
    if any(a >= b for a, b in pairwise(sizes)) or not sizes[0] > 0:
        raise FourierError(f"sizes must be positive and ascend, got {list(sizes)}")
    if not ((table >= 0) & (table <= 1)).all() or not 0 < level < 1:
        raise FourierError("accuracies and level must be shares between 0 and 1")
    logs = np.log(np.asarray(sizes, dtype=float))
    by_seed = tuple(_crossing(logs, row, level) for row in table)
    crossed = [size for size in by_seed if size is not None]
    if len(crossed) < len(by_seed):
        low = sum(bool(row[-1] < level) for row in table)
        high = len(by_seed) - len(crossed) - low
        reason = f"of {len(by_seed)} seeds "
        parts = [f"{low} stay below {level:.0%} at the largest size"] * bool(low)
        parts += [f"{high} are above it at every size"] * bool(high)
        return CriticalSize(None, None, None, by_seed, level, reason + " and ".join(parts))
    mean = float(np.log(crossed).mean())
    between = (
        max(float(size) for size in sizes if size <= min(crossed)),
        min(float(size) for size in sizes if size >= max(crossed)),
    )
    if len(crossed) < FEWEST_SEEDS:
        reason = f"fewer than {FEWEST_SEEDS} seeds give no interval"
        return CriticalSize(math.exp(mean), None, between, by_seed, level, reason)
    half = float(stats.t.ppf(0.975, len(crossed) - 1)) * float(stats.sem(np.log(crossed)))
    interval = (math.exp(mean - half), math.exp(mean + half))
    return CriticalSize(math.exp(mean), interval, between, by_seed, level, None)


@dataclass(frozen=True)
class SeedRatio:
    """How many times as large something is in one training as in another, over seeds.

    Attributes:
        ratio: Geometric mean over seeds; None where no seed has both.
        interval: Student's t on logs of each seed's ratio, widened by the grain; None for fewer
            than two seeds, or a number no larger than the grain.
        n: Seeds that have both.
    """

    ratio: float | None
    interval: tuple[float, float] | None
    n: int


def seed_ratio(
    first: Sequence[float | None],
    second: Sequence[float | None],
    *,
    grain: float = 0.0,
    confidence: float = 0.95,
) -> SeedRatio:
    """Set a number of each seed beside the same seed's in another training.

    Numbers known to within an interval, such as that between two looks, often agree between seeds,
    whose spread is then no measure of what is not known: the interval covers both.

    Args:
        first: A positive number a seed, such as ``CriticalSize.by_seed``; None where there is none.
        second: Of the same seeds in the other training, over which the first is taken.
        grain: Each number may in truth be smaller by up to this.
        confidence: Of the interval.

    Raises:
        FourierError: different numbers of seeds, a number that is not positive, a negative grain,
            or a confidence outside 0 to 1.
    """
    if len(first) != len(second):
        raise FourierError(f"{len(first)} and {len(second)} seeds: expected the same ones")
    if any(x is not None and not 0 < x < math.inf for x in (*first, *second)):
        raise FourierError("ratios are of positive numbers")
    if not grain >= 0 or not 0 < confidence < 1:
        raise FourierError(f"grain {grain}, confidence {confidence}: expected ≥ 0, and 0 to 1")
    pairs = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    if not pairs:
        return SeedRatio(None, None, 0)
    logs = np.log([a / b for a, b in pairs])
    mean = float(logs.mean())
    if len(pairs) < 2 or min(min(pair) for pair in pairs) <= grain:
        return SeedRatio(math.exp(mean), None, len(pairs))
    half = float(stats.t.ppf((1 + confidence) / 2, len(pairs) - 1)) * float(stats.sem(logs))
    below = float(np.mean([math.log(1 - grain / a) for a, _ in pairs]))
    above = float(np.mean([math.log(1 - grain / b) for _, b in pairs]))
    interval = (math.exp(mean + below - half), math.exp(mean - above + half))
    return SeedRatio(math.exp(mean), interval, len(pairs))


def _crossing(logs: np.ndarray, row: np.ndarray, level: float) -> float | None:
    below = np.flatnonzero(row < level)
    if not len(below) or below[-1] == len(row) - 1:
        return None
    i = int(below[-1])
    share = (level - row[i]) / (row[i + 1] - row[i])
    return math.exp(float(logs[i] + share * (logs[i + 1] - logs[i])))
