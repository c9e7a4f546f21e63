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
    torch.float64: 1e-6,
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
        digest.update(memoryview(raw.numpy()))
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
) -> dict[str, float]:
    """Check that a bridge computes what it should, on one small batch.

    Patterns must be causal and sum to one at every layer, heads must divide evenly among
    key/value heads, the tokenizer must stay inside the vocabulary, and the logits must equal
    those that transformers gave before the model was wrapped.

    Args:
        bridge: The bridge just built.
        name: The model's name, for messages.
        reference: Transformers' own logits on ``probe_tokens``, or None for a native model.
        tokenizer: The tokenizer, or None.

    Returns:
        What was measured: ``logit_difference`` and ``logit_scale`` (both absolute),
        ``pattern_sum_error``, ``layers_with_patterns``, ``ids_outside_vocabulary``.

    Raises:
        ModelError: a check failed; nothing measured on such a model could be trusted.
    """
    cfg = bridge.cfg
    n_kv = getattr(cfg, "n_key_value_heads", None) or cfg.n_heads
    if cfg.n_heads % n_kv:
        raise ModelError(f"{name}: {cfg.n_heads} heads do not divide among {n_kv} key/value heads")
    tokens = probe_tokens(cfg.d_vocab, cfg.n_ctx).to(cfg.device)
    measured: dict[str, float] = {"pattern_sum_error": 0.0, "layers_with_patterns": 0.0}
    problems: list[str] = []

    def look(pattern: Tensor, hook: Any) -> None:
        measured["layers_with_patterns"] += 1
        if pattern.shape[1] != cfg.n_heads:
            problems.append(f"{hook.name} has {pattern.shape[1]} heads, not {cfg.n_heads}")
            return
        # Sums are taken in float32: a bfloat16 sum would measure its own rounding.
        error = float((pattern.float().sum(-1) - 1).abs().max())
        measured["pattern_sum_error"] = max(measured["pattern_sum_error"], error)
        if float(pattern.float().triu(1).abs().max()) > 0:
            problems.append(f"{hook.name} attends to later positions")

    points = [
        bridge.hook_dict[f"blocks.{layer}.attn.hook_pattern"]
        for layer in range(cfg.n_layers)
        if f"blocks.{layer}.attn.hook_pattern" in bridge.hook_dict
    ]
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
        problems.append(f"only {int(measured['layers_with_patterns'])} of {len(points)} ran")
    tolerance = LOGIT_TOLERANCE.get(logits.dtype, 1e-1)
    if measured["pattern_sum_error"] > max(tolerance, 1e-4):
        problems.append(f"attention rows miss one by {measured['pattern_sum_error']:.2g}")
    if not bool(torch.isfinite(logits).all()):
        problems.append("logits are not finite")
    if reference is not None and not problems:
        scale = float(reference.float().abs().max())
        difference = float((logits.float() - reference.float()).abs().max())
        measured |= {"logit_difference": difference, "logit_scale": scale}
        if difference > tolerance * max(scale, 1.0):
            problems.append(
                f"logits differ from transformers' by {difference:.3g} (scale {scale:.3g})"
            )
    if problems:
        raise ModelError(f"{name} did not load as it should: {'; '.join(problems)}")
    if tokenizer is not None:
        outside = sum(1 for i in tokenizer.get_vocab().values() if i >= cfg.d_vocab)
        measured["ids_outside_vocabulary"] = float(outside)
    return measured
