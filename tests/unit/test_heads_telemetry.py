"""One pass, one layer's pattern at a time, and the same numbers however rows are arranged."""

from __future__ import annotations

import functools
import weakref
from typing import Any

import pytest
import torch
from torch import Tensor

from interp.heads import PATTERN_SCORES, HeadsError, NoTargetsError, head_scores, iid_control
from interp.hooks import HookError, Site, SiteError, session
from interp.models import Examples, Model, load_model

VOCAB, BOS = 40, 0
ARCHITECTURES = ("gpt2", "llama", "native")


@functools.cache
def tiny(architecture: str) -> Model:
    """Three layers of random weights, large enough that patterns are far from uniform."""
    generator = torch.Generator().manual_seed(0)
    if architecture == "native":
        fields = {
            "n_layers": 3,
            "d_model": 16,
            "d_head": 8,
            "n_heads": 4,
            "n_ctx": 64,
            "d_vocab": VOCAB,
            "attn_only": True,
            "normalization_type": None,
            "bos_token_id": BOS,
        }
        from interp.models import ModelSpec

        return load_model(ModelSpec("tiny", native=fields))
    if architecture == "gpt2":
        from transformers import GPT2Config, GPT2LMHeadModel

        model: Any = GPT2LMHeadModel(
            GPT2Config(
                vocab_size=VOCAB,
                n_embd=32,
                n_layer=3,
                n_head=4,
                n_positions=64,
                bos_token_id=BOS,
                eos_token_id=BOS,
            )
        )
    else:
        from transformers import LlamaConfig, LlamaForCausalLM

        model = LlamaForCausalLM(
            LlamaConfig(
                vocab_size=VOCAB,
                hidden_size=32,
                intermediate_size=48,
                num_hidden_layers=3,
                num_attention_heads=4,
                num_key_value_heads=2,
                max_position_embeddings=64,
                bos_token_id=BOS,
                eos_token_id=BOS,
            )
        )
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.4)
            elif "bias" not in name:
                parameter.copy_(1 + 0.3 * torch.randn(parameter.shape, generator=generator))
    return load_model(architecture, hf_model=model)


def repeats(n: int = 5, length: int = 9, seed: int = 1) -> Examples:
    generator = torch.Generator().manual_seed(seed)
    r = torch.stack([torch.randperm(VOCAB - 1, generator=generator)[:length] + 1 for _ in range(n)])
    tokens = torch.cat([torch.full((n, 1), BOS), r, r], dim=1)
    scored = torch.zeros_like(tokens, dtype=torch.bool)
    scored[:, length + 1 : -1] = True
    return Examples(tokens=tokens, scored=scored, name="repeats")


def ragged(model: Model, side: str) -> tuple[Examples, list[Examples]]:
    """Rows of several lengths, padded on a side with an ordinary id; and each row alone."""
    alone = [repeats(1, length, seed=length) for length in (4, 11, 7, 9)]
    width = max(e.tokens.shape[1] for e in alone)
    tokens = torch.full((len(alone), width), 3)
    mask = torch.zeros((len(alone), width), dtype=torch.bool)
    scored = torch.zeros((len(alone), width), dtype=torch.bool)
    for i, e in enumerate(alone):
        n = e.tokens.shape[1]
        where = slice(0, n) if side == "right" else slice(width - n, width)
        tokens[i, where], mask[i, where] = e.tokens[0], True
        assert e.scored is not None
        scored[i, where] = e.scored[0]
    return Examples(tokens=tokens, mask=mask, scored=scored, name="ragged"), alone


def slow_score(name: str, pattern: Tensor, tokens: list[int], scored: list[bool]) -> float:
    """A head's score from its pattern [query, key], written as the formula reads."""
    per_query, pairs = [], []
    for q in range(len(tokens)):
        if name == "previous-token":
            if q > 0:
                per_query.append(float(pattern[q, q - 1]))
            continue
        if tokens[q] == BOS or (name in ("induction", "anti-induction") and not scored[q]):
            continue
        shift = {"anti-induction": -1, "duplicate-token": 0}.get(name, 1)
        keys = [p + shift for p in range(q) if tokens[p] == tokens[q]]
        keys = [k for k in keys if 0 <= k < q and tokens[k] != BOS]
        if keys:
            per_query.append(sum(float(pattern[q, k]) for k in keys))
            pairs += [float(pattern[q, k]) for k in keys]
    values = pairs if name == "prefix-matching-pairs" else per_query
    return sum(values) / len(values)


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_equal_to_cached_patterns_reduced_by_a_slow_loop(architecture: str) -> None:
    model, examples = tiny(architecture), repeats()
    found = head_scores(model, examples, batch_size=2)
    with session(model, capture=[Site(i, "pattern") for i in range(3)]) as s:
        s.run(examples)
    assert examples.scored is not None
    for name, score in found.items():
        assert score.per_example is not None
        for layer in range(3):
            for head in range(4):
                each = [
                    slow_score(name, s[Site(layer, "pattern")][i, head], tokens, scored)
                    for i, (tokens, scored) in enumerate(
                        zip(examples.tokens.tolist(), examples.scored.tolist(), strict=True)
                    )
                ]
                expected = torch.tensor(each, dtype=torch.float64)
                torch.testing.assert_close(
                    score.per_example[:, layer, head], expected, atol=1e-6, rtol=0
                )
        torch.testing.assert_close(score.values, score.per_example.mean(0))


@pytest.mark.parametrize("architecture", ARCHITECTURES)
@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_equals_unpadded_equals_looped(architecture: str, side: str) -> None:
    model = tiny(architecture)
    examples, alone = ragged(model, side)
    together = head_scores(model, examples, batch_size=3)
    for i, row in enumerate(alone):
        for name, score in head_scores(model, row).items():
            per_example = together[name].per_example
            assert per_example is not None
            torch.testing.assert_close(per_example[i], score.values, atol=1e-6, rtol=0)
    nulls = [{k: v.null for k, v in head_scores(model, row).items()} for row in alone]
    for name, score in together.items():
        assert score.null == pytest.approx(sum(null[name] for null in nulls) / len(alone))


def test_results_do_not_depend_on_the_batch_size() -> None:
    model, examples = tiny("llama"), repeats(7)
    one_by_one = head_scores(model, examples, batch_size=1)
    at_once = head_scores(model, examples, batch_size=7)
    for name in PATTERN_SCORES:
        torch.testing.assert_close(
            one_by_one[name].per_example, at_once[name].per_example, atol=1e-6, rtol=0
        )


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_never_two_patterns_in_memory(architecture: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from interp.heads import telemetry

    seen: list[Any] = []
    alive: list[int] = []
    reduce = telemetry.reduce_pattern

    def watched(pattern: Tensor, targets: Any) -> Tensor:
        if not seen or seen[-1]() is not pattern:
            alive.append(sum(reference() is not None for reference in seen))
            seen.append(weakref.ref(pattern))
        return reduce(pattern, targets)

    monkeypatch.setattr(telemetry, "reduce_pattern", watched)
    head_scores(tiny(architecture), repeats(), ("induction", "previous-token"))
    assert alive == [0, 0, 0]


def test_all_scores_from_one_pass_that_ends_at_the_last_pattern() -> None:
    model, ran = tiny("llama"), []
    forward = type(model).forward

    def counted(self: Model, *args: Any) -> Tensor:
        ran.append("forward")
        return forward(self, *args)

    points = {kind: Site(2, kind).point(model) for kind in ("pattern", "resid_post")}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(model), "forward", counted)
        added = []
        for kind, point in points.items():
            point.add_hook(lambda tensor, hook, kind=kind: ran.append(kind))
            added.append((point, point.fwd_hooks[-1]))
        try:
            head_scores(model, repeats(4), batch_size=4)
        finally:
            for point, handle in added:
                handle.hook.remove()
                point.fwd_hooks.remove(handle)
    assert ran == ["forward", "pattern"]


def test_control_measures_the_same_places_where_nothing_repeats() -> None:
    model, examples = tiny("llama"), repeats(6)
    control = iid_control(examples, model.ordinary_ids, generator=torch.Generator().manual_seed(0))
    with pytest.raises(NoTargetsError, match="targets_of"):
        head_scores(model, control, ("induction",))
    alone = head_scores(model, control, ("induction",), targets_of=examples)["induction"]
    beside = head_scores(model, examples, ("induction",), control=control)["induction"]
    assert beside.control is not None
    torch.testing.assert_close(beside.control, alone.values)
    assert alone.null == beside.null
    assert not torch.equal(alone.values, beside.values)
    assert "control" in beside.table().columns
    with pytest.raises(HeadsError, match="agree row by row"):
        head_scores(model, examples, control=control.select([0, 1]))


def test_errors_name_the_score_and_the_example() -> None:
    model = tiny("llama")
    with pytest.raises(HeadsError, match="did you mean induction"):
        head_scores(model, repeats(), ["inductoin"])
    with pytest.raises(HeadsError, match="no scores asked for"):
        head_scores(model, repeats(), [])
    rows = repeats(6).tokens.clone()
    rows[4] = torch.arange(rows.shape[1])
    with pytest.raises(NoTargetsError, match="example 4 of 'odd'") as caught:
        head_scores(model, Examples(tokens=rows, name="odd"), ("duplicate-token",), batch_size=2)
    assert caught.value.example == 4


def test_grouped_query_attention_scores_query_heads() -> None:
    model = tiny("llama")
    assert (model.n_kv_heads, model.n_heads) == (2, 4)
    assert head_scores(model, repeats(), ("induction",))["induction"].values.shape == (3, 4)


# -- watching: the facility underneath -----------------------------------------------------


def test_watchers_see_each_run_and_are_gone_afterwards() -> None:
    model, seen = tiny("llama"), []
    with session(model, watch={"L1.pattern": lambda p: seen.append(tuple(p.shape))}) as s:
        s.run(repeats(3))
        s.run_until_captured(repeats(2).tokens)
        assert s.captured == {}
    assert seen == [(3, 4, 19, 19), (2, 4, 19, 19)]
    model.logits(repeats(2).tokens)
    assert len(seen) == 2


def test_a_watcher_that_never_ran_is_an_error_and_a_head_is_refused() -> None:
    model = tiny("llama")
    with (
        pytest.raises(HookError, match=r"watch L1\.pattern"),
        session(model, watch={"L1.pattern": lambda p: None}),
    ):
        pass
    with (
        pytest.raises(SiteError, match=r"watch L1\.pattern"),
        session(model, watch={"L1H2.pattern": lambda p: None}),
    ):
        pass


def test_captures_and_watchers_stop_the_pass_together() -> None:
    model, seen = tiny("llama"), []
    watch = {Site(2, "pattern"): lambda p: seen.append("pattern")}
    with session(model, capture=["L0.resid_post"], watch=watch) as s:
        s.run_until_captured(repeats(2).tokens)
        assert s["L0.resid_post"].shape[0] == 2 and seen == ["pattern"]


def test_a_failing_watcher_leaves_the_model_as_it_was() -> None:
    model = tiny("gpt2")
    before = model.logits(repeats(2).tokens)

    def fail(pattern: Tensor) -> None:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"), session(model, watch={"L1.pattern": fail}) as s:
        s.run(repeats(2))
    assert torch.equal(model.logits(repeats(2).tokens), before)
    assert not Site(1, "pattern").point(model).fwd_hooks
