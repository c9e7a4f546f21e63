"""Monitors: their scores by hand, their thresholds, and what they refuse."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.hooks import Site
from probes.attack.monitor_parts import RulePart, Seen, joined
from probes.attack.monitors import (
    MONITORS,
    MonitorError,
    fit_monitor,
    refitted,
    threshold_at,
)
from probes.fit import FitError
from probes.fit.rule import LinearRule

HERE, THERE = Site.parse("L0.resid_post"), Site.parse("L1.resid_post")


def seen(n: int = 60, reads: int = 3, d: int = 5, *, seed: int = 0, shift: float = 3.0):
    """Vectors of which those of odd rows are shifted, some of them padding, and the labels."""
    rng = torch.Generator().manual_seed(seed)
    values = torch.randn(n, reads, d, generator=rng)
    values[1::2, :, 0] += shift
    real = torch.ones(n, reads, dtype=torch.bool)
    real[::3, 1:] = False
    return Seen(values, real), np.arange(n) % 2 == 1


def test_mahalanobis_is_the_formula_on_benign_vectors_alone():
    held, labels = seen()
    monitor = fit_monitor("mahalanobis", {HERE: held}, labels)
    x = held.values.double().numpy()
    benign = np.concatenate([x[i][held.real[i].numpy()] for i in range(len(x)) if not labels[i]])
    sigma = np.cov(benign.T, bias=True)
    shrunk = 0.95 * sigma + 0.05 * np.diag(sigma).mean() * np.eye(5)
    off = x - benign.mean(0)
    each = np.einsum("nrd,de,nre->nr", off, np.linalg.inv(shrunk), off)
    wanted = [row[real].mean() for row, real in zip(each, held.real.numpy(), strict=True)]
    assert np.allclose(monitor.scores({HERE: held}).numpy(), wanted)


def test_mean_difference_is_a_cosine_seen_from_the_midpoint():
    held, labels = seen(reads=1)
    x = held.values[:, 0].double()
    one, zero = x[labels].mean(0), x[~labels].mean(0)
    wanted = torch.nn.functional.cosine_similarity(x - (one + zero) / 2, (one - zero)[None])
    monitor = fit_monitor("mean-difference", {HERE: held}, labels)
    assert torch.allclose(monitor.scores({HERE: held}), wanted, atol=1e-5)


@pytest.mark.parametrize("name", MONITORS)
def test_scores_separate_have_slopes_and_ignore_padding(name):
    held, labels = seen()
    monitor = fit_monitor(name, {HERE: held}, labels)
    scores = monitor.scores({HERE: held}).numpy()
    assert scores[labels].mean() > scores[~labels].mean()
    x = held.values.clone().requires_grad_()
    monitor.alarm({HERE: Seen(x, held.real)}).sum().backward()
    assert x.grad is not None
    assert bool(x.grad[held.real].abs().sum(-1).gt(0).all())
    assert bool((x.grad[~held.real] == 0).all())
    noise = held.values.clone()
    noise[~held.real] = 99.0
    assert np.array_equal(monitor.scores({HERE: Seen(noise, held.real)}).numpy(), scores)


def test_the_alarm_has_a_slope_where_the_probability_has_none():
    rule = LinearRule(torch.ones(1), torch.zeros(1), 0.0)
    part, x = RulePart(rule, unit=1.0), torch.tensor([[80.0]], requires_grad=True)
    assert float(part.score(x).detach()) == 1.0
    (slope,) = torch.autograd.grad(part.alarm(x).sum(), x)
    assert float(slope) == pytest.approx(1.0)
    turned = RulePart(rule, unit=1.0, sign=-1, probability=False)
    assert float(turned.score(x).detach()) == -80.0


def test_several_sites_are_averaged():
    held, labels = seen()
    other, _ = seen(seed=1, shift=5.0)
    view = {HERE: held, THERE: other}
    both = fit_monitor("logistic", view, labels)
    alone = [fit_monitor("logistic", {site: view[site]}, labels).scores(view) for site in view]
    assert torch.allclose(both.scores(view), (alone[0] + alone[1]) / 2)
    with pytest.raises(MonitorError, match=r"reads L1\.resid_post, which was not captured"):
        both.scores({HERE: held})


def test_at_most_the_rate_of_benign_rows_exceed_the_threshold():
    scores = np.random.default_rng(0).permutation(1000).astype(float)
    assert (scores > threshold_at(scores)).sum() == 10
    assert (scores > threshold_at(scores, rate=0.2)).sum() == 200
    assert threshold_at(scores[:99]) == scores[:99].max()
    assert threshold_at(np.zeros(500)) == 0  # ties raise no alarm
    for bad in (np.array([]), np.array([np.nan]), np.zeros((2, 2))):
        with pytest.raises(MonitorError, match="expected finite scores"):
            threshold_at(bad)
    with pytest.raises(MonitorError, match="between 0 and 1"):
        threshold_at(scores, rate=1.0)


def test_a_monitor_needs_its_threshold():
    held, labels = seen()
    monitor = fit_monitor("logistic", {HERE: held}, labels)
    with pytest.raises(MonitorError, match="no threshold yet"):
        monitor.flags({HERE: held})
    benign = {HERE: held.select(np.flatnonzero(~labels))}
    caught = monitor.calibrated(benign).flags({HERE: held})
    assert caught[labels].mean() > 0.5
    assert caught[~labels].mean() == 0


def test_a_refit_is_of_the_same_kind_and_mahalanobis_has_none():
    held, labels = seen()
    view = {HERE: held}
    hidden = {HERE: Seen(held.values - 6.0, held.real)}
    for name in ("logistic", "mlp", "mean-difference"):
        first = fit_monitor(name, view, labels)
        second = refitted(first, hidden, labels)
        assert second is not None and second.name == name and second.threshold is None
        assert not torch.equal(second.scores(view), first.scores(view))
    assert refitted(fit_monitor("mahalanobis", view, labels), hidden, labels) is None


def test_what_cannot_be_fitted_is_refused():
    held, labels = seen()
    with pytest.raises(MonitorError, match="did you mean logistic"):
        fit_monitor("logistics", {HERE: held}, labels)
    with pytest.raises(MonitorError, match="at least one site"):
        fit_monitor("logistic", {}, labels)
    with pytest.raises(MonitorError, match="4 labels, but 60 prompts"):
        fit_monitor("logistic", {HERE: held}, labels[:4])
    with pytest.raises(FitError, match="two benign rows"):
        fit_monitor("mahalanobis", {HERE: held}, np.ones(60, dtype=bool))
    flat = Seen(torch.ones(60, 1, 5), torch.ones(60, 1, dtype=torch.bool))
    with pytest.raises(FitError, match="same activation"):
        fit_monitor("mahalanobis", {HERE: flat}, labels)


def test_a_network_that_does_not_converge_says_what_a_command_can_do(monkeypatch):
    monkeypatch.setattr("probes.fit.network._MAX_ITERATIONS", 1)
    held, labels = seen()
    with pytest.raises(FitError, match=r"did not converge in 1 iterations.*take another method"):
        fit_monitor("mlp", {HERE: held}, labels)


def test_batches_of_different_widths_are_put_together():
    wide, _ = seen(4, reads=3)
    narrow, _ = seen(2, reads=1)
    both = joined([narrow, wide])
    assert both.values.shape == (6, 3, 5)
    assert not bool(both.real[:2, 1:].any())
    assert torch.equal(both.rows(), torch.cat([narrow.rows(), wide.rows()]))
