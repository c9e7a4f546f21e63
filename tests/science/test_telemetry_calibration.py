"""Attention scores on heads whose right score is known before measuring.

Three kinds of known answers: pattern tensors written down (no model), a one-layer model written
down here head by head, and the bundled two-layer induction circuit at several sizes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

from interp.heads import (
    PATTERN_SCORES,
    find_targets,
    head_scores,
    iid_control,
    reduce_pattern,
)
from interp.models import Examples, Model, load_model
from interp.zoo.induction_exact import ExactConfig, build, closed_form
from interp.zoo.tasks import repeated_tokens, reversed_tokens

BOS = 0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


# -- patterns written down -----------------------------------------------------------------


def bos_r_r(length: int, repeats: int = 2) -> Examples:
    """[BOS, r, r, …] with every query after BOS counting, as in the usual demonstration."""
    r = torch.arange(1, length + 1)
    return Examples(tokens=torch.cat([torch.tensor([BOS]), r.repeat(repeats)])[None])


def pattern_to(targets: list[list[int]]) -> Tensor:
    """A head that spreads each query's attention evenly over the keys listed."""
    pattern = torch.zeros(1, 1, len(targets), len(targets))
    for q, keys in enumerate(targets):
        pattern[0, 0, q, keys] = 1 / len(keys)
    return pattern


def perfect(length: int, repeats: int = 2) -> Tensor:
    """Attends to what followed earlier occurrences; rests on BOS where there are none."""
    width = 1 + length * repeats
    found = [
        [p + 1 for p in range(1, q) if (q - p) % length == 0] if q else [] for q in range(width)
    ]
    return pattern_to([keys or [0] for keys in found])


def diagonal_shortcut(pattern: Tensor, length: int) -> float:
    """The usual shortcut: the mean of the diagonal at offset 1 − S."""
    return float(pattern[0, 0].diagonal(1 - length).mean())


def test_perfect_scores_1_and_resting_scores_0_where_the_diagonal_gives_981_and_019() -> None:
    length, width = 50, 101
    resting = pattern_to([[0]] * width)
    targets = find_targets(bos_r_r(length), "after", special={BOS})
    assert int(targets.counts) == 50
    assert reduce_pattern(perfect(length), targets).item() == pytest.approx(1.0, abs=1e-12)
    assert reduce_pattern(resting, targets).item() == 0.0
    assert perfect(length)[0, 0].diagonal(1 - length).numel() == 52
    assert diagonal_shortcut(perfect(length), length) == pytest.approx(51 / 52)  # 0.981
    assert diagonal_shortcut(resting, length) == pytest.approx(1 / 52)  # 0.019


@pytest.mark.parametrize(("repeats", "cap"), [(2, 1.0), (3, 2 / 3), (4, 0.5), (5, 0.4)])
def test_pair_mean_caps_below_one_and_sum_per_query_at_one(repeats: int, cap: float) -> None:
    examples, pattern = bos_r_r(25, repeats), perfect(25, repeats)
    pairs = find_targets(examples, "after", special={BOS}, per="pair")
    queries = find_targets(examples, "after", special={BOS})
    assert reduce_pattern(pattern, pairs).item() == pytest.approx(cap)
    assert reduce_pattern(pattern, queries).item() == pytest.approx(1.0)


def test_backward_copying_is_the_mirror_image_of_induction() -> None:
    examples = reversed_tokens(40, n=1, length=12, bos_id=BOS, generator=seeded())
    tokens = examples.tokens[0].tolist()
    back = [
        [k - 1 for k in range(2, q) if tokens[k] == tokens[q]] if q else []
        for q in range(len(tokens))
    ]
    backward = pattern_to([keys or [0] for keys in back])
    before = find_targets(examples, "before", special={BOS}, scored_only=True)
    after = find_targets(examples, "after", special={BOS}, scored_only=True)
    assert reduce_pattern(backward, before).item() == pytest.approx(1.0)
    assert reduce_pattern(backward, after).item() == 0.0
    assert reduce_pattern(pattern_to([[0]] * len(tokens)), before).item() == 0.0


# -- one layer, written down ---------------------------------------------------------------

PREVIOUS, UNIFORM, RESTING, SAME = range(4)


@pytest.fixture(scope="module")
def one_layer(tmp_path_factory: pytest.TempPathFactory) -> Model:
    """Heads that look at the token before, at everything, at BOS, and at their own token."""
    n_vocab, n_ctx, gain = 60, 110, 200.0
    d_head = n_ctx
    d_model = n_vocab + n_ctx
    token, place = slice(0, n_vocab), slice(n_vocab, d_model)
    embed, positions = torch.zeros(n_vocab, d_model), torch.zeros(n_ctx, d_model)
    embed[:, token], positions[:, place] = torch.eye(n_vocab), torch.eye(n_ctx)
    query, key = torch.zeros(4, d_model, d_head), torch.zeros(4, d_model, d_head)
    sharp = gain * math.sqrt(d_head)
    query[PREVIOUS, place] = sharp * torch.eye(n_ctx).roll(-1, 1)  # q asks for q - 1
    key[PREVIOUS, place] = torch.eye(n_ctx)
    query[RESTING, place, 0] = sharp
    key[RESTING, BOS, 0] = 1.0
    query[SAME, token, :n_vocab] = sharp * torch.eye(n_vocab)
    key[SAME, token, :n_vocab] = torch.eye(n_vocab)
    state = {
        "tok_embed.weight": embed,
        "pos.weight": positions,
        "head.weight": torch.zeros(n_vocab, d_model),
        "layers.0.attn.q.weight": query.transpose(1, 2).flatten(0, 1),
        "layers.0.attn.k.weight": key.transpose(1, 2).flatten(0, 1),
        "layers.0.attn.v.weight": torch.zeros(4 * d_head, d_model),
        "layers.0.attn.o.weight": torch.zeros(d_model, 4 * d_head),
        "layers.0.attn.o.bias": torch.zeros(d_model),
    } | {f"layers.0.attn.{name}.bias": torch.zeros(4 * d_head) for name in "qkv"}
    config = {
        "n_layers": 1,
        "d_model": d_model,
        "d_head": d_head,
        "n_heads": 4,
        "n_ctx": n_ctx,
        "d_vocab": n_vocab,
        "d_vocab_out": n_vocab,
        "attn_only": True,
        "normalization_type": None,
        "positional_embedding_type": "standard",
        "act_fn": "relu",
        "bos_token_id": BOS,
    }
    folder = tmp_path_factory.mktemp("one-layer")
    (folder / "native.json").write_text(json.dumps(config))
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors")
    return load_model(str(folder))


def test_heads_written_down_score_what_they_must(one_layer: Model) -> None:
    examples = repeated_tokens(60, n=3, length=50, bos_id=BOS, generator=seeded())
    scores = head_scores(one_layer, examples)
    found = {name: score.values[0] for name, score in scores.items()}
    width = 101
    assert found["previous-token"][PREVIOUS].item() == pytest.approx(1.0, abs=1e-6)
    for name in PATTERN_SCORES:
        assert found[name][UNIFORM].item() == pytest.approx(scores[name].null, abs=1e-7)
    # Resting on BOS is attending to the position before from position 1 alone, and nothing else.
    assert found["previous-token"][RESTING].item() == pytest.approx(1 / (width - 1), abs=1e-6)
    for name in set(PATTERN_SCORES) - {"previous-token"}:
        assert found[name][RESTING].item() == pytest.approx(0.0, abs=1e-6)
    # Its own token stands here and at one earlier place: half of the attention is on the latter.
    assert found["duplicate-token"][SAME].item() == pytest.approx(0.5, abs=1e-6)
    # The position before holds the right token of backward copying, at the wrong place.
    for name in ("induction", "anti-induction", "duplicate-token"):
        assert found[name][PREVIOUS].item() == pytest.approx(0.0, abs=1e-6)


def test_the_null_is_the_closed_form(one_layer: Model) -> None:
    length, width = 50, 101
    examples = repeated_tokens(60, n=3, length=length, bos_id=BOS, generator=seeded())
    found = head_scores(one_layer, examples)
    scored, repeat, later = range(length + 1, width - 1), range(length + 1, width), range(1, width)
    expected = {
        "prefix-matching": sum(1 / (q + 1) for q in repeat) / len(repeat),
        "prefix-matching-pairs": sum(1 / (q + 1) for q in repeat) / len(repeat),
        "induction": sum(1 / (q + 1) for q in scored) / len(scored),
        # The first query of the repeat is preceded by BOS, which is no target: it drops out.
        "anti-induction": sum(1 / (q + 1) for q in scored[1:]) / len(scored[1:]),
        "previous-token": sum(1 / (q + 1) for q in later) / len(later),
        "duplicate-token": sum(1 / (q + 1) for q in repeat) / len(repeat),
    }
    assert {name: score.null for name, score in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("side", ["left", "right"])
def test_padding_changes_no_known_answer(one_layer: Model, side: str) -> None:
    plain = repeated_tokens(60, n=3, length=20, bos_id=BOS, generator=seeded())
    pad, real = torch.full((3, 7), 5), torch.ones_like(plain.tokens, dtype=torch.bool)
    blank = torch.zeros(3, 7, dtype=torch.bool)
    assert plain.scored is not None
    parts = [(pad, plain.tokens), (blank, real), (blank, plain.scored)]
    tokens, mask, scored = (
        torch.cat(part if side == "left" else part[::-1], dim=1) for part in parts
    )
    padded = Examples(tokens=tokens, mask=mask, scored=scored)
    expected = head_scores(one_layer, plain)
    for name, score in head_scores(one_layer, padded).items():
        torch.testing.assert_close(score.values, expected[name].values, atol=1e-6, rtol=0)
        assert score.null == pytest.approx(expected[name].null)


# -- the induction circuit -----------------------------------------------------------------


@pytest.mark.parametrize(("name", "repeats"), [("induction-exact", 2), ("induction-exact", 4)])
def test_the_bundled_circuit_scores_its_closed_form(name: str, repeats: int) -> None:
    model, answers = load_model(f"zoo:{name}"), closed_form(name, length=20, repeats=repeats)
    examples = repeated_tokens(
        model.ordinary_ids, n=4, length=20, repeats=repeats, bos_id=BOS, generator=seeded()
    )
    found = head_scores(model, examples, ("induction", "previous-token"))
    for score_name, by_head in answers["scores"].items():
        score = found[score_name]
        assert score.null == pytest.approx(by_head["uniform"])
        for layer in range(model.n_layers):
            for head in range(model.n_heads):
                label = f"L{layer}H{head}"
                expected = by_head.get(label, by_head["uniform"])
                assert score.at(label) == pytest.approx(expected, abs=1e-6), (score_name, label)


def test_a_circuit_with_room_for_fifty_tokens_and_its_control(tmp_path: Path) -> None:
    """S = 50, as in the diagonal's demonstration, and a control in which nothing repeats."""
    config = ExactConfig(n_vocab=120)
    build(config, tmp_path / "wide")
    model = load_model(str(tmp_path / "wide"))
    examples = repeated_tokens(120, n=3, length=50, bos_id=BOS, generator=seeded())
    control = iid_control(examples, model.ordinary_ids, generator=seeded(1))
    assert all(len(set(row)) == len(row) for row in control.tokens.tolist())
    score = head_scores(model, examples, ("induction",), control=control)["induction"]
    assert score.top(1) == [((1, config.induction_head), pytest.approx(1.0, abs=1e-6))]
    assert score.control is not None and score.null is not None
    # With nothing to match the head rests on BOS; heads that never look stay at the baseline.
    assert score.control[1, config.induction_head].item() == pytest.approx(0.0, abs=1e-6)
    others = torch.ones_like(score.values, dtype=torch.bool)
    others[1, config.induction_head] = others[0, config.previous_head] = False
    for values in (score.values, score.control):
        torch.testing.assert_close(
            values[others],
            torch.full_like(values[others], score.null),
            atol=1e-6,
            rtol=0,
        )


def test_untrained_models_score_the_uniform_baseline_on_repeats_and_on_iid_input() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=200,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=3,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=128,
        bos_token_id=BOS,
        eos_token_id=BOS,
    )
    model = load_model("untrained", hf_model=LlamaForCausalLM(config))
    examples = repeated_tokens(model.ordinary_ids, n=16, length=40, bos_id=BOS, generator=seeded())
    control = iid_control(examples, model.ordinary_ids, generator=seeded(1))
    for name, score in head_scores(model, examples, control=control).items():
        assert score.control is not None and score.null is not None
        for values in (score.values, score.control):
            assert float((values - score.null).abs().max()) < 0.15 * score.null, name
