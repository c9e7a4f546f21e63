"""Whether a model can be begun in the middle: tried on a probe, before it is relied on."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.quick import plainly
from interp.hooks.session import session
from interp.hooks.sites import Site
from interp.hooks.suffix import Entry, Prefix, Rewrite, run_prefix, run_suffix
from interp.models import Model
from interp.models.checks import probe_tokens
from interp.models.memory import is_out_of_memory

# Largest difference between logits begun in the middle and the model's own that rounding
# explains, relative to the largest logit.
TOLERANCE = {torch.float64: 1e-5, torch.float32: 2e-5, torch.float16: 2e-2, torch.bfloat16: 1e-1}
_WIDTH, _ROWS = 8, 3


def suffix_problem(model: Model) -> str | None:
    """Say why this model cannot be run from the middle on, or None where it can.

    On a probe, with padding where the model takes it, every layer is begun at twice: unchanged,
    which must give the clean logits, and with one head's output made large noise, which must give
    what the same change by a hook gives; and once with rows that join at every layer. Where that
    fails with cheaper equals of some modules, it is tried without. Once a model, at the cost of
    a few short passes.
    """
    known: dict[str, str | None] = model.__dict__.setdefault("_suffix", {})
    if "problem" not in known:
        try:
            known["problem"] = _try(model)
            if known["problem"] and plainly(model):
                known["problem"] = _try(model)
        except Exception as error:  # another architecture's code may fail in any way
            if is_out_of_memory(error):
                raise
            lines = str(error).strip().splitlines() or [type(error).__name__]
            known["problem"] = lines[0]
    return known["problem"]


def has_hooks(model: Model) -> bool:
    """Whether anyone has a hook on the model: begun in the middle, earlier ones would not fire."""
    return any(point._forward_hooks for point in set(model.bridge.hook_dict.values()))


@torch.no_grad()
def _try(model: Model) -> str | None:
    if has_hooks(model):
        return "there are hooks on it"
    tokens = probe_tokens(model.d_vocab, model.n_ctx)[:, :_WIDTH].repeat(2, 1)[:_ROWS]
    width = tokens.shape[1]
    mask = torch.ones_like(tokens, dtype=torch.bool)
    n_pad = min(2, width - 1)  # row 0 stays whole
    mask[1, width - n_pad :] = False
    if model.checks.get("left_padding_agrees", 1.0):
        mask[2, :n_pad] = False
    columns = torch.arange(width)
    # The last real positions, but not all of them.
    n_reads = max(1, width - n_pad - 1)
    reads = torch.stack([columns[mask[i]][-n_reads:] for i in range(_ROWS)])
    prefix = run_prefix(model, tokens, mask, range(model.n_layers))
    noise = _noise(model, prefix)
    changed = _by_hooks(model, prefix, noise)
    moved = _moved(model, prefix, noise)
    rows = torch.arange(_ROWS)
    clean = _read(prefix.logits, reads)
    for layer, start in prefix.starts.items():
        both = torch.cat([start.attn_out, moved[layer]])
        entries = [Entry(layer, rows.repeat(2), both)]
        found = run_suffix(model, prefix, entries, reads=reads.repeat(2, 1))
        if problem := _compare(found, torch.cat([clean, _read(changed[layer], reads)])):
            return f"begun at layer {layer}, {problem}"
    # All together: the first rows run every attention, others join them at every layer.
    entries = [Entry(0, rows, None)]
    entries += [Entry(layer, rows, out) for layer, out in moved.items()]
    wanted = [clean, *(_read(found, reads) for found in changed)]
    if len(entries) * _ROWS == width:  # see ``run_suffix``
        entries, wanted = [Entry(0, rows.repeat(2), None), *entries[1:]], [clean, *wanted]
    found = run_suffix(model, prefix, entries, reads=reads.repeat(len(wanted), 1))
    if problem := _compare(found, torch.cat(wanted)):
        return f"with rows joining at every layer, {problem}"
    return None


def _moved(model: Model, prefix: Prefix, noise: Tensor) -> dict[int, Tensor]:
    """What each layer's attention returns with one head's output made noise."""
    moved = {}
    for layer, start in prefix.starts.items():
        head = layer % model.n_heads
        W_O = model.head_weights(layer).W_O[head].float()
        change = (noise[layer] - start.z[:, :, head].float()) @ W_O
        moved[layer] = (start.attn_out.float() + change).to(start.attn_out.dtype)
    return moved


def _noise(model: Model, prefix: Prefix) -> Float[Tensor, "layer pos d_head"]:
    """For each layer, an output for one head that cannot be overlooked."""
    z = prefix.starts[0].z
    generator = torch.Generator().manual_seed(1)
    noise = torch.randn((model.n_layers, z.shape[1], z.shape[3]), generator=generator)
    sizes = [float(start.z.float().pow(2).mean().sqrt()) for start in prefix.starts.values()]
    noise = noise * (4 * torch.tensor(sizes) + 1e-3)[:, None, None]
    return noise.to(z.device, z.dtype).float()


def _by_hooks(model: Model, prefix: Prefix, noise: Tensor) -> Float[Tensor, "layer row pos vocab"]:
    """The same changes by hooks on z, all layers' in one pass: layer i in the i-th rows."""

    def put(layer: int) -> Callable[[Tensor], Tensor]:
        def edit(z: Tensor) -> Tensor:
            z = z.clone()
            mine = slice(layer * _ROWS, (layer + 1) * _ROWS)
            z[mine, :, layer % model.n_heads] = noise[layer].to(z.dtype)
            return z

        return edit

    n = model.n_layers
    edits = [Rewrite(Site(layer, "z"), "set", function=put(layer)) for layer in range(n)]
    assert prefix.mask is not None
    with session(model, intervene=edits) as s:
        logits = s.run(prefix.tokens.repeat(n, 1), prefix.mask.repeat(n, 1))
    return logits.unflatten(0, (n, _ROWS))


def _read(logits: Tensor, reads: Int[Tensor, "row read"]) -> Tensor:
    at = reads.to(logits.device)[:, :, None].expand(-1, -1, logits.shape[-1])
    return logits.gather(1, at)


def _compare(found: Tensor, wanted: Tensor) -> str | None:
    if found.shape != wanted.shape:
        return f"logits have shape {list(found.shape)}, not {list(wanted.shape)}"
    scale = max(1.0, float(wanted.float().abs().max()))
    error = float((found.float() - wanted.float()).abs().max())
    if not error <= TOLERANCE.get(found.dtype, 1e-1) * scale:  # so written, NaN fails too
        return f"logits differ by {error:.2g} (scale {scale:.2g})"
    return None
