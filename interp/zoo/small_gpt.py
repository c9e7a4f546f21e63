"""The network of the known-answer worlds: pre-norm GPT, parameters named as in native folders."""

from __future__ import annotations

import math
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

EPS = 1e-5


class Attention(nn.Module):
    """Causal attention, with biases."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.n_heads = n_heads
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))

    def forward(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """What the heads write."""
        q, k, v = (
            part(x).unflatten(-1, (self.n_heads, -1)).transpose(1, 2)
            for part in (self.q, self.k, self.v)
        )
        mixed = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out: Tensor = self.o(mixed.transpose(1, 2).flatten(2))
        return out


class MLP(nn.Module):
    """One hidden layer of GELUs, four times as wide."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(d_model, 4 * d_model), nn.Linear(4 * d_model, d_model)

    def forward(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """What the layer writes."""
        out: Tensor = self.fc_out(F.gelu(self.fc_in(x)))
        return out


class Block(nn.Module):
    """Attention, then MLP, each behind a norm."""

    def __init__(self, d_model: int, n_heads: int) -> None:
        super().__init__()
        self.ln1, self.attn = nn.LayerNorm(d_model, eps=EPS), Attention(d_model, n_heads)
        self.ln2, self.mlp = nn.LayerNorm(d_model, eps=EPS), MLP(d_model)

    def forward(self, x: Float[Tensor, "row pos d_model"]) -> Float[Tensor, "row pos d_model"]:
        """The residual stream after the block."""
        x = x + self.attn(self.ln1(x))
        out: Tensor = x + self.mlp(self.ln2(x))
        return out


class Network(nn.Module):
    """A small GPT with learned positions and an output matrix of its own."""

    def __init__(
        self, *, vocab_size: int, n_ctx: int, n_layers: int, d_model: int, n_heads: int, seed: int
    ) -> None:
        """Begin with normal weights of 0.02, those that write to the stream made smaller.

        Args:
            vocab_size: Tokens.
            n_ctx: Positions.
            n_layers: Blocks.
            d_model: Width of the stream, a multiple of ``n_heads``.
            n_heads: Heads of each block.
            seed: Draws the weights.
        """
        super().__init__()
        with torch.random.fork_rng(devices=[]):  # building draws numbers that are then overwritten
            self.tok_embed = nn.Embedding(vocab_size, d_model)
            self.pos = nn.Embedding(n_ctx, d_model)
            self.layers = nn.ModuleList([Block(d_model, n_heads) for _ in range(n_layers)])
            self.ln_out = nn.LayerNorm(d_model, eps=EPS)
            self.head = nn.Linear(d_model, vocab_size, bias=False)
        self.n_heads = n_heads
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if parameter.ndim == 2:
                writes = name.endswith(("attn.o.weight", "mlp.fc_out.weight"))
                scale = 0.02 / math.sqrt(2 * n_layers) if writes else 0.02
                nn.init.normal_(parameter, std=scale, generator=generator)
            elif name.endswith("bias"):
                nn.init.zeros_(parameter)

    def residuals(self, tokens: Int[Tensor, "row pos"]) -> list[Float[Tensor, "row pos d_model"]]:
        """The residual stream after each block."""
        x = self.tok_embed(tokens) + self.pos.weight[: tokens.shape[1]]
        found = []
        for block in self.layers:
            x = block(x)
            found.append(x)
        return found

    def forward(self, tokens: Int[Tensor, "row pos"]) -> Float[Tensor, "row pos vocab"]:
        """Logits."""
        out: Tensor = self.head(self.ln_out(self.residuals(tokens)[-1]))
        return out

    def block_matrices(self) -> list[nn.Parameter]:
        """The matrices inside the blocks: what Muon is for."""
        return [p for name, p in self.named_parameters() if "layers." in name and p.ndim == 2]

    def other_parameters(self) -> list[nn.Parameter]:
        """Embeddings, output matrix, norms and biases."""
        inside = {id(p) for p in self.block_matrices()}
        return [p for p in self.parameters() if id(p) not in inside]

    def native_config(self, *, bos_id: int) -> dict[str, Any]:
        """The ``native.json`` under which the same weights give the same logits.

        Args:
            bos_id: The token that every document begins with.
        """
        vocab_size, d_model = self.tok_embed.weight.shape
        return {
            "n_layers": len(self.layers),
            "d_model": d_model,
            "d_head": d_model // self.n_heads,
            "n_heads": self.n_heads,
            "d_mlp": 4 * d_model,
            "n_ctx": self.pos.weight.shape[0],
            "d_vocab": vocab_size,
            "d_vocab_out": vocab_size,
            "act_fn": "gelu",
            "normalization_type": "LN",
            "eps": EPS,
            "positional_embedding_type": "standard",
            "bos_token_id": bos_id,
        }
