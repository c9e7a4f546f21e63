"""The self-check catches a model that did not load right; the fingerprint tells models apart."""

from __future__ import annotations

import pytest
import torch
from transformer_lens.model_bridge import TransformerBridge

from interp.models import ModelError, load_model
from interp.models.checks import fingerprint, probe_tokens


def boot_then(monkeypatch, spoil):
    """Let the bridge be built as always, then spoil it before anything looks at it."""
    boot = TransformerBridge.boot_transformers

    def spoiled(*args, **kwargs):
        bridge = boot(*args, **kwargs)
        with torch.no_grad():
            spoil(bridge)
        return bridge

    monkeypatch.setattr(TransformerBridge, "boot_transformers", spoiled)


@pytest.mark.parametrize("layer", [0, 2])
def test_a_weight_changed_by_the_bridge_is_caught(hf_name, layer, make_hf, monkeypatch):
    def spoil(bridge):
        bridge.blocks[layer].mlp.out.original_component.weight.view(-1)[7] += 1.0

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match="logits differ from transformers' by"):
        load_model("broken", hf_model=make_hf(hf_name))


def test_nan_is_caught(make_hf, monkeypatch):
    def spoil(bridge):
        bridge.blocks[1].mlp.out.original_component.weight.view(-1)[0] = float("nan")

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match="did not load as it should"):
        load_model("broken", hf_model=make_hf("llama"))


def test_nan_in_the_weights_themselves_is_caught(make_hf):
    theirs = make_hf("llama")
    with torch.no_grad():
        theirs.lm_head.weight[3, 0] = float("nan")
    with pytest.raises(ModelError, match="not finite"):
        load_model("broken", hf_model=theirs)


def test_attention_to_later_positions_is_caught(make_hf, monkeypatch):
    def spoil(bridge):
        point = bridge.hook_dict["blocks.1.attn.hook_pattern"]
        point.add_hook(lambda pattern, hook: pattern.flip(-1))

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match=r"blocks.1.attn.hook_pattern attends to later positions"):
        load_model("broken", hf_model=make_hf("llama"))


def test_attention_that_does_not_sum_to_one_is_caught(make_hf, monkeypatch):
    def spoil(bridge):
        bridge.hook_dict["blocks.2.attn.hook_pattern"].add_hook(lambda p, hook: p * 0.9)

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match=r"blocks.2\S+ has rows that miss one by 0.1"):
        load_model("broken", hf_model=make_hf("neox"))


def test_a_wrong_number_of_heads_is_caught(make_hf, monkeypatch):
    def spoil(bridge):
        bridge.cfg.n_heads = 8

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match="has 4 heads, not 8"):
        load_model("broken", hf_model=make_hf("llama"))


def test_too_many_positions_are_caught(make_hf, monkeypatch):
    def spoil(bridge):
        bridge.cfg.n_ctx = 1024

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match="claims 1024 positions, the model has 24"):
        load_model("broken", hf_model=make_hf("gpt2"))


def test_key_value_heads_must_divide(make_hf, monkeypatch):
    def spoil(bridge):
        bridge.cfg.n_key_value_heads = 3

    boot_then(monkeypatch, spoil)
    with pytest.raises(ModelError, match="4 heads do not divide among 3 key/value heads"):
        load_model("broken", hf_model=make_hf("llama"))


def test_a_model_that_is_not_causal_is_refused():
    import transformers

    config = transformers.BertConfig(
        vocab_size=29,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=20,
        max_position_embeddings=24,
    )
    with pytest.raises(ModelError, match="attends to later positions"):
        load_model("bert", hf_model=transformers.BertLMHeadModel(config))


def test_what_was_measured_is_kept(model):
    assert model.checks["layers_with_patterns"] == 3
    assert model.checks["pattern_sum_error"] < 1e-5
    assert model.checks["left_padding_agrees"] == 1
    if model.tokenizer is None and hasattr(model.bridge.original_model, "config"):
        assert model.checks["logit_difference"] < 1e-4 < model.checks["logit_scale"]


def test_the_self_check_leaves_no_hook(model):
    assert not any(point.fwd_hooks or point.ctx for point in model.bridge.hook_dict.values())
    assert not any(point._forward_hooks for point in model.bridge.hook_dict.values())


def test_probe_tokens_fit():
    assert probe_tokens(3, 1024).shape == (2, 16)
    assert probe_tokens(3, 5).shape == (2, 5)
    assert int(probe_tokens(3, 1024).max()) == 2


def test_a_context_of_one_position_loads():
    from interp.models import ModelSpec

    fields = {"n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "n_ctx": 1, "d_vocab": 5}
    assert load_model(ModelSpec("one", native=fields | {"act_fn": "relu"})).n_ctx == 1


# -- fingerprints -------------------------------------------------------------------------------


def test_one_weight_makes_another_model(hf_name, make_hf, load_tiny):
    theirs = make_hf(hf_name)
    assert load_model("x", hf_model=theirs).fingerprint == load_tiny(hf_name).fingerprint
    with torch.no_grad():
        next(theirs.parameters()).view(-1)[3] += 1e-3
    assert load_model("x", hf_model=theirs).fingerprint != load_tiny(hf_name).fingerprint


def test_precision_makes_another_model(make_hf, load_tiny):
    half = load_model("x", hf_model=make_hf("gpt2"), dtype="bfloat16")
    assert half.fingerprint != load_tiny("gpt2").fingerprint


def test_what_is_computed_counts_and_where_it_lies_does_not(make_hf, load_tiny):
    theirs = make_hf("llama")
    theirs.config.pad_token_id = 3
    theirs.config.output_hidden_states = True
    theirs.config._name_or_path = "elsewhere"
    assert load_model("x", hf_model=theirs).fingerprint == load_tiny("llama").fingerprint
    theirs.config.rms_norm_eps = 1e-3
    assert load_model("x", hf_model=theirs).fingerprint != load_tiny("llama").fingerprint


def test_names_shapes_and_order():
    a, b = torch.arange(6.0), torch.zeros(2)
    whole = fingerprint({"k": 1}, [("a", a), ("b", b)])
    assert whole == fingerprint({"k": 1}, [("b", b), ("a", a)])
    assert whole != fingerprint({"k": 2}, [("a", a), ("b", b)])
    assert whole != fingerprint({"k": 1}, [("c", a), ("b", b)])
    assert whole != fingerprint({"k": 1}, [("a", a.reshape(2, 3)), ("b", b)])
    assert whole != fingerprint({"k": 1}, [("a", a.to(torch.float64)), ("b", b)])
    assert len(fingerprint({}, [("h", a.to(torch.bfloat16))])) == 64
