"""The batched solver ends where scikit-learn ends, knows when it has not, and says so."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from probes.fit import FitError, NoDirectionError, fit_many, logistic
from probes.fit.batched import SharedRows
from probes.fit.certificate import certify

Data = tuple[np.ndarray, np.ndarray]


def data(n: int, d: int, concepts: int = 4, seed: int = 0) -> Data:
    """Correlated rows, standardised, and labels of several strengths, one of them rare."""
    rng = np.random.default_rng(seed)
    x = (rng.normal(size=(n, d)) * np.arange(1, d + 1) ** -0.7) @ rng.normal(size=(d, d))
    signal = x @ rng.normal(size=(d, concepts))
    signal = signal / signal.std(0) * np.geomspace(0.5, 6, concepts)
    y = signal + rng.logistic(size=signal.shape) > 0
    y[:, 0] = np.arange(n) % 17 == 0
    return (x - x.mean(0)) / x.std(0), y


def objective(x: np.ndarray, y: np.ndarray, w: np.ndarray, b: float, C: float) -> float:
    logits = x @ w + b
    return float(C * np.logaddexp(0, np.where(y, -logits, logits)).sum() + w @ w / 2)


@pytest.mark.parametrize("shape", [(120, 10), (40, 60)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("C", [1e-3, 1.0, 100.0])
def test_the_optimum_is_that_of_scikit_learn(shape: tuple[int, int], dtype: Any, C: float) -> None:
    x, y = data(*shape)
    found = SharedRows(x.astype(dtype)).solve(y, C=C)
    assert (found.gap <= 1e-4).all()
    assert found.fallbacks == 0
    for k in range(y.shape[1]):
        best = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=500)
        best.fit(x, y[:, k])
        lowest = objective(x, y[:, k], best.coef_[0], best.intercept_[0], C)
        mine = objective(x, y[:, k], found.W[:, k], found.b[k], C)
        assert mine == pytest.approx(found.objective[k], rel=1e-6)
        assert lowest * (1 - 1e-6) <= mine <= lowest * (1 + 1e-4)
        # The bound holds what it promises.
        assert mine - lowest <= (found.gap[k] + 1e-6) * mine
        # The objective curves by one at least, so the weights are as near as that allows.
        distance = np.linalg.norm(found.W[:, k] - best.coef_[0])
        assert distance <= np.sqrt(2 * found.gap[k] * mine) + 1e-4 * np.linalg.norm(best.coef_)


def test_the_bound_holds_away_from_the_optimum() -> None:
    x, y = data(80, 6, concepts=3)
    best = SharedRows(x).solve(y, C=1.0)
    rng = np.random.default_rng(1)
    for size in (1e-3, 0.1, 3.0):
        W = best.W + size * rng.normal(size=best.W.shape)
        _, value, gap = certify(x, y, W, best.b + size, 1.0)
        excess = value - best.objective
        assert (excess > 0).all()
        assert (excess <= gap * value).all()
    assert (certify(x, y, np.zeros_like(W), np.zeros(3), 1.0)[2] > 1e-2).all()


def test_a_path_of_c_is_the_fits_one_by_one() -> None:
    x, y = data(90, 8)
    raw = torch.from_numpy(x * 3 + 7).float()
    (grid,) = fit_many([raw], y, C=(10.0, 0.1, 1.0))
    assert grid.C == (0.1, 1.0, 10.0)
    assert grid.directions.shape == (3, 4, 8)
    assert grid.gap.max() <= 1e-4
    scores = grid.scores(raw)
    for k in range(4):
        for at, C in enumerate(grid.C):
            alone = logistic(raw, y[:, k], C=C).scores(raw)
            mine = grid.rule(k, C=C).scores(raw)
            assert torch.allclose(mine, scores[at, k])
            assert torch.allclose(mine, alone, atol=0.03 * float(alone.abs().max()))
    with pytest.raises(FitError, match="C = 3 was not fitted"):
        grid.rule(0, C=3.0)


def test_layers_have_nothing_to_do_with_each_other() -> None:
    x, y = data(60, 5)
    a, b = torch.from_numpy(x), torch.from_numpy(x[:, ::-1] * 100 - 3)
    both, alone = fit_many([a, b], y), fit_many([b], y)
    assert torch.equal(both[1].directions, alone[0].directions)


def test_one_target_is_scikit_learns_own_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    x, y = data(90, 5)
    monkeypatch.setattr(SharedRows, "solve", None)
    (grid,) = fit_many([torch.from_numpy(x)], y[:, 1:2], C=(0.01,))
    theirs = LogisticRegression(C=0.01).fit(x, y[:, 1])
    assert (grid.directions[0, 0] * grid.scale).numpy() == pytest.approx(theirs.coef_[0], abs=1e-4)


def test_where_scikit_learn_stops_early_the_fit_goes_on() -> None:
    x, y = data(300, 40)
    C = 1e4
    early = LogisticRegression(C=C, max_iter=10_000).fit(x, y[:, 1])
    rule = logistic(torch.from_numpy(x), y[:, 1], C=C)
    mine = objective(x, y[:, 1], rule.direction.double().numpy(), rule.bias, C)
    theirs = objective(x, y[:, 1], early.coef_[0], early.intercept_[0], C)
    assert mine <= theirs * (1 + 1e-6)
    best = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=500)
    best.fit(x, y[:, 1])
    lowest = objective(x, y[:, 1], best.coef_[0], best.intercept_[0], C)
    assert mine <= lowest * (1 + 1.1e-4)


def test_what_the_batch_does_not_reach_is_left_to_scikit_learn_or_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x, y = data(120, 10)
    monkeypatch.setattr("probes.fit.batched._MAX_ITERATIONS", {"float32": 0, "float64": 0})
    found = SharedRows(x).solve(y, C=1.0)
    assert found.fallbacks == 4
    assert (found.gap <= 1e-4).all()
    monkeypatch.setattr("probes.fit.batched._by_scikit_learn", lambda x, y, C: (np.ones(10), 0.0))
    with pytest.raises(FitError, match=r"concept 0 at C = 1 did not converge: .* use a smaller C"):
        SharedRows(x).solve(y, C=1.0)


def test_separable_labels_have_a_finite_optimum() -> None:
    x = np.linspace(-1, 1, 40)[:, None] * np.array([[1.0, 2.0]])
    y = np.stack([x[:, 0] > 0, x[:, 0] > 0.5], axis=1)
    found = SharedRows(x).solve(y, C=1e3)
    assert np.isfinite(found.W).all()
    assert (found.gap <= 1e-4).all()


def test_features_that_do_not_vary_get_no_weight() -> None:
    x, y = data(60, 5)
    x[:, 2] = 1e4
    (grid,) = fit_many([torch.from_numpy(x).float()], y)
    assert not grid.directions[..., 2].any()
    assert float(grid.scale[2]) == 0


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"labels": np.zeros((60, 2), dtype=bool)}, "concept 0 has one label only"),
        ({"labels": np.ones(60, dtype=bool)}, r"expected \[row, concept\]"),
        ({"layers": [torch.zeros(59, 3)]}, r"shape \[60, d\]"),
        ({"layers": [torch.full((60, 3), float("inf"))]}, "row 0 is not finite"),
        ({"C": ()}, "one or more positive"),
        ({"C": (0.0, 1.0)}, "one or more positive"),
        ({"C": (float("nan"),)}, "positive"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change: dict[str, Any], why: str) -> None:
    x, y = data(60, 3)
    given: dict[str, Any] = {"layers": [torch.from_numpy(x)], "labels": y, "C": (1.0,)} | change
    with pytest.raises(FitError, match=why):
        fit_many(given["layers"], given["labels"], C=given["C"])


def test_rows_all_the_same_have_no_direction() -> None:
    with pytest.raises(NoDirectionError, match="the same activation here"):
        fit_many([torch.full((60, 3), 2.5)], data(60, 3)[1])
