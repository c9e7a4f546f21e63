"""The estimators keep scikit-learn's manners, and each fit is what its paper says."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, GroupKFold, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import check_estimator

from interp.hooks import Site
from probes import Activations, Probe, ProbeError, StatementSet
from probes.fit import (
    METHODS,
    MLP,
    ContrastConsistent,
    FitError,
    Linear,
    Logistic,
    MassMean,
    NoDirectionError,
    PrincipalComponent,
    ShrunkenLDA,
    ccs,
    mlp,
    ridge,
)

CLASSIFIERS = [
    MassMean(),
    MassMean(whiten=True),
    Logistic(),
    Logistic(C=(0.1, 1.0)),
    ShrunkenLDA(),
    PrincipalComponent(),
    MLP(hidden=8),
]


def rows(n: int = 120, d: int = 6, gap: float = 1.5, seed: int = 0) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 2 == 0
    x = rng.normal(size=(n, d)) + gap * np.outer(y, np.ones(d)) + 4
    return (x * np.geomspace(0.5, 5, d)).astype(np.float32), y


def paired(n: int = 100, d: int = 8, seed: int = 0) -> tuple[Any, Any, Any]:
    """Statements and negations, with truth on one axis and negation, much louder, on another."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.5
    y = np.stack([first, ~first], axis=1).ravel()
    negated = np.tile([0.0, 1.0], n)
    x = np.repeat(rng.normal(size=(n, d)), 2, axis=0) + 0.3 * rng.normal(size=(2 * n, d))
    x[:, 0] += 3 * y
    x[:, 1] += 9 * negated
    return x, y, np.repeat(np.arange(n), 2)


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@pytest.mark.parametrize("estimator", [*CLASSIFIERS, Linear(alpha=1.0)], ids=repr)
def test_scikit_learns_own_checks(estimator: Any) -> None:
    failed = [c for c in check_estimator(estimator, on_fail=None) if c["status"] == "failed"]
    assert not failed, [(c["check_name"], c["exception"]) for c in failed]


@pytest.mark.parametrize("estimator", CLASSIFIERS, ids=repr)
def test_estimators_work_in_scikit_learns_tools(estimator: Any) -> None:
    x, y = rows()
    pipeline = make_pipeline(StandardScaler(), clone(estimator))
    folds = cross_val_score(
        pipeline, x, y, groups=np.arange(120) // 4, cv=GroupKFold(3), scoring="roc_auc"
    )
    assert folds.mean() > 0.8
    fitted = clone(estimator).fit(x, np.where(y, "true", "false"))
    assert fitted.classes_.tolist() == ["false", "true"]
    scores = fitted.decision_function(x)
    assert (fitted.predict(x) == np.where(scores > 0, "true", "false")).all()
    assert fitted.predict_proba(x)[:, 1] == pytest.approx(1 / (1 + np.exp(-scores)))
    assert fitted.score(x, np.where(y, "true", "false")) > 0.8
    if not isinstance(estimator, MLP):
        assert x @ fitted.coef_[0] + fitted.intercept_ == pytest.approx(scores, abs=1e-2)


def test_c_can_be_searched() -> None:
    x, y = rows(gap=0.3)
    search = GridSearchCV(Logistic(), {"C": [1e-3, 1.0]}, cv=3).fit(x, y)
    assert search.best_params_["C"] in (1e-3, 1.0)


def test_the_best_of_several_c_is_kept_by_whole_groups() -> None:
    rng = np.random.default_rng(0)
    # Groups have a place of their own: known by heart, it makes a weak penalty look good.
    places = np.repeat(rng.normal(size=(30, 60)), 4, axis=0)
    order = rng.permutation(120)
    y = np.repeat(np.arange(30) % 2 == 0, 4)[order]
    x = (places + 0.1 * rng.normal(size=places.shape))[order]
    groups = np.repeat(np.arange(30), 4)[order]
    path = (1e-4, 1e2)
    assert Logistic(C=path, folds=3).fit(x, y).C_ == 1e2
    grouped = Logistic(C=path, folds=3).fit(x, y, groups=groups)
    assert grouped.C_ == 1e-4
    assert set(grouped.log_loss_) == set(path)


def test_whitening_divides_by_the_covariance_within_classes() -> None:
    x, y = rows(n=2000)
    one, zero = x[y].mean(0), x[~y].mean(0)
    within = np.where(y[:, None], x - one, x - zero)
    expected = np.linalg.solve(within.T @ within / len(x), one - zero)
    found = METHODS["mass-mean-whitened"](torch.from_numpy(x), y).direction.numpy()
    assert found == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize("n", [60, 2000])
def test_lda_is_that_of_scikit_learn(n: int) -> None:
    x, y = rows(n=n, d=30, gap=0.4)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage="auto").fit(x, y)
    mine = ShrunkenLDA().fit(x, y)
    a, b = mine.decision_function(x), theirs.decision_function(x)
    # scikit-learn shrinks the classes apart and averages; here they are shrunk together.
    assert np.corrcoef(a, b)[0, 1] > 0.99
    assert a.std() == pytest.approx(b.std(), rel=0.15)


@pytest.mark.parametrize("n", [40, 400])
def test_pca_is_the_axis_of_greatest_variance_with_its_sign_from_the_labels(n: int) -> None:
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=n)
    x = np.outer(hidden, np.linspace(1, 2, 60)) + 0.1 * rng.normal(size=(n, 60))
    for sign in (1, -1):
        y = sign * hidden > 0
        scores = PrincipalComponent().fit(x, y).decision_function(x)
        assert np.corrcoef(scores, sign * hidden)[0, 1] > 0.99


def test_ccs_finds_truth_and_not_negation() -> None:
    x, y, pairs = paired()
    found = ContrastConsistent().fit(x, y, pairs=pairs)
    direction = found.rule_.direction.numpy()
    assert abs(direction[0]) > 3 * np.abs(direction[1:]).max()
    assert direction[0] > 0
    assert found.score(x, y) > 0.85
    flipped = ContrastConsistent().fit(x, ~y, pairs=pairs).rule_
    assert torch.allclose(flipped.direction, -found.rule_.direction)
    again = ContrastConsistent().fit(x, y, pairs=pairs).rule_
    assert torch.equal(again.direction, found.rule_.direction)
    folds = cross_val_score(
        ContrastConsistent(n_starts=3),
        x,
        y,
        groups=pairs,
        cv=GroupKFold(3),
        params={"pairs": pairs},
    )
    assert folds.mean() > 0.8


def test_ccs_refuses_what_is_no_pair() -> None:
    x, y, pairs = paired(n=20)
    t = torch.from_numpy(x)
    with pytest.raises(FitError, match="give pairs="):
        ContrastConsistent().fit(x, y)
    with pytest.raises(FitError, match="pair 0 has 3 rows"):
        ccs(t, y, [0, 0, 0, *pairs[3:]])
    with pytest.raises(FitError, match="both statements of pair 0 have label"):
        ccs(t, np.concatenate([[y[0]], [y[0]], y[2:]]), pairs)
    with pytest.raises(FitError, match="40 rows need as many"):
        ccs(t, y, pairs[:-1])
    with pytest.raises(FitError, match="would take the labels with it"):
        ccs(t, np.tile([True, False], 20), pairs)


def test_a_network_sees_what_no_line_does() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    y = x[:, 0] * x[:, 1] > 0
    assert MLP().fit(x[:200], y[:200]).score(x[200:], y[200:]) > 0.8
    assert Logistic().fit(x[:200], y[:200]).score(x[200:], y[200:]) < 0.65


def test_the_networks_direction_is_its_mean_slope() -> None:
    x, y = rows()
    rule = mlp(torch.from_numpy(x), y, hidden=8)
    given = torch.from_numpy(x).double().requires_grad_()
    (slope,) = torch.autograd.grad(rule.scores(given).sum(), given)
    assert torch.allclose(slope.mean(0).float(), rule.direction, rtol=1e-3, atol=1e-5)


def test_ridge_is_that_of_scikit_learn() -> None:
    x, _ = rows()
    target = x @ np.linspace(-1, 1, 6) + np.random.default_rng(0).normal(size=len(x))
    mine = Linear(alpha=2.0).fit(x, target)
    theirs = make_pipeline(StandardScaler(), Ridge(alpha=2.0)).fit(x.astype(float), target)
    assert mine.predict(x) == pytest.approx(theirs.predict(x.astype(float)), abs=1e-3)
    assert Linear().fit(x, target).score(x, target) > 0.9
    with pytest.raises(NoDirectionError, match="targets are the same"):
        ridge(torch.from_numpy(x), np.ones(len(x)))


@pytest.mark.parametrize("estimator", [*CLASSIFIERS, ContrastConsistent()], ids=repr)
def test_each_freezes_into_a_probe_that_scores_the_same(estimator: Any, tmp_path: Any) -> None:
    x, y, pairs = paired(n=20)
    fitted = clone(estimator)
    values = torch.from_numpy(x).float()
    if isinstance(estimator, ContrastConsistent):
        fitted.fit(values.numpy(), y, pairs=pairs)
    else:
        fitted.fit(values.numpy(), y)
    data = StatementSet.build([f"t{i}" for i in range(40)], y.tolist(), groups=pairs.tolist())
    held = Activations(
        values=values,
        lengths=torch.ones(40, dtype=torch.int64),
        fingerprint="ab" * 32,
        model="m",
        site=Site.parse("L1.resid_post"),
        position="last",
    )
    probe = fitted.as_probe(held, data, metrics={"note": 1})
    back = Probe.load(probe.save(tmp_path / "probe"))
    assert back.scores(held).numpy() == pytest.approx(fitted.decision_function(values.numpy()))
    assert back.training_rows == data.row_hashes
    assert back.metrics == {"note": 1}
    with pytest.raises(ProbeError, match="need as many activations"):
        fitted.as_probe(held, data.select(range(10)))


def test_a_regression_probe_predicts_no_labels() -> None:
    x, y = rows(n=20)
    data = StatementSet.build([f"t{i}" for i in range(20)], y.tolist())
    held = Activations(
        values=torch.from_numpy(x),
        lengths=torch.ones(20, dtype=torch.int64),
        fingerprint="ab" * 32,
        model="m",
        site=Site.parse("L1.resid_post"),
        position="last",
    )
    probe = Linear(alpha=1.0).fit(x, x[:, 0]).as_probe(held, data, rows=range(5))
    assert len(probe.training_rows) == 5
    assert np.corrcoef(probe.scores(held).numpy(), x[:, 0])[0, 1] > 0.9
    with pytest.raises(ProbeError, match="predicts numbers"):
        probe.predict(held)
