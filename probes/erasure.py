"""What is left to read, everywhere, after the label of one domain is erased."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks.progress import progress
from probes.data import DataError, group_split
from probes.domains import Domain, DomainError, RowIndex, require_together
from probes.eraser import Eraser, ErasureError, leace, projection
from probes.fit import METHODS, FitError, LinearRule, Method, NoDirectionError
from probes.measures import auroc, auroc_interval

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class ErasureCell:
    """Erase one domain's label, train on a second, test on a third.

    All three AUROCs are of the same rows: those of the tested domain that share no group with
    the rows that the eraser or the probe were fitted to.

    Attributes:
        erased: The domain whose label was erased.
        train: The domain that the probe was fitted to.
        test: The domain that was scored.
        before: AUROC without erasure.
        retrained: AUROC of a probe fitted to erased activations.
        low: Lower end of its interval.
        high: Upper end.
        original: AUROC of the probe fitted before the erasure, on erased activations.
        n: Rows scored.
        n_left_out: Rows of the tested domain that were not.
    """

    erased: str
    train: str
    test: str
    before: float
    retrained: float
    low: float
    high: float
    original: float
    n: int
    n_left_out: int


@dataclass(frozen=True, eq=False)
class ErasureMatrix:
    """What is left everywhere after the label of each domain is erased.

    Attributes:
        cells: By erased domain, then source, then tested domain.
        domains: Their names.
        method: How probes were fitted.
        erasers: The eraser of each domain.
        directions: For each (erased, train) the retrained direction, in the raw space; none where
            nothing was left to fit.
        fitted_to: For each domain, groups and keys of the rows that its probes were fitted to.
    """

    cells: tuple[ErasureCell, ...]
    domains: tuple[str, ...]
    method: str
    erasers: dict[str, Eraser]
    directions: dict[tuple[str, str], Float[Tensor, " d"]]
    fitted_to: dict[str, frozenset[str]]

    def table(self) -> pd.DataFrame:
        """Return one row a cell."""
        import pandas as pd

        return pd.DataFrame([asdict(cell) for cell in self.cells])

    def self_matrix(self, measure: str = "retrained") -> pd.DataFrame:
        """Return, for each erased domain (down), each domain's own probe on itself (across)."""
        own = self.table().query("train == test")
        grid = own.pivot(index="erased", columns="test", values=measure)
        return grid.loc[list(self.domains), list(self.domains)]

    def figure(self) -> Figure:
        """Draw what retrained probes still read of their own domain after each erasure."""
        from interp.plots.matrices import labelled_matrix

        return labelled_matrix(
            self.self_matrix().to_numpy(),
            rows=self.domains,
            columns=self.domains,
            row_label="label erased of",
            column_label="probe trained and tested on",
            label="AUROC of retrained probes",
            limits=(0.0, 1.0),
            title=f"LEACE, {self.method}",
        )

    def __repr__(self) -> str:
        return f"ErasureMatrix(LEACE, {self.method}, {len(self.domains)} domains)"

    def _repr_html_(self) -> str:
        shown = self.self_matrix().to_html(escape=True, float_format="{:.2f}".format)
        return f"<p>{html.escape(repr(self))}: AUROC of retrained probes</p>{shown}"


def erasure_matrix(
    domains: Sequence[Domain],
    *,
    method: Method = "logistic",
    held_out: float = 0.2,
    n_resamples: int = 1000,
    seed: int = 0,
) -> ErasureMatrix:
    """Erase each domain's label by LEACE; train on each domain; test on each.

    Groups are split once for all domains, so that a group that two share is on one side. Erasers
    and probes are fitted to the larger side. The published matrix scores the eraser's training
    rows where another domain's probe is tested on the erased one; here no such row is scored.

    Args:
        domains: At least two, of one site of one model.
        method: How probes are fitted.
        held_out: Share of each domain's rows that no eraser or probe is fitted to.
        n_resamples: Of the bootstrap over groups.
        seed: Of split and bootstrap.

    Raises:
        DomainError: domains that cannot be compared, or too few rows to score.
        ErasureError: a domain cannot be split, fitted or erased.
    """
    require_together(domains)
    known = training_rows(domains, held_out=held_out, seed=seed)
    fitted = {d.name: d.select(known[d.name]) for d in domains}
    erasers = {d.name: leace(fitted[d.name]) for d in domains}
    plain = {name: _rule(one, method) for name, one in fitted.items()}
    cells: list[ErasureCell] = []
    directions = {}
    with progress("erasure", total=len(domains) ** 2) as advance:
        for erased, eraser in erasers.items():
            without = {d.name: eraser(d) for d in domains}
            for train, rows in fitted.items():
                rule = _rule(replace(rows, values=eraser.values(rows.values)), method, blank=True)
                if bool(rule.direction.any()):
                    directions[erased, train] = eraser.raw_direction(rule.direction)
                for test in domains:
                    after = without[test.name]
                    kept = after.scorable(besides=rows.bonds)
                    y, groups = test.labels[kept], [test.groups[i] for i in kept]
                    at = torch.from_numpy(kept)
                    x, x_after = test.values[at], after.values[at]
                    scores = rule.scores(x_after).numpy()
                    low, high = auroc_interval(
                        scores, y, groups, n_resamples=n_resamples, seed=seed
                    )
                    cells.append(
                        ErasureCell(
                            erased=erased,
                            train=train,
                            test=test.name,
                            before=auroc(plain[train].scores(x).numpy(), y),
                            retrained=auroc(scores, y),
                            low=low,
                            high=high,
                            original=auroc(plain[train].scores(x_after).numpy(), y),
                            n=len(kept),
                            n_left_out=len(test) - len(kept),
                        )
                    )
                advance(1)
    return ErasureMatrix(
        cells=tuple(cells),
        domains=tuple(fitted),
        method=str(method),
        erasers=erasers,
        directions=directions,
        fitted_to={name: one.bonds for name, one in fitted.items()},
    )


def training_rows(domains: Sequence[Domain], *, held_out: float, seed: int) -> dict[str, RowIndex]:
    """Rows of each domain to fit to, no group of them held out in another domain.

    Raises:
        ErasureError: a domain has too few groups to split.
    """
    outside: set[str] = set()
    for domain in domains:
        try:
            _, out = group_split(
                domain.labels, domain.groups, held_out=held_out, seed=seed, name=domain.name
            )
        except DataError as error:
            raise ErasureError(str(error)) from error
        # Groups that an earlier domain shares stay where they were put.
        earlier = frozenset[str]().union(*(d.bonds for d in domains[: domains.index(domain)]))
        free = out[~domain.bound(earlier)[out]]
        outside |= domain.bonds_of(free)
    rows = {d.name: np.flatnonzero(~d.bound(outside)) for d in domains}
    for domain in domains:
        if len(rows[domain.name]) == len(domain):
            raise ErasureError(f"{domain.name}: its groups are so shared that none is held out")
    return rows


def _rule(domain: Domain, method: Method, *, blank: bool = False) -> LinearRule:
    """Fit; where erasure left nothing to fit to, a rule that gives all rows one score."""
    try:
        return METHODS[method](domain.values, domain.labels)
    except NoDirectionError:
        if not blank:
            raise ErasureError(f"{domain.name}: no direction tells its labels apart") from None
        nothing = torch.zeros(domain.values.shape[1])
        return LinearRule(nothing, nothing, 0.0)
    except (FitError, DomainError) as error:
        raise ErasureError(f"{domain.name}: {error}") from error


__all__ = [
    "Eraser",
    "ErasureCell",
    "ErasureError",
    "ErasureMatrix",
    "erasure_matrix",
    "leace",
    "projection",
    "training_rows",
]
