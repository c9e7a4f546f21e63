"""Slopes, shares and intervals by hand; matched latents; and refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.evidence import Metric
from interp.models import Examples
from interp.plots.latents import Cost, chosen_and_judged, reduction_against_cost
from interp.sae.carrying_controls import carrying_evidence, matched_latents
from interp.sae.carrying_measures import BiasSplit, share_of_slope_gone, slopes_over
from interp.sae.dictionary import SaeError
from interp.sae.features import LatentStatistics

TARGETS = tuple(f"t{i}" for i in range(6) for _ in range(3 + i % 2))
SCORES = {f"t{i}": float(i) - 2.0 for i in range(6)}


def values(slope, offset=0.0, noise=0.0, seed=0):
    rng = np.random.default_rng(seed)
    return np.array([slope * SCORES[t] + offset for t in TARGETS]) + noise * rng.normal(
        size=len(TARGETS)
    )


def test_the_slope_is_numpys_over_target_means():
    slopes = slopes_over(TARGETS, SCORES)
    given = values(0.7, 2.0, noise=0.5)
    means = [given[[t == name for t in TARGETS]].mean() for name in slopes.names]
    wanted = np.polyfit(slopes.score, means, 1)[0]
    assert float(slopes.weight @ given) == pytest.approx(wanted)
    np.testing.assert_allclose(slopes.biases(given), means)
    assert slopes.parts(given).mean() == pytest.approx(wanted)


def test_an_offset_is_no_slope_and_a_flip_is_an_overshoot():
    slopes = slopes_over(TARGETS, SCORES)
    clean = values(1.0)
    found = share_of_slope_gone(
        slopes, clean, np.stack([values(1.0, 5.0), values(0.25), values(0.0, 1.0), values(-0.5)])
    )
    np.testing.assert_allclose(found, [0.0, 0.75, 1.0, 1.5], atol=1e-12)


def test_intervals_cover_the_truth_and_tell_no_slope():
    slopes = slopes_over(TARGETS, SCORES)
    covered, false = 0, 0
    for seed in range(60):
        clean = values(1.0, noise=0.6, seed=seed)
        low, high = slopes.interval(slopes.biases(clean), seed=seed, n_resamples=399)
        covered += low <= 1.0 <= high
        nothing = slopes.biases(values(0.0, noise=0.6, seed=1000 + seed))
        low, high = slopes.interval(nothing, seed=seed, n_resamples=399)
        false += not low <= 0 <= high
    assert covered >= 45  # the percentile bootstrap over six targets is too narrow, not absurd
    assert false <= 15
    exact = slopes.interval(slopes.biases(values(1.0)), slopes.biases(values(0.3)), seed=0)
    np.testing.assert_allclose(exact, 0.7)


def test_slopes_need_different_scores_of_every_target():
    with pytest.raises(SaeError, match="no score for t5"):
        slopes_over(TARGETS, {k: v for k, v in SCORES.items() if k != "t5"})
    with pytest.raises(SaeError, match="at least three targets"):
        slopes_over(("a", "b"), {"a": 0.0, "b": 1.0})
    with pytest.raises(SaeError, match="different, finite"):
        slopes_over(TARGETS, dict.fromkeys(SCORES, 1.0))
    tokens = Examples(torch.zeros((2, 3), dtype=torch.int64))
    with pytest.raises(SaeError, match="as many targets"):
        BiasSplit(tokens, ("a",), tokens)


def statistics():
    rate = torch.logspace(-4, -0.5, 40)
    rate[-5:] = 0.0
    return LatentStatistics(mean=rate, rate=rate, mass=3 * rate, largest=rate, n_tokens=1000)


def test_random_latents_fire_as_often():
    target = [10, 20, 30]
    stats = statistics()
    sets = matched_latents(target, stats, n=99, seed=0)
    assert sets.family == "firing-matched"
    assert len(sets) == 99
    for chosen in sets.sets:
        latents = sorted(i for _, i in chosen)
        assert not set(latents) & set(target)
        for one, other in zip(latents, target, strict=True):
            assert 0.49 < float(stats.rate[one] / stats.rate[other]) < 2.04
    assert any({i for _, i in chosen} & set(target) for chosen in sets.null_sets)
    assert all(0.4 < ratio < 2.5 for ratio in sets.norm_ratios)


def test_where_too_few_fire_so_often_the_family_says_so():
    rate = torch.full((40,), 1e-3)
    rate[:12] = 0.3  # ten of them are edited
    stats = LatentStatistics(mean=rate, rate=rate, mass=3 * rate, largest=rate, n_tokens=1000)
    assert matched_latents(range(10), stats, n=9, seed=0).family == "nearest-firing"
    assert matched_latents([0, 1], stats, n=9, seed=0).family == "firing-matched"


def test_evidence_weighs_slopes():
    slopes = slopes_over(TARGETS, SCORES)
    clean = values(-1.0, 0.5, noise=0.05)
    sets = matched_latents([10, 20, 30], statistics(), n=39, seed=0)
    rng = np.random.default_rng(0)
    nothing = clean + 0.01 * rng.normal(size=(39, len(TARGETS)))
    metric = Metric("log-odds", "nats", True, lambda logits, e: logits[:, 0, 0])

    def weighed(edited):
        return carrying_evidence(
            [10, 20, 30],
            estimated=torch.arange(40.0),
            sets=sets,
            slopes=slopes,
            metric=metric,
            clean=clean,
            edited=edited,
            controls=nothing,
            null=nothing,
            targets=TARGETS,
            seed=0,
        )

    carries = weighed(values(-0.2, 0.5, noise=0.05, seed=3))
    assert carries.verdict == "load-bearing"
    assert carries.share == pytest.approx(0.8, abs=0.1)
    assert carries.p_value == pytest.approx(1 / 40)
    assert carries.n_groups == 6
    assert "nats a unit of score" in carries.units
    idle = weighed(clean + 0.01 * rng.normal(size=len(TARGETS)))
    assert idle.verdict == "not load-bearing"


def test_figures_say_what_they_show():
    curve = [Cost(str(n), 0.01 * n, 0.1 * n, 0.1 * n - 0.05, 0.1 * n + 0.05) for n in (1, 3, 5)]
    figure = reduction_against_cost(
        curve, others=[Cost("projected $out", 0.0, 0.9, 0.8, 1.0)], controls=[0.0, 0.1]
    )
    axes = figure.axes[0]
    written = " ".join(text.get_text() for text in axes.texts)
    assert "5" in written and r"projected \$out" in written
    assert "nats a token" in axes.get_xlabel()
    with pytest.raises(ValueError, match="nothing to draw"):
        reduction_against_cost([])
    figure = chosen_and_judged(
        [0.1, 0.2], [0.1, 0.3], names=["3", "7"], controls=[0.0], together=0.4
    )
    assert "other text" in figure.axes[0].get_ylabel()
    with pytest.raises(ValueError, match="names need as many"):
        chosen_and_judged([0.1], [0.1], names=["3", "7"])
