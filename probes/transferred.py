"""The transfer matrix as a result: a tidy table, a grid, a figure."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from interp.configs import near
from probes.fit.rule import LinearRule, NetRule

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

ALL, ALL_BUT = "all", "all but the tested"
Measure = Literal["auroc", "low", "high", "accuracy", "brier", "calibration_error"]


@dataclass(frozen=True, eq=False)
class HeldOutScores:
    """Scores of one domain by probes that saw none of its groups.

    Attributes:
        rows: Which rows of the domain were scored.
        scores: One a scored row; above zero is label 1 by the training threshold. In units of
            the scores' spread in training, so that folds can be ranked together.
        chances: Probability of label 1 by the training rows.
        n_trained: Rows fitted to, on average over folds.
        n_bound: Scored rows that share a group with the training rows, before these were left out.
        n_folds: How many probes scored; 1 where nothing was shared.
    """

    rows: npt.NDArray[np.intp]
    scores: npt.NDArray[np.float64]
    chances: npt.NDArray[np.float64]
    n_trained: float
    n_bound: int
    n_folds: int


@dataclass(frozen=True)
class TransferCell:
    """Training on one thing, testing on another.

    Attributes:
        train: What was fitted to: a domain, ``all``, or ``all but the tested``.
        test: The domain that was scored.
        auroc: Chance that a row of label 1 scores above one of label 0. Below .5 the direction
            points the other way there.
        low: Lower end of its interval, by the bootstrap over the tested groups. It counts other
            statements, not another training set.
        high: Upper end.
        accuracy: At the threshold of the training rows.
        majority: Accuracy of always saying the more frequent label.
        brier: Mean squared difference of probability and label.
        calibration_error: Expected calibration error.
        n: Rows scored.
        n_groups: Their groups.
        n_trained: Rows fitted to, on average over folds.
        n_folds: Probes that scored, each without the groups of its fold; 1 where training and
            tested rows share nothing.
        n_bound: Scored rows that share a group with the training rows.
        n_spent: Rows not scored because an eraser or projection was fitted to them.
    """

    train: str
    test: str
    auroc: float
    low: float
    high: float
    accuracy: float
    majority: float
    brier: float
    calibration_error: float
    n: int
    n_groups: int
    n_trained: float
    n_folds: int
    n_bound: int
    n_spent: int


@dataclass(frozen=True, eq=False)
class TransferMatrix:
    """Transfer between domains.

    Attributes:
        cells: Ordered by source, then by tested domain.
        domains: Their names.
        method: How probes were fitted.
        place: Model, site and position.
        confidence: Of the intervals.
        rules: For each domain and ``all``, the rule fitted to all its rows.
        scores: For each (train, test), the held-out scores behind the cell.
    """

    cells: tuple[TransferCell, ...]
    domains: tuple[str, ...]
    method: str
    place: str
    confidence: float
    rules: Mapping[str, LinearRule | NetRule] = field(repr=False)
    scores: Mapping[tuple[str, str], HeldOutScores] = field(repr=False)

    def __getitem__(self, pair: tuple[str, str]) -> TransferCell:
        for cell in self.cells:
            if (cell.train, cell.test) == pair:
                return cell
        known = {f"{cell.train} → {cell.test}" for cell in self.cells}
        raise KeyError(near(" → ".join(pair), known))

    @property
    def sources(self) -> tuple[str, ...]:
        """What was fitted to, in order."""
        return tuple(dict.fromkeys(cell.train for cell in self.cells))

    def table(self) -> pd.DataFrame:
        """Return one row a cell."""
        import pandas as pd

        return pd.DataFrame([asdict(cell) for cell in self.cells])

    def matrix(self, measure: Measure = "auroc") -> pd.DataFrame:
        """Return one measure with sources down and tested domains across."""
        grid = self.table().pivot(index="train", columns="test", values=measure)
        return grid.loc[list(self.sources), list(self.domains)]

    def figure(self) -> Figure:
        """Draw the AUROCs."""
        from interp.plots.matrices import labelled_matrix

        grid = self.matrix()
        return labelled_matrix(
            grid.to_numpy(),
            rows=self.sources,
            columns=self.domains,
            row_label="trained on",
            column_label="tested on",
            label="AUROC on groups not trained on",
            limits=(0.0, 1.0),
            divided_after=len(self.domains),
            title=f"{self.method}, {self.place}",
        )

    def __repr__(self) -> str:
        return f"TransferMatrix({self.method}, {len(self.domains)} domains, {self.place})"

    def _repr_html_(self) -> str:
        grid = [
            {"trained on": source}
            | {
                test: f"{self[source, test].auroc:.2f} "
                f"[{self[source, test].low:.2f}, {self[source, test].high:.2f}]"
                for test in self.domains
            }
            for source in self.sources
        ]
        import pandas as pd

        shown = pd.DataFrame(grid).to_html(index=False, escape=True)
        return f"<p>{html.escape(repr(self))}: AUROC</p>{shown}"
