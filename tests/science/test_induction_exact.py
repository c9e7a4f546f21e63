"""The hand-built models compute what their closed form says, forward pass by forward pass.

Ablation is done twice, once by zeroing a head's columns of the output matrix in TransformerLens's
own NativeModel (no hook involved), once through the bridge that everything else uses.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import math
from typing import Any

import pytest
import torch
from torch.nn import functional as F
from transformer_lens.config import TransformerBridgeConfig
from transformer_lens.model_bridge.sources.native import NativeModel

from interp.models import load_model
from interp.models.examples import Examples
from interp.zoo.cards import WEIGHTS, read_card
from interp.zoo.induction_exact import (
    BOS,
    DecoyConfig,
    ExactConfig,
    build,
    closed_form,
    native_config,
    place_margin,
    state_dict,
)
from interp.zoo.tasks import repeated_tokens

CONFIGS = [ExactConfig(), DecoyConfig()]
SHAPES = [(25, 2), (25, 4), (3, 2), (12, 5)]
everywhere = pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.name)
shapes = pytest.mark.parametrize(("length", "repeats"), SHAPES)


@functools.cache
def native(config: ExactConfig) -> NativeModel:
    fields = {k: v for k, v in native_config(config).items() if k != "bos_token_id"}
    model = NativeModel(TransformerBridgeConfig(**fields))
    model.load_state_dict(state_dict(config), strict=True)
    return model.eval()


def task(config: ExactConfig, length: int = 25, repeats: int = 2, n: int = 4) -> Examples:
    generator = torch.Generator().manual_seed(11)
    return repeated_tokens(
        config.n_vocab, n=n, length=length, repeats=repeats, bos_id=BOS, generator=generator
    )


@torch.no_grad()
def patterns(model: NativeModel, tokens: torch.Tensor) -> list[torch.Tensor]:
    """Attention of each layer, [batch, head, query, key]."""
    x, found = model.tok_embed(tokens) + model.pos(torch.arange(tokens.shape[1])), []
    for block in model.layers:
        found.append(block.attn(block.ln1(x))[1])
        (x,) = block(x)
    return found


@torch.no_grad()
def logits(model: NativeModel, tokens: torch.Tensor, zeroed: tuple[int, int] | None = None) -> Any:
    if zeroed is None:
        return model(tokens)
    layer, head = zeroed
    o = model.layers[layer].attn.o.weight
    columns = slice(head * model.cfg.d_head, (head + 1) * model.cfg.d_head)
    kept = o[:, columns].clone()
    o[:, columns] = 0.0
    try:
        return model(tokens)
    finally:
        o[:, columns] = kept


def nll(output: torch.Tensor, examples: Examples) -> float:
    loss = F.cross_entropy(output[:, :-1].mT, examples.tokens[:, 1:], reduction="none")
    return float(loss[examples.scored[:, :-1]].double().mean())


def induction_scores(pattern: torch.Tensor, examples: Examples) -> torch.Tensor:
    """Per head: attention from scored queries to what followed earlier occurrences, by identity."""
    tokens = examples.tokens
    width = tokens.shape[1]
    same = tokens[:, :, None] == tokens[:, None, :]  # [batch, query, p]
    target = torch.zeros_like(same)
    target[:, :, 1:] = same[:, :, :-1]  # key p + 1 where p holds the query's token
    target &= torch.ones(width, width).tril().bool()
    summed = (pattern * target[:, None]).sum(-1)  # [batch, head, query]
    return summed.mT[examples.scored].double().mean(0)


@everywhere
@shapes
def test_patterns_are_as_in_the_closed_form(config, length, repeats) -> None:
    model, examples = native(config), task(config, length, repeats)
    answers = closed_form(config, length=length, repeats=repeats)
    for layer, pattern in enumerate(patterns(model, examples.tokens)):
        induction = induction_scores(pattern, examples)
        previous = pattern.diagonal(offset=-1, dim1=2, dim2=3).double().mean(dim=(0, 2))
        for measured, expected in (
            (induction, answers["scores"]["induction"]),
            (previous, answers["scores"]["previous-token"]),
        ):
            for head in range(config.n_heads):
                value = expected.get(f"L{layer}H{head}", expected["uniform"])
                assert float(measured[head]) == pytest.approx(value, abs=1e-6)


@everywhere
def test_attention_is_all_or_nothing_or_uniform(config) -> None:
    model, examples = native(config), task(config)
    first, second = patterns(model, examples.tokens)
    width = examples.tokens.shape[1]
    uniform = torch.ones(width, width).tril()
    uniform /= uniform.sum(1, keepdim=True)
    special = {(0, config.previous_head), (1, config.induction_head)}
    if config.decoy_head is not None:
        special.add((1, config.decoy_head))
    for layer, pattern in enumerate((first, second)):
        for head in range(config.n_heads):
            if (layer, head) not in special:
                assert torch.allclose(
                    pattern[:, head], uniform.expand(4, -1, -1), atol=1e-7, rtol=0
                )
    previous = first[:, config.previous_head].diagonal(offset=-1, dim1=1, dim2=2)
    assert float((1 - previous).max()) < 1e-6
    # Before anything repeats the induction head rests on BOS.
    assert float((1 - second[:, config.induction_head, :26, 0]).max()) < 1e-6


def test_previous_token_head_is_exact_over_the_whole_context() -> None:
    config = ExactConfig()
    assert place_margin(config) > 30
    tokens = torch.full((1, config.n_ctx), 5)
    tokens[:, 0] = BOS
    first, _ = patterns(native(config), tokens)
    assert float((1 - first[0, config.previous_head].diagonal(offset=-1)).max()) < 1e-6


@everywhere
@pytest.mark.parametrize(("length", "repeats"), [(25, 2), (9, 3)])
def test_loss_clean_and_ablated(config, length, repeats) -> None:
    model, examples = native(config), task(config, length, repeats)
    answers = closed_form(config, length=length, repeats=repeats)
    clean = logits(model, examples.tokens)
    assert nll(clean, examples) == pytest.approx(answers["clean_nll"], abs=1e-4)
    at = examples.scored[:, :-1]
    right = examples.tokens[:, 1:][at]
    assert torch.equal(clean[:, :-1][at].argmax(-1), right)
    assert torch.allclose(clean[:, :-1][at].gather(1, right[:, None]), torch.tensor(config.beta))
    # Where nothing is determined the model knows nothing: all logits zero.
    assert float(clean[:, : length + 1].abs().max()) < 1e-4

    for layer in range(2):
        for head in range(config.n_heads):
            label = f"L{layer}H{head}"
            ablated = logits(model, examples.tokens, (layer, head))
            expected = answers["ablated_nll"].get(label, answers["ablated_nll"]["uniform"])
            assert nll(ablated, examples) == pytest.approx(expected, abs=1e-4)
            if label not in answers["load_bearing"]:
                assert torch.equal(ablated, clean), f"{label} changes a logit"
    assert torch.equal(logits(model, examples.tokens), clean)


def test_decoy_is_the_real_heads_twin_in_all_but_effect() -> None:
    config = DecoyConfig()
    real, decoy = config.induction_head, config.decoy_head
    examples = task(config)
    model = native(config)
    pattern = patterns(model, examples.tokens)[1]
    assert torch.equal(pattern[:, real], pattern[:, decoy])
    answers = closed_form(config)
    assert answers["scores"]["induction"][f"L1H{decoy}"] == 1.0
    assert answers["effect"][f"L1H{decoy}"] == 0.0
    assert answers["effect"][f"L1H{real}"] == pytest.approx(math.log(config.n_vocab), abs=1e-6)
    # Same norm of output at every position.
    bridge = load_model("zoo:induction-decoy").bridge
    z = {}
    bridge.run_with_hooks(
        examples.tokens,
        fwd_hooks=[("blocks.1.attn.hook_z", lambda x, hook: z.update(z=x.detach()))],
    )
    w_o = state_dict(config)["layers.1.attn.o.weight"].T.unflatten(0, (config.n_heads, -1))
    norms = torch.einsum("bphd,hdm->bphm", z["z"], w_o).norm(dim=-1)
    assert torch.allclose(norms[:, :, real], norms[:, :, decoy], atol=1e-4)
    assert float(norms[:, :, real][examples.scored].mean()) == pytest.approx(config.beta, abs=1e-3)
    # The others write something too, of like size: a control matched by norm can be found.
    others = [h for h in range(config.n_heads) if h not in (real, decoy)]
    mean = norms.mean(dim=(0, 1))
    assert float(mean[others].min()) < float(mean[real]) < float(mean[others].max())


@everywhere
def test_bundled_model_through_the_bridge(config) -> None:
    model = load_model(f"zoo:{config.name}")
    assert model.bos_id == BOS
    assert read_card(WEIGHTS / config.name).fingerprint == model.fingerprint
    assert (model.n_layers, model.n_heads, model.d_vocab) == (2, config.n_heads, config.n_vocab)
    examples = task(config)
    clean = model.logits(examples.tokens)
    assert torch.allclose(clean, logits(native(config), examples.tokens), atol=1e-4)
    answers = closed_form(config.name)
    assert nll(clean, examples) == pytest.approx(answers["clean_nll"], abs=1e-4)
    for role, (layer, head) in answers["indices"].items():

        def zero(z: torch.Tensor, hook: Any, head: int = head) -> torch.Tensor:
            z[:, :, head] = 0.0
            return z

        with torch.no_grad():
            ablated = model.bridge.run_with_hooks(
                examples.tokens, fwd_hooks=[(f"blocks.{layer}.attn.hook_z", zero)]
            )
        expected = answers["ablated_nll"][answers["heads"][role]]
        assert nll(ablated, examples) == pytest.approx(expected, abs=1e-4)


@everywhere
def test_left_padding_behind_a_mask_changes_nothing(config) -> None:
    model, examples = native(config), task(config, n=2)
    padded = F.pad(examples.tokens, (9, 0), value=4)
    mask = torch.ones_like(padded)
    mask[:, :9] = 0
    with torch.no_grad():
        output = model(padded, attention_mask=mask)[:, 9:]
    assert torch.allclose(output, logits(model, examples.tokens), atol=1e-4)


@everywhere
def test_rebuilding_gives_the_bundled_bytes(config, tmp_path) -> None:
    bundled = WEIGHTS / config.name
    card = build(config, tmp_path / "new")
    for name in ("native.json", "model.safetensors"):
        assert (tmp_path / "new" / name).read_bytes() == (bundled / name).read_bytes()
        assert (bundled / name).stat().st_size < 2_000_000
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "card.json",
        "model.safetensors",
        "native.json",
    ]
    # The bundled card is stamped with a fingerprint afterwards; nothing else may differ.
    new = read_card(tmp_path / "new")
    assert json.loads(json.dumps(card)) == json.loads((tmp_path / "new/card.json").read_text())
    assert dataclasses.replace(read_card(bundled), fingerprint=None) == new


def test_a_larger_vocabulary_can_be_built_in_memory() -> None:
    config = ExactConfig(n_vocab=64, beta=5.0, induction_head=0, previous_head=19)
    examples, answers = task(config, length=50), closed_form(config, length=50)
    model = native(config)
    assert nll(logits(model, examples.tokens), examples) == pytest.approx(
        answers["clean_nll"], abs=1e-4
    )
    assert answers["clean_nll"] == pytest.approx(math.log(1 + 63 * math.exp(-5)))
    ablated = logits(model, examples.tokens, (1, 0))
    assert nll(ablated, examples) == pytest.approx(math.log(64), abs=1e-4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"n_vocab": 2}, "n_vocab=2"),
        ({"decoy_head": 7}, "both 7"),
        ({"induction_head": 20}, "must lie in"),
        ({"match": 5.0}, "match=5.0"),
        ({"n_ctx": 4096}, "nats apart"),
    ],
)
def test_impossible_models_are_refused(arguments, message) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        ExactConfig(**arguments)
    assert "\n" not in str(caught.value)


def test_closed_form_refuses_what_it_has_no_answer_for() -> None:
    with pytest.raises(ValueError, match="length=28"):
        closed_form("induction-exact", length=28)
    with pytest.raises(ValueError, match="no hand-built model"):
        closed_form("induction-approximate")
    assert closed_form("zoo:induction-exact") == closed_form(ExactConfig())
