"""Keeping heads silent while others learn, so that some are left to compare those with."""

from __future__ import annotations

from torch import Tensor
from transformers import LlamaForCausalLM


def silent_outputs(model: LlamaForCausalLM, heads: int, *, grad: bool = False) -> list[Tensor]:
    """Views of the output weights (or their gradients) of all but each layer's first heads.

    Weights set to zero, with gradients set to zero at every step, stay zero: those heads write
    nothing to the residual stream.

    Args:
        model: The model.
        heads: How many heads of each layer may write.
        grad: The gradients instead of the weights.

    Returns:
        For each layer a view of shape [d_model, silent heads × d_head].
    """
    outputs = [layer.self_attn.o_proj.weight for layer in model.model.layers]
    assert model.config.head_dim is not None
    start = heads * model.config.head_dim
    return [(weight.grad if grad else weight)[:, start:] for weight in outputs]
