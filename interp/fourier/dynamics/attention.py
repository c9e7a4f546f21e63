"""How spread attention is."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError


def attention_entropy(pattern: Float[Tensor, "*rows key"]) -> Float[Tensor, "*rows"]:
    """−Σ p ln p of each row of an attention pattern, in nats.

    0 where all attention is on one key, ln n where it is even over n keys.

    Args:
        pattern: Not negative, each row adding up to 1; keys that are masked out hold 0.

    Raises:
        FourierError: rows that are no distributions.
    """
    wide = pattern.detach().double()
    whole = (wide.sum(-1) - 1).abs() < 1e-4
    if not pattern.shape[-1] or not bool(whole.all()) or not bool((wide >= 0).all()):
        raise FourierError(
            "attention entropy needs rows of probabilities that add up to 1; got other rows: give "
            "the pattern after the softmax"
        )
    return -torch.special.xlogy(wide, wide).sum(-1)
