"""The engine against the plain loop: the same numbers on every architecture, set by set."""

from __future__ import annotations

import logging

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from interp.evidence import Metric, accuracy, logit_difference, loss
from interp.heads import AblationError, ablate, sweep
from interp.hooks import SiteError, session
from interp.models import Examples, ModelError, ModelSpec, load_model

KINDS = ["zero", "mean", "mean-by-position", "resample"]
SETS = [[], [(0, 1)], [(2, 3), (1, 0)], [(0, 0), (0, 2), (2, 1)], [(2, 2)], [(1, 1)], [(0, 1)]]
TOKENS = 40  # few enough that everything is cut into several passes


def draw(rows, width, seed):
    return torch.randint(0, 29, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def reference():
    return Examples(draw(5, 12, seed=4))


def scored(width=9):
    where = torch.zeros((6, width), dtype=torch.bool)
    where[:, 3:-1] = True
    where[1, 4:6] = False
    return Examples(draw(6, width, seed=3), scored=where)


def answered():
    return Examples(
        draw(6, 9, seed=3),
        answer=torch.arange(6),
        wrong=torch.arange(6) + 7,
        answer_at=torch.tensor([8, 8, 3, 8, 5, 8]),
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("metric", [loss, logit_difference, accuracy], ids=lambda m: m.name)
def test_equals_the_plain_loop(model, reference, kind, metric):
    examples = answered() if metric is logit_difference else scored()
    options = {"kind": kind, "reference": reference, "seed": 7}
    slow = ablate(model, examples, metric, SETS, **options)
    fast = sweep(model, examples, metric, SETS, **options, tokens_per_forward=TOKENS)
    assert fast.sets == slow.sets and fast.ablated.dtype == slow.ablated.dtype
    torch.testing.assert_close(fast.clean, slow.clean, rtol=0, atol=1e-5)
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)
    assert torch.equal(fast.ablated[0], fast.clean), "the empty set must be the clean run"
    assert torch.equal(fast.effects[0], torch.zeros_like(fast.clean))
    if metric is not accuracy:
        assert float(fast.effects[1:].abs().max()) > 1e-3, "removing heads must matter here"


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("kind", ["zero", "mean"])
def test_with_padding(model, reference, padded, side, kind):
    tokens, mask = padded(draw(4, 9, seed=6), [9, 5, 7, 3], side)
    examples = Examples(tokens, mask)
    options = {"kind": kind, "reference": reference}
    slow = ablate(model, examples, loss, SETS, **options)
    fast = sweep(model, examples, loss, SETS, **options, tokens_per_forward=TOKENS)
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)


def test_in_bfloat16(make_hf, reference):
    # Rounds in other places than the loop: by some 1 % of the logits' own size.
    for name in ("gpt2", "llama", "neox", "gemma2"):
        model = load_model(f"tiny-{name}", hf_model=make_hf(name), dtype="bfloat16")
        assert model.dtype == torch.bfloat16
        scale = float(model.logits(answered().tokens).float().abs().max())
        slow = ablate(model, answered(), logit_difference, SETS, reference=reference)
        fast = sweep(model, answered(), logit_difference, SETS, reference=reference)
        torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=0.03 * scale)


@settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sets=st.lists(st.sets(st.tuples(st.integers(0, 2), st.integers(0, 3))), min_size=1, max_size=6),
    name=st.sampled_from(["gpt2", "llama", "neox", "gemma2", "native", "native-attn-only"]),
    tokens=st.integers(1, 300),
)
def test_any_sets_in_any_batches(load_tiny, sets, name, tokens):
    model = load_tiny(name)
    slow = ablate(model, scored(), loss, sets, kind="zero")
    fast = sweep(model, scored(), loss, sets, kind="zero", tokens_per_forward=tokens)
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)


def test_grouped_query_heads_are_removed_one_by_one(load_tiny):
    model = load_tiny("llama")
    assert model.n_kv_heads < model.n_heads
    found = sweep(model, scored(), loss, [[(1, h)] for h in range(4)], kind="zero")
    assert len({round(float(e), 6) for e in found.effects.mean(1)}) == 4


def test_a_metric_of_ones_own_sees_every_position(model):
    def first(logits, examples):
        assert logits.shape[:2] == examples.tokens.shape
        return logits[:, 0].logsumexp(-1)

    metric = Metric("first", "nats", higher_is_better=True, per_example=first)
    slow = ablate(model, scored(), metric, SETS, kind="zero")
    fast = sweep(model, scored(), metric, SETS, kind="zero")
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)


def test_the_model_is_left_as_it_was(model):
    tokens = scored().tokens
    before = model.logits(tokens)
    modules = {name: set(m.__dict__) for name, m in model.bridge.named_modules()}
    sweep(model, scored(), loss, SETS, kind="zero")
    assert {name: set(m.__dict__) for name, m in model.bridge.named_modules()} == modules
    assert not any(p.fwd_hooks or p._forward_hooks for p in model.bridge.hook_dict.values())
    assert torch.equal(model.logits(tokens), before)


def test_after_an_error_the_model_is_left_as_it_was(gpt2):
    before = gpt2.logits(scored().tokens)
    calls = []

    def broken(logits, examples):
        calls.append(logits.shape)
        if len(calls) > 1:
            raise RuntimeError("broken metric")
        return logits[:, 0, 0]

    metric = Metric("broken", "-", higher_is_better=True, per_example=broken)
    with pytest.raises(RuntimeError, match="broken metric"):
        sweep(gpt2, scored(), metric, SETS, kind="zero")
    assert torch.equal(gpt2.logits(scored().tokens), before)
    assert not any(p._forward_hooks for p in gpt2.bridge.hook_dict.values())


def test_under_someone_elses_hook_the_loop_runs(gpt2, caplog):
    with session(gpt2, watch={"L0.z": lambda z: None}), caplog.at_level(logging.WARNING):
        found = sweep(gpt2, scored(), loss, SETS, kind="zero")
        gpt2.logits(scored().tokens)
    assert "one set at a time: there are hooks on it" in caplog.text
    torch.testing.assert_close(
        found.ablated, ablate(gpt2, scored(), loss, SETS, kind="zero").ablated
    )


def test_where_an_architecture_does_not_fit_the_loop_runs(make_hf, caplog, monkeypatch):
    model = load_model("tiny-gpt2", hf_model=make_hf("gpt2"))
    # An architecture whose last block takes what its first one has left for it.
    first, last = model.bridge.blocks[0], model.bridge.blocks[2]
    run_first, run_last, seen = first.forward, last.forward, []

    def look(*args, **kwargs):
        seen[:] = [args[0]]
        return run_first(*args, **kwargs)

    def use(hidden, *args, **kwargs):
        return run_last(hidden + seen.pop().flip(-1), *args, **kwargs)

    monkeypatch.setitem(first.__dict__, "forward", look)
    monkeypatch.setitem(last.__dict__, "forward", use)
    with caplog.at_level(logging.WARNING):
        found = sweep(model, scored(), loss, SETS, kind="zero")
    assert "one set at a time: pop from empty list" in caplog.text
    assert torch.equal(found.ablated, ablate(model, scored(), loss, SETS, kind="zero").ablated)
    with pytest.raises(AblationError, match="cannot be kept"):
        sweep(model, scored(), loss, SETS, kind="pattern-preserving")


def test_gpt_neo_whose_blocks_return_more(load_tiny):
    import transformers

    config = transformers.GPTNeoConfig(
        vocab_size=29, hidden_size=20, num_layers=2, num_heads=4, window_size=4,
        attention_types=[[["global", "local"], 1]], max_position_embeddings=24,
        bos_token_id=None, eos_token_id=None,
    )  # fmt: skip
    model = load_model("tiny-neo", hf_model=transformers.AutoModelForCausalLM.from_config(config))
    sets = [[(0, 1)], [(0, 0), (1, 2)], [(1, 3)]]
    slow = ablate(model, scored(), loss, sets, kind="zero")
    fast = sweep(model, scored(), loss, sets, kind="zero")
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)


def test_out_of_memory_halves_and_goes_on(gpt2, monkeypatch, caplog):
    import interp.heads.sweeping as inside

    real, sizes = inside.run_suffix, []

    def small(model, prefix, entries, **kwargs):
        sizes.append(sum(len(entry.rows) for entry in entries))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError("out of memory")
        return real(model, prefix, entries, **kwargs)

    whole = sweep(gpt2, scored(), loss, SETS, kind="resample")
    monkeypatch.setattr(inside, "run_suffix", small)
    halved = sweep(gpt2, scored(), loss, SETS, kind="resample")
    assert max(sizes) > 2 and "out of memory at batch size" in caplog.text
    torch.testing.assert_close(halved.ablated, whole.ablated, rtol=0, atol=1e-5)
    monkeypatch.setattr(inside, "run_suffix", lambda *_, **__: (_ for _ in ()).throw(MemoryError()))
    with pytest.raises(ModelError, match="one example alone does not fit"):
        sweep(gpt2, scored(), loss, SETS, kind="zero")


def test_a_memory_limit_makes_passes_smaller_and_changes_nothing(gpt2, monkeypatch):
    import interp.heads.sweeping as inside

    real, sizes = inside.run_suffix, []

    def watched(model, prefix, entries, **kwargs):
        sizes.append(sum(len(entry.rows) for entry in entries))
        return real(model, prefix, entries, **kwargs)

    monkeypatch.setattr(inside, "run_suffix", watched)
    sets = [[(0, h)] for h in range(4)]
    whole = sweep(gpt2, scored(), loss, sets, kind="zero")
    most = max(sizes)
    sizes.clear()
    tight = sweep(gpt2, scored(), loss, sets, kind="zero", memory_mb=0.1)
    assert max(sizes) < most
    torch.testing.assert_close(tight.ablated, whole.ablated, rtol=0, atol=1e-5)
    with pytest.raises(AblationError, match=r"needs about 0 MB .* limit is 1e-06"):
        sweep(gpt2, scored(), loss, sets, kind="zero", memory_mb=1e-6)


def test_refusals_say_what_to_do(gpt2, reference, padded):
    with pytest.raises(AblationError, match="unknown ablation 'median'; expected one of mean"):
        sweep(gpt2, scored(), loss, [[(0, 0)]], kind="median")
    with pytest.raises(AblationError, match="needs reference="):
        sweep(gpt2, scored(), loss, [[(0, 0)]])
    with pytest.raises(SiteError, match="no head 9"):
        sweep(gpt2, scored(), loss, [[(0, 9)]], kind="zero")
    with pytest.raises(AblationError, match="tokens_per_forward is 0"):
        sweep(gpt2, scored(), loss, [[(0, 0)]], kind="zero", tokens_per_forward=0)
    left = Examples(*padded(draw(2, 9, seed=6), [9, 5], "left"))
    with pytest.raises(SiteError, match="without padding on the left"):
        sweep(gpt2, left, loss, [[(0, 0)]], kind="mean-by-position", reference=reference)
    with pytest.raises(AblationError, match="without padding"):
        sweep(gpt2, left, loss, [[(0, 0)]], kind="resample")
    short = Examples(draw(3, 4, seed=1))
    with pytest.raises(AblationError, match="means for 4 positions"):
        sweep(gpt2, scored(), loss, [[(0, 0)]], kind="mean-by-position", reference=short)


def test_a_loaded_spec_of_one_layer():
    native = {
        "n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "n_ctx": 16, "d_vocab": 29,
        "d_mlp": 8, "act_fn": "relu", "normalization_type": "LN",
        "positional_embedding_type": "standard",
    }  # fmt: skip
    model = load_model(ModelSpec("one", native=native))
    sets = [[(0, 0)], [(0, 0), (0, 1)]]
    slow = ablate(model, answered(), logit_difference, sets, kind="zero")
    fast = sweep(model, answered(), logit_difference, sets, kind="zero")
    torch.testing.assert_close(fast.ablated, slow.ablated, rtol=0, atol=1e-5)
