"""The fits: their formulas, in the raw activation space, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from probes.fit import METHODS, FitError, NoDirectionError, logistic, mass_mean


def data(n: int = 80, d: int = 7) -> tuple[torch.Tensor, np.ndarray]:
    generator = torch.Generator().manual_seed(0)
    labels = np.arange(n) % 3 == 0
    scales = torch.logspace(-2, 2, d)
    x = torch.randn((n, d), generator=generator) + 0.8 * torch.from_numpy(labels)[:, None]
    return x * scales + 5, labels


def test_mass_mean_is_the_difference_of_means_about_their_midpoint() -> None:
    x, labels = data()
    rule = mass_mean(x, labels)
    one, zero = x[labels].mean(0), x[~labels].mean(0)
    assert torch.allclose(rule.direction, one - zero, atol=1e-4)
    assert torch.allclose(rule.centre, (one + zero) / 2, atol=1e-4)
    middle = (rule.scores(one) + rule.scores(zero)) / 2
    assert float(middle) == pytest.approx(0, abs=1e-2)
    assert float(rule.scores(one)) > 0


def test_logistic_is_scikit_learns_on_raw_activations() -> None:
    x, labels = data()
    rule = logistic(x, labels)
    theirs = make_pipeline(StandardScaler(), LogisticRegression(max_iter=10_000))
    theirs.fit(x.double().numpy(), labels)
    expected = theirs.decision_function(x.double().numpy())
    assert rule.scores(x).numpy() == pytest.approx(expected, abs=1e-3)
    strong = logistic(x, labels, C=1e-3)
    assert strong.direction.norm() < rule.direction.norm()


@pytest.mark.parametrize("method", METHODS)
def test_features_that_do_not_vary_get_no_weight(method: str) -> None:
    x, labels = data()
    x[:, 2] = 1e4
    x[:, 3] = 1e4 + 1e-3 * torch.randn(len(x), generator=torch.Generator().manual_seed(1))
    rule = METHODS[method](x, labels)
    assert abs(float(rule.direction[2])) <= 1e-2
    if method == "logistic":
        assert float(rule.direction[2]) == float(rule.direction[3]) == 0


@pytest.mark.parametrize("method", METHODS)
def test_bad_activations_are_refused(method: str) -> None:
    fit = METHODS[method]
    x, labels = data()
    with pytest.raises(FitError, match=r"shape \[79, d\]"):
        fit(x, labels[1:])
    with pytest.raises(FitError, match="all rows here have the same one"):
        fit(x, np.ones(len(x), dtype=bool))
    with pytest.raises(NoDirectionError, match="the same activation here"):
        fit(torch.full_like(x, 3.3), labels)
    broken = x.clone()
    broken[4, 1] = float("inf")
    with pytest.raises(FitError, match="row 4 is not finite"):
        fit(broken, labels)


def test_equal_means_have_no_direction() -> None:
    x = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [2.0, 0.0], [-2.0, 0.0]])
    with pytest.raises(NoDirectionError, match="same mean"):
        mass_mean(x, np.array([True, True, False, False]))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_every_float_type_is_taken(dtype: torch.dtype) -> None:
    x, labels = data()
    x = x / 100
    rule = mass_mean(x.to(dtype), labels)
    assert rule.direction.dtype == torch.float32
    assert torch.allclose(rule.direction, mass_mean(x, labels).direction, atol=2e-2)
