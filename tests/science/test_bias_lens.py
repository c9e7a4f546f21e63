"""The bias lens as a whole where there is nothing to find, and its comparison of SAE and raw."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.bias_lens import PRESETS, Config
from experiments.bias_lens_measuring import measure
from experiments.bias_lens_report import sae_less_cav
from experiments.bias_lens_words import conclusion
from interp.models import load_model
from interp.runs import Run


def test_laid_against_other_targets_values_nothing_is_found_and_nothing_is_judged(
    tmp_path, monkeypatch
):
    """The model leans as ever, and its references are apart; what is planted is dealt out anew."""
    from experiments import bias_lens_world

    true = bias_lens_world.world_subject

    def permuted(config, world):
        subject = true(config, world)
        values = np.random.default_rng(4).permutation(list(subject.planted.values()))
        return replace(subject, planted=dict(zip(subject.planted, values.tolist(), strict=True)))

    monkeypatch.setattr(bias_lens_world, "world_subject", permuted)
    config = Config(**{**PRESETS["smoke"], "sites": "L2.resid_post", "samples": 40_000})
    with Run.create("bias-lens", config, out=tmp_path / "run") as run:
        found = measure(config, run, load_model(config.model))
        from experiments.bias_lens_report import save

        save(config, run, found)
    (one,) = found.measured
    assert all(row.references_apart for row in one.bias.amplitudes)
    for agreement in one.bias.agreements:
        if agreement.yardstick == "planted":
            assert agreement.p > 0.05 and agreement.low < 0 < agreement.high, agreement
        else:
            assert agreement.rho > 0.8
    (axis,) = one.axis
    assert axis.verdict == "not load-bearing" and not axis.has_signature
    (latents,) = one.latents
    assert latents.carrying is None and "there is none to take away" in latents.reason
    said = run.metrics["conclusion"]
    assert said == conclusion(found, run.metrics["triples"])
    assert "no latents were judged" in said


def laid(form: np.ndarray) -> SimpleNamespace:
    """Twenty targets, raw vectors that agree with them but for a little noise, and an SAE form."""
    scores = np.linspace(-1, 1, 20)
    raw = scores + 0.1 * np.random.default_rng(0).standard_normal(20)
    names = [f"t{i}" for i in range(20)]
    frame = pd.DataFrame(
        [
            {"site": "L0", "method": method, "target": name, "bias": value}
            for method, values in (("cav", raw), ("sae 0", form))
            for name, value in zip(names, values, strict=True)
        ]
    )
    yardsticks = {"behaviour": dict(zip(names, scores, strict=True))}
    return SimpleNamespace(
        bias=SimpleNamespace(intervals=lambda: frame, yardsticks=yardsticks),
        subject=SimpleNamespace(yardstick="behaviour"),
        latents=[SimpleNamespace(name="0")],
    )


@pytest.mark.parametrize(("noise", "sign"), [(0.1, 0), (3.0, -1)])
def test_the_sae_form_is_worse_where_it_is_noise_and_as_good_where_it_is_not(noise, sign):
    scores = np.linspace(-1, 1, 20)
    form = scores + noise * np.random.default_rng(1).standard_normal(20)
    difference, low, high = sae_less_cav(laid(form), "L0", seed=0)["0"]
    assert low <= difference <= high
    assert (high < 0) if sign < 0 else (low <= 0 <= high)
