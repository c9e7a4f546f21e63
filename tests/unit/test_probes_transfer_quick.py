"""What makes the transfer matrix quick changes no number of it."""

from __future__ import annotations

import numpy as np
import pytest

from probes import measures, transfer
from probes.domains import Domain
from probes.fit import METHODS
from probes.measures import auroc_interval, auroc_lead
from probes.transfer import held_out_scores, transfer_matrix


@pytest.mark.parametrize(
    ("n", "n_groups", "ties"), [(60, 60, False), (90, 12, True), (80, 5, False)]
)
def test_intervals_by_groups_are_those_by_rows_to_the_last_bit(
    n: int, n_groups: int, ties: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(n)
    labels = rng.random(n) < 0.4
    groups = [str(i) for i in rng.integers(0, n_groups, n)]
    scores, other = rng.normal(size=n) + 0.5 * labels, rng.normal(size=n)
    if ties:
        scores = scores.round(1)

    def both() -> tuple[tuple[float, float], tuple[float, float]]:
        return (
            auroc_interval(scores, labels, groups, n_resamples=300, seed=3),
            auroc_lead(scores, other, labels, groups, n_resamples=300, seed=3),
        )

    quick = both()
    calls = []

    def by_rows(s: np.ndarray, y: np.ndarray, of: np.ndarray):  # type: ignore[type-arg]
        calls.append(1)
        return lambda weights: measures._weighted(s, y, weights[:, of])

    monkeypatch.setattr(measures, "_by_group", by_rows)
    assert both() == quick
    assert calls


def domain(name: str, seed: int, groups: str) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(48) % 2 == 0
    values = rng.normal(size=(48, 4))
    values[:, 0] += 2.0 * labels
    return Domain.build(name, values, labels, groups=[f"{groups}{i // 2}" for i in range(48)])


def test_cells_that_share_a_fit_are_those_of_fits_of_their_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The first two share their groups, as a statement in two framings does.
    domains = [domain("a", 0, "g"), domain("b", 1, "g"), domain("c", 2, "h")]
    fitted = []
    fit = METHODS["mass-mean"]

    def counted(x, y):  # type: ignore[no-untyped-def]
        fitted.append(len(y))
        return fit(x, y)

    monkeypatch.setitem(transfer.METHODS, "mass-mean", counted)
    matrix = transfer_matrix(domains, method="mass-mean", n_resamples=50)
    # A domain's own rule, or that of all, reads every domain which shares nothing with it.
    shared = len(fitted)
    fitted.clear()
    for train in domains:
        for test in domains:
            own = held_out_scores([train], test, method="mass-mean")
            kept = matrix.scores[train.name, test.name]
            assert np.array_equal(own.scores, kept.scores)
            assert np.array_equal(own.chances, kept.chances)
    # One by one: these, all on each, all but one on each (one of them shares nothing), the rules.
    assert shared < len(fitted) + 15 + 11 + 4
