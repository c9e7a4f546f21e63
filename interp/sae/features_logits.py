"""Which tokens a latent speaks for: what its direction writes straight into the logits.

Through the final norm's gain but past all later layers: of an early layer's latent it says little.
"""

from __future__ import annotations

import html
import unicodedata
from collections.abc import Sequence

import torch

from interp.models import Model
from interp.sae.dictionary import Dictionary

Effects = tuple[tuple[tuple[str, float], ...], tuple[tuple[str, float], ...]]


@torch.no_grad()
def logit_effects(
    model: Model,
    dictionary: Dictionary,
    latents: Sequence[int],
    *,
    k: int = 8,
    words: Sequence[str] | None = None,
) -> list[Effects]:
    """Tokens whose logits each latent's direction raises and lowers most, less their mean.

    The direction passes the final norm's gain and the unembedding, as if written into the last
    residual stream; the norm's division is left out, so that the numbers rank tokens and say
    nothing of size. Empty where the site is not as wide as the residual stream. ``words`` names the
    tokens of a model without a tokenizer.
    """
    if dictionary.d_in != model.d_model:
        return [((), ()) for _ in latents]
    directions = dictionary.decoder[list(latents)].to(model.device, torch.float32)
    if model.bridge.cfg.normalization_type in ("LN", "LNPre"):
        directions = directions - directions.mean(1, keepdim=True)
    logits = directions @ model.folded_unembedding().float()
    logits = logits - logits.mean(1, keepdim=True)
    found = []
    k = min(k, logits.shape[1])
    for row in logits.cpu():
        ends = [torch.topk(row, k, largest=largest) for largest in (True, False)]
        high, low = (
            tuple(
                (token_text(model, int(i), words), float(v))
                for v, i in zip(end.values, end.indices, strict=True)
            )
            for end in ends
        )
        found.append((high, low))
    return found


def token_text(model: Model, token: int, words: Sequence[str] | None = None) -> str:
    """A token as text; without a tokenizer its word, or its number where there are no words.

    What is no text by itself, as a piece of a letter or a control character, goes by the name that
    the tokenizer has for it.
    """
    if model.tokenizer is None and words is not None:
        return words[token]
    if model.tokenizer is None:
        return f"#{token}"
    text: str = model.tokenizer.decode([token])
    name = str(model.tokenizer.convert_ids_to_tokens(token))
    # SentencePiece marks a word's beginning, and decoding a token by itself loses the mark.
    if name.startswith("▁"):
        text = " " + text.removeprefix(" ")
    if any((unicodedata.category(c) == "Cc" and c not in "\t\n\r") or c == "\ufffd" for c in text):
        text = name
    return text or f"#{token}"


def token_html(token: str) -> str:
    """A token's text, escaped, on one line."""
    return html.escape(token).replace("\n", "⏎")


def effects_html(tokens: Sequence[tuple[str, float]]) -> str:
    """Tokens and changes of their logits; on a ground, so that a space in front is seen."""
    style = "white-space:pre-wrap;background:#eee"
    return ", ".join(
        f"<code style='{style}'>{token_html(token)}</code>&nbsp;{value:+.2f}"
        for token, value in tokens
    )
