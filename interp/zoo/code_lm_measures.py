"""What ``code-lm`` scores: attention on repeated random tokens, and the loss on held-out text.

Measured with transformers alone, so that a card does not rest on the instruments that are later
tried on the model.
"""

from __future__ import annotations

import json
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

BOS = 0
"""Id of ``<|endoftext|>``, the only special token; ids 1 and up are ordinary."""


@torch.no_grad()
def attention_scores(
    model: LlamaForCausalLM, *, seed: int, n_sequences: int = 64, length: int = 50
) -> dict[str, Float[Tensor, "layer head"] | Float[Tensor, ""]]:
    """Signatures of heads on random tokens, none of which occurs twice within ``r``.

    On ``<|endoftext|> r r``, with q a query in the second ``r`` and p the previous occurrence of
    its token, ``induction`` is the mean attention from q to p + 1 (prefix matching, Olsson et al.
    2022) and ``previous`` that to q - 1. ``unrepeated`` is the attention over the same distance as
    ``induction`` on ``<|endoftext|> r s`` without any repeat: a head that merely looks a fixed way
    back scores there too. All three are shares of attention from 0 to 1.

    Args:
        model: Any model of this module.
        seed: Seed of the tokens.
        n_sequences: Sequences to average over.
        length: Tokens in ``r``.

    Returns:
        The three scores, and ``nll_first`` and ``nll_repeat`` in nats per token: the losses on the
        first and the second ``r``, the latter without its first token, which nothing announces.

    Raises:
        ValueError: If ``length`` does not fit the vocabulary or the positions.
    """
    n_ids, most = model.config.vocab_size - 1, model.config.max_position_embeddings - 1
    if not 2 <= length <= min(n_ids, most) // 2:
        raise ValueError(
            f"length={length}: expected at least 2, and twice as many distinct tokens within "
            f"{n_ids} ids and {most} positions; shorten it."
        )
    generator = torch.Generator().manual_seed(seed)
    shuffled = [torch.randperm(n_ids, generator=generator) for _ in range(n_sequences)]
    r, s = (torch.stack(shuffled)[:, : 2 * length] + BOS + 1).split(length, dim=1)
    repeated = F.pad(torch.cat([r, r], dim=1), (1, 0), value=BOS)
    logits, attention = _with_attention(model, repeated)
    _, unrepeated = _with_attention(model, F.pad(torch.cat([r, s], dim=1), (1, 0), value=BOS))
    nll = F.cross_entropy(logits[:, :-1].flatten(0, 1), repeated[:, 1:].flatten(), reduction="none")
    nll = nll.view(n_sequences, 2 * length)
    q = torch.arange(length + 1, 2 * length + 1)
    return {
        "induction": attention[..., q, q - length + 1].mean((1, -1)),
        "unrepeated": unrepeated[..., q, q - length + 1].mean((1, -1)),
        "previous": attention[..., q, q - 1].mean((1, -1)),
        "nll_first": nll[:, :length].mean(),
        "nll_repeat": nll[:, length + 1 :].mean(),
    }


@torch.no_grad()
def text_cross_entropy(model: LlamaForCausalLM, tokens: Int[Tensor, " token"]) -> float:
    """Nats per token over consecutive full windows, each begun with ``<|endoftext|>``.

    Raises:
        ValueError: If there are too few tokens for one window.
    """
    width = model.config.max_position_embeddings - 1
    n = len(tokens) // width
    if n == 0:
        raise ValueError(
            f"{len(tokens)} tokens: expected at least {width}, one window; hold out more text."
        )
    windows = F.pad(tokens[: n * width].view(n, width).long(), (1, 0), value=BOS)
    total = 0.0
    for rows in windows.split(32):
        logits = model(input_ids=rows, use_cache=False).logits[:, :-1]
        nll = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten(), reduction="sum")
        total += nll.item()
    return total / (n * width)


def measure(
    model: LlamaForCausalLM, held_out: Int[Tensor, " token"], *, seed: int
) -> dict[str, Any]:
    """What the card says was measured: on held-out text, and on fresh random tokens."""
    length = min(50, (model.config.max_position_embeddings - 1) // 2)
    scores = attention_scores(model, seed=seed, length=length)
    return {
        "text_ce_nats_per_token": round(text_cross_entropy(model, held_out), 4),
        "repeat_length": length,
        **{k: json.loads(json.dumps(v.tolist()), parse_float=_rounded) for k, v in scores.items()},
    }


def _rounded(digits: str) -> float:
    return round(float(digits), 4)


def _with_attention(
    model: LlamaForCausalLM, ids: Int[Tensor, "row position"]
) -> tuple[Tensor, Float[Tensor, "layer row head query key"]]:
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the fast kernels do not give patterns
    try:
        output = model(input_ids=ids, use_cache=False, output_attentions=True)
    finally:
        model.set_attn_implementation(before)
    return output.logits, torch.stack(output.attentions)
