"""Per-head weights act as the model does, on every architecture."""

from __future__ import annotations

import pytest
import torch

from interp.hooks import session
from interp.models import ModelError


def raw_attention_output(model, layer, ids):
    """What leaves W_O, before any norm that stands between it and the stream."""
    seen = []
    point = model.bridge.blocks[layer].attn.hook_out
    point.add_hook(lambda tensor, hook: seen.append(tensor.clone()))
    try:
        model.logits(ids)
    finally:
        point.remove_hooks()
    return seen[0]


def bias(model, layer, name):
    found = getattr(model.bridge.blocks[layer].attn, name, None)
    return 0.0 if found is None else found.detach()


@pytest.mark.parametrize("layer", [0, 2])
def test_heads_add_up_to_the_attention_output(model, layer, random_ids):
    ids = random_ids(3, 7)
    weights = model.head_weights(layer)
    with session(model, capture=[f"L{layer}.z"]) as s:
        s.run(ids)
        per_head = torch.einsum("bphd,hdm->bphm", s[f"L{layer}.z"], weights.W_O)
    expected = raw_attention_output(model, layer, ids)
    torch.testing.assert_close(
        per_head.sum(2) + bias(model, layer, "b_O"), expected, atol=2e-5, rtol=1e-5
    )


@pytest.mark.parametrize("kind", ["q", "k", "v"])
def test_queries_keys_and_values(model, kind, random_ids):
    ids = random_ids(3, 7)
    weight = getattr(model.head_weights(1), f"W_{kind.upper()}")
    assert weight.shape == (4, model.d_model, model.d_head)
    seen = []
    point = model.bridge.blocks[1].attn.hook_in
    point.add_hook(lambda tensor, hook: seen.append(tensor.clone()))
    try:
        with session(model, capture=[f"L1.{kind}"]) as s:
            s.run(ids)
            found = s[f"L1.{kind}"]
    finally:
        point.remove_hooks()
    # Query head h reads key/value head h // (query heads / key/value heads).
    group = 4 // found.shape[2]
    made = torch.einsum("bpm,hmd->bphd", seen[0], weight)[:, :, ::group]
    made = made + bias(model, 1, f"b_{kind.upper()}")
    torch.testing.assert_close(made, found, atol=1e-5, rtol=1e-5)


def normalised(model, x):
    """A norm without its gain and shift."""
    kind = model.bridge.cfg.normalization_type
    if kind is None:
        return x
    if kind == "LN":
        x = x - x.mean(-1, keepdim=True)
    return x / (x.pow(2).mean(-1, keepdim=True) + model.bridge.cfg.eps).sqrt()


def test_folded_norms_carry_the_gain(model, random_ids):
    """With the gain in the weights, plain normalised activations give the model's values.

    Gemma's gain is one plus its stored weight: taking the weight alone fails here.
    """
    ids = random_ids(3, 7)
    weights = model.head_weights(1, fold_norms=True)
    with session(model, capture=["L1.resid_pre", "L1.v"]) as s:
        s.run(ids)
        before, found = s["L1.resid_pre"], s["L1.v"]
    group = 4 // found.shape[2]
    made = torch.einsum("bpm,hmd->bphd", normalised(model, before), weights.W_V)[:, :, ::group]
    # What is left is a constant: the norm's shift and the value's own bias.
    left = (found - made).flatten(0, 1)
    torch.testing.assert_close(left, left[:1].expand_as(left), atol=2e-5, rtol=1e-4)
    assert made.std() > 0.1


def test_folded_unembedding_carries_the_gain(model, random_ids):
    ids = random_ids(3, 7)
    last = model.n_layers - 1
    with session(model, capture=[f"L{last}.resid_post", "logits"]) as s:
        s.run(ids)
        before, found = s[f"L{last}.resid_post"], s["logits"]
    made = normalised(model, before) @ model.folded_unembedding()
    left = (found - made).flatten(0, 1)
    torch.testing.assert_close(left, left[:1].expand_as(left), atol=5e-5, rtol=1e-4)


def test_shapes_and_detachment(model):
    assert model.W_E.shape == (29, model.d_model)
    assert model.W_U.shape == (model.d_model, 29)
    weights = model.head_weights(0)
    assert weights.W_O.shape == (4, model.d_head, model.d_model)
    assert not any(w.requires_grad for w in (*weights, model.W_E, model.W_U))


@pytest.mark.parametrize("layer", [-1, 3])
def test_no_such_layer(model, layer):
    with pytest.raises(ModelError, match=rf"no layer {layer}; .* has layers 0…2"):
        model.head_weights(layer)


def test_a_model_without_attention_loads_and_has_no_heads(random_ids):
    import transformers

    from interp.hooks import SiteError
    from interp.models import load_model

    config = transformers.MambaConfig(
        vocab_size=29, hidden_size=16, num_hidden_layers=2, state_size=4
    )
    model = load_model("mamba", hf_model=transformers.MambaForCausalLM(config))
    assert model.checks["layers_with_patterns"] == 0
    with pytest.raises(ModelError, match="keeps no per-head W_Q"):
        model.head_weights(0)
    with pytest.raises(SiteError, match="has no pattern"), session(model, capture="L0.pattern"):
        pass
    with session(model, capture="L1.resid_post") as s:
        s.run(random_ids(2, 5))
        assert s["L1.resid_post"].shape == (2, 5, 16)
