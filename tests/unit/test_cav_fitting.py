"""Logistic regressions on rows of their own: scikit-learn's optimum, in the raw space."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.cav import fit_each
from probes.cav.fitting import Fits
from probes.fit import FitError


def problem(d: int, n: int, k: int, seed: int = 0):
    g = torch.Generator().manual_seed(seed)
    pool = 3 * torch.randn(300, d, generator=g) + 1
    rows = torch.stack([torch.randperm(300, generator=g)[:n] for _ in range(k)])
    labels = pool[rows][..., 0] + 2 * torch.randn(k, n, generator=g) > 1
    return pool, rows, labels


def sklearn_fit(x, y, C, weights=None):
    model = LogisticRegression(C=C, tol=1e-10, max_iter=100_000)
    model.fit(x.double().numpy(), y.numpy(), sample_weight=weights)
    return model.coef_[0], model.intercept_[0]


@pytest.mark.parametrize(("d", "n"), [(5, 60), (80, 30)], ids=["rows", "features"])
@pytest.mark.parametrize("C", [0.01, 10.0])
def test_every_concept_is_scikit_learns(d, n, C):
    pool, rows, labels = problem(d, n, 4)
    fits = fit_each(pool, rows, labels, C=C)
    for k in range(4):
        w, b = sklearn_fit(pool[rows[k]], labels[k], C)
        assert np.allclose(fits.directions[k].numpy(), w, atol=2e-4 * np.abs(w).max())
        assert np.isclose(float(fits.biases[k]), b, atol=2e-3)
    assert torch.allclose(fits.units.norm(dim=1), torch.ones(4, dtype=torch.float64))


def test_weights_count_rows_and_zero_leaves_them_out():
    pool, rows, labels = problem(6, 40, 2)
    weights = torch.randint(0, 3, rows.shape, generator=torch.Generator().manual_seed(1)).float()
    fits = fit_each(pool, rows, labels, weights=weights, C=0.5)
    w, _ = sklearn_fit(pool[rows[0]], labels[0], 0.5, weights[0].numpy())
    assert np.allclose(fits.directions[0].numpy(), w, atol=1e-4)
    kept = weights[1] > 0
    again = fit_each(pool, rows[1:, kept], labels[1:, kept], weights=weights[1:, kept], C=0.5)
    assert torch.allclose(fits.directions[1], again.directions[0], atol=1e-6)


@pytest.mark.parametrize("d", [6, 70])
def test_a_start_changes_nothing_but_the_way(d):
    pool, rows, labels = problem(d, 40, 3)
    cold = fit_each(pool, rows, labels)
    warm = fit_each(pool, rows, labels, start=Fits(cold.directions + 0.01, cold.biases - 0.3))
    assert torch.allclose(cold.directions, warm.directions, atol=1e-4)


def test_standardising_is_not_done():
    g = torch.Generator().manual_seed(0)
    x = torch.randn(200, 2, generator=g) * torch.tensor([10.0, 1.0])
    labels = (x[:, 0] / 10 + x[:, 1] > 0)[None]
    w = fit_each(x, torch.arange(200)[None], labels, C=0.01).units[0]
    assert float(w[0]) > 0.3, "the loud feature is cheap to use in the raw space"


def test_bad_input_is_refused():
    pool, rows, labels = problem(4, 20, 2)
    with pytest.raises(FitError, match="concept 1 has one label only"):
        fit_each(pool, rows, torch.stack([labels[0], torch.ones(20, dtype=torch.bool)]))
    with pytest.raises(FitError, match="C is 0"):
        fit_each(pool, rows, labels, C=0)
    with pytest.raises(FitError, match="expected"):
        fit_each(pool, rows, labels[:1])
    with pytest.raises(FitError, match="row 7 is not finite"):
        fit_each(pool.index_fill(0, torch.tensor([7]), torch.nan), rows, labels)
    with pytest.raises(FitError, match="weight of zero"):
        fit_each(torch.ones(30, 4), torch.arange(30)[None], (torch.arange(30) < 9)[None])
