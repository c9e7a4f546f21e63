"""Weights as heads meet them: what a norm does linearly to its input is folded into the reader.

A norm divides by a length, which no matrix can do and which the scores here do not depend on, after
it has, in the case of LayerNorm, subtracted the mean of the channels, and before it multiplies each
by a gain. The last two are linear and are folded into the weights that read the norm's output.
Biases are left out: circuits are products of weights (Elhage et al. 2021).
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.models import HeadWeights, Model


def reading_weights(model: Model, layer: int) -> HeadWeights:
    """Return a layer's head weights acting on the residual stream itself, at least float32."""
    folded = model.head_weights(layer, fold_norms=True)
    W_Q, W_K, W_V, W_O = (w.to(torch.promote_types(w.dtype, torch.float32)) for w in folded)
    if _centres(model):
        W_Q, W_K, W_V = (w - w.mean(dim=1, keepdim=True) for w in (W_Q, W_K, W_V))
    return HeadWeights(W_Q, W_K, W_V, W_O)


def reading_unembedding(model: Model) -> Float[Tensor, "d_model vocab"]:
    """Return the unembedding acting on the final residual stream itself, at least float32."""
    W_U = model.folded_unembedding()
    W_U = W_U.to(torch.promote_types(W_U.dtype, torch.float32))
    return W_U - W_U.mean(dim=0, keepdim=True) if _centres(model) else W_U


def _centres(model: Model) -> bool:
    """Whether the model's norms subtract the mean over channels."""
    return str(model.bridge.cfg.normalization_type or "").upper().startswith("LN")
