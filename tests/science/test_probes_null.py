"""Probes on activations whose answer is known: nothing there, something there, and a leak."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats

from interp.hooks import Site
from probes import Activations, Probe, StatementSet, conclusion
from probes.training import fit_probe

D = 16


def activations(values: Any) -> Activations:
    return Activations(
        values=torch.as_tensor(np.asarray(values), dtype=torch.float32),
        lengths=torch.full((len(values),), 7),
        fingerprint="constructed",
        model="constructed",
        site=Site.parse("L0.resid_post"),
        position="last",
    )


def statements(labels: Any, groups: Any = None) -> StatementSet:
    return StatementSet.build([f"t{i}" for i in range(len(labels))], list(labels), groups=groups)


def said(probe: Probe) -> str:
    return conclusion(probe.metrics["held_out"], probe.metrics["null"])


@pytest.mark.parametrize("method", ["mass-mean", "logistic"])
def test_random_labels_give_no_evidence(method: Any) -> None:
    n, covered, found, shuffles, p_values = 40, 0, [], [], []
    for seed in range(n):
        rng = np.random.default_rng(seed)
        # A long axis and an offset, as residual streams have.
        values = rng.normal(size=(120, D)) * np.geomspace(10, 0.1, D) + 5
        probe = fit_probe(
            activations(values), statements(rng.permutation(120) < 60), method=method, seed=seed
        )
        held_out = probe.metrics["held_out"]
        covered += held_out["auroc_low"] <= 0.5 <= held_out["auroc_high"]
        found.append(held_out["auroc"])
        shuffles.append(probe.metrics["null"]["mean"])
        p_values.append(probe.metrics["null"]["p_value"])
        if held_out["auroc_low"] <= 0.5:
            assert said(probe).startswith(("No evidence", "Inverted"))
    assert covered >= stats.binom.ppf(0.001, n, 0.95)
    assert np.mean(found) == pytest.approx(0.5, abs=0.04)
    assert np.mean(shuffles) == pytest.approx(0.5, abs=0.02)
    # Uniform on 1/21 … 1: its mean is 11/21 and its standard deviation about .29.
    assert np.mean(p_values) == pytest.approx(11 / 21, abs=4 * 0.29 / np.sqrt(n))


@pytest.mark.parametrize("method", ["mass-mean", "logistic"])
def test_a_planted_direction_is_found_with_its_exact_auroc(method: Any) -> None:
    rng = np.random.default_rng(0)
    n, strength = 3000, 1.5
    planted = np.zeros(D)
    planted[[2, 5, 11]] = np.array([1.0, -2.0, 2.0]) / 3
    labels = np.arange(n) % 2 == 0
    values = rng.normal(size=(n, D)) + strength * np.outer(labels, planted) - 3
    probe = fit_probe(activations(values), statements(labels), method=method)
    direction = probe.direction.double().numpy()
    assert direction @ planted / np.linalg.norm(direction) > 0.98
    # Two unit Gaussians this far apart (Green & Swets 1966).
    exact = stats.norm.cdf(strength / np.sqrt(2))
    held_out = probe.metrics["held_out"]
    assert held_out["auroc_low"] <= exact <= held_out["auroc_high"]
    assert held_out["accuracy"] == pytest.approx(stats.norm.cdf(strength / 2), abs=0.03)
    assert said(probe).startswith("A signature")
    assert probe.metrics["null"]["p_value"] == 1 / 21


def test_mass_mean_measures_the_gap_between_the_means() -> None:
    rng = np.random.default_rng(1)
    labels = np.arange(2000) % 2 == 0
    values = rng.normal(size=(2000, D))
    values[:, 3] += 4.0 * labels
    probe = fit_probe(activations(values), statements(labels))
    assert float(probe.direction[3]) == pytest.approx(4.0, abs=0.2)
    assert probe.bias == 0.0


def test_a_leak_between_the_rows_of_a_group_shows_only_without_groups() -> None:
    rng = np.random.default_rng(2)
    n_groups, size = 40, 6
    labels = np.repeat(np.arange(n_groups) % 2 == 0, size)
    # Each group has a place of its own, which says nothing about other groups' labels.
    places = rng.normal(size=(n_groups, 200))
    values = np.repeat(places, size, axis=0) + 0.3 * rng.normal(size=(n_groups * size, 200))
    groups = np.repeat(np.arange(n_groups), size).tolist()
    leaky = fit_probe(activations(values), statements(labels), method="logistic")
    assert leaky.metrics["held_out"]["auroc"] > 0.95
    assert "no groups were given" in leaky.metrics["notes"][0]
    held = fit_probe(activations(values), statements(labels, groups), method="logistic")
    assert held.metrics["held_out"]["auroc_low"] <= 0.5
    assert said(held).startswith("No evidence")


def test_an_inverted_world_is_said_to_be_inverted() -> None:
    from probes.training import measure

    rng = np.random.default_rng(3)
    labels = np.arange(400) % 2 == 0
    values = rng.normal(size=(400, D)) + np.outer(labels, np.ones(D))
    probe = fit_probe(activations(values), statements(labels))
    scores = probe.scores(activations(values)).numpy()
    turned = measure(scores, np.full(400, 7.0), statements(~labels), length_sign=1, seed=0)
    assert turned["auroc_high"] < 0.2
    assert conclusion(turned).startswith("Inverted")
