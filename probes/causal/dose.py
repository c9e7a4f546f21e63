"""How the effect of a push along a direction grows with its length."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from interp.evidence import bootstrap_interval
from probes.causal.continuations import Continuations
from probes.causal.directions import Direction
from probes.causal.edited import EditedRuns, Pushes
from probes.causal.effects import require_site
from probes.causal.random_directions import random_units
from probes.steering import SteeringError

if TYPE_CHECKING:
    import pandas as pd

AMOUNTS = (-2.0, -1.0, -0.5, 0.5, 1.0, 2.0)
# Enough for a band that is only looked at.
_BAND = 20


def dose_curve(
    runs: EditedRuns[Continuations],
    direction: Direction,
    *,
    amounts: Sequence[float] = AMOUNTS,
    n_random: int = _BAND,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure the change of log-odds over several amounts, towards label 1 and away from it.

    Args:
        runs: The prompts.
        direction: The direction.
        amounts: In natural gaps of the direction.
        n_random: Isotropic random directions, for the band.
        seed: Draws them, and seeds the intervals.

    Returns:
        A row an amount: ``direction, amount, change, low, high, random_low, random_high``, changes
        of log-odds over all prompts in nats, with the band between the least and the most that a
        random direction does.

    Raises:
        SteeringError: another site or width, or amounts that are not finite.
    """
    import pandas as pd

    require_site(runs, direction)
    if not amounts or not all(abs(a) < float("inf") for a in amounts):
        raise SteeringError(f"amounts are {list(amounts)}; expected finite numbers")
    both = torch.cat([direction.unit[None], random_units(n_random, runs.d, seed=seed)])
    doses = torch.tensor(list(amounts), dtype=torch.float64) * direction.gap
    vectors = (doses[:, None, None] * both).flatten(0, 1)
    change = runs.read(Pushes(vectors)).unflatten(0, (len(amounts), len(both))) - runs.clean
    rows = []
    for amount, moved in zip(amounts, change, strict=True):
        low, high = bootstrap_interval(
            moved[0].numpy(), runs.prompts.examples.groups, n_resamples=1999, seed=seed
        )
        band = moved[1:].mean(dim=1)
        rows.append(
            {
                "direction": direction.name,
                "amount": float(amount),
                "change": float(moved[0].mean()),
                "low": low,
                "high": high,
                "random_low": float(band.min()),
                "random_high": float(band.max()),
            }
        )
    return pd.DataFrame(rows)
