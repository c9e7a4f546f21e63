"""Counting effective features: the formula, the tied SAE, refusals, and the study's folder."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from interp.sae import SaeError, SaeSettings
from interp.sae.arrays import train_on_array
from interp.sae.superposition import (
    SuperpositionError,
    count_features,
    effective_features,
    features_of,
)
from interp.sae.tied import fit_tied, typical_norm
from interp.sae.toys import train_toys


def draw(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_even_masses_count_themselves():
    assert float(effective_features(torch.tensor([2.0, 2.0, 0.0, 2.0]))) == pytest.approx(3)
    assert float(effective_features(torch.tensor([5.0, 0.0]))) == pytest.approx(1)
    p = torch.tensor([0.5, 0.25, 0.25])
    assert float(effective_features(8 * p)) == pytest.approx(math.exp(1.5 * math.log(2)))
    assert effective_features(torch.rand(3, 7) + 0.1).shape == (3,)


@pytest.mark.parametrize("mass", [[0.0, 0.0], [1.0, -1.0], [math.nan, 1.0], [math.inf, 1.0]])
def test_masses_that_mean_nothing_are_refused(mass):
    with pytest.raises(SuperpositionError, match="undefined"):
        effective_features(torch.tensor(mass))


def test_the_tied_sae_is_tied_and_unbiased():
    x = draw(1, 500, 4)
    (sae,) = fit_tied(x, d_sae=12, seeds=(0,), steps=150)[0]
    assert torch.equal(sae.decode(torch.zeros(1, 12)), torch.zeros(1, 4))
    assert torch.allclose(sae.decode(torch.eye(12)), sae.weight * sae.scale)
    back = sae.decode(sae.encode(x[0]))
    explained = 1 - (back - x[0]).square().sum() / (x[0] - x[0].mean(0)).square().sum()
    assert float(explained) == pytest.approx(sae.explained_variance, abs=1e-4)
    assert sae.explained_variance > 0.3


def test_sets_do_not_know_of_each_other_and_the_scale_does_not_matter():
    x = draw(2, 400, 4)
    both = fit_tied(x, d_sae=8, seeds=(0,), steps=60)
    alone = fit_tied(x[:1], d_sae=8, seeds=(0,), steps=60)
    bigger = fit_tied(100 * x[:1], d_sae=8, seeds=(0,), steps=60)
    assert features_of(alone[0][0], x[0]) == pytest.approx(
        features_of(bigger[0][0], 100 * x[0]), rel=1e-3
    )
    assert len(both) == 2 and len(both[0]) == 1
    with torch.random.fork_rng(devices=[]):
        before = torch.get_rng_state()
        again = fit_tied(x[:1], d_sae=8, seeds=(0,), steps=60)
        assert torch.equal(before, torch.get_rng_state())
    assert torch.equal(again[0][0].weight, alone[0][0].weight)


def test_silence_does_not_count_into_the_scale():
    x = torch.cat([draw(1, 50, 4), torch.zeros(1, 950, 4)], 1)
    assert torch.allclose(typical_norm(x), typical_norm(x[:, :50]))
    with pytest.raises(SaeError, match="all activations of a set are zero"):
        typical_norm(torch.zeros(1, 5, 3))
    with pytest.raises(SaeError, match="not all finite"):
        typical_norm(torch.full((1, 5, 3), math.nan))


def test_more_directions_are_more_features():
    def lines(n):  # one direction at a time, n of them in a plane
        angle = torch.arange(n) * (2 * math.pi / n)
        directions = torch.stack([angle.cos(), angle.sin()], 1)
        which = torch.randint(n, (1200,), generator=torch.Generator().manual_seed(0))
        return directions[which] * (0.5 + torch.rand(1200, 1, generator=torch.Generator()))

    few, many = (count_features(lines(n), d_sae=16, steps=200, sizes=[]) for n in (1, 6))
    # Ordered, not equal: several latents may share one direction.
    assert 1 <= few.features < many.features
    assert many.ratio > 1  # six features in two dimensions


def test_curves_intervals_and_tables():
    x = draw(600, 3)
    groups = [i // 20 for i in range(600)]
    found = count_features(x, groups=groups, d_sae=9, steps=50, sizes=[100, 300])
    assert list(found.by_size) == [100, 300, 600]
    assert found.by_size[600] == found.by_seed and len(found.by_seed) == 3
    low, high = found.interval
    assert 1 <= low <= high <= 9
    assert len(found.frame()) == 9
    assert (found.doubt is None) == (min(found.explained_variance) >= 0.6)
    assert set(found.intervals) == set(found.by_size) == set(found.explained)
    frame = found.frame()
    assert (frame["low"] <= frame["high"]).all() and set(frame["seed"]) == {0, 1, 2}
    doubtful = replace(found, explained={**found.explained, 600: (0.9, 0.1, 0.9)})
    assert "explains 0.10" in doubtful.doubt
    found.figure()
    assert count_features(x, groups=[0] * 600, d_sae=9, steps=5).interval is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seeds": (0, 1)}, "three at least"),
        ({"sizes": [700]}, "do not fit"),
        ({"groups": [1, 2]}, "2 group labels"),
    ],
)
def test_what_cannot_be_counted_is_refused(changes, message):
    with pytest.raises(SuperpositionError, match=message):
        count_features(draw(600, 3), **changes)


@pytest.mark.parametrize("arch", ["standard", "topk", "batchtopk", "gated"])
def test_saes_of_sae_lens_are_refused(arch):
    x = draw(300, 4)
    settings = SaeSettings(arch=arch, d_sae=8, samples=100, batch=50)
    sae = train_on_array(x, replace(settings, k=2 if "topk" in arch else None))
    with pytest.raises(SuperpositionError, match=f"not calibrated for a {arch} SAE"):
        features_of(sae, x)


def test_toy_models_refuse_densities_that_cannot_be():
    with pytest.raises(SaeError, match="above 0 and at most 1"):
        train_toys([0.5, 0.0])


def test_wide_activations_do_not_silence_every_latent():
    # Two hundred dimensions: with the rate of five, Adam takes all latents below zero at once.
    x = draw(1, 300, 200).relu()
    assert fit_tied(x, d_sae=100, seeds=(0,), steps=60, l1=0.02)[0][0].encode(x[0]).any()


TINY = {"toys": 4, "toy_steps": 60, "sae_steps": 40, "samples": 600, "site_steps": 10}


def run_study(out, **changes):
    from experiments import superposition as study
    from interp.configs import build
    from interp.runs import Run

    config = build(study.Config, {**study.PRESETS["smoke"], **TINY, **changes})
    study.check(config)
    with Run.create("superposition", config, out=out) as run:
        study.run(config, run)
    done = Run.open(out)
    assert done.status == "done"
    study.report(done)
    return done


def test_the_study_follows_two_trainings(tmp_path):
    done = run_study(
        tmp_path / "run",
        compare=["standard"],
        p=11,
        training_steps=30,
        d_mlp=16,
        activations=100,
    )
    assert list(done.table("calibration")["kind"]) == ["tied", "standard"]
    assert len(done.table("toys")) == 4
    moments = done.table("moments")
    assert set(moments["training"]) == {"decayed", "memoriser"}
    assert (moments.groupby(["training", "step"])["seed"].nunique() == 3).all()
    assert moments.groupby("training")["step"].nunique().tolist() == [3, 3]
    samples = done.table("samples")
    own = samples[samples["subject"] == "decayed"]
    assert sorted(own["n"].unique()) == [25, 50, 100] and own["low"].notna().all()
    ends = moments[(moments["training"] == "decayed") & (moments["step"] == 30)]
    assert ends["features"].tolist() == own[own["n"] == 100]["features"].tolist()
    assert "has not grokked" in done.metrics["conclusion"]
    assert "r = " in done.metrics["headline"]
    for name in ("features_tied", "features_over_training", "samples", "seeds"):
        assert (tmp_path / "run" / "figures" / f"{name}.png").is_file()
    assert not (tmp_path / "run" / "checkpoints").exists()


def test_the_study_counts_at_a_site_of_any_model(tmp_path, tiny_folder):
    text = tmp_path / "text.txt"
    text.write_text(" ".join(f"w{i}" for i in np.random.default_rng(0).integers(0, 29, 400)))
    place = {"model": str(tiny_folder("gpt2")), "data": str(text), "context": 12}
    done = run_study(tmp_path / "all", site="L1.mlp_post", activations=128, d_sae=24, **place)
    samples = done.table("samples")
    assert samples["n"].max() == 128 and samples["features"].between(1, 24).all()
    assert done.metrics["d_in"] == 80 and len(done.metrics["features"]) == 2
    assert any("noise like it" in name for name in done.metrics["features"])
    last = run_study(tmp_path / "last", site="L1.resid_post@-1", activations=64, **place)
    assert last.table("samples")["n"].max() == 33  # as many rows as the text has


def test_noise_keeps_mean_covariance_and_distances_and_nothing_else():
    from experiments.superposition_counting import _noise_like

    generator = torch.Generator().manual_seed(0)
    x = torch.randint(0, 2, (20_000, 3), generator=generator).float()
    x[:, 1] += x[:, 0]
    x[::50] *= 6  # heavy tails
    noise = _noise_like(x, seed=0)
    # All that is left to chance is the directions; the ratio of the tails is theirs.
    assert torch.allclose(noise.mean(0), x.mean(0), atol=0.05)
    assert torch.allclose(torch.cov(noise.T), torch.cov(x.T), rtol=0.1)
    assert len(noise.unique(dim=0)) == 20_000

    def distances(rows):
        centred = rows.double() - x.double().mean(0)
        return (centred @ torch.linalg.inv(torch.cov(x.double().T)) * centred).sum(1)

    torch.testing.assert_close(distances(noise), distances(x), rtol=1e-3, atol=1e-3)


def test_noise_of_heavy_tails_is_not_told_from_noise_like_it():
    """Beside normal noise, Student's always counted fewer, though it has no features either."""
    from experiments.superposition_counting import _noise_like
    from interp.sae.superposition import count_features

    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(2000, 8, generator=generator)
    x = normal / torch.randn(2000, 4, generator=generator).pow(2).mean(1, keepdim=True).sqrt()

    def counted(rows):
        settings = {"d_sae": 16, "seeds": range(3), "sizes": (), "l1": 0.03, "seed": 0}
        return count_features(rows, steps=300, batch=64, **settings).by_seed

    own, like = counted(x), counted(_noise_like(x, seed=1))
    assert max(own) >= min(like) and max(like) >= min(own)


def test_what_is_said_beside_noise():
    import pandas as pd

    from experiments.superposition import Config
    from experiments.superposition_counting import NOISE, Counted
    from experiments.superposition_report import _ends, _on_subjects

    def rows(name, features):
        return [
            {"subject": name, "n": n, "seed": i, "features": f, "low": f, "high": f,
             "explained_variance": 0.9}
            for n in (100, 200)
            for i, f in enumerate(features)
        ]  # fmt: skip

    def said(noise):
        samples = pd.DataFrame([*rows("t", (57.6, 57.6, 58.1)), *rows(f"t: {NOISE}", noise)])
        counted = Counted(samples, None, None, 32, {})
        (text,) = _on_subjects(Config(), counted, _ends(samples))
        return text

    assert "fewer than noise in random directions" in said((58.4, 59.4, 60))
    assert "not to be told from noise" in said((57.0, 57.8, 60))


def test_a_difference_that_noise_makes_too_is_called_so():
    import pandas as pd

    from experiments.superposition_counting import NOISE, Counted
    from experiments.superposition_report import _on_training

    def end(f):
        return {"features": f, "seed_low": f - 1, "seed_high": f + 1}

    losses = pd.DataFrame(
        {
            "training": ["decayed"] * 2 + ["memoriser"] * 2,
            "step": [40, 300, 40, 160],
            "train_accuracy": 1.0,
            "test_accuracy": [0.2, 1.0, 0.1, 0.2],
        }
    )
    before = pd.DataFrame({"training": "decayed", "step": 40, "features": [129.0, 131.0]})
    counted = Counted(pd.DataFrame(), before, losses, 128, {})
    ends = {"decayed": end(100.0), "memoriser": end(110.0)}
    alike = {f"decayed: {NOISE}": end(105.0), f"memoriser: {NOISE}": end(115.0)}
    said = _on_training(counted, ends | alike)
    assert (
        "(step 40)" in said and "F = 130.0" in said and ": fewer. At the end it has fewer" in said
    )
    assert "is enough to make that difference" in said
    same = {f"decayed: {NOISE}": end(105.0), f"memoriser: {NOISE}": end(105.5)}
    assert "is enough" not in _on_training(counted, ends | same)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"toys": 3}, "toys"),
        ({"l1": 0.0}, "l1"),
        ({"site_l1": -1.0}, "site_l1"),
        ({"compare": ["topc"]}, "compare"),
        ({"samples": 10}, "samples"),
        ({"sae_seeds": 2}, "sae_seeds is 2; expected at least 3"),
        ({"site": "L1.mlp_post"}, "give --model too"),
        ({"model": "zoo:code-lm"}, "such as --site L3.mlp_post"),
        ({"model": "zoo:code-lm", "site": "L1.mlp_pots"}, "mlp_post"),
        ({"model": "zoo:code-ml", "site": "L1.mlp_post"}, "code-lm"),
        ({"p": 5000}, "p is 5000"),
        ({"train_fraction": 1.5}, "train_fraction"),
    ],
)
def test_the_study_refuses_what_cannot_run(changes, message):
    from experiments import superposition as study
    from interp.configs import build

    with pytest.raises(ValueError, match=message):
        study.check(build(study.Config, changes))
