"""What comes of editing the latents that a bias seems to live in: numbers, table, figure."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Evidence
from interp.sae.carrying_measures import Reduction

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Kind = Literal["neutral mean", "mean", "zero"]


@dataclass(frozen=True, eq=False)
class Carrying:
    """What came of editing the latents, on the test split.

    Attributes:
        ranked: Latents that lower the slope when edited alone on the selecting split, most first.
        estimated: Drop of the slope there by gradients, for each of the dictionary's latents.
        kind: The kind of edit that was kept.
        chosen: The edit that was kept.
        curve: The same kind of edit for every n.
        baselines: Reconstruction without edit; the direction projected out, where one was given.
        random_latents: Share of the slope gone under each random set of as many latents.
        random_directions: The same with random directions projected out.
        evidence: The kept edit beside the random sets.
        slope: Of the bias of the model as it is, with its interval over targets.
        slope_interval: That interval.
        sd: Of the bias over targets.
        recognition: Of the model as it is, or None.
        tuned: What the tuning split said: ``kind``, ``n``, ``slope`` and ``ce`` of each edit.
    """

    ranked: tuple[int, ...]
    estimated: Float[Tensor, " d_sae"]
    kind: Kind
    chosen: Reduction
    curve: tuple[Reduction, ...]
    baselines: tuple[Reduction, ...]
    random_latents: Float[np.ndarray, " draw"]
    random_directions: Float[np.ndarray, " draw"]
    evidence: Evidence
    slope: float
    slope_interval: tuple[float, float]
    sd: float
    recognition: float | None
    tuned: tuple[Mapping[str, Any], ...]

    def table(self) -> pd.DataFrame:
        """Lay out every edit and baseline, one row each, with the fields of ``Reduction``."""
        import pandas as pd

        rows = [dataclasses.asdict(row) for row in (*self.curve, *self.baselines)]
        for row in rows:
            row["slope_low"], row["slope_high"] = row.pop("interval")
            row["ce_low"], row["ce_high"] = row.pop("ce_interval")
        return pd.DataFrame(rows).astype({"n": "Int64", "recognition": "Float64"})

    @property
    def how_often(self) -> str:
        """How often the random latents fire, beside those edited, in words."""
        matched = self.evidence.control_family == "firing-matched"
        return "as often" if matched else "most nearly as often"

    def figure(self, *, title: str | None = None) -> Figure:
        """Draw reduction against cost over n, with the baselines and the random draws."""
        from interp.plots.latents import Cost, reduction_against_cost

        def point(row: Reduction) -> Cost:
            name = row.name if row.n is None else str(row.n)
            return Cost(name, row.ce, row.slope, *row.interval)

        return reduction_against_cost(
            [point(row) for row in self.curve],
            others=[point(row) for row in self.baselines],
            controls=self.random_latents,
            controls_label=f"{self.chosen.n} random latents that fire {self.how_often}",
            title=title,
        )

    def __repr__(self) -> str:
        row = self.chosen
        worst = float(self.random_latents.max())
        return (
            f"Carrying({row.n} latents to {self.kind}: {row.slope:.2f} of the bias slope gone "
            f"[{row.interval[0]:.2f}, {row.interval[1]:.2f}] at {row.ce:+.3f} nats of neutral "
            f"text; {len(self.random_latents)} random sets take at most {worst:.2f}; "
            f"{self.evidence.verdict})"
        )
