"""Per-head weight matrices, alike for every architecture."""

from __future__ import annotations

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor

from interp.models.spec import ModelError


class HeadWeights(NamedTuple):
    """One layer's attention weights, per query head, acting on row vectors: ``x @ W_Q[h]``.

    Under grouped-query attention each query head carries its group's key and value weights.
    """

    W_Q: Float[Tensor, "head d_model d_head"]
    W_K: Float[Tensor, "head d_model d_head"]
    W_V: Float[Tensor, "head d_model d_head"]
    W_O: Float[Tensor, "head d_head d_model"]


def head_weights(
    bridge: Any, layer: int, *, n_heads: int, fold_norms: bool, name: str
) -> HeadWeights:
    """Return one layer's per-head weights; see ``Model.head_weights``.

    Raises:
        ModelError: the architecture keeps no per-head matrices.
    """
    block = bridge.blocks[layer]
    found: list[Tensor] = []
    for matrix in HeadWeights._fields:
        weight = getattr(getattr(block, "attn", None), matrix, None)
        if weight is None or weight.ndim != 3:
            raise ModelError(
                f"{name} keeps no per-head {matrix} in layer {layer}; "
                "weight-based scores need plain multi-head or grouped-query attention"
            )
        found.append(_expand(weight.detach(), n_heads))
    W_Q, W_K, W_V, W_O = found
    gain = gain_of(bridge, getattr(block, "ln1", None)) if fold_norms else None
    if gain is not None:
        W_Q, W_K, W_V = (w * gain[None, :, None] for w in (W_Q, W_K, W_V))
    return HeadWeights(W_Q, W_K, W_V, W_O)


def gain_of(bridge: Any, norm: Any | None) -> Float[Tensor, " d_model"] | None:
    """The per-channel gain of a norm, or None where it has none."""
    weight = getattr(norm, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim != 1:
        return None
    # Gemma's and Nemotron's norms store the gain's distance from one.
    kind = type(getattr(norm, "original_component", None)).__name__
    offset = getattr(bridge.cfg, "rmsnorm_uses_offset", False) or "1P" in kind
    return weight.detach() + 1 if offset else weight.detach()


def _expand(weight: Tensor, n_heads: int) -> Tensor:
    """Repeat key/value heads so that query head h reads head h // (n_heads / n_kv_heads)."""
    return weight.repeat_interleave(n_heads // weight.shape[0], dim=0)
