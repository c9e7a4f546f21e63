"""Tokens in: nothing outside the vocabulary, no silent cut, and padding that changes nothing."""

from __future__ import annotations

import pytest
import torch

from interp.models import Model, ModelError, ModelSpec, load_model

# Float32 rounding on logits of size about 5: measured at up to 5e-6.
TOLERANCE = {"atol": 5e-5, "rtol": 0}


# -- padding ------------------------------------------------------------------------------------


@pytest.mark.parametrize("side", ["left", "right"])
def test_padded_equals_unpadded(model, side, random_ids, padded):
    lengths = [7, 1, 4, 9, 2]
    ids = random_ids(5, 9)
    tokens, mask = padded(ids, lengths, side, width=12)
    together = model.logits(tokens, mask)
    for i, length in enumerate(lengths):
        alone = model.logits(ids[i : i + 1, :length])[0]
        torch.testing.assert_close(together[i][mask[i]], alone, **TOLERANCE)


@pytest.mark.parametrize("side", ["left", "right"])
def test_what_stands_at_padding_does_not_matter(model, side, random_ids, padded):
    ids = random_ids(3, 9)
    tokens, mask = padded(ids, [4, 9, 2], side)
    other = torch.where(mask, tokens, (tokens + 7) % 29)
    first, second = model.logits(tokens, mask), model.logits(other, mask)
    torch.testing.assert_close(first[mask], second[mask], **TOLERANCE)


def test_without_its_mask_left_padding_does_change_things(gpt2, random_ids, padded):
    # The positive control of the tests above.
    tokens, mask = padded(random_ids(2, 9), [4, 9], "left")
    with_mask, without = gpt2.logits(tokens, mask), gpt2.logits(tokens)
    assert (with_mask - without)[mask].abs().max() > 0.1


def test_a_batch_equals_its_rows(model, random_ids):
    ids = random_ids(5, 7)
    rows = torch.cat([model.logits(ids[i : i + 1]) for i in range(5)])
    torch.testing.assert_close(model.logits(ids), rows, **TOLERANCE)


def test_predictions_are_causal(model, random_ids):
    ids = random_ids(2, 9)
    other = ids.clone()
    other[:, 5:] = (other[:, 5:] + 3) % 29
    before, after = model.logits(ids), model.logits(other)
    torch.testing.assert_close(before[:, :5], after[:, :5], **TOLERANCE)
    assert (before - after)[:, 5:].abs().max() > 0.01


def test_a_left_padded_mask_is_refused_where_the_self_check_found_it_wrong(
    gpt2, padded, random_ids
):
    tokens, mask = padded(random_ids(2, 9), [4, 9], "left")
    bad = Model(gpt2.bridge, None, gpt2.spec, "x", checks={"left_padding_agrees": 0.0})
    with pytest.raises(ModelError, match="pad on the right"):
        bad.logits(tokens, mask)
    right = padded(random_ids(2, 9), [4, 9], "right")
    assert bad.logits(*right).shape == (2, 11, 29)


def test_masks_that_do_not_fit(gpt2, random_ids):
    ids = random_ids(2, 5)
    with pytest.raises(ModelError, match=r"mask has shape \[2, 4\]"):
        gpt2.logits(ids, torch.zeros(2, 4, dtype=torch.bool))
    empty = torch.ones(2, 5, dtype=torch.bool)
    empty[1] = False
    with pytest.raises(ModelError, match="no real token"):
        gpt2.logits(ids, empty)


# -- ids ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("tokens", "message"),
    [
        (torch.tensor([[0, 29]]), "token id 29 is outside the vocabulary"),
        (torch.tensor([[0, -1]]), "token id -1 is outside the vocabulary"),
        (torch.zeros(1, 25, dtype=torch.int64), "25 tokens are longer than the context"),
        (torch.zeros(5, dtype=torch.int64), "shape"),
        (torch.zeros(0, 5, dtype=torch.int64), "shape"),
        (torch.zeros(2, 0, dtype=torch.int64), "shape"),
        (torch.zeros(2, 3), "must be integers"),
        (torch.ones(2, 3, dtype=torch.bool), "must be integers"),
    ],
)
def test_impossible_ids(model, tokens, message):
    with pytest.raises(ModelError, match=message):
        model.logits(tokens)
    with pytest.raises(ModelError, match=message):
        model.forward(tokens)


def test_the_whole_context_can_be_used(model, random_ids):
    assert model.logits(random_ids(2, 24)).shape == (2, 24, 29)


def test_forward_keeps_gradients_and_logits_does_not(model, random_ids):
    ids = random_ids(1, 4)
    assert not model.logits(ids).requires_grad
    assert model.forward(ids).requires_grad


# -- text ---------------------------------------------------------------------------------------


def test_tokenizer_without_marks(make_hf, make_tokenizer):
    tokenizer = make_tokenizer()
    model = load_model("mine", hf_model=make_hf("llama"), tokenizer=tokenizer)
    assert model.bos_id is None
    assert model.special_ids == frozenset()
    assert model.ordinary_ids == tuple(range(29))
    examples = model.tokenize(["w3 w4", "w28 w0 w5 no-such-word"])
    assert examples.tokens[examples.mask].tolist() == [3, 4, 28, 0, 5, 0]
    assert int(examples.tokens.max()) < model.d_vocab
    assert model.logits(examples.tokens, examples.mask).shape == (2, 4, 29)
    assert tokenizer.eos_token is None
    assert len(tokenizer) == 29
    with pytest.raises(ModelError, match="no beginning-of-sequence token"):
        model.tokenize("w3", prepend_bos=True)


def test_the_tokenizer_decides_whether_there_is_a_beginning(make_hf, make_tokenizer):
    theirs = make_hf("llama")
    theirs.config.bos_token_id = 5  # as class defaults do, this points at an ordinary word
    load = {"hf_model": theirs}
    assert load_model("mine", **load, tokenizer=make_tokenizer()).bos_id is None
    assert load_model("mine", **load, tokenizer=make_tokenizer(bos=True)).bos_id == 1
    assert load_model("mine", **load).bos_id == 5
    theirs.config.bos_token_id = 29
    assert load_model("mine", **load).bos_id is None


def test_text_becomes_examples(make_hf, make_tokenizer):
    model = load_model("mine", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=True))
    examples = model.tokenize(["w3 w4 w5", "w6"])
    assert examples.tokens[0].tolist() == [1, 3, 4, 5]
    assert examples.mask.tolist() == [[True] * 4, [True, True, False, False]]
    assert examples.scored.tolist() == [[True, True, True, False], [True, False, False, False]]
    assert model.tokenize("w3", prepend_bos=False).tokens.tolist() == [[3]]
    assert model.special_ids == {1}
    assert 1 not in model.ordinary_ids
    alone = model.logits(model.tokenize("w6").tokens)
    together = model.logits(examples.tokens, examples.mask)
    torch.testing.assert_close(together[1:, :2], alone, **TOLERANCE)


@pytest.mark.parametrize("bos", [True, False])
def test_text_that_cannot_be_tokenised(make_hf, make_tokenizer, bos):
    model = load_model("mine", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=bos))
    with pytest.raises(ModelError, match="no texts"):
        model.tokenize([])
    with pytest.raises(ModelError, match="text 1 gives no token"):
        model.tokenize(["w3", ""])


def test_text_longer_than_the_context(make_hf, make_tokenizer, caplog):
    model = load_model("mine", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer())
    fits, too_long = " ".join(["w3"] * 24), " ".join(["w3"] * 25)
    assert model.tokenize(fits).tokens.shape == (1, 24)
    with pytest.raises(ModelError, match=r"text 1 has 25 tokens, the context .* is 24"):
        model.tokenize([fits, too_long])
    cut = model.tokenize([fits, too_long, too_long], on_overflow="truncate")
    assert cut.tokens.shape == (3, 24)
    assert "2 of 3 cut to 24 tokens" in cut.name
    assert "2 of 3 texts cut" in caplog.text


def test_a_tokenizer_larger_than_the_model(make_hf, make_tokenizer):
    tokenizer = make_tokenizer(n_words=40)
    model = load_model("mine", hf_model=make_hf("gpt2"), tokenizer=tokenizer)
    assert model.checks["ids_outside_vocabulary"] == 11
    assert model.ordinary_ids == tuple(range(29))
    assert model.tokenize("w28").tokens.tolist() == [[28]]
    with pytest.raises(ModelError, match="token id 39 is outside"):
        model.tokenize("w2 w39")


def test_a_model_with_rows_no_token_uses(make_hf, make_tokenizer):
    model = load_model("m", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(n_words=20))
    assert model.ordinary_ids == tuple(range(20))


# -- memory -------------------------------------------------------------------------------------


def full_above(monkeypatch, limit):
    """Make every forward pass of more than ``limit`` rows run out of memory."""
    sizes = []
    whole = Model.forward

    def forward(self, tokens, mask=None):
        sizes.append(len(tokens))
        if len(tokens) > limit:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate everything")
        return whole(self, tokens, mask)

    monkeypatch.setattr(Model, "forward", forward)
    return sizes


def test_logits_are_made_in_halves_when_memory_runs_out(gpt2, random_ids, padded, monkeypatch):
    tokens, mask = padded(random_ids(7, 9), [3, 9, 4, 5, 6, 7, 8], "left")
    expected = gpt2.logits(tokens, mask)
    sizes = full_above(monkeypatch, 2)
    torch.testing.assert_close(gpt2.logits(tokens, mask), expected, **TOLERANCE)
    assert sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    full_above(monkeypatch, 0)
    with pytest.raises(ModelError, match="at batch sizes 7, 3, 1; one example alone does not fit"):
        gpt2.logits(tokens, mask)


def test_logits_are_not_halved_under_a_hook(gpt2, random_ids, monkeypatch):
    full_above(monkeypatch, 2)
    point = gpt2.bridge.hook_dict["blocks.0.attn.hook_z"]
    point.add_hook(lambda tensor, hook: None)
    try:
        with pytest.raises(ModelError, match="at batch sizes 4; and it cannot be split"):
            gpt2.logits(random_ids(4, 5))
    finally:
        point.remove_hooks()


def test_native_positions_are_rotary_and_learned(random_ids):
    # That positions matter at all in the native models whose padding is tested above.
    for kind in ("standard", "rotary"):
        fields = {"n_layers": 1, "d_model": 8, "d_head": 4, "n_heads": 2, "n_ctx": 24}
        fields |= {"d_vocab": 29, "act_fn": "relu", "positional_embedding_type": kind}
        native = load_model(ModelSpec(kind, native=fields))
        ids = random_ids(1, 6)
        moved = torch.cat([ids[:, 1:2], ids[:, :1], ids[:, 2:]], dim=1)
        assert (native.logits(ids) - native.logits(moved))[:, -1].abs().max() > 1e-4
