"""Does a direction found on one kind of statement separate another? A matrix of answers.

Every score is of rows that share no group with what the probe was fitted to. Where the tested
domain shares none with the training rows, one probe scores it all; where it does (the diagonal,
the pooled rows, a statement in two framings) the tested groups are cut into folds, and each fold
is scored by a probe fitted without its groups.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
import torch
from scipy.special import expit
from torch import Tensor

from interp.configs import near
from interp.hooks.progress import progress
from probes.data import DataError, group_folds
from probes.domains import Domain, DomainError, require_groups, require_together
from probes.fit import METHODS, FitError, Labels, LinearRule, Method, NetRule
from probes.measures import CONFIDENCE, auroc, auroc_interval
from probes.transferred import ALL, ALL_BUT, HeldOutScores, TransferCell, TransferMatrix

Fit = Callable[[Tensor, Labels], LinearRule | NetRule]
Numbers = npt.NDArray[np.float64]

# Methods whose scores are log-odds already.
LOG_ODDS = {"logistic", "lda"}
_BINS = 10


class TransferError(ValueError):
    """No such comparison can be made with these domains; the message says why."""


def transfer_matrix(
    domains: Sequence[Domain],
    *,
    method: Method = "logistic",
    n_folds: int = 5,
    n_resamples: int = 2000,
    seed: int = 0,
) -> TransferMatrix:
    """Fit on each domain, on all but the tested one and on all; test on each.

    Pooled rows count alike, so a large domain weighs more. The threshold of the accuracy, and
    the calibration, come from the training rows: scores that are not log-odds are first put
    through a logistic curve fitted to the training scores (Platt 1999).

    Args:
        domains: At least two, of one site of one model.
        method: How to fit; one of ``probes.fit.METHODS``.
        n_folds: Folds of the cross-validation, where training and tested rows share groups.
        n_resamples: Of the bootstrap over groups.
        seed: Of folds and bootstrap.

    Returns:
        The matrix, with the rules fitted to all rows of each source.

    Raises:
        DomainError: domains that cannot be compared, or too few rows to score.
        TransferError: an unknown method, or a domain in which nothing can be fitted or cut into
            folds.
    """
    require_together(domains)
    named = {domain.name: domain for domain in domains}
    if {ALL, ALL_BUT} & named.keys():
        raise TransferError(f"no domain may be called {ALL!r} or {ALL_BUT!r}; rename it")
    fits = _Fits(_method(method))
    sources: list[tuple[str, str, list[Domain]]] = []
    for test in domains:
        sources += [(train.name, test.name, [train]) for train in domains]
        if len(domains) > 2:
            others = [d for d in domains if d is not test]
            sources.append((ALL_BUT, test.name, others))
        sources.append((ALL, test.name, list(domains)))
    cells: list[TransferCell] = []
    scores: dict[tuple[str, str], HeldOutScores] = {}
    with progress("transfer", total=len(sources)) as advance:
        for train_name, test_name, training in sources:
            test = named[test_name]
            found = _held_out(training, test, fits, method, n_folds=n_folds, seed=seed)
            cells.append(_cell(train_name, test, found, n_resamples=n_resamples, seed=seed))
            scores[train_name, test_name] = found
            advance(1)
    rules = {d.name: fits([d], [np.arange(len(d))], d.name) for d in domains}
    rules[ALL] = fits(domains, [np.arange(len(d)) for d in domains], ALL)
    order = [*named, *([ALL_BUT] if len(domains) > 2 else []), ALL]
    cells.sort(key=lambda cell: (order.index(cell.train), order.index(cell.test)))
    return TransferMatrix(
        cells=tuple(cells),
        domains=tuple(named),
        method=str(method),
        place=domains[0].place,
        confidence=CONFIDENCE,
        rules=rules,
        scores=scores,
    )


def held_out_scores(
    training: Sequence[Domain],
    test: Domain,
    *,
    method: Method = "logistic",
    n_folds: int = 5,
    seed: int = 0,
) -> HeldOutScores:
    """Score a domain by probes that were fitted to none of its groups.

    Rows that an eraser or projection was fitted to (``Domain.spent``) are not scored.

    Args:
        training: What to fit to, pooled.
        test: What to score; it may be among the training domains.
        method: How to fit.
        n_folds: Folds, where training and tested rows share groups.
        seed: Of the folds.

    Raises:
        DomainError: domains that cannot be compared, or too few rows to score.
        TransferError: nothing can be fitted, or too few groups for so many folds.
    """
    require_together([*training, *([] if test in training else [test])], fewest=1)
    return _held_out(training, test, _Fits(_method(method)), method, n_folds=n_folds, seed=seed)


def _held_out(
    training: Sequence[Domain],
    test: Domain,
    fits: _Fits,
    method: Method,
    *,
    n_folds: int,
    seed: int,
) -> HeldOutScores:
    log_odds = method in LOG_ODDS
    rows = test.scorable()
    bonds = frozenset[str]().union(*(domain.bonds for domain in training))
    bound = test.bound(bonds)[rows]
    name = " + ".join(domain.name for domain in training)
    folds = [np.arange(len(rows))]
    if bound.any():
        try:
            labels, groups = test.labels[rows], [test.groups[i] for i in rows]
            cut = group_folds(labels, groups, n_folds=n_folds, seed=seed, name=test.name)
        except DataError as error:
            raise TransferError(str(error)) from error
        folds = [out for _, out in cut]
    scores, chances = np.empty(len(rows)), np.empty(len(rows))
    trained = []
    for out in folds:
        banned = test.bonds_of(rows[out])
        known = [np.flatnonzero(~domain.bound(banned)) for domain in training]
        rule = fits(training, known, name)
        own = np.concatenate(
            [_scored(rule, d.values[k]) for d, k in zip(training, known, strict=True)]
        )
        y = np.concatenate([d.labels[k] for d, k in zip(training, known, strict=True)])
        spread = float(own.std())
        if not spread > 0:
            raise TransferError(f"{name}: the probe gives all rows one score")
        raw = _scored(rule, test.values[rows[out]])
        scores[out] = raw / spread
        chances[out] = expit(raw) if log_odds else _platt(own / spread, y, raw / spread)
        trained.append(len(y))
    return HeldOutScores(
        rows=rows,
        scores=scores,
        chances=chances,
        n_trained=float(np.mean(trained)),
        n_bound=int(bound.sum()),
        n_folds=len(folds),
    )


def calibration_error(chances: Numbers, labels: Labels, *, n_bins: int = _BINS) -> float:
    """Expected calibration error: |share of label 1 − mean probability|, over bins of equal count.

    Naeini et al. 2015 with equal counts. It is never negative, so even a perfectly calibrated
    probe has about ``sqrt(2/π · p(1 − p) · bins/n)``: .09 for 200 rows at p = .5.

    Raises:
        TransferError: no rows, fewer rows than bins, or probabilities outside 0…1.
    """
    p, y = _chances(chances, labels)
    if len(p) < n_bins:
        raise TransferError(f"{len(p)} rows cannot be cut into {n_bins} bins")
    order = np.argsort(p, kind="stable")
    return float(
        sum(abs(float((y[b] - p[b]).sum())) for b in np.array_split(order, n_bins)) / len(p)
    )


def brier(chances: Numbers, labels: Labels) -> float:
    """Mean squared difference of probability and label (Brier 1950); .25 for always one half.

    Raises:
        TransferError: no rows, or probabilities outside 0…1.
    """
    p, y = _chances(chances, labels)
    return float(((p - y) ** 2).mean())


def _cell(
    train: str, test: Domain, found: HeldOutScores, *, n_resamples: int, seed: int
) -> TransferCell:
    y = test.labels[found.rows]
    groups = [test.groups[i] for i in found.rows]
    require_groups(test.name, y, groups)
    low, high = auroc_interval(found.scores, y, groups, n_resamples=n_resamples, seed=seed)
    return TransferCell(
        train=train,
        test=test.name,
        auroc=auroc(found.scores, y),
        low=low,
        high=high,
        accuracy=float(((found.scores > 0) == y).mean()),
        majority=float(max(y.mean(), 1 - y.mean())),
        brier=brier(found.chances, y),
        calibration_error=calibration_error(found.chances, y, n_bins=min(_BINS, len(y))),
        n=len(y),
        n_groups=len(set(groups)),
        n_trained=found.n_trained,
        n_folds=found.n_folds,
        n_bound=found.n_bound,
        n_spent=len(test) - len(y),
    )


def _method(method: str) -> Fit:
    if method not in METHODS:
        raise TransferError(f"unknown method {method!r}; {near(method, METHODS)}")
    return METHODS[method]


class _Fits:
    """Fits of one method, each set of rows fitted to once: many cells of a matrix share theirs."""

    def __init__(self, fit: Fit) -> None:
        self._fit = fit
        self._done: dict[tuple[bytes | str, ...], LinearRule | NetRule] = {}

    def __call__(
        self, domains: Sequence[Domain], rows: Sequence[npt.NDArray[np.intp]], name: str
    ) -> LinearRule | NetRule:
        parts = zip(domains, rows, strict=True)
        key = tuple(part for d, k in parts for part in (d.name, k.astype(np.int64).tobytes()))
        if key not in self._done:
            self._done[key] = self._fitted(domains, rows, name)
        return self._done[key]

    def _fitted(
        self, domains: Sequence[Domain], rows: Sequence[npt.NDArray[np.intp]], name: str
    ) -> LinearRule | NetRule:
        pairs = list(zip(domains, rows, strict=True))
        x = torch.cat([d.values[torch.from_numpy(k)] for d, k in pairs])
        y = np.concatenate([d.labels[k] for d, k in pairs])
        groups = [d.groups[i] for d, k in pairs for i in k]
        try:
            require_groups(f"training on {name}", y, groups)
            return self._fit(x, y)
        except (FitError, DomainError) as error:
            raise TransferError(f"{name}: {error}") from error


def _scored(rule: LinearRule | NetRule, values: Tensor) -> Numbers:
    return np.asarray(rule.scores(values).numpy(), dtype=np.float64)


def _platt(own: Numbers, labels: Labels, new: Numbers) -> Numbers:
    from sklearn.linear_model import LogisticRegression

    curve = LogisticRegression().fit(own[:, None], labels)
    return np.asarray(curve.predict_proba(new[:, None])[:, 1], dtype=np.float64)


def _chances(chances: Numbers, labels: Labels) -> tuple[Numbers, Numbers]:
    p, y = np.asarray(chances, dtype=np.float64), np.asarray(labels, dtype=np.float64)
    if p.ndim != 1 or p.shape != y.shape or not len(p):
        raise TransferError(f"expected one probability for each of {len(y)} labels")
    if not ((p >= 0) & (p <= 1)).all():  # a NaN is not either
        raise TransferError("probabilities must lie between 0 and 1")
    return p, y


__all__ = [
    "HeldOutScores",
    "TransferError",
    "brier",
    "calibration_error",
    "held_out_scores",
    "transfer_matrix",
]
