"""Erasure on simulated domains: what it must remove, what it must leave, and what is nobody's."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from probes.domains import Domain
from probes.erasure import erasure_matrix, leace
from probes.measures import auroc
from probes.nullspace import stratified_inlp, subset_shared

D = 10


def domain(name: str, delta: dict[int, float], *, n: int = 300, seed: int) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 0
    mean = np.zeros(D)
    for k, size in delta.items():
        mean[k] = size
    return Domain.build(name, rng.normal(size=(n, D)) + np.outer(labels - 0.5, mean), labels)


def test_leace_takes_its_own_label_and_leaves_the_other_groups() -> None:
    domains = [
        domain("g0", {0: 5.0}, seed=0),
        domain("g1", {0: 5.0}, seed=1),
        domain("h0", {1: 5.0}, seed=2),
        domain("h1", {1: 5.0}, seed=3),
    ]
    found = erasure_matrix(domains, method="mass-mean", n_resamples=100)
    after = found.self_matrix()
    for name in ("g0", "g1", "h0", "h1"):
        assert after.loc[name, name] <= 0.60
    for erased, others in {"g0": ("h0", "h1"), "h0": ("g0", "g1")}.items():
        for other in others:
            assert after.loc[erased, other] >= 0.85
            assert found.self_matrix("original").loc[erased, other] >= 0.85
    # Perfect on the fitted rows means nothing on new ones: all scored rows are new.
    for cell in found.cells:
        if cell.test in (cell.erased, cell.train):
            assert cell.n + cell.n_left_out == 300
            assert cell.n_left_out >= 240
    shared = {frozenset(d.of) for d in subset_shared(found) if d.lacking in ("g0", "g1")}
    assert shared == {frozenset({"h0", "h1"})}
    for direction in subset_shared(found):
        k = 1 if direction.lacking in ("g0", "g1") else 0
        assert abs(float(direction.vector[k])) > 0.9


def test_leace_of_shuffled_labels_takes_nothing_that_counts() -> None:
    own = domain("own", {0: 3.0}, n=600, seed=0)
    rng = np.random.default_rng(1)
    noise = Domain.build("noise", own.values, rng.permutation(own.labels))
    after = leace(noise).values(own.values)
    direction = np.eye(D)[0]
    scores = (after.numpy() @ direction, own.values.numpy() @ direction)
    assert auroc(scores[0], own.labels) == pytest.approx(auroc(scores[1], own.labels), abs=0.02)


def test_strata_tell_the_general_from_the_specific() -> None:
    domains = [
        domain("a", {0: 4.0, 1: 4.0}, seed=0),
        domain("b", {0: 4.0, 2: 4.0}, seed=1),
        domain("c", {0: 4.0, 3: 4.0}, seed=2),
    ]
    found = stratified_inlp(domains, n_general=1, n_specific=1)
    (general,) = found.general
    assert abs(float(general.vector[0])) > 0.6
    table = found.table().set_index(["direction", "test"])
    exact = stats.norm.cdf(2)  # one axis alone, its means 4 apart, threshold between
    for name in "abc":
        assert table.loc[("general 0", name), "accuracy"] >= 0.9
        (own,) = found.specific(name)
        assert float(own.vector.double() @ general.vector.double()) == pytest.approx(0, abs=1e-6)
        assert table.loc[(own.name, name), "accuracy"] >= 0.75
        assert table.loc[(own.name, name), "n"] == 60  # the fifth that was held out
    specificity = found.specificity().set_index("direction")["specificity"]
    for name in "abc":
        assert specificity[f"specific {name} 0"] > 0.15
    assert exact > 0.95


def test_strata_of_noise_are_at_chance() -> None:
    accuracy: list[Any] = []
    for seed in range(4):
        rng = np.random.default_rng(seed)
        domains = [
            Domain.build(name, rng.normal(size=(200, D)), rng.permutation(200) < 100)
            for name in ("a", "b")
        ]
        found = stratified_inlp(domains, n_general=2, n_specific=1, seed=seed)
        accuracy += list(found.table()["accuracy"])
    # Forty rows each; the four rows of each domain share them.
    assert np.mean(accuracy) == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(4 * 80))


def test_the_published_reuse_of_the_erasers_rows_would_have_lied() -> None:
    """With as many features as rows the eraser knows its rows by heart: there the label is gone.

    Elsewhere it is still there, which is what the excluded rows would have hidden.
    """
    rng = np.random.default_rng(0)
    n, d = 120, 100
    labels = np.arange(n) % 2 == 0
    mean = np.zeros(d)
    mean[0] = 2.0
    own = Domain.build("own", rng.normal(size=(n, d)) + np.outer(labels - 0.5, mean), labels)
    known = np.arange(60)
    eraser = leace(own, rows=known)
    after = eraser(own)
    kept = after.scorable()
    assert set(kept) == set(range(60, n))
    w = torch.eye(d, dtype=torch.float64)[0]
    scores = (after.values @ w).numpy()
    assert auroc(scores[known], labels[known]) < auroc(scores[kept], labels[kept])
