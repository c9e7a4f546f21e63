"""SAEs from folders and by release name; what does not fit is refused; encode and decode."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import pytest
import torch

from interp.models import Examples
from interp.sae import SaeError, SaeSettings, load_sae, train_sae
from interp.sae.load import site_of

SMALL = SaeSettings(arch="topk", d_sae=24, k=3, samples=1200, batch=60, buffer=500, lr=3e-3)


@pytest.fixture(scope="module")
def tiny(load_tiny):
    return load_tiny("native")


@pytest.fixture(scope="module")
def folder(tiny, random_ids, tmp_path_factory):
    out = tmp_path_factory.mktemp("saes") / "mine"
    examples = Examples(tokens=random_ids(40, 20))
    return train_sae(tiny, examples, "L1.resid_post", out=out, settings=SMALL).folder


def test_a_folder_loads_with_its_site_and_fingerprint(folder, tiny):
    sae = load_sae(folder, model=tiny)
    assert (sae.d_in, sae.d_sae, sae.name) == (16, 24, "mine")
    assert str(sae.site) == "L1.resid_post"
    assert sae.fingerprint == tiny.fingerprint
    assert sae.architecture == sae.trained_as == "topk"
    assert "16 → 24" in repr(sae)


def test_decoding_is_the_decoder_and_its_bias(folder):
    sae = load_sae(folder)
    z = torch.rand(2, 3, 24)
    assert torch.allclose(sae.decode(z), z @ sae.decoder + sae.sae.b_dec, atol=1e-5)


@pytest.mark.parametrize("shape", [(16,), (5, 16), (2, 3, 16)])
def test_shapes_and_gradients(shape, folder):
    sae = load_sae(folder)
    x = torch.randn(shape, requires_grad=True)
    z = sae.encode(x)
    assert z.shape == (*shape[:-1], 24)
    assert ((z != 0).sum(-1) <= 3).all()
    back = sae.decode(z)
    assert back.shape == x.shape
    back.square().sum().backward()
    assert x.grad is not None and float(x.grad.abs().sum()) > 0
    assert all(not p.requires_grad for p in sae.sae.parameters())


def test_wrong_widths_are_refused(folder):
    sae = load_sae(folder)
    with pytest.raises(SaeError, match=r"d_in=16\], got \[3, 15\]"):
        sae.encode(torch.zeros(3, 15))
    with pytest.raises(SaeError, match="d_sae=24"):
        sae.decode(torch.zeros(3, 16))


def test_another_model_is_refused(folder, load_tiny):
    with pytest.raises(SaeError, match="trained on another model"):
        load_sae(folder, model=load_tiny("gpt2"))


def test_without_a_fingerprint_the_width_is_compared(folder, load_tiny, tmp_path, caplog):
    shutil.copytree(folder, tmp_path / "theirs")
    config = json.loads((folder / "cfg.json").read_text())
    for ours in ("model_fingerprint", "site"):
        del config["metadata"][ours]
    (tmp_path / "theirs" / "cfg.json").write_text(json.dumps(config))
    found = load_sae(tmp_path / "theirs", model=load_tiny("native"))
    assert str(found.site) == "L1.resid_post"  # from the hook's name
    assert "does not say which weights" in caplog.text
    with pytest.raises(SaeError, match="is 20 wide"):
        load_sae(tmp_path / "theirs", model=load_tiny("gpt2"))


@pytest.mark.parametrize(
    ("metadata", "site"),
    [
        ({"hook_name": "blocks.8.hook_resid_pre"}, "L8.resid_pre"),
        ({"hook_name": "blocks.3.attn.hook_z"}, "L3.z"),
        ({"hook_name": "blocks.3.attn.hook_z", "hook_head_index": 2}, "L3H2"),
        ({"hook_name": "blocks.3.hook_mlp_out"}, "L3.mlp_out"),
        ({"hook_name": "hook_embed"}, "embed"),
        ({"hook_name": "blocks.3.ln2.hook_normalized"}, "None"),
        ({}, "None"),
    ],
)
def test_hooks_are_read_as_sites(metadata, site):
    assert str(site_of(metadata)) == site


def test_a_site_that_contradicts_is_refused(folder):
    with pytest.raises(SaeError, match=r"at L1\.resid_post, not at L0\.resid_post"):
        load_sae(folder, site="L0.resid_post")


def test_what_is_no_sae_is_refused(tmp_path):
    with pytest.raises(SaeError, match="no folder"):
        load_sae(tmp_path / "none")
    with pytest.raises(SaeError, match=r"no cfg\.json"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("[1]")
    with pytest.raises(SaeError, match="one JSON object"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text("{}")
    with pytest.raises(SaeError, match=r"no sae_weights\.safetensors"):
        load_sae(tmp_path)
    (tmp_path / "sae_weights.safetensors").write_bytes(b"x")
    with pytest.raises(SaeError, match="names no architecture"):
        load_sae(tmp_path)
    (tmp_path / "cfg.json").write_text('{"architecture": "topk", "d_in": 2, "d_sae": 4}')
    with pytest.raises(SaeError, match="cannot be loaded by sae-lens"):
        load_sae(tmp_path)


def test_normalisation_that_cannot_be_folded_is_refused(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "ln")
    config = json.loads((folder / "cfg.json").read_text())
    (tmp_path / "ln" / "cfg.json").write_text(
        json.dumps({**config, "normalize_activations": "layer_norm"})
    )
    with pytest.raises(SaeError, match="layer_norm"):
        load_sae(tmp_path / "ln")


def test_releases_without_the_hub_fail_quickly(monkeypatch):
    monkeypatch.setattr("interp.sae.offline.hub_reachable", lambda: False)
    with pytest.raises(SaeError, match="no network to it, and not in the local cache"):
        load_sae("gpt2-small-res-jb", sae_id="blocks.8.hook_resid_pre")
    with pytest.raises(SaeError, match="near: gpt2-small-res-jb"):
        load_sae("gpt2-small-res-jbb", sae_id="blocks.8.hook_resid_pre")
    with pytest.raises(SaeError, match="has no SAE"):
        load_sae("gpt2-small-res-jb", sae_id="blocks.8.hook_resid_prf")


def test_heads_side_by_side(tiny, random_ids, tmp_path):
    examples = Examples(tokens=random_ids(40, 20))
    sae = train_sae(
        tiny, examples, "L1.z", out=tmp_path / "z", settings=replace(SMALL, samples=600)
    ).dictionary
    z = torch.randn(2, 5, tiny.n_heads, tiny.d_head)
    flat = sae.flatten(z)
    assert flat.shape == (2, 5, 24)
    assert torch.equal(sae.unflatten(flat, n_heads=tiny.n_heads), z)
