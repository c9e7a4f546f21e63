"""Copying scores against their definitions computed in full."""

from __future__ import annotations

import copy
import functools
from typing import Any

import pytest
import torch

from interp.heads import HeadsError, copying_scores, ov_eigenvalue_scores, ov_top1_scores
from interp.heads.weights import reading_unembedding, reading_weights
from interp.hooks import Site, session
from interp.models import Examples, Model, ModelSpec, load_model

VOCAB = 30


@functools.cache
def tiny(architecture: str) -> Model:
    generator = torch.Generator().manual_seed(0)
    model: Any
    if architecture == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        sizes = {"vocab_size": VOCAB, "n_embd": 24, "n_layer": 2, "n_head": 4, "n_positions": 32}
        model = GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0))
    else:
        from transformers import GemmaConfig, GemmaForCausalLM, LlamaConfig, LlamaForCausalLM

        config, kind = {
            "llama": (LlamaConfig, LlamaForCausalLM),
            "gemma": (GemmaConfig, GemmaForCausalLM),
        }[architecture]
        model = kind(
            config(
                vocab_size=VOCAB,
                hidden_size=24,
                intermediate_size=32,
                num_hidden_layers=2,
                num_attention_heads=4,
                num_key_value_heads=2,
                head_dim=6,
                max_position_embeddings=32,
                bos_token_id=0,
                eos_token_id=0,
                pad_token_id=0,
            )
        )
    with torch.no_grad():
        for parameter in model.parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            parameter.copy_(noise * 0.4 if parameter.ndim > 1 else parameter + 0.4 * noise)
    return load_model(architecture, hf_model=model)


def examples(n: int = 3, length: int = 12) -> Examples:
    generator = torch.Generator().manual_seed(5)
    tokens = torch.randint(1, VOCAB, (n, length), generator=generator)
    mask = torch.ones_like(tokens, dtype=torch.bool)
    mask[1, -3:] = False
    scored = mask.clone()
    scored[:, :4] = False
    scored[:, -1] = False
    scored[1, -4] = False
    return Examples(tokens=tokens, mask=mask, scored=scored, name="random")


@pytest.mark.parametrize("architecture", ["gpt2", "llama", "gemma"])
def test_folded_weights_read_the_stream_as_the_model_does(architecture: str) -> None:
    """Queries and logits from the raw residual stream, up to the norm's length and its bias."""
    model, rows = tiny(architecture), examples()
    with session(model, capture=["L1.resid_pre", "L1.q", "L1.resid_post", "logits"]) as s:
        s.run(rows.tokens)
    for site, out, weights in (
        ("L1.resid_pre", s["L1.q"].flatten(2), reading_weights(model, 1).W_Q),
        ("L1.resid_post", s["logits"], reading_unembedding(model)[None]),
    ):
        x = s[site]
        flat = weights.transpose(0, 1).flatten(1)
        if architecture == "gpt2":
            length = x.var(-1, unbiased=False, keepdim=True) + 1e-5
        else:
            length = x.pow(2).mean(-1, keepdim=True) + 1e-6
        difference = out - (x / length.sqrt()) @ flat
        # What is left is one constant: the bias.
        spread = (difference - difference.mean((0, 1))).abs().max()
        assert float(spread) < 1e-4 * max(1.0, float(out.abs().max()))


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_copying_equals_the_definition_over_the_whole_vocabulary(architecture: str) -> None:
    model, rows = tiny(architecture), examples()
    found = copying_scores(model, rows, batch_size=2)
    sites = [Site(layer, kind) for layer in range(2) for kind in ("pattern", "z")]
    with session(model, capture=sites) as s:
        s.run(rows)
    assert rows.scored is not None and rows.mask is not None and found.per_example is not None
    for layer in range(2):
        W_O = reading_weights(model, layer).W_O
        for i in range(len(rows)):
            sample = set(rows.tokens[i][rows.mask[i]].tolist())
            for head in range(4):
                values = []
                for q in rows.scored[i].nonzero()[:, 0].tolist():
                    logits = s[Site(layer, "z")][i, q, head] @ W_O[head]
                    logits = logits @ reading_unembedding(model)
                    rise = (logits - logits.mean()).clamp(min=0)
                    weight = dict.fromkeys(sample, 0.0)
                    for k in range(q + 1):
                        at = float(s[Site(layer, "pattern")][i, head, q, k])
                        weight[int(rows.tokens[i, k])] += at
                    a = float(rise[max(weight, key=lambda t: weight[t])])
                    total = sum(float(rise[t]) for t in sample)
                    values.append(4 * a / (a + total) - 1 if total > 0 else -1.0)
                expected = sum(values) / len(values)
                assert float(found.per_example[i, layer, head]) == pytest.approx(expected, abs=1e-4)
    different = [len(set(t[m].tolist())) for t, m in zip(rows.tokens, rows.mask, strict=True)]
    assert found.null == pytest.approx(sum(4 / (d + 1) - 1 for d in different) / len(rows))


def test_copying_does_not_depend_on_batches_or_padding_side() -> None:
    model, rows = tiny("llama"), examples()
    at_once = copying_scores(model, rows).per_example
    torch.testing.assert_close(
        copying_scores(model, rows, batch_size=1).per_example, at_once, atol=1e-5, rtol=0
    )
    assert rows.mask is not None and rows.scored is not None
    order = torch.stack([m.int().argsort(stable=True) for m in rows.mask])  # padding to the left
    moved = Examples(
        tokens=rows.tokens.gather(1, order),
        mask=rows.mask.gather(1, order),
        scored=rows.scored.gather(1, order),
    )
    assert moved.mask is not None and not bool(moved.mask[1, 0])
    torch.testing.assert_close(copying_scores(model, moved).per_example, at_once, atol=1e-4, rtol=0)


@pytest.mark.parametrize("architecture", ["gpt2", "llama"])
def test_ov_scores_equal_those_of_the_whole_matrix(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("interp.heads.copying._BLOCK_ELEMENTS", 7 * VOCAB)  # several row blocks
    model = tiny(architecture)
    eigen, top1 = ov_eigenvalue_scores(model), ov_top1_scores(model)
    some = ov_top1_scores(model, ids=[3, 4, 5])
    for layer in range(2):
        w = reading_weights(model, layer)
        for head in range(4):
            whole = model.W_E @ w.W_V[head] @ w.W_O[head] @ reading_unembedding(model)
            values = torch.linalg.eigvals(whole.double())
            assert eigen.at((layer, head)) == pytest.approx(
                float(values.sum().real / values.abs().sum()), abs=1e-4
            )
            hits = whole.argmax(1) == torch.arange(VOCAB)
            assert top1.at((layer, head)) == pytest.approx(float(hits.float().mean()))
            assert some.at((layer, head)) == pytest.approx(float(hits[3:6].float().mean()))
    assert eigen.null == 0.0 and top1.null == pytest.approx(1 / VOCAB)
    assert float(eigen.values.abs().max()) <= 1


def test_a_head_without_output_copies_nothing() -> None:
    silent = copy.deepcopy(tiny("llama"))
    with torch.no_grad():
        silent.bridge.blocks[0].attn.o.weight.zero_()
    assert copying_scores(silent, examples()).values[0].tolist() == [-1.0] * 4
    assert ov_eigenvalue_scores(silent).values[0].tolist() == [0.0] * 4
    expected = torch.full((4,), 1 / VOCAB, dtype=torch.float64)
    torch.testing.assert_close(ov_top1_scores(silent).values[0], expected)


def test_errors_say_what_to_do() -> None:
    fields = {
        "n_layers": 1,
        "d_model": 8,
        "d_head": 4,
        "n_heads": 2,
        "n_ctx": 16,
        "d_vocab": 12,
        "d_vocab_out": 5,
        "attn_only": True,
    }
    narrow = load_model(ModelSpec("narrow", native=fields))
    for score in (ov_eigenvalue_scores, ov_top1_scores):
        with pytest.raises(HeadsError, match="reads 12 tokens and writes 5"):
            score(narrow)
    with pytest.raises(HeadsError, match="token id 11 has no logit"):
        copying_scores(narrow, Examples(tokens=torch.tensor([[1, 11]])))
    none = Examples(tokens=torch.ones(2, 4, dtype=torch.int64), scored=torch.zeros(2, 4).bool())
    with pytest.raises(HeadsError, match="example 0 of 'examples' scores no position"):
        copying_scores(tiny("llama"), none)
    with pytest.raises(HeadsError, match="ids must be"):
        ov_top1_scores(tiny("llama"), ids=[VOCAB])
