"""Which tokens a latent speaks for: what its direction writes straight into the logits.

Through the final norm's gain but past all later layers: of an early layer's latent it says little.
"""

from __future__ import annotations

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
    """A token as text; without a tokenizer its word, or its number where there are no words."""
    if model.tokenizer is None and words is not None:
        return words[token]
    if model.tokenizer is None:
        return f"#{token}"
    text: str = model.tokenizer.decode([token])
    return text or f"#{token}"
