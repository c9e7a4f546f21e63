"""Effective features against toy models whose features are known: what licenses the measure, and
what forbids it on sae-lens' SAEs (the paper's own test: r = .94 ± .02 over 100 toy models)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.sae import SaeSettings
from interp.sae.calibration import calibrate, count_sae_lens, count_tied
from interp.sae.superposition import SuperpositionError
from interp.sae.toys import ToyFamily, train_toys


@pytest.fixture(scope="module")
def family():
    return train_toys(np.geomspace(0.999, 0.001, 6).tolist(), steps=1500)


@pytest.fixture(scope="module")
def tied(family):
    return count_tied(family, samples=4000, seeds=(0, 1), seed=1, steps=1200)


def test_toys_carry_more_features_the_sparser_they_are(family):
    features = family.features
    assert features[0] < 7 and features[-1] > 12
    assert np.corrcoef(features, -np.log(family.density))[0, 1] > 0.9


def test_the_tied_sae_counts_what_there_is(family, tied):
    found = calibrate("tied", tied.mean(1), family.features, seed=0)
    assert found.calibrated and found.r > 0.9
    assert found.p_value < 0.05
    assert found.interval[0] < found.r < found.interval[1]


def test_features_dealt_out_at_random_are_not_counted(family, tied):
    shuffled = family.features[torch.tensor([3, 0, 5, 1, 4, 2])]
    found = calibrate("tied", tied.mean(1), shuffled, seed=0)
    assert not found.calibrated and found.p_value > 0.05


def test_a_standard_sae_of_sae_lens_does_not_count_them(family):
    settings = SaeSettings(
        arch="standard", d_sae=40, batch=256, samples=256 * 600, lr=3e-3, sparsity=0.3
    )
    counted = count_sae_lens(family, settings, samples=2000, seed=1)
    found = calibrate("standard", counted, family.features, seed=0)
    assert not found.calibrated and found.r < 0.8
    # As many without superposition as with it.
    assert family.features[0] < 7 and counted[0] > 20


def test_a_penalty_that_is_too_strong_spoils_the_count(family):
    # λ = 3: hardly anything is worth the penalty, and what is counted is not what is there.
    counted = count_tied(family, samples=2000, seeds=(0,), seed=1, steps=400, l1=3.0)
    try:
        found = calibrate("tied", counted.mean(1), family.features, seed=0)
    except SuperpositionError:
        return  # nothing varies, or nothing fires: refused as well
    assert found.r < 0.9


def test_a_correlation_needs_models_that_differ():
    three = torch.tensor([1.0, 2.0, 3.0])
    with pytest.raises(SuperpositionError, match="four toy models"):
        calibrate("tied", three, three, seed=0)
    with pytest.raises(SuperpositionError, match="values that vary"):
        calibrate("tied", torch.ones(5), torch.arange(5.0), seed=0)


def test_the_reference_is_exact_where_it_can_be_said():
    # Five orthogonal features of equal length and fifteen that are not there at all.
    weight = torch.zeros(1, 5, 20)
    weight[0, torch.arange(5), torch.arange(5)] = 2.0
    assert float(ToyFamily((1.0,), weight).features) == pytest.approx(5)
