"""Bias in concept space, as it is handed back: tables and figures."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.configs import near
from probes.concept_bias.agreement import Agreement, Amplitude
from probes.concept_bias.rows import ConceptBiasError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class TargetBias:
    """Bias of one target at one site, by one method.

    Attributes:
        site: Where.
        method: How it was measured.
        target: Which concept.
        bias: Positive towards the first reference.
        low: Lower end of its 95% interval, by the bootstrap over groups of sentences; None where
            nothing was resampled.
        high: Upper end.
    """

    site: str
    method: str
    target: str
    bias: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class VectorAccuracy:
    """Whether a concept's vector tells its sentences from neutral ones, or the references apart.

    Attributes:
        site: Where.
        concept: Which; ``first − second`` for the probe between the references.
        accuracy: Balanced, on groups it was not fitted to.
        low: Lower end of its interval.
        high: Upper end.
    """

    site: str
    concept: str
    accuracy: float
    low: float
    high: float

    @property
    def above_chance(self) -> bool:
        """Whether the interval lies above one half."""
        return self.low > 0.5


@dataclass(frozen=True, eq=False)
class ConceptBias:
    """Bias of targets between two references, in concept space, by every method side by side.

    Attributes:
        first: The reference that positive bias points to.
        second: The other.
        biases: By site, method and target.
        amplitudes: By site and method, against shuffled references.
        agreements: By site, method and yardstick.
        accuracies: Of the vectors that all this rests on.
        axes: By site, the probe that tells the first reference from the second, of unit length.
        yardsticks: What bias was compared with, by target.
    """

    first: str
    second: str
    biases: tuple[TargetBias, ...]
    amplitudes: tuple[Amplitude, ...]
    agreements: tuple[Agreement, ...]
    accuracies: tuple[VectorAccuracy, ...]
    axes: Mapping[str, Float[Tensor, " d"]] = field(repr=False)
    yardsticks: Mapping[str, Mapping[str, float]] = field(repr=False)

    @property
    def sites(self) -> tuple[str, ...]:
        """Sites, in order."""
        return tuple(dict.fromkeys(row.site for row in self.amplitudes))

    @property
    def methods(self) -> tuple[str, ...]:
        """Methods, in order."""
        return tuple(dict.fromkeys(row.method for row in self.amplitudes))

    def table(self) -> pd.DataFrame:
        """Return one row a site and target, the methods side by side, and the yardsticks.

        ``above_chance`` says whether the target's vector, both references' and the one between
        them tell held-out sentences apart; where not, the row is noise.
        """
        import pandas as pd

        frame = pd.DataFrame([asdict(row) for row in self.biases])
        wide = frame.pivot_table(
            index=["site", "target"], columns="method", values="bias", sort=False
        )[list(self.methods)]
        for name, scores in self.yardsticks.items():
            wide[name] = [scores[target] for _, target in wide.index]
        weak = {(row.site, row.concept) for row in self.near_chance()}
        targets = {row.target for row in self.biases}
        lost = {site for site, concept in weak if concept not in targets}
        wide["above_chance"] = [
            site not in lost and (site, target) not in weak for site, target in wide.index
        ]
        wide.columns.name = None
        return wide.reset_index()

    def intervals(self) -> pd.DataFrame:
        """Return one row a site, method and target, with its interval."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.biases])

    def summary(self) -> pd.DataFrame:
        """Return one row a site and method: size beside its null, then each agreement."""
        import pandas as pd

        rows = []
        for size in self.amplitudes:
            row = asdict(size)
            for one in self.agreements:
                if (one.site, one.method) == (size.site, size.method):
                    what = one.yardstick
                    row |= {
                        f"rho {what}": one.rho,
                        f"rho low {what}": one.low,
                        f"rho high {what}": one.high,
                        f"p {what}": one.p,
                        f"p holm {what}": one.p_holm,
                        f"slope {what}": one.slope,
                        f"slope z {what}": one.slope_z,
                    }
            rows.append(row)
        frame = pd.DataFrame(rows)
        zs = [name for name in map(str, frame) if name == "z" or name.startswith("slope z")]
        return frame.astype(dict.fromkeys(zs, "Float64"))

    def near_chance(self) -> tuple[VectorAccuracy, ...]:
        """Vectors that do not tell their concept apart: what rests on them means nothing."""
        return tuple(row for row in self.accuracies if not row.above_chance)

    def figure(self) -> Figure:
        """Draw mean |bias| by site, one line a method, with the shuffled null."""
        from interp.plots.concepts import bias_by_layer

        def column(method: str, name: str) -> list[float]:
            rows = {row.site: row for row in self.amplitudes if row.method == method}
            # An autoencoder belongs to one site; the others have no number.
            return [getattr(rows[s], name) if s in rows else float("nan") for s in self.sites]

        return bias_by_layer(
            self.sites,
            {method: column(method, "size") for method in self.methods},
            {method: column(method, "null_high") for method in self.methods},
            label="mean |bias| over targets",
            title=f"{self.first} against {self.second}",
        )

    def figure_of(self, site: str, method: str, yardstick: str) -> Figure:
        """Draw every target's bias at one site by one method, against a yardstick.

        Raises:
            ConceptBiasError: no such site, method or yardstick.
        """
        from interp.plots.concepts import bias_by_target

        for given, known in (
            (site, self.sites),
            (method, self.methods),
            (yardstick, tuple(self.yardsticks)),
        ):
            if given not in known:
                raise ConceptBiasError(f"{given!r} was not measured; {near(given, known)}")
        rows = [row for row in self.biases if (row.site, row.method) == (site, method)]
        return bias_by_target(
            [row.target for row in rows],
            [self.yardsticks[yardstick][row.target] for row in rows],
            [row.bias for row in rows],
            None if rows[0].low is None else np.array([(row.low, row.high) for row in rows]),
            x_label=yardstick,
            y_label=f"bias by {method}, {self.second} to {self.first}",
            title=f"{site}",
        )

    def __repr__(self) -> str:
        weak = len(self.near_chance())
        flag = f"; {weak} vectors not above chance" if weak else ""
        return (
            f"ConceptBias({self.first} against {self.second}: "
            f"{len({row.target for row in self.biases})} targets, {len(self.sites)} sites, by "
            f"{', '.join(self.methods)}{flag})"
        )

    def _repr_html_(self) -> str:
        shown = self.summary().to_html(index=False, escape=True, float_format="{:.3g}".format)
        return f"<p>{html.escape(repr(self))}</p>{shown}"
