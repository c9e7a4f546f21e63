"""The evaluation against sae-lens' own, on one model, one SAE and the same rows."""

from __future__ import annotations

import warnings

import pytest
import torch

from interp.hooks import Site
from interp.models import Examples, load_model
from interp.sae import Dictionary, evaluate_sae

ROWS, WIDTH = 16, 32


def half_of_everything(d: int) -> Dictionary:
    """x/2 for half of the dimensions, nothing for the others."""
    from sae_lens import StandardSAE, StandardSAEConfig
    from sae_lens.saes.sae import SAEMetadata

    hook = "blocks.1.hook_resid_post"
    metadata = SAEMetadata(hook_name=hook, context_size=WIDTH, prepend_bos=False)
    config = StandardSAEConfig(d_in=d, d_sae=2 * d, apply_b_dec_to_input=False, metadata=metadata)
    sae, eye = StandardSAE(config), torch.eye(d)
    with torch.no_grad():
        sae.W_enc.copy_(torch.cat([eye, -eye], 1))
        sae.W_dec.copy_(torch.cat([eye, -eye]) / 2 * (torch.arange(d) < d // 2))
        sae.b_enc.zero_()
        sae.b_dec.zero_()
    return Dictionary(sae=sae, name="half", site=Site.parse("L1.resid_post"))


def test_it_agrees_with_sae_lens():
    from datasets import Dataset
    from sae_lens import ActivationsStore
    from sae_lens.evals import get_eval_everything_config, run_evals
    from sae_lens.training.activation_scaler import ActivationScaler

    model = load_model("zoo:code-lm")
    ids = torch.tensor(model.ordinary_ids)
    draw = torch.randint(len(ids), (ROWS, WIDTH), generator=torch.Generator().manual_seed(0))
    rows, sae = Examples(tokens=ids[draw]), half_of_everything(model.d_model)
    ours = evaluate_sae(model, sae, rows, skip_bos=False)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        store = ActivationsStore.from_sae(
            model.bridge,
            sae.sae,
            dataset=Dataset.from_dict({"tokens": rows.tokens.tolist()}),
            streaming=False,
            store_batch_size_prompts=8,
            n_batches_in_buffer=2,
            train_batch_size_tokens=WIDTH,
            context_size=WIDTH,
        )
        config = get_eval_everything_config(
            batch_size_prompts=8,
            n_eval_reconstruction_batches=ROWS // 8,
            n_eval_sparsity_variance_batches=ROWS // 8,
        )
        theirs, _ = run_evals(
            sae.sae,
            store,
            model.bridge,
            ActivationScaler(),
            config,
            exclude_special_tokens=False,
        )
    loss = theirs["model_performance_preservation"]
    assert ours.ce == pytest.approx(loss["ce_loss_without_sae"], rel=1e-4)
    assert ours.ce_spliced == pytest.approx(loss["ce_loss_with_sae"], rel=1e-4)
    assert ours.ce_zero == pytest.approx(loss["ce_loss_with_ablation"], rel=1e-4)
    quality = theirs["reconstruction_quality"]
    assert ours.explained_variance == pytest.approx(quality["explained_variance"], rel=1e-4)
    assert ours.mse == pytest.approx(quality["mse"], rel=1e-4)
    assert ours.cosine == pytest.approx(quality["cossim"], rel=1e-4)
    assert ours.l0 == pytest.approx(theirs["sparsity"]["l0"], rel=1e-4)
