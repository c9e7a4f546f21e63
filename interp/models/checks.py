"""What a model is (its fingerprint) and whether it loaded right (its self-check)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.models.spec import ModelError

# Largest difference between bridge and transformers logits that rounding explains, relative
# to the largest logit. Float32 was measured at 1e-6 to 2e-5.
LOGIT_TOLERANCE = {
    torch.float64: 1e-4,  # transformers takes softmax and rotations in float32 all the same
    torch.float32: 1e-3,
    torch.float16: 3e-2,
    torch.bfloat16: 1e-1,
}


def fingerprint(config: Mapping[str, Any], weights: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of a configuration and its weights.

    Args:
        config: JSON-safe description of the architecture, free of paths and versions.
        weights: (name, tensor) pairs, hashed in the order of their names.
    """
    digest = hashlib.sha256(json.dumps(config, sort_keys=True, default=str).encode())
    for name, tensor in sorted(weights, key=lambda item: item[0]):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        # As bytes, since numpy has no bfloat16.
        raw = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8)
        digest.update(raw.numpy().data)
    return digest.hexdigest()


def probe_tokens(d_vocab: int, n_ctx: int) -> Int[Tensor, "2 pos"]:
    """A fixed pair of random sequences to compare two forward passes on."""
    generator = torch.Generator().manual_seed(0)
    return torch.randint(0, d_vocab, (2, min(16, n_ctx)), generator=generator)


@torch.no_grad()
def self_check(
    bridge: Any,
    *,
    name: str,
    reference: Float[Tensor, "2 pos vocab"] | None,
    tokenizer: Any | None,
    n_ctx: int | None = None,
) -> dict[str, float]:
    """Check that a bridge computes what it should, on one small batch.

    Patterns must be causal and sum to one at every layer, heads must divide evenly among
    key/value heads, the bridge may claim no more positions than the model has, and the logits
    must equal those that transformers gave before the model was wrapped. Ids of the tokenizer
    outside the vocabulary are counted, and whether left padding changes anything is recorded:
    neither makes a model unusable, and both are refused where they would matter.

    Args:
        bridge: The bridge just built.
        name: The model's name, for messages.
        reference: Transformers' own logits on ``probe_tokens``, or None for a native model.
        tokenizer: The tokenizer, or None.
        n_ctx: Positions the model's own configuration gives, where it says.

    Returns:
        What was measured: ``logit_difference`` and ``logit_scale`` (both absolute),
        ``pattern_sum_error``, ``layers_with_patterns``, ``ids_outside_vocabulary``,
        ``left_padding_agrees`` (1 or 0).

    Raises:
        ModelError: a check failed; nothing measured on such a model could be trusted.
    """
    cfg = bridge.cfg
    n_kv = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
    if cfg.n_heads % n_kv:
        raise ModelError(f"{name}: {cfg.n_heads} heads do not divide among {n_kv} key/value heads")
    tokens = probe_tokens(cfg.d_vocab, cfg.n_ctx).to(cfg.device)
    logits, measured, problems = _look_at_patterns(bridge, tokens)
    if n_ctx is not None and cfg.n_ctx > n_ctx:
        problems.append(f"the bridge claims {cfg.n_ctx} positions, the model has {n_ctx}")
    if not bool(torch.isfinite(logits).all()):
        problems.append("logits are not finite")
    tolerance = LOGIT_TOLERANCE.get(logits.dtype, 1e-1)
    scale = max(float(logits.float().abs().max()), 1.0)
    if reference is not None and not problems:
        scale = max(float(reference.float().abs().max()), 1.0)
        difference = float((logits.float() - reference.float()).abs().max())
        measured |= {"logit_difference": difference, "logit_scale": scale}
        if not difference <= tolerance * scale:  # so written, NaN fails too
            problems.append(
                f"logits differ from transformers' by {difference:.3g} (scale {scale:.3g})"
            )
    if problems:
        raise ModelError(f"{name} did not load as it should: {'; '.join(problems)}")
    slack = max(tolerance, LOGIT_TOLERANCE[torch.float32]) * scale
    measured["left_padding_agrees"] = float(_left_padding_agrees(bridge, tokens, slack))
    if tokenizer is not None:
        outside = sum(1 for i in tokenizer.get_vocab().values() if i >= cfg.d_vocab)
        measured["ids_outside_vocabulary"] = float(outside)
    return measured


def _look_at_patterns(
    bridge: Any, tokens: Int[Tensor, "2 pos"]
) -> tuple[Float[Tensor, "2 pos vocab"], dict[str, float], list[str]]:
    """Run once; return the logits, what the patterns measured, and what is wrong with them."""
    cfg = bridge.cfg
    measured: dict[str, float] = {"pattern_sum_error": 0.0, "layers_with_patterns": 0.0}
    problems: list[str] = []

    def look(pattern: Tensor, hook: Any) -> None:
        measured["layers_with_patterns"] += 1
        tolerance = max(LOGIT_TOLERANCE.get(pattern.dtype, 1e-1), 1e-4)
        if pattern.shape[1] != cfg.n_heads:
            problems.append(f"{hook.name} has {pattern.shape[1]} heads, not {cfg.n_heads}")
            return
        # Sums are taken in float32: a bfloat16 sum would measure its own rounding.
        error = float((pattern.float().sum(-1) - 1).abs().max())
        measured["pattern_sum_error"] = max(measured["pattern_sum_error"], error)
        if not error <= tolerance:  # so written, NaN fails too
            problems.append(f"{hook.name} has rows that miss one by {error:.2g}")
        if float(pattern.float().triu(1).abs().max()) > 0:
            problems.append(f"{hook.name} attends to later positions")

    names = [f"blocks.{layer}.attn.hook_pattern" for layer in range(cfg.n_layers)]
    points = [bridge.hook_dict[name] for name in names if name in bridge.hook_dict]
    added = []
    for point in points:
        point.add_hook(look)
        added.append((point, point.fwd_hooks[-1]))
    try:
        logits = bridge(tokens)
    finally:
        for point, handle in added:
            handle.hook.remove()
            point.fwd_hooks.remove(handle)
    if measured["layers_with_patterns"] != len(points):
        ran = int(measured["layers_with_patterns"])
        problems.append(f"only {ran} of {len(points)} attention patterns can be seen")
    return logits, measured, problems


def _left_padding_agrees(bridge: Any, tokens: Int[Tensor, "2 pos"], tolerance: float) -> bool:
    """Whether padding on the left, masked, leaves the real positions' logits as they are."""
    n_pad = min(3, tokens.shape[1] - 1)
    if n_pad < 1:
        return True  # a single position leaves no room for padding
    real = tokens[:, : tokens.shape[1] - n_pad]
    padded = torch.cat([tokens[:, :n_pad], real], dim=1)
    mask = torch.ones_like(padded)
    mask[:, :n_pad] = 0
    try:
        with_padding = bridge(padded, attention_mask=mask)[:, n_pad:]
    except (TypeError, ValueError, NotImplementedError):
        return False  # takes no mask at all
    return bool((with_padding - bridge(real)).abs().max() <= tolerance)
