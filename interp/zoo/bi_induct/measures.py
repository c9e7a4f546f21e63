"""What is looked at while an arm is trained: its induction heads, and the held-out loss."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from interp.zoo.bi_induct.streams import BOS, Stream


@torch.no_grad()
def induction_scores(
    model: LlamaForCausalLM, stream: Stream, *, seed: int, n: int = 16, length: int = 40
) -> Float[Tensor, "layer head"]:
    """Mean attention from a repeated random token to the one after its earlier occurrence."""
    length = min(
        length, stream.vocab_size - stream.n_fixed, model.config.max_position_embeddings // 2 - 1
    )
    generator = torch.Generator().manual_seed(seed)
    ids = stream.vocab_size - stream.n_fixed
    r = torch.stack([torch.randperm(ids, generator=generator)[:length] for _ in range(n)])
    rows = F.pad(torch.cat([r, r], dim=1) + stream.n_fixed, (1, 0), value=BOS)
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")  # the fast kernels do not give patterns
    try:
        out = model(input_ids=rows.to(model.device), use_cache=False, output_attentions=True)
    finally:
        model.set_attn_implementation(before)
    q = torch.arange(length + 1, 2 * length)
    return torch.stack([a[:, :, q, q - length + 1].mean((0, 2)) for a in out.attentions]).cpu()


@torch.no_grad()
def held_out_loss(
    model: LlamaForCausalLM, stream: Stream, *, context: int, seed: int, n: int = 128
) -> float:
    """Nats per token on the first held-out windows, renamed by the seed."""
    generator = torch.Generator().manual_seed(seed)
    windows = stream.consecutive(n, context - 1, generator=generator)
    rows = F.pad(windows, (1, 0), value=BOS).to(model.device)
    total = 0.0
    for part in rows.split(32):
        logits = model(input_ids=part, use_cache=False).logits[:, :-1]
        total += float(
            F.cross_entropy(logits.flatten(0, 1), part[:, 1:].flatten(), reduction="sum")
        )
    return total / windows.numel()
