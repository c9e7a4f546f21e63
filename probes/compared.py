"""Kinds of statement compared at one layer of one model, and what may be said of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from interp.hooks import Site
from interp.models import Model
from probes import report
from probes.activations import Position
from probes.cache import ActivationCache
from probes.comparison import signs_of, text_scores, yardsticks
from probes.data import StatementSet
from probes.domains import Domain
from probes.fit import Method
from probes.gathering import Gathered, gather
from probes.geometry import GeometryError
from probes.layers import LayerScan, scan_layers
from probes.measures import auroc, auroc_lead
from probes.similarity import FEWEST_PAIRS, PREDICTORS, Regression, Similarities, similarities
from probes.training import measure
from probes.transfer import transfer_matrix
from probes.transferred import HeldOutScores, TransferMatrix

ALPHA = 0.05


@dataclass(frozen=True, eq=False)
class Compared:
    """Transfer between domains, beside the likeness of their directions and what text alone tells.

    Attributes:
        gathered: Statements and activations.
        scan: Every domain's own probe at every site; says which site was chosen.
        matrix: Transfer at the chosen site.
        likeness: How alike the directions are; None where one does not exist.
        regressions: Transfer on each similarity, by (predictor, with the combined probe).
        unlike: Why there is no likeness, or no regression; None where there are.
        diagonal: For each domain the numbers of its own cross-validated probe: ``held_out``,
            ``null`` and ``baselines``, as in a probe's metrics; but the lead over the strongest
            baseline has an interval corrected for the number of domains (Bonferroni).
    """

    gathered: Gathered
    scan: LayerScan
    matrix: TransferMatrix
    likeness: Similarities | None
    regressions: Mapping[tuple[str, bool], Regression]
    unlike: str | None
    diagonal: Mapping[str, Mapping[str, Any]]

    @property
    def site(self) -> Site:
        """Where the domains are compared."""
        return self.scan.chosen

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains at that site."""
        return self.gathered.at[self.site]

    @property
    def verdicts(self) -> dict[str, str]:
        """By domain: ``signature``, ``no evidence`` or ``inverted``."""
        return {name: report.verdict(numbers) for name, numbers in self.diagonal.items()}

    @property
    def read(self) -> tuple[str, ...]:
        """Domains whose labels can be read off; none where all together are at chance."""
        if self.scan.p_value > ALPHA:
            return ()
        return tuple(name for name, said in self.verdicts.items() if said == "signature")


def compare(
    model: Model,
    sets: Sequence[StatementSet],
    *,
    sites: Sequence[Site | str],
    method: Method = "logistic",
    position: Position = "last",
    n_folds: int = 5,
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Compared:
    """Read the sets, choose a layer by the domains' own probes, and measure transfer there.

    Args:
        model: The model.
        sets: One a domain, of different names (``probes.gathering.named_domains``).
        sites: Where to read; of several, the one with the highest mean AUROC of the domains' own
            cross-validated probes is compared.
        method: How to fit.
        position: ``last``, ``mean``, ``char:N`` or a token's index.
        n_folds: Folds of the cross-validation.
        n_shuffles: Refits to shuffled labels.
        n_resamples: Of every bootstrap over groups.
        seed: Of folds, shuffles and bootstrap.
        batch_size: Statements at a time; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Raises:
        DataError: statements cannot be read as asked.
        DomainError: domains that cannot be compared.
        TransferError: a domain cannot be fitted or cut into folds.
    """
    gathered = gather(
        model, sets, sites=sites, position=position, batch_size=batch_size, cache=cache
    )
    return compare_gathered(
        gathered,
        method=method,
        n_folds=n_folds,
        n_shuffles=n_shuffles,
        n_resamples=n_resamples,
        seed=seed,
    )


def compare_gathered(
    gathered: Gathered,
    *,
    method: Method = "logistic",
    n_folds: int = 5,
    n_shuffles: int = 20,
    n_resamples: int = 2000,
    seed: int = 0,
    keep: Callable[[str, Callable[[], Any]], Any] | None = None,
) -> Compared:
    """``compare``, from activations that are there already.

    Args:
        gathered: The activations.
        method: How to fit.
        n_folds: Folds of the cross-validation.
        n_shuffles: Refits to shuffled labels.
        n_resamples: Of every bootstrap over groups.
        seed: Of folds, shuffles and bootstrap.
        keep: As for ``probes.layers.scan_layers``.

    Raises:
        DomainError: domains that cannot be compared.
        TransferError: a domain cannot be fitted or cut into folds.
    """
    fewest = min(_fewest_groups(domain) for domain in next(iter(gathered.at.values())))
    settings: dict[str, Any] = {
        "method": method,
        "n_folds": min(n_folds, fewest),
        "n_resamples": n_resamples,
        "seed": seed,
    }
    scan = scan_layers(gathered.at, n_shuffles=n_shuffles, keep=keep, **settings)
    domains = gathered.at[scan.chosen]
    matrix = transfer_matrix(domains, **settings)
    likeness, unlike = None, None
    regressions: dict[tuple[str, bool], Regression] = {}
    try:
        likeness = similarities(matrix, domains)
        if len(domains) * (len(domains) - 1) < FEWEST_PAIRS:
            unlike = "two domains are two pairs, and a regression needs three"
        else:
            regressions = {
                (predictor, combined): likeness.regression(predictor, with_combined=combined)
                for predictor in PREDICTORS
                for combined in (False, True)
            }
    except GeometryError as error:
        unlike = str(error)
    diagonal = {
        name: _own(
            matrix.scores[name, name],
            data,
            gathered.lengths[name],
            null=scan.chosen_null[:, j].tolist(),
            confidence=1 - ALPHA / len(domains),
            seed=seed,
        )
        for j, (name, data) in enumerate(zip(gathered.names, gathered.sets, strict=True))
    }
    return Compared(gathered, scan, matrix, likeness, regressions, unlike, diagonal)


def _own(
    found: HeldOutScores,
    data: StatementSet,
    lengths: Any,
    *,
    null: list[float],
    confidence: float,
    seed: int,
) -> dict[str, Any]:
    """Numbers of a domain's own probe, beside what shuffled labels, length and words give.

    Which label is the longer one is read off all rows: to length's advantage, not the probe's.
    The lead over the strongest baseline has its own confidence, for as many domains as there are.
    """
    kept, scored = data.select(found.rows.tolist()), lengths[found.rows]
    sign = 1 if auroc(scored, kept.y) >= 0.5 else -1
    text = text_scores(kept, seed=seed)
    compared = yardsticks(text, kept, signs=signs_of(text, kept), seed=seed)
    low, high = auroc_lead(
        found.scores, compared.scores, kept.y, kept.groups, confidence=confidence, seed=seed
    )
    lead = {"lead_low": low, "lead_high": high, "confidence": confidence}
    return {
        "held_out": measure(found.scores, scored, kept, length_sign=sign, seed=seed),
        "null": {
            "aurocs": null,
            "mean": float(np.mean(null)),
            "percentile_95": float(np.quantile(null, 0.95)),
        },
        "baselines": compared.against(found.scores, kept, seed=seed) | lead,
    }


def _fewest_groups(domain: Domain) -> int:
    """Groups of the label that fewer groups have."""
    return min(
        len({g for g, y in zip(domain.groups, domain.labels, strict=True) if bool(y) is label})
        for label in (True, False)
    )
