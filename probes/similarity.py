"""Does the likeness of two directions foretell transfer? Regressions of the one on the other."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt
import torch
from scipy import stats
from torch import Tensor

from probes.domains import Domain, require_together
from probes.geometry import (
    GeometryError,
    gaussian_curve,
    loudness,
    mahalanobis_cosine,
    plain_cosine,
    score_correlation,
    snr_from_auroc,
)
from probes.transferred import ALL, TransferMatrix

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Predictor = Literal["mahalanobis", "mahalanobis_held_out", "cosine", "loudness"]
PREDICTORS: tuple[Predictor, ...] = ("mahalanobis", "mahalanobis_held_out", "cosine", "loudness")
FEWEST_PAIRS = 3


@dataclass(frozen=True)
class Pair:
    """A source's direction on a target.

    Attributes:
        train: The source.
        test: The target.
        auroc: Transfer, on groups that the source was not fitted to.
        mahalanobis: Mahalanobis cosine in the published form: of directions fitted to all rows,
            under the target's covariance. The target's direction saw its labels.
        mahalanobis_held_out: Correlation of held-out scores, so that no direction saw the labels
            that the AUROC counts.
        cosine: Plain cosine, in the raw activation space.
        loudness: Variance on the target over that on the source.
    """

    train: str
    test: str
    auroc: float
    mahalanobis: float
    mahalanobis_held_out: float
    cosine: float
    loudness: float


@dataclass(frozen=True)
class Regression:
    """Least squares of transfer AUROC on one similarity, with an intercept.

    Pairs share domains and are not independent: R² describes these domains, and no p-value
    would mean anything.

    Attributes:
        predictor: The similarity.
        with_combined: Whether the probe fitted to all domains is among the sources. Its pairs
            are in-sample: it was fitted to every target.
        n_pairs: Ordered pairs.
        slope: AUROC by unit of similarity.
        intercept: AUROC at similarity zero.
        r2: 1 − SS_res/SS_tot, on the pairs it was fitted to.
        spearman2: Squared rank correlation.
        r2_pair_out: Each pair foretold from the others, against the mean of those.
        r2_domain_out: Each pair foretold from pairs without either of its domains, against their
            mean; None with fewer than five domains, where less than three such pairs remain for
            some, or where they do not differ.
    """

    predictor: Predictor
    with_combined: bool
    n_pairs: int
    slope: float
    intercept: float
    r2: float
    spearman2: float
    r2_pair_out: float
    r2_domain_out: float | None


@dataclass(frozen=True, eq=False)
class Similarities:
    """Every ordered pair of a transfer matrix, with how alike its directions are.

    Attributes:
        pairs: Sources are the domains and ``all``.
        own_aurocs: For each domain, its cross-validated AUROC.
    """

    pairs: tuple[Pair, ...]
    own_aurocs: Mapping[str, float]

    def table(self) -> pd.DataFrame:
        """Return one row a pair."""
        import pandas as pd

        return pd.DataFrame([asdict(pair) for pair in self.pairs])

    def regression(self, predictor: Predictor, *, with_combined: bool = False) -> Regression:
        """Regress transfer on one similarity.

        Raises:
            GeometryError: fewer than three pairs, or a similarity or transfer that does not vary.
        """
        pairs = [p for p in self.pairs if with_combined or p.train != ALL]
        return regress(
            [getattr(p, predictor) for p in pairs],
            [p.auroc for p in pairs],
            [(p.train, p.test) for p in pairs],
            predictor=predictor,
            with_combined=with_combined,
        )

    def regressions(self) -> pd.DataFrame:
        """Return R² of every similarity, with and without the combined probe."""
        import pandas as pd

        return pd.DataFrame(
            [
                asdict(self.regression(predictor, with_combined=combined))
                for predictor in PREDICTORS
                for combined in (False, True)
            ]
        )

    def figure(self) -> Figure:
        """Draw transfer against the Mahalanobis cosine, the fitted line and the theory's curve."""
        from interp.plots.matrices import points_and_curve

        fit = self.regression("mahalanobis")
        # Perfect separation has no finite distance: that of one error in a thousand stands for it.
        typical = float(np.median(list(self.own_aurocs.values())))
        across = np.linspace(-1, 1, 201)
        own = snr_from_auroc(min(0.999, max(0.501, typical)))
        return points_and_curve(
            [p.mahalanobis for p in self.pairs],
            [p.auroc for p in self.pairs],
            x_label="Mahalanobis cosine to the target's own direction",
            y_label="transfer AUROC",
            hollow=[p.train == ALL for p in self.pairs],
            hollow_label="fitted to all domains",
            line=(fit.slope, fit.intercept),
            line_label=f"least squares, R² {fit.r2:.2f}",
            curve=(across, gaussian_curve(across, reference_snr=own)),
            curve_label="two Gaussians, at the median domain's AUROC",
        )

    def __repr__(self) -> str:
        return f"Similarities({len(self.pairs)} pairs of {len(self.own_aurocs)} domains)"

    def _repr_html_(self) -> str:
        shown = self.table().to_html(index=False, escape=True, float_format="{:.3f}".format)
        return f"<p>{html.escape(repr(self))}</p>{shown}"


def similarities(matrix: TransferMatrix, domains: Sequence[Domain]) -> Similarities:
    """Measure how alike the directions of a transfer matrix are.

    Args:
        matrix: Of these domains.
        domains: In the matrix's order.

    Raises:
        DomainError: domains that cannot be compared.
        GeometryError: not the matrix's domains, or a direction on which a target does not vary.
    """
    require_together(domains)
    if tuple(d.name for d in domains) != matrix.domains or domains[0].place != matrix.place:
        raise GeometryError(
            f"the matrix is of {', '.join(matrix.domains)} at {matrix.place}, not of "
            f"{', '.join(d.name for d in domains)} at {domains[0].place}"
        )
    pairs = []
    for target in domains:
        kept = target.values[target.scorable()]
        reference = matrix.rules[target.name].direction
        own = matrix.scores[target.name, target.name].scores
        for source in (*domains, None):
            if source is target:
                continue
            name = ALL if source is None else source.name
            direction = matrix.rules[name].direction
            # The combined probe's source is all domains' rows.
            values = source.values if source else _stacked(domains)
            pairs.append(
                Pair(
                    train=name,
                    test=target.name,
                    auroc=matrix[name, target.name].auroc,
                    mahalanobis=mahalanobis_cosine(direction, reference, kept),
                    mahalanobis_held_out=score_correlation(
                        matrix.scores[name, target.name].scores, own
                    ),
                    cosine=plain_cosine(direction, reference),
                    loudness=loudness(direction, values, kept),
                )
            )
    return Similarities(tuple(pairs), {d: matrix[d, d].auroc for d in matrix.domains})


def regress(
    x: Sequence[float],
    y: Sequence[float],
    pairs: Sequence[tuple[str, str]],
    *,
    predictor: Predictor = "mahalanobis",
    with_combined: bool = False,
) -> Regression:
    """Regress transfer on a similarity, in and out of sample.

    Args:
        x: Similarity of each pair.
        y: Transfer AUROC of each pair.
        pairs: (source, target) of each; the combined probe's source, ``all``, is no domain.
        predictor: What ``x`` is.
        with_combined: What to note in the result.

    Raises:
        GeometryError: fewer than three pairs, not finite, or constant.
    """
    a, b = np.asarray(x, dtype=np.float64), np.asarray(y, dtype=np.float64)
    if not len(a) == len(b) == len(pairs):
        raise GeometryError(f"{len(pairs)} pairs need as many numbers, got {len(a)}, {len(b)}")
    if len(a) < FEWEST_PAIRS:
        raise GeometryError(
            f"a regression needs at least {FEWEST_PAIRS} pairs, got {len(a)}: give more domains"
        )
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise GeometryError("a similarity or a transfer is not finite")
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        what = predictor if np.ptp(a) == 0 else "transfer"
        raise GeometryError(f"{what} is the same for all {len(a)} pairs: nothing to regress")
    slope, intercept = _line(a, b)
    each = np.arange(len(a))
    by_pair = _out_of_sample(a, b, [(np.delete(each, i), np.array([i])) for i in each])
    if by_pair is None:
        raise GeometryError(f"{predictor} is the same for all pairs but one")
    ends = np.array(pairs, dtype=object)
    names = [n for n in dict.fromkeys(ends.ravel().tolist()) if n != ALL]
    parts = []
    for i, pair in enumerate(pairs):
        own = [n for n in pair if n != ALL]
        parts.append((np.flatnonzero(~np.isin(ends, own).any(1)), np.array([i])))
    enough = len(names) > 0 and all(len(known) >= FEWEST_PAIRS for known, _ in parts)
    return Regression(
        predictor=predictor,
        with_combined=with_combined,
        n_pairs=len(a),
        slope=slope,
        intercept=intercept,
        r2=float(1 - ((b - slope * a - intercept) ** 2).sum() / ((b - b.mean()) ** 2).sum()),
        spearman2=float(stats.spearmanr(a, b).statistic ** 2),
        r2_pair_out=by_pair,
        r2_domain_out=_out_of_sample(a, b, parts) if enough else None,
    )


def _line(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> tuple[float, float]:
    centred = a - a.mean()
    slope = float(centred @ (b - b.mean()) / (centred @ centred))
    return slope, float(b.mean() - slope * a.mean())


def _out_of_sample(
    a: npt.NDArray[np.float64],
    b: npt.NDArray[np.float64],
    parts: Sequence[tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]],
) -> float | None:
    """R² of predictions from the known rows of each part; None where they do not differ."""
    wrong, spread = 0.0, 0.0
    for known, new in parts:
        if np.ptp(a[known]) == 0:
            return None
        slope, intercept = _line(a[known], b[known])
        wrong += float(((b[new] - slope * a[new] - intercept) ** 2).sum())
        spread += float(((b[new] - b[known].mean()) ** 2).sum())
    return 1 - wrong / spread if spread > 0 else None


def _stacked(domains: Sequence[Domain]) -> Tensor:

    return torch.cat([domain.values for domain in domains])
