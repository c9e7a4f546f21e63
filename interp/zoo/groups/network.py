"""The network with one hidden layer that learns to multiply (Chughtai et al. 2023, §3).

Each operand has its own embedding; a linear map of both goes through ReLUs to the logits. So, with
W_a = E_a W₁ and W_b = E_b W₂, the logits of ab are ReLU(W_a[a] + W_b[b]) W_U: no more is needed to
say what it computes.

As a loaded model it is the same function written as one layer of attention and one of neurons
(:func:`native_weights`), so that everything that reads or edits models works on it. Of the residual
stream at ``=`` the first ``hidden`` channels hold the sum W_a[a] + W_b[b], the next the neurons.
Head 0 copies from the first position, head 1 from the second, with a score so high that the other
positions' weights are exactly zero.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

# exp(-SCORE) is zero in float32, and far below rounding in float64.
SCORE = 200.0


class Effective(NamedTuple):
    """What the network computes with: logits ReLU(W_a[a] + W_b[b]) W_U."""

    W_a: Float[Tensor, "g hidden"]
    W_b: Float[Tensor, "g hidden"]
    W_U: Float[Tensor, "hidden g"]


class HiddenLayer(nn.Module):
    """Two embeddings, a hidden layer of ReLUs, an unembedding; no biases."""

    def __init__(self, *, n: int, d_embed: int, hidden: int, seed: int) -> None:
        """Begin with normal weights of 1/√(numbers read).

        Args:
            n: Elements of the group.
            d_embed: Width of each operand's embedding.
            hidden: Neurons.
            seed: Draws the weights.
        """
        super().__init__()
        generator = torch.Generator().manual_seed(seed)

        def drawn(rows: int, columns: int, reads: int) -> nn.Parameter:
            values = torch.randn((rows, columns), generator=generator)
            return nn.Parameter(values / math.sqrt(reads))

        self.embed_a, self.embed_b = drawn(n, d_embed, d_embed), drawn(n, d_embed, d_embed)
        self.read_a = drawn(d_embed, hidden, 2 * d_embed)
        self.read_b = drawn(d_embed, hidden, 2 * d_embed)
        self.unembed = drawn(hidden, n, hidden)

    def effective(self) -> Effective:
        """The three matrices that say what it computes."""
        return Effective(self.embed_a @ self.read_a, self.embed_b @ self.read_b, self.unembed)

    def forward(self, pairs: Int[Tensor, "pair 2"]) -> Float[Tensor, "pair g"]:
        """Logits of the product."""
        W_a, W_b, W_U = self.effective()
        return (F.embedding(pairs[:, 0], W_a) + F.embedding(pairs[:, 1], W_b)).relu() @ W_U


def native_config(weights: Effective) -> dict[str, Any]:
    """The ``native.json`` of the same function as a one-layer model."""
    n, hidden = weights.W_a.shape
    return {
        "n_layers": 1,
        "d_model": 2 * hidden + 3,
        "d_head": hidden,
        "n_heads": 2,
        "d_mlp": hidden,
        "n_ctx": 3,
        "d_vocab": n + 1,
        "d_vocab_out": n,
        "act_fn": "relu",
        "normalization_type": None,
        "positional_embedding_type": "standard",
    }


def native_weights(weights: Effective) -> dict[str, Tensor]:
    """Every parameter of that model by its native name.

    Channels: 0 … h−1 hold W_a of a token and h … 2h−1 its W_b; three more mark the position.
    """
    W_a, W_b, W_U = (w.detach().float() for w in weights)
    n, h = W_a.shape
    width = 2 * h + 3
    found = {
        "tok_embed.weight": torch.zeros(n + 1, width),
        "pos.weight": torch.zeros(3, width),
        "head.weight": torch.zeros(n, width),
        "layers.0.mlp.fc_in.weight": torch.zeros(h, width),
        "layers.0.mlp.fc_in.bias": torch.zeros(h),
        "layers.0.mlp.fc_out.weight": torch.zeros(width, h),
        "layers.0.mlp.fc_out.bias": torch.zeros(width),
    }
    for name in "qkv":
        found[f"layers.0.attn.{name}.weight"] = torch.zeros(2 * h, width)
        found[f"layers.0.attn.{name}.bias"] = torch.zeros(2 * h)
    found["layers.0.attn.o.weight"] = torch.zeros(width, 2 * h)
    found["layers.0.attn.o.bias"] = torch.zeros(width)
    same = torch.eye(h)
    found["tok_embed.weight"][:n, : 2 * h] = torch.cat([W_a, W_b], dim=1)
    found["pos.weight"][:, 2 * h :] = torch.eye(3)
    for head in (0, 1):
        rows = slice(head * h, (head + 1) * h)
        # The query is the same from everywhere; only '=' is read.
        found["layers.0.attn.q.weight"][head * h, 2 * h + 2] = SCORE * math.sqrt(h)
        found["layers.0.attn.k.weight"][head * h, 2 * h + head] = 1.0
        found["layers.0.attn.v.weight"][rows, rows] = same
        found["layers.0.attn.o.weight"][:h, rows] = same
    found["layers.0.mlp.fc_in.weight"][:, :h] = same
    found["layers.0.mlp.fc_out.weight"][h : 2 * h] = same
    found["head.weight"][:, h : 2 * h] = W_U.T
    return found
