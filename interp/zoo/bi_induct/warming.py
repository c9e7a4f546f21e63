"""The beginning that the arms of a seed share: a head that has just begun to copy."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlamaForCausalLM

from interp.zoo.bi_induct.measures import induction_scores
from interp.zoo.bi_induct.streams import BOS, Stream
from interp.zoo.bi_induct.training import ArmConfig, new_model, new_optimizer
from interp.zoo.silencing import silent_outputs


def warm_up(
    config: ArmConfig, stream: Stream, *, device: str = "cpu"
) -> tuple[LlamaForCausalLM, int]:
    """The weights all arms of a seed begin with: an induction head has begun to form.

    Batches are ``BOS r r r …`` of uniformly random ids, half a context long and twice as many rows
    as an arm's, the period from 4 to a quarter of the context; loss on everything after the first
    period. Whether to stop is looked at every 5 steps.

    Args:
        config: The recipe; its arm does not matter.
        stream: Whose ids to use.
        device: A torch device.

    Returns:
        The model, and the steps it took; the random weights and 0 where no warm-up is wanted.

    Raises:
        RuntimeError: no head reached the score within ``warm_up_at_most`` steps.
    """
    model = new_model(config, stream.vocab_size)
    nn.Module.to(model, device)
    if config.warm_up_until is None:
        return model, 0
    optimizer = new_optimizer(model, config.lr)
    with torch.no_grad():
        for weight in silent_outputs(model, config.warm_up_heads):
            weight.zero_()
    generator = torch.Generator().manual_seed(config.seed + 2**33)
    context = config.context // 2
    best = 0.0
    for step in range(config.warm_up_at_most):
        for group in optimizer.param_groups:
            group["lr"] = config.lr * min(1.0, (step + 1) / max(1, config.ramp_steps))
        period = int(torch.randint(4, context // 2 + 1, (1,), generator=generator))
        r = torch.randint(
            stream.n_fixed, stream.vocab_size, (2 * config.rows, period), generator=generator
        )
        body = r[:, torch.arange(context - 1) % period]
        rows = F.pad(body, (1, 0), value=BOS).to(device)
        logits = model(input_ids=rows, use_cache=False).logits[:, period:-1]
        F.cross_entropy(logits.flatten(0, 1), rows[:, period + 1 :].flatten()).backward()
        for gradient in silent_outputs(model, config.warm_up_heads, grad=True):
            gradient.zero_()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        if (step + 1) % 5 == 0:
            best = float(induction_scores(model, stream, seed=config.seed).max())
            if best >= config.warm_up_until:
                return model, step + 1
    raise RuntimeError(
        f"after {config.warm_up_at_most} steps of warm-up the strongest head scores {best:.2f}, "
        f"not {config.warm_up_until}: use a larger vocabulary, more steps, or another seed"
    )
