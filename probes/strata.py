"""Directions by how many domains they separate, and how well each separates each domain."""

from __future__ import annotations

import html
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.configs import near
from probes.eraser import ErasureError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Kind = Literal["general", "specific", "subset-shared"]


@dataclass(frozen=True, eq=False)
class Direction:
    """A unit direction in the raw space, pointing to label 1, and what it was fitted to.

    Attributes:
        kind: Of all domains, of one, or of some.
        of: The domains that it was fitted to, or of a shared one, that share it.
        number: Its place in the order in which it was found, from 0.
        vector: Of unit length.
        fitted_to: Groups and keys of all rows that had a part in it.
        lacking: Of a shared one, the domain whose label had been erased.
    """

    kind: Kind
    of: tuple[str, ...]
    number: int
    vector: Float[Tensor, " d"]
    fitted_to: frozenset[str]
    lacking: str | None = None

    @property
    def name(self) -> str:
        """Kind, domain where there is one, and number."""
        about = "" if self.kind == "general" else f" {' + '.join(self.of)}"
        about += f" without {self.lacking}" if self.lacking else ""
        return f"{self.kind}{about} {self.number}"


@dataclass(frozen=True)
class DirectionScore:
    """One direction on one domain, on rows that had no part in finding it.

    Attributes:
        direction: Its name.
        kind: Its kind.
        of: The domain it was fitted to, ``all`` for a general one.
        number: Its place in the order.
        test: The domain.
        accuracy: At score zero, as published; there is no intercept.
        auroc: Of the same scores.
        n: Rows scored.
    """

    direction: str
    kind: Kind
    of: str
    number: int
    test: str
    accuracy: float
    auroc: float
    n: int


@dataclass(frozen=True, eq=False)
class Strata:
    """Domain-general and domain-specific directions, and how each separates each domain.

    Attributes:
        directions: General ones first, then each domain's.
        scores: Every direction on every domain.
        domains: Their names.
        stopped: Why fewer directions than asked for were found, by domain (``all`` for general).
    """

    directions: tuple[Direction, ...]
    scores: tuple[DirectionScore, ...]
    domains: tuple[str, ...]
    stopped: dict[str, str]

    @property
    def general(self) -> tuple[Direction, ...]:
        """The domain-general directions."""
        return tuple(d for d in self.directions if d.kind == "general")

    def specific(self, domain: str) -> tuple[Direction, ...]:
        """The directions of one domain.

        Raises:
            ErasureError: no such domain.
        """
        if domain not in self.domains:
            raise ErasureError(f"no domain {domain!r}; {near(domain, self.domains)}")
        return tuple(d for d in self.directions if d.kind == "specific" and d.of == (domain,))

    def table(self) -> pd.DataFrame:
        """Return one row for each direction and domain."""
        import pandas as pd

        return pd.DataFrame([asdict(score) for score in self.scores])

    def specificity(self) -> pd.DataFrame:
        """Accuracy on a direction's own domain less the mean over the others, and the least of all.

        For a general direction the least accuracy is what shows that it is general.
        """
        import pandas as pd

        rows = []
        for direction in self.directions:
            found = {s.test: s.accuracy for s in self.scores if s.direction == direction.name}
            others = [a for test, a in found.items() if test not in direction.of]
            own = [found[test] for test in direction.of if test in found]
            rows.append(
                {
                    "direction": direction.name,
                    "kind": direction.kind,
                    "own": float(np.mean(own)) if own else None,
                    "others": float(np.mean(others)) if others else None,
                    "specificity": float(np.mean(own) - np.mean(others))
                    if own and others
                    else None,
                    "least": min(found.values()),
                }
            )
        return pd.DataFrame(rows)

    def figure(self) -> Figure:
        """Draw the accuracy of every direction on every domain."""
        from interp.plots.matrices import labelled_matrix

        names = [d.name for d in self.directions]
        grid = self.table().pivot(index="direction", columns="test", values="accuracy")
        return labelled_matrix(
            grid.loc[names, list(self.domains)].to_numpy(),
            rows=names,
            columns=self.domains,
            row_label="direction",
            column_label="tested on",
            label="accuracy at zero",
            limits=(0.0, 1.0),
            divided_after=len(self.general),
            title="stratified INLP",
        )

    def __repr__(self) -> str:
        n = len(self.general)
        return f"Strata({n} general and {len(self.directions) - n} specific directions)"

    def _repr_html_(self) -> str:
        shown = self.table().to_html(index=False, escape=True, float_format="{:.3f}".format)
        return f"<p>{html.escape(repr(self))}</p>{shown}"
