"""Text of a model's own: drawn from its predictions, one token after the other."""

from __future__ import annotations

import torch

from interp.models.examples import Examples
from interp.models.model import Model
from interp.models.spec import ModelError


@torch.no_grad()
def own_text(
    model: Model, *, n: int, length: int, generator: torch.Generator, batch_size: int = 64
) -> Examples:
    """Draw sequences from a model's own next-token distribution, at temperature one.

    This is text that the model finds natural by construction, whatever it was trained on: where no
    corpus is at hand, its loss here is what it could at best be on text of its kind. Every
    sequence is a group of its own. All but the last position are scored.

    Args:
        model: The model. Special tokens are never drawn.
        n: Number of sequences.
        length: Tokens drawn for each; the first follows the beginning-of-sequence id, or where the
            model has none is drawn uniformly.
        generator: The only source of randomness, on the CPU.
        batch_size: Sequences at a time.

    Raises:
        ModelError: a length or number out of range.
    """
    room = model.n_ctx - (model.bos_id is not None)
    if n < 1 or not 2 <= length <= room:
        raise ModelError(
            f"own_text needs n of at least 1 and a length of 2 to {room}, got {n} and {length}"
        )
    ids = torch.tensor(model.ordinary_ids)
    rows = []
    for start in range(0, n, batch_size):
        size = min(batch_size, n - start)
        if model.bos_id is None:
            tokens = ids[torch.randint(len(ids), (size, 1), generator=generator)]
            left = length - 1
        else:
            tokens, left = torch.full((size, 1), model.bos_id), length
        for _ in range(left):
            logits = model.logits(tokens)[:, -1].float().cpu()[:, ids]
            drawn = torch.multinomial(logits.softmax(-1), 1, generator=generator)
            tokens = torch.cat([tokens, ids[drawn]], dim=1)
        rows.append(tokens)
    tokens = torch.cat(rows)
    scored = torch.ones_like(tokens, dtype=torch.bool)
    scored[:, -1] = False
    return Examples(
        tokens=tokens,
        scored=scored,
        groups=tuple(f"sequence-{i}" for i in range(n)),
        name=f"own-text-{length}",
        seed=generator.initial_seed(),
    )
