"""The rule is calibrated where the truth is known: nulls, planted effects, too few controls.

Simulated, so that the truth is exact. Every rate below comes with the tolerance of its simulation:
about three standard errors, √(p(1−p)/simulations).
"""

from __future__ import annotations

import functools

import numpy as np
import pytest
import torch

from interp.evidence import (
    ControlSets,
    Evidence,
    bootstrap_interval,
    correct,
    layer_matched,
    loss,
    rank_p_value,
    weigh,
)

EXAMPLES = 24


@functools.cache
def control_sets(n: int) -> ControlSets:
    return layer_matched({(0, 0)}, 1, n + 1, n=n, seed=0)


def simulate(
    rng: np.random.Generator,
    n_controls: int,
    *,
    planted: float = 0.0,
    between: float = 0.1,
    within: float = 0.2,
) -> Evidence:
    """Weigh a component drawn like its controls: own mean effect, shared and own example noise."""
    shared = rng.normal(0, within, EXAMPLES)
    means = rng.normal(0.05, between, n_controls + 1)
    effects = means[:, None] + shared + rng.normal(0, within, (n_controls + 1, EXAMPLES))
    effects[0] += planted
    clean = torch.from_numpy(rng.uniform(1, 3, EXAMPLES))
    return weigh(
        "target",
        signature_name="simulated",
        signature=1.0,
        signature_null=0.0,
        has_signature=True,
        metric=loss,
        clean=clean,
        ablated=clean + torch.from_numpy(effects[0]),
        control_effects=torch.from_numpy(effects[1:]),
        controls=control_sets(n_controls),
        n_resamples=199,
        seed=0,
    )


@pytest.mark.parametrize("n_controls", [1, 3, 19, 99])
def test_the_rank_p_value_is_uniform_under_the_null(n_controls: int) -> None:
    """Every attainable level holds exactly: P(p ≤ k/(n+1)) = k/(n+1)."""
    rng = np.random.default_rng(0)
    runs = 4000
    p = np.array([rank_p_value(x[0], x[1:]) for x in rng.standard_t(3, (runs, n_controls + 1))])
    for level in {1 / (n_controls + 1), 0.05, 0.25, 0.5, 1.0}:
        attainable = np.floor(level * (n_controls + 1) + 1e-9) / (n_controls + 1)
        slack = 3.5 * np.sqrt(attainable * (1 - attainable) / runs)
        assert abs((p <= level + 1e-9).mean() - attainable) <= slack


def test_an_ordinary_component_is_seldom_called_load_bearing() -> None:
    rng = np.random.default_rng(1)
    found = [simulate(rng, 19) for _ in range(400)]
    rate = np.mean([row.verdict == "load-bearing" for row in found])
    assert rate <= 0.05 + 0.033
    assert all(row.verdict != "underpowered" for row in found)


def test_a_family_of_ordinary_components_seldom_has_one_load_bearing() -> None:
    rng = np.random.default_rng(2)
    runs, heads = 60, 5
    wrong, uncorrected = 0, 0
    for _ in range(runs):
        rows = [simulate(rng, 199) for _ in range(heads)]
        uncorrected += any(row.verdict == "load-bearing" for row in rows)
        wrong += any(row.verdict == "load-bearing" for row in correct(rows))
    assert wrong / runs <= 0.05 + 0.085
    assert wrong <= uncorrected


def test_a_planted_effect_is_found() -> None:
    rng = np.random.default_rng(3)
    found = [simulate(rng, 19, planted=1.0) for _ in range(100)]
    assert np.mean([row.verdict == "load-bearing" for row in found]) >= 0.95
    assert np.mean([row.effect for row in found]) == pytest.approx(1.05, abs=0.05)


@pytest.mark.parametrize("n_controls", [1, 2, 7, 18])
def test_the_same_effect_beside_few_controls_is_underpowered(n_controls: int) -> None:
    rng = np.random.default_rng(4)
    found = [simulate(rng, n_controls, planted=1.0) for _ in range(40)]
    assert np.mean([row.verdict == "underpowered" for row in found]) >= 0.9
    assert all(row.verdict != "load-bearing" for row in found)


def test_a_model_in_which_nothing_matters_has_p_one() -> None:
    clean = torch.rand(EXAMPLES, generator=torch.Generator().manual_seed(0))
    generator = torch.Generator().manual_seed(1)

    def rounding() -> torch.Tensor:
        return 1e-7 * torch.randn(19, EXAMPLES, generator=generator)

    for ablated, effects in (
        (clean, torch.zeros(19, EXAMPLES)),
        (clean + 1e-7, rounding()),
    ):
        row = weigh(
            "inert",
            signature_name="simulated",
            signature=1.0,
            signature_null=0.0,
            has_signature=True,
            metric=loss,
            clean=clean,
            ablated=ablated,
            control_effects=effects,
            controls=control_sets(19),
            seed=0,
        )
        assert row.p_value == 1.0
        assert row.verdict == "not load-bearing"


@pytest.mark.parametrize(
    ("n_groups", "least"),
    # Known to run a little low with few groups; see bootstrap_interval. 400 runs: s.e. 0.011.
    [(8, 0.89), (30, 0.91)],
)
def test_grouped_intervals_cover_and_naive_ones_do_not(n_groups: int, least: float) -> None:
    """Groups of 2 to 12 examples that share most of their variance (intraclass correlation .8)."""
    rng = np.random.default_rng(5)
    runs = 400
    grouped = naive = 0
    for _ in range(runs):
        sizes = rng.integers(2, 13, n_groups)
        labels = np.repeat(np.arange(n_groups), sizes)
        values = rng.normal(0, 1, n_groups)[labels] + rng.normal(0, 0.5, len(labels))
        low, high = bootstrap_interval(values, labels.tolist(), n_resamples=499, seed=0)
        grouped += low <= 0 <= high
        low, high = bootstrap_interval(values, n_resamples=499, seed=0)
        naive += low <= 0 <= high
    assert least <= grouped / runs <= 0.985
    assert naive / runs < 0.7
