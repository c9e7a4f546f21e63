"""Attribution to latents: equal to exact edits where the metric is linear, and close where not."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import Metric, accuracy, logit_difference, loss
from interp.hooks import Site
from interp.models import Examples, ModelSpec, load_model
from interp.sae.attribution import attribute_latents
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.edits import set_latents, zero_latents
from interp.sae.splice_sweep import sweep_changes
from interp.sae.splicing import splice

D_SAE = 12


def make(d_in, site, seed=0, scale=0.4):
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=D_SAE, device="cpu", dtype="float32"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(scale * torch.randn(parameter.shape, generator=generator))
    return Dictionary(sae, "made", Site.parse(site))


@pytest.fixture
def examples(random_ids, padded):
    tokens, mask = padded(random_ids(5, 12), [12, 7, 9, 4, 12], "right")
    last = mask.sum(1) - 1
    draw = random_ids(2, 5, seed=9)
    return Examples(tokens, mask, answer=draw[0], wrong=(draw[0] + 1) % 29, answer_at=last)


@pytest.fixture
def linear(load_tiny):
    """No norm: past the last block, logits are linear in the residual stream."""
    return load_tiny("native-attn-only")


def exact(model, examples, metric, sae, reference):
    edits = [set_latents([i], reference) for i in range(D_SAE)]
    found = sweep_changes(model, examples, [splice(sae, e) for e in edits], metric)
    return (found.changed[0] - found.clean[0]).mean(1)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_on_a_linear_metric_it_is_exact(linear, examples, steps):
    sae = make(linear.d_model, "L2.resid_post")
    reference = torch.rand(D_SAE)
    found = attribute_latents(
        linear, examples, logit_difference, sae, reference=reference, steps=steps
    )
    wanted = exact(linear, examples, logit_difference, sae, reference)
    torch.testing.assert_close(found.values[0], wanted, atol=1e-5, rtol=1e-4)
    assert float(wanted.abs().max()) > 0.05
    # All together, and the error's own part: what taking it away does.
    everything = sweep_changes(
        linear, examples, [splice(sae, set_latents(range(D_SAE), reference))], logit_difference
    )
    together = float((everything.changed[0] - everything.clean[0]).mean())
    assert float(found.values.sum()) == pytest.approx(together, abs=1e-4)
    gone = sweep_changes(linear, examples, [splice(sae, keep_error=False)], logit_difference)
    assert float(found.error[0]) == pytest.approx(
        float((gone.changed[0] - gone.clean[0]).mean()), abs=1e-4
    )


def test_integrated_steps_add_up_where_nothing_is_linear(gpt2, examples):
    sae = make(gpt2.d_model, "L0.resid_post", scale=0.2)
    edits = [splice(sae, zero_latents(range(D_SAE)))]
    swept = sweep_changes(gpt2, examples, edits, loss)
    together = float((swept.changed[0] - swept.clean[0]).mean())
    errors = []
    for steps in (1, 10, 40):
        found = attribute_latents(gpt2, examples, loss, sae, steps=steps)
        errors.append(abs(float(found.values.sum()) - together))
    assert errors[2] < 0.02 * abs(together)
    assert errors[2] < errors[0]


def test_the_gradient_where_the_model_is_foretells_latents_alone(gpt2, examples):
    from scipy.stats import pearsonr

    sae = make(gpt2.d_model, "L0.resid_post", scale=0.3)
    wanted = exact(gpt2, examples, loss, sae, torch.zeros(D_SAE))
    found = attribute_latents(gpt2, examples, loss, sae, steps=0)
    assert pearsonr(found.values[0], wanted).statistic > 0.8


def test_weights_make_any_sum_over_examples(gpt2, examples):
    sae = make(gpt2.d_model, "L1.resid_post")
    weights = torch.tensor([[1.0, -1.0, 0.5, 0.0, 2.0], [0.2] * 5])
    both = attribute_latents(gpt2, examples, logit_difference, sae, weights=weights, batch_size=2)
    plain = attribute_latents(gpt2, examples, logit_difference, sae)
    torch.testing.assert_close(both.values[1], plain.values[0], atol=1e-6, rtol=1e-4)
    alone = torch.stack(
        [
            attribute_latents(gpt2, examples.select([i]), logit_difference, sae).values[0]
            for i in range(5)
        ]
    )
    torch.testing.assert_close(both.values[0], weights[0].double() @ alone, atol=1e-5, rtol=1e-3)


def test_tokens_that_are_not_chosen_and_padding_count_for_nothing(linear, examples, padded):
    sae = make(linear.d_model, "L2.resid_post")
    # Logits at one position depend on that position alone here.
    at = torch.zeros_like(examples.mask)
    at[torch.arange(5), examples.answer_at] = True
    here = attribute_latents(linear, examples, logit_difference, sae, at=at)
    everywhere = attribute_latents(linear, examples, logit_difference, sae)
    torch.testing.assert_close(here.values, everywhere.values, atol=1e-6, rtol=1e-4)
    elsewhere = attribute_latents(linear, examples, logit_difference, sae, at=examples.mask & ~at)
    assert float(elsewhere.values.abs().max()) == 0
    assert float(elsewhere.error.abs().max()) == 0
    with pytest.raises(SaeError, match="reaches into the padding"):
        attribute_latents(
            linear, examples, logit_difference, sae, at=torch.ones_like(examples.mask)
        )


def test_a_latent_that_writes_nothing_read_gets_nothing(linear, examples):
    sae = make(linear.d_model, "L2.resid_post")
    with torch.no_grad():
        sae.sae.W_dec[3] = 0.0
    found = attribute_latents(linear, examples, logit_difference, sae)
    assert float(found.values[0, 3].abs()) == 0
    assert float(found.values.abs().max()) > 0
    assert 3 not in [latent for latent, _ in found.top(3)]
    lowest = found.top(2, sign=-1)
    assert lowest[0][1] == pytest.approx(float(found.values[0].min()))
    table = found.table()
    assert len(table) == D_SAE + 1
    assert table["latent"].isna().sum() == 1


def test_bad_input_is_refused(gpt2, examples):
    sae = make(gpt2.d_model, "L1.resid_post")
    with pytest.raises(SaeError, match="no gradient"):
        attribute_latents(gpt2, examples, accuracy, sae)
    with pytest.raises(SaeError, match="one value a latent"):
        attribute_latents(gpt2, examples, loss, sae, reference=torch.zeros(3))
    with pytest.raises(SaeError, match="weights must be"):
        attribute_latents(gpt2, examples, loss, sae, weights=torch.ones(5))
    with pytest.raises(SaeError, match="expected 0, or"):
        attribute_latents(gpt2, examples, loss, sae, steps=-1)
    broken = Metric(
        "broken", "x", True, lambda logits, e: (logits[:, 0, 0] - logits[:, 0, 0]).sqrt()
    )
    with pytest.raises(SaeError, match="not finite"):
        attribute_latents(gpt2, examples, broken, sae)


def test_a_model_from_scratch_needs_no_fingerprint():
    spec = ModelSpec(
        "one-block",
        native={
            "n_layers": 1,
            "d_model": 8,
            "d_head": 4,
            "n_heads": 2,
            "n_ctx": 8,
            "d_vocab": 11,
            "attn_only": True,
            "act_fn": "relu",
            "normalization_type": None,
            "positional_embedding_type": "standard",
        },
    )
    model = load_model(spec)
    tokens = torch.arange(8)[None].repeat(2, 1)
    found = attribute_latents(model, Examples(tokens), loss, make(8, "L0.resid_pre"))
    assert found.values.shape == (1, D_SAE)
