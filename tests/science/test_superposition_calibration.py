"""Effective features against toy models whose features are known: what licenses the measure, and
what forbids it on sae-lens' SAEs (the paper's own test: r = .94 ± .02 over 100 toy models)."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from interp.sae import SaeSettings
from interp.sae.calibration import calibrate, count_sae_lens, count_tied
from interp.sae.superposition import SuperpositionError, count_features
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


def test_planted_features_are_counted_at_a_site(load_tiny):
    """Tokens of an embedding that repeats few directions, or many: features by construction."""
    from interp.hooks import capture
    from interp.models import Examples

    model = load_tiny("native")
    tokens = torch.randint(0, 24, (60, 10), generator=torch.Generator().manual_seed(0))
    rows = Examples(tokens=tokens)

    def counted(n):
        directions = torch.eye(16)[torch.arange(29) % n]
        with torch.no_grad():
            model.bridge.W_E.copy_(directions)
        x = capture(model, rows, "embed")["embed"].flatten(0, 1)
        return count_features(x, sizes=(), steps=400)

    before = model.bridge.W_E.detach().clone()
    try:
        found = {n: counted(n) for n in (1, 4, 12)}
    finally:
        with torch.no_grad():
            model.bridge.W_E.copy_(before)
    # Four latents or so share a direction, being 8 a dimension: numbers go by their ratios.
    assert 2 < found[4].features / found[1].features < 8
    assert 2 < found[12].features / found[4].features < 5
    assert found[4].doubt is None and found[12].doubt is None


@pytest.fixture(scope="module")
def neurons():
    """What some neurons of the two bundled models of modular addition hold, on some pairs."""
    from interp.hooks import capture
    from interp.models import load_model
    from interp.zoo.modular.tables import modular_addition

    pairs = modular_addition(113).examples()
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    chosen = pairs.select(order[:1500])
    found = {}
    for name in ("modular-113", "modular-113-memoriser"):
        held = capture(load_model(f"zoo:{name}"), chosen, "L0.mlp_post", positions=-1)
        found[name] = held["L0.mlp_post"].flatten(1)[:, :64]
    return found


def test_a_model_that_grokked_carries_fewer_features_than_its_memorising_twin(neurons):
    counts = {
        name: count_features(x, sizes=(), d_sae=128, l1=0.03, steps=500, batch=64)
        for name, x in neurons.items()
    }
    grokked, memoriser = counts["modular-113"], counts["modular-113-memoriser"]
    assert max(grokked.by_seed) < min(memoriser.by_seed)
    # The reverse of a difference in fit alone: the one that is fitted better has fewer.
    assert min(grokked.explained_variance) > max(memoriser.explained_variance)


def test_activations_dealt_out_alike_count_alike(neurons):
    # The negative control: two halves of one model's activations.
    x = neurons["modular-113"]
    halves = [
        count_features(part, d_sae=128, sizes=(), l1=0.03, steps=300, batch=64)
        for part in (x[:750], x[750:])
    ]
    one, other = (half.features for half in halves)
    assert one == pytest.approx(other, rel=0.15)
