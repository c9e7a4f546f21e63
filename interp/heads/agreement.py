"""Whether estimates by gradients can be trusted: a sample of them beside the exact effects.

An estimate is a first-order term. It fails where a gradient says nothing about a large step: a
loss at its floor, a saturated softmax, a unit whose removal others make up for. Nothing in the
estimates shows that. A handful of exact replacements does; and since a sample may not hold the one
unit that was overlooked, so does replacing all units of a layer at once, one run a layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.evidence import Metric
from interp.heads.replacing import exact_effects
from interp.heads.units import Unit, unit_kind
from interp.models import Examples, Model

if TYPE_CHECKING:
    import pandas as pd

# Effects this small beside the metric itself are rounding of float32.
ROUNDING = 1e-6
# Estimates that sum to less than this share of the exact effects, or more than its inverse.
_SCALE = 0.1
# Estimates that sum to this share of what a layer's units do together explain it; a layer that
# does less than this share of what the worst does is let be.
_EXPLAINED = 0.25
_RESAMPLES = 2000


@dataclass(frozen=True)
class Agreement:
    """Estimated and exact effects of the same units.

    Attributes:
        units: Names of the units checked.
        estimated: Mean estimate over examples of each, positive is worse.
        exact: Mean exact effect of each.
        n_units: How many units there were to choose from.
        chosen: How those checked were chosen.
        spearman: Rank correlation, or None where one of the two does not vary.
        interval: 95 % interval of it by the percentile bootstrap over the units checked, or None.
        recall: Share of the ``recall_at`` most damaging units checked that are among the as many
            highest estimates; ties count in part. None where nothing does damage.
        recall_at: At most 10, at most half of those checked, at most as many as do damage.
        chance: The recall that a random order would have.
        magnitude: Σ|estimated| / Σ|exact|, or None where nothing has an effect.
        overlooked: Units checked that do at least half the damage of the worst, and that were
            estimated at less than a tenth of it.
        hidden: Layers whose units do damage together that their estimates do not explain: a unit
            not checked may be overlooked. Not looked for where all units were checked.
        problem: Why not to trust the estimates, or None.
        forward_equivalents: Forward passes over the examples that the check took.
    """

    units: tuple[str, ...]
    estimated: tuple[float, ...]
    exact: tuple[float, ...]
    n_units: int
    chosen: str
    spearman: float | None
    interval: tuple[float, float] | None
    recall: float | None
    recall_at: int
    chance: float
    magnitude: float | None
    overlooked: tuple[str, ...]
    hidden: tuple[str, ...]
    problem: str | None
    forward_equivalents: float

    def __str__(self) -> str:
        parts = [f"{len(self.units)} of {self.n_units} units exact ({self.chosen})"]
        if self.spearman is not None:
            interval = "" if self.interval is None else " [{:.2f}, {:.2f}]".format(*self.interval)
            parts.append(f"Spearman {self.spearman:.2f}{interval}")
        if self.recall is not None:
            parts.append(f"recall@{self.recall_at} {self.recall:.2f} (chance {self.chance:.2f})")
        if self.magnitude is not None:
            parts.append(f"size {self.magnitude:.2g} of exact")
        if self.problem is not None:
            parts.append(f"no guide to exact replacement: {self.problem}")
        return "; ".join(parts)

    def table(self) -> pd.DataFrame:
        """Lay the units checked out, most damaging first: ``name``, ``estimated``, ``exact``."""
        import pandas as pd

        columns = {"estimated": self.estimated, "exact": self.exact}
        frame = pd.DataFrame({"name": pd.Series(self.units, dtype="string"), **columns})
        return frame.sort_values("exact", ascending=False, kind="stable", ignore_index=True)


def compare(
    names: Sequence[str],
    estimated: Float[Tensor, " unit"],
    exact: Float[Tensor, " unit"],
    *,
    n_units: int,
    chosen: str,
    scale: float,
    cost: float,
    hidden: Sequence[int] = (),
    seed: int = 0,
) -> Agreement:
    """Compare estimates with exact effects of the same units.

    Args:
        names: The units' names.
        estimated: Mean estimate of each.
        exact: Mean exact effect of each.
        n_units: How many units there were to choose from.
        chosen: How these were chosen, for the reader.
        scale: Typical size of the metric; differences of a millionth of it are rounding.
        cost: Forward passes that the exact effects took.
        hidden: Layers that the estimates do not explain.
        seed: Seeds the bootstrap.
    """
    guess, truth = (t.to(torch.float64).cpu().numpy() for t in (estimated, exact))
    grain = ROUNDING * max(scale, float(np.abs(truth).max()), 1e-30)
    # On a grid, so that units that differ by rounding are ties and not an order.
    tied_guess, tied_truth = np.round(guess / grain), np.round(truth / grain)
    spearman = interval = None
    if np.ptp(tied_guess) > 0 and np.ptp(tied_truth) > 0:
        spearman = float(stats.spearmanr(tied_guess, tied_truth).statistic)
        interval = _interval(tied_guess, tied_truth, seed)
    at = min(10, max(len(truth) // 2, 1), int((tied_truth > 0).sum()))
    magnitude = None
    if float(np.abs(tied_truth).max()) > 0:
        magnitude = float(np.abs(guess).sum() / np.abs(truth).sum())
    large = (truth >= 0.5 * np.abs(truth).max()) & (tied_truth > 0)
    overlooked = tuple(names[int(i)] for i in np.flatnonzero(large & (guess < _SCALE * truth)))
    layers = tuple(f"L{layer}" for layer in hidden)
    return Agreement(
        units=tuple(names),
        estimated=tuple(guess.tolist()),
        exact=tuple(truth.tolist()),
        n_units=n_units,
        chosen=chosen,
        spearman=spearman,
        interval=interval,
        recall=_recall(tied_guess, tied_truth, at) if at else None,
        recall_at=at,
        chance=at / len(truth),
        magnitude=magnitude,
        overlooked=overlooked,
        hidden=layers,
        problem=_size_problem(magnitude, float(np.abs(truth).max()))
        or _overlooking(overlooked, layers)
        or _order_problem(spearman, interval),
        forward_equivalents=cost,
    )


def _size_problem(magnitude: float | None, largest: float) -> str | None:
    if magnitude is None:
        return "no unit checked has an effect, so there is nothing to agree on"
    if magnitude < _SCALE:
        return (
            f"exact effects reach {largest:.3g}, the estimates sum to {magnitude:.2g} of theirs; "
            "the gradient has vanished, as where a loss is at its floor (try logit_difference, "
            "or more steps)"
        )
    if magnitude > 1 / _SCALE:
        return f"the estimates are {magnitude:.3g} times as large as the exact effects"
    return None


def _order_problem(spearman: float | None, interval: tuple[float, float] | None) -> str | None:
    if spearman is None:
        return "the estimates, or the exact effects, do not differ between units"
    if interval is None or interval[0] <= 0:
        return "the ranks agree no better than chance would have them"
    return None


def _overlooking(overlooked: Sequence[str], hidden: Sequence[str]) -> str | None:
    if overlooked:
        return f"much of the damage is overlooked: {', '.join(overlooked[:3])} (try more steps)"
    if hidden:
        return f"damage of whole layers is unexplained: {', '.join(hidden[:3])} (try more steps)"
    return None


def hidden_layers(
    means: Float[Tensor, "layer ..."], together: Float[Tensor, " layer"]
) -> list[int]:
    """Layers whose units do what their estimates do not explain, most unexplained first.

    Args:
        means: Mean estimate of each unit.
        together: Mean exact effect of replacing all units of each layer.
    """
    known = means.abs().flatten(1).sum(1).to(torch.float64)
    done = together.abs().to(torch.float64)
    unexplained = (known < _EXPLAINED * done) & (done >= _EXPLAINED * done.max())
    order = torch.argsort(done - known, descending=True, stable=True).tolist()
    return [layer for layer in order if unexplained[layer]]


def _interval(guess: np.ndarray, truth: np.ndarray, seed: int) -> tuple[float, float] | None:
    """Percentile bootstrap over units; resamples in which one of the two is flat are left out."""
    draws = np.random.default_rng(seed).integers(0, len(guess), (_RESAMPLES, len(guess)))
    ranks = [stats.rankdata(values[draws], axis=1) for values in (guess, truth)]
    a, b = (r - r.mean(axis=1, keepdims=True) for r in ranks)
    size = np.sqrt((a**2).sum(1) * (b**2).sum(1))
    kept = size > 0
    if kept.mean() < 0.5:
        return None
    rho = (a * b).sum(1)[kept] / size[kept]
    low, high = np.quantile(rho, [0.025, 0.975])
    return float(low), float(high)


def _recall(guess: np.ndarray, truth: np.ndarray, at: int) -> float:
    top = set(np.argsort(-truth, kind="stable")[:at].tolist())
    edge = np.sort(guess)[-at]
    above = set(np.flatnonzero(guess > edge).tolist())
    level = set(np.flatnonzero(guess == edge).tolist())
    share = (at - len(above)) / len(level)  # of the ties, as many as there is room for
    return (len(top & above) + share * len(top & level)) / at


def sample(means: Float[Tensor, "layer ..."], n: int, *, seed: int) -> tuple[list[Unit], str]:
    """Choose units to check: half the largest estimates, half at random from the rest.

    The first half asks whether what is shown holds, the second whether anything is hidden.

    Returns:
        The units, and in words how they were chosen.
    """
    flat = means.flatten()
    if n >= len(flat):
        chosen, how = torch.arange(len(flat)), "all"
    else:
        order = torch.argsort(flat.abs(), descending=True, stable=True)
        n_top = (n + 1) // 2
        rest = order[n_top:]
        drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))
        chosen = torch.cat([order[:n_top], rest[drawn[: n - n_top]]])
        how = f"{n_top} largest estimates, {n - n_top} at random"
    index = np.unravel_index(chosen.numpy(), tuple(means.shape))
    return [tuple(int(i) for i in unit) for unit in zip(*index, strict=True)], how


def measure_agreement(
    model: Model,
    examples: Examples,
    metric: Metric,
    means: Float[Tensor, "layer ..."],
    *,
    of: str,
    kind: str,
    reference: Examples | None,
    n: int,
    batch_size: int,
    seed: int,
) -> Agreement:
    """Choose ``n`` units, replace each exactly, and compare with their estimates.

    Where that leaves units unchecked, all of each layer are replaced together, too.
    """
    chosen, how = sample(means, n, seed=seed)
    # Units that are whole layers hide nothing within.
    whole = means.ndim > 1 and len(chosen) < means.numel()
    layers: list[Unit] = [(layer,) for layer in range(len(means))] if whole else []
    clean, effects = exact_effects(
        model,
        examples,
        metric,
        [*chosen, *layers],
        of=of,
        kind=kind,
        reference=reference,
        batch_size=batch_size,
        seed=seed,
    )
    exact = effects.mean(1)
    return compare(
        [unit_kind(of).name(unit) for unit in chosen],
        torch.stack([means[unit] for unit in chosen]),
        exact[: len(chosen)],
        n_units=means.numel(),
        chosen=how,
        scale=float(clean.abs().mean()),
        cost=len(exact) + 1.0,
        hidden=hidden_layers(means, exact[len(chosen) :]) if whole else (),
        seed=seed,
    )
