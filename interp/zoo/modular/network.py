"""The one-layer transformer of two-operand tasks, run at the one position that is read.

The same computation as the bridge's native model, parameter for parameter, in less time. Of the
three tokens ``a b =`` only the last is read, so only it needs a query; its query is the same for
every pair; and keys and values depend on a token and its place, of which there are 2n + 1, not on
the pair, of which there are n².
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F


class Seen(NamedTuple):
    """What the network computes at ``=``, for some pairs."""

    neurons: Float[Tensor, "pair d_mlp"]
    logits: Float[Tensor, "pair answer"]


class Attention(nn.Module):
    """Parameters of the heads, named as native folders name them."""

    def __init__(self, d_model: int) -> None:
        super().__init__()
        self.q, self.k, self.v, self.o = (nn.Linear(d_model, d_model) for _ in range(4))


class MLP(nn.Module):
    """Parameters of the hidden layer."""

    def __init__(self, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.fc_in, self.fc_out = nn.Linear(d_model, d_mlp), nn.Linear(d_mlp, d_model)


class Block(nn.Module):
    """The one layer, without norms."""

    def __init__(self, d_model: int, d_mlp: int) -> None:
        super().__init__()
        self.attn, self.mlp = Attention(d_model), MLP(d_model, d_mlp)


class Network(nn.Module):
    """One layer of attention and ReLUs, no norms, biases zero and frozen (Nanda et al. 2023)."""

    def __init__(
        self, *, n: int, n_answers: int, d_model: int, n_heads: int, d_mlp: int, seed: int
    ) -> None:
        """Begin with normal weights of 1/√d_model.

        Args:
            n: Operands; ``=`` is one token more.
            n_answers: Outputs.
            d_model: Width of the residual stream, a multiple of ``n_heads``.
            n_heads: Attention heads.
            d_mlp: Neurons.
            seed: Draws the weights.
        """
        super().__init__()
        if d_model % n_heads:
            raise ValueError(f"d_model={d_model}: expected a multiple of n_heads={n_heads}")
        with torch.random.fork_rng(devices=[]):  # building draws numbers that are then overwritten
            self.tok_embed, self.pos = nn.Embedding(n + 1, d_model), nn.Embedding(3, d_model)
            self.layers = nn.ModuleList([Block(d_model, d_mlp)])
            self.head = nn.Linear(d_model, n_answers, bias=False)
        self.n_heads = n_heads
        generator = torch.Generator().manual_seed(seed)
        for name, parameter in self.named_parameters():
            if name.endswith("bias"):
                parameter.requires_grad_(False).zero_()
            else:
                nn.init.normal_(parameter, std=1 / math.sqrt(d_model), generator=generator)

    def run(self, pairs: Int[Tensor, "pair 2"]) -> Seen:
        """Neurons after the ReLU, and logits, at ``=``."""
        attn: Any = self.layers[0].attn
        mlp: Any = self.layers[0].mlp
        heads = (self.n_heads, -1)
        operands = self.tok_embed.weight[:-1]
        first, second = operands + self.pos.weight[0], operands + self.pos.weight[1]
        last = self.tok_embed.weight[-1:] + self.pos.weight[2]
        tokens = torch.cat([first, second, last])
        query = attn.q(last).unflatten(-1, heads)
        keys, values = attn.k(tokens).unflatten(-1, heads), attn.v(tokens)
        scores = (keys * query).sum(-1) / math.sqrt(query.shape[-1])
        n = len(operands)
        # Scores and values of a token are gathered together: one gather is what costs.
        rows = torch.cat([scores, values], dim=1)
        a, b = F.embedding(pairs[:, 0], rows[:n]), F.embedding(pairs[:, 1], rows[n:-1])
        end = rows[-1:].expand(len(pairs), -1)
        held = torch.stack([a, b, end], dim=1)
        pattern = held[..., : self.n_heads].softmax(dim=1)[..., None]
        mixed = (pattern * held[..., self.n_heads :].unflatten(-1, heads)).sum(1).flatten(1)
        middle = last + attn.o(mixed)
        neurons = mlp.fc_in(middle).relu()
        return Seen(neurons, self.head(middle + mlp.fc_out(neurons)))

    def forward(self, pairs: Int[Tensor, "pair 2"]) -> Float[Tensor, "pair answer"]:
        """Logits at ``=``."""
        return self.run(pairs).logits

    def native_config(self) -> dict[str, Any]:
        """The ``native.json`` under which the same weights give the same logits."""
        return native_config(
            d_vocab=self.tok_embed.num_embeddings,
            n_answers=self.head.out_features,
            d_model=self.tok_embed.embedding_dim,
            n_heads=self.n_heads,
            d_mlp=int(self.state_dict()["layers.0.mlp.fc_in.bias"].shape[0]),
        )


def native_config(
    *, d_vocab: int, n_answers: int, d_model: int, n_heads: int, d_mlp: int
) -> dict[str, Any]:
    """The native configuration of a one-layer network without norms."""
    return {
        "n_layers": 1,
        "d_model": d_model,
        "d_head": d_model // n_heads,
        "n_heads": n_heads,
        "d_mlp": d_mlp,
        "n_ctx": 3,
        "d_vocab": d_vocab,
        "d_vocab_out": n_answers,
        "act_fn": "relu",
        "normalization_type": None,
        "positional_embedding_type": "standard",
    }
