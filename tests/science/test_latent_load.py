"""Latents of a dictionary written down by hand: the loud ones are depended on, the others not."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import logit_difference
from interp.hooks import Site
from interp.models import Examples
from interp.sae import (
    Dictionary,
    SaeError,
    attribute_latents,
    latent_statistics,
    rank_latents,
    weigh_latents,
)

D_SAE, LOUD = 60, (3, 17)


@pytest.fixture(scope="module")
def setting(load_tiny):
    """Past the last block of a model without norms: what a latent writes is what it does."""
    from sae_lens import StandardSAE, StandardSAEConfig

    model = load_tiny("native-attn-only")
    sae = StandardSAE(
        StandardSAEConfig(d_in=model.d_model, d_sae=D_SAE, device="cpu", dtype="float32")
    )
    generator = torch.Generator().manual_seed(0)
    answer_way = model.W_U[:, 0] - model.W_U[:, 1]
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(0.3 * torch.randn(parameter.shape, generator=generator))
        sae.W_dec.mul_(0.05)
        sae.W_dec[list(LOUD)] = 2 * answer_way / answer_way.norm()
    dictionary = Dictionary(sae, "by hand", Site.parse("L2.resid_post"))
    tokens = torch.randint(0, 29, (80, 9), generator=generator)
    examples = Examples(
        tokens,
        answer=torch.zeros(80, dtype=torch.int64),
        wrong=torch.ones(80, dtype=torch.int64),
        answer_at=torch.full((80,), 8),
    )
    choose, judged = examples.split(0.5, seed=0)
    at = torch.zeros((len(choose), 9), dtype=torch.bool)
    at[:, 8] = True
    statistics = latent_statistics(model, choose, dictionary, at=at)
    # Removed for good: a mean would leave what the answer gains from them.
    import dataclasses

    statistics = dataclasses.replace(statistics, mean=torch.zeros(D_SAE))
    attribution = attribute_latents(model, choose, logit_difference, dictionary, at=at, steps=0)
    return model, dictionary, choose, judged, at, statistics, attribution


def weighed(setting, latents):
    model, dictionary, _, judged, _, statistics, attribution = setting
    return weigh_latents(
        model,
        judged,
        logit_difference,
        dictionary,
        latents,
        attribution=attribution,
        statistics=statistics,
        n_controls=59,
        seed=0,
    )


def test_the_loud_latents_are_found_and_depended_on(setting):
    model, dictionary, choose, _, at, statistics, attribution = setting
    ranked = rank_latents(
        model,
        choose,
        logit_difference,
        dictionary,
        attribution=attribution,
        statistics=statistics,
        at=at,
        shortlist=10,
    )
    assert {latent for latent, _ in ranked[:2]} == set(LOUD)
    row, alone = weighed(setting, LOUD)
    assert row.verdict == "load-bearing", row
    assert row.has_signature
    # Nothing between them: together they do what they do alone.
    assert float(alone.sum()) == pytest.approx(row.effect, rel=1e-4)


def test_others_are_not(setting):
    quiet = [i for i in range(D_SAE) if i not in LOUD]
    statistics = setting[5]
    busy = sorted(quiet, key=lambda i: -float(statistics.rate[i]))
    verdicts = [weighed(setting, busy[i : i + 2])[0].verdict for i in range(0, 20, 2)]
    assert verdicts.count("load-bearing") <= 1


def test_an_attribution_of_something_else_is_refused(setting):
    import dataclasses

    other = dataclasses.replace(setting[6], metric="loss")
    with pytest.raises(SaeError, match="the attribution is of loss"):
        weighed((*setting[:6], other), LOUD)
