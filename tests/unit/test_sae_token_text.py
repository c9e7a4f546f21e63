"""Tokens as a card shows them: with the space they begin with, and readable."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from interp.sae.features_logits import effects_html, token_text


@pytest.fixture(scope="module")
def model():
    """One whose tokenizer is as LLaMA's: ▁ for a space, bytes where there is no letter."""
    from tokenizers import Tokenizer, decoders
    from tokenizers.models import BPE
    from transformers import PreTrainedTokenizerFast

    vocab = ["▁the", "nd", "▁", "<0x0A>", "<0x00>", "<0xC3>", "<unk>"]
    inner = Tokenizer(
        BPE({token: i for i, token in enumerate(vocab)}, [], unk_token="<unk>", byte_fallback=True)
    )
    inner.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return SimpleNamespace(tokenizer=PreTrainedTokenizerFast(tokenizer_object=inner))


@pytest.mark.parametrize(
    ("token", "text"),
    [
        (0, " the"),  # decoded alone it is "the"
        (1, "nd"),
        (2, " "),
        (3, "\n"),
        (4, "<0x00>"),
        (5, "<0xC3>"),  # decoded alone it is a replacement character, as all half letters are
    ],
)
def test_a_token_is_shown_with_its_space_and_readably(model, token, text):
    assert token_text(model, token) == text


def test_a_page_keeps_the_space_and_the_line():
    shown = effects_html([(" the", 1.0), ("\n", -0.5), ("<b>", 0.1)])
    assert "white-space:pre-wrap" in shown  # else HTML drops the space
    assert "> the</code>&nbsp;+1.00" in shown
    assert "⏎" in shown and "\n" not in shown
    assert "<b>" not in shown
