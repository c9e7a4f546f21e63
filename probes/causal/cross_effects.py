"""What pushing along one domain's direction does on another domain's prompts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp.models import Model
from probes.causal.continuations import Continuations
from probes.causal.directions import Direction, require_together
from probes.causal.edited import TOKENS_PER_FORWARD, EditedRuns
from probes.causal.effects import Effect, steer
from probes.steering import SteeringError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Cell = tuple[str, str]
"""Name of a direction, name of what its prompts are about."""


@dataclass(frozen=True, eq=False)
class CrossEffects:
    """The effect of every direction on every kind of prompts.

    Attributes:
        effects: By (direction, domain of the prompts).
        seed: Of the intervals.
    """

    effects: Mapping[Cell, Effect]
    seed: int

    def share(self, direction: str, domain: str) -> float | None:
        """The effect over that of the natural gap on the direction's own prompts.

        Measured against its own domain's gap, since prompts of a domain that the direction has
        nothing to do with may have no gap at all. None where its own were not measured, or have
        no gap to speak of.

        Raises:
            SteeringError: there is no such cell.
        """
        if (direction, domain) not in self.effects:
            raise SteeringError(f"{direction!r} was not tried on prompts of {domain!r}")
        own = self.effects.get((direction, direction))
        if own is None or own.gap is None or not own.gap.shown:
            return None
        return self.effects[direction, domain].effect / own.gap.value

    def frame(self) -> pd.DataFrame:
        """One row a cell, in nats.

        Columns: ``direction, domain, effect, low, high, natural_gap, share_of_own,
        random_largest``; nulls where there is no gap.
        """
        import pandas as pd

        made = []
        for (direction, domain), effect in self.effects.items():
            low, high = effect.interval(seed=self.seed)
            made.append(
                {
                    "direction": direction,
                    "domain": domain,
                    "effect": effect.effect,
                    "low": low,
                    "high": high,
                    "natural_gap": None if effect.gap is None else effect.gap.value,
                    "share_of_own": self.share(direction, domain),
                    "random_largest": effect.largest_random,
                }
            )
        return pd.DataFrame(made).astype(dict.fromkeys(("natural_gap", "share_of_own"), "Float64"))

    def figure(self) -> Figure:
        """Draw the effects as a matrix, directions in rows."""
        import numpy as np

        from interp.plots.matrices import labelled_matrix

        rows = list(dict.fromkeys(direction for direction, _ in self.effects))
        columns = list(dict.fromkeys(domain for _, domain in self.effects))
        values = np.full((len(rows), len(columns)), np.nan)
        for (direction, domain), effect in self.effects.items():
            values[rows.index(direction), columns.index(domain)] = effect.effect
        most = float(np.nanmax(np.abs(values))) or 1.0
        return labelled_matrix(
            values,
            rows=rows,
            columns=columns,
            row_label="pushed along",
            column_label="on prompts of",
            label="log-odds moved, nats",
            limits=(-most, most),
        )


def cross_effects(
    model: Model,
    directions: Sequence[Direction],
    cells: Mapping[Cell, Continuations],
    *,
    amount: float = 1.0,
    n_random: int = 20,
    seed: int = 0,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
) -> CrossEffects:
    """Push along each direction on prompts of several domains.

    A direction is pushed by its own natural gap, towards the other label of what the prompt says.
    With ``sign`` left at 1 in all prompts, a domain that has the label inverted shows as a
    negative effect, beside its own negative gap.

    Args:
        model: The model.
        directions: The directions.
        cells: Prompts by (direction's name, domain's name); the same prompts for all directions
            are ``{(d.name, name): prompts[name] for d in directions for name in prompts}``.
        amount: In natural gaps of the direction.
        n_random: Isotropic random directions a cell, of which the largest effect is told (and
            as many controls, for ``effects``).
        seed: Draws them, and seeds intervals.
        tokens_per_forward: Size of a forward pass.

    Raises:
        SteeringError: no cells, a cell of an unknown direction, or directions that do not belong
            together.
        SiteError: a site cannot be edited.
    """
    require_together(directions, model)
    by_name = {one.name: one for one in directions}
    if not cells:
        raise SteeringError("no prompts were given; expected some by (direction, domain)")
    found: dict[Cell, Effect] = {}
    runs: dict[tuple[int, str], EditedRuns[Continuations]] = {}
    for (name, domain), prompts in cells.items():
        if name not in by_name:
            raise SteeringError(
                f"prompts for the direction {name!r}, but there are {', '.join(by_name)}"
            )
        one = by_name[name]
        key = (id(prompts), str(one.site))  # the same prompts may serve several directions
        if key not in runs:
            runs[key] = EditedRuns(model, prompts, one.site, tokens_per_forward=tokens_per_forward)
        found[name, domain] = steer(runs[key], one, amount=amount, n_random=n_random, seed=seed)
    return CrossEffects(found, seed)
