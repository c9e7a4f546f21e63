"""Checkpoints of the published one-layer model of modular addition, read into native folders.

Two layouts are told apart by their shapes:

* the paper's own code (Nanda et al. 2023): matrices act on columns, ``W_E [d_model, vocab]``,
  ``W_Q [head, d_head, d_model]``, ``W_O [d_model, head · d_head]``;
* TransformerLens': matrices act on rows, ``W_E [vocab, d_model]``, ``W_Q [head, d_model, d_head]``,
  ``W_O [head, d_head, d_model]``.

Names may carry any prefix (``blocks.0.attn.W_Q``, ``model.embed.W_E``). Other names are mapped by a
JSON object from ours to the file's: ``{"W_E": "embedding.table", …}``.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from interp.zoo.modular.network import native_config

MATRICES = ("W_E", "W_pos", "W_Q", "W_K", "W_V", "W_O", "W_in", "W_out", "W_U")
BIASES = ("b_Q", "b_K", "b_V", "b_O", "b_in", "b_out")
_NATIVE = {
    "W_E": "tok_embed.weight",
    "W_pos": "pos.weight",
    "W_Q": "layers.0.attn.q.weight",
    "W_K": "layers.0.attn.k.weight",
    "W_V": "layers.0.attn.v.weight",
    "W_O": "layers.0.attn.o.weight",
    "W_in": "layers.0.mlp.fc_in.weight",
    "W_out": "layers.0.mlp.fc_out.weight",
    "W_U": "head.weight",
    "b_Q": "layers.0.attn.q.bias",
    "b_K": "layers.0.attn.k.bias",
    "b_V": "layers.0.attn.v.bias",
    "b_O": "layers.0.attn.o.bias",
    "b_in": "layers.0.mlp.fc_in.bias",
    "b_out": "layers.0.mlp.fc_out.bias",
}
# What such files hold besides weights: masks, constants, and the bias of the unembedding, which
# must be zero.
_IDLE = ("mask", "IGNORE", "b_U")


class CheckpointError(ValueError):
    """The file is no checkpoint of a one-layer modular-addition model; the message says why."""


def read_published(
    path: Path, *, mapping: Path | None = None
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a state dict of a one-layer model.

    Args:
        path: A safetensors file.
        mapping: A JSON object from names such as ``W_E`` to the file's own.

    Returns:
        The fields of a native configuration, and the weights by their native names.

    Raises:
        CheckpointError: no such file, another format, or another architecture.
    """
    stored = _load(path)
    found = _named(stored, path, _read_mapping(mapping))
    weights, n_heads = _as_native(found, path)
    _check_shapes(weights, path)
    d_vocab, d_model = weights["tok_embed.weight"].shape
    fields = native_config(
        d_vocab=d_vocab,
        n_answers=len(weights["head.weight"]),
        d_model=d_model,
        n_heads=n_heads,
        d_mlp=len(weights["layers.0.mlp.fc_in.weight"]),
    )
    return fields, weights


def _load(path: Path) -> dict[str, Tensor]:
    if path.suffix in (".pth", ".pt", ".bin", ".pkl", ".ckpt"):
        raise CheckpointError(
            f"{path} is a pickle, which can run code when it is read; convert it where you trust "
            "it: safetensors.torch.save_file({k: v.contiguous() for k, v in "
            f"torch.load('{path.name}', weights_only=True).items()}}, '{path.stem}.safetensors') "
            "(if it holds a state dict inside, convert that)"
        )
    try:
        stored = load_file(path)
    except FileNotFoundError as error:
        raise CheckpointError(f"no file {path}; expected a safetensors state dict") from error
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be read as safetensors: {error}") from error
    if not stored:
        raise CheckpointError(f"{path} holds no tensors; expected a state dict with W_E, W_pos, …")
    return stored


def _read_mapping(path: Path | None) -> dict[str, str]:
    if path is None:
        return {}
    try:
        mapping = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"mapping {path} cannot be read as JSON: {error}") from error
    if not isinstance(mapping, dict) or not all(isinstance(v, str) for v in mapping.values()):
        raise CheckpointError(f'mapping {path} must be a JSON object such as {{"W_E": "embed.w"}}')
    for name in mapping:
        if name not in _NATIVE:
            near = difflib.get_close_matches(name, _NATIVE, n=1) or [", ".join(_NATIVE)]
            raise CheckpointError(
                f"mapping {path} has no use for {name!r}; did you mean {near[0]}?"
            )
    return mapping


def _named(
    stored: Mapping[str, Tensor], path: Path, mapping: Mapping[str, str]
) -> dict[str, Tensor]:
    """The tensors by our names; everything in the file must be accounted for."""
    used: dict[str, str] = {}
    for name in _NATIVE:
        if name in mapping:
            if mapping[name] not in stored:
                near = difflib.get_close_matches(mapping[name], stored, n=2) or sorted(stored)[:4]
                raise CheckpointError(
                    f"{path} has no {mapping[name]!r} for {name}; there are {', '.join(near)}"
                )
            used[name] = mapping[name]
            continue
        matches = [key for key in stored if key == name or key.endswith(f".{name}")]
        if len(matches) > 1:
            raise CheckpointError(
                f"{path} has {len(matches)} tensors called {name} "
                f"({', '.join(sorted(matches)[:3])}): expected one layer"
            )
        if matches:
            used[name] = matches[0]
    missing = [name for name in MATRICES if name not in used]
    if missing and _NATIVE["W_E"] in stored:
        raise CheckpointError(f"{path} belongs to a native folder; give the folder, {path.parent}")
    if missing:
        raise CheckpointError(
            f"{path} is no one-layer modular-addition model: it has no {', '.join(missing)} (there "
            f"are {', '.join(sorted(stored)[:4])}, …); map names with a JSON object"
        )
    for key in stored.keys() - set(used.values()):
        last = key.rpartition(".")[2]
        if last not in _IDLE:
            raise CheckpointError(
                f"{path} holds {key}, which a one-layer model without norms does not have"
            )
        if last == "b_U" and bool(stored[key].any()):
            raise CheckpointError(
                f"{path} has a bias on its unembedding ({key}) that is not zero; expected none"
            )
    for name, key in used.items():
        if not stored[key].is_floating_point():
            raise CheckpointError(
                f"{path}: {key} is {stored[key].dtype} of shape {list(stored[key].shape)}; "
                f"expected real numbers in floating point for {name}"
            )
    return {name: stored[key].float() for name, key in used.items()}


def _as_native(found: Mapping[str, Tensor], path: Path) -> tuple[dict[str, Tensor], int]:
    """Turn any of the layouts into native matrices, which act on columns; and count the heads."""
    _check_axes(found, path)
    W_Q, W_O = found["W_Q"], found["W_O"]
    if W_Q.ndim == 3 and W_O.ndim == 2:
        n_heads = len(W_Q)
        native = {**found, "W_E": found["W_E"].T}
        native |= {name: found[name].flatten(0, 1) for name in ("W_Q", "W_K", "W_V")}
        native["W_U"] = found["W_U"].T
    elif W_Q.ndim == 3 and W_O.ndim == 3:
        n_heads = len(W_Q)
        native = dict(found)
        for name in ("W_Q", "W_K", "W_V"):
            native[name] = found[name].transpose(1, 2).flatten(0, 1)
        native["W_O"] = W_O.flatten(0, 1).T
        native |= {name: found[name].T for name in ("W_in", "W_out", "W_U")}
    elif W_Q.ndim == 2 and W_O.ndim == 2:
        raise CheckpointError(
            f"{path} keeps its heads in one matrix, so their number cannot be read off; save it as "
            "a native folder, or W_Q as [head, d_head, d_model]"
        )
    else:
        raise CheckpointError(
            f"{path}: W_Q of shape {list(W_Q.shape)} and W_O of shape {list(W_O.shape)} are of no "
            "known layout; expected [head, d_head, d_model] and [d_model, head · d_head], or "
            "[head, d_model, d_head] and [head, d_head, d_model]"
        )
    sizes = {"b_Q": len(native["W_Q"]), "b_K": len(native["W_K"]), "b_V": len(native["W_V"])}
    sizes |= {"b_O": len(native["W_O"]), "b_in": len(native["W_in"]), "b_out": len(native["W_out"])}
    for name, size in sizes.items():
        native[name] = found[name].flatten() if name in found else torch.zeros(size)
    return {_NATIVE[name]: tensor.contiguous() for name, tensor in native.items()}, n_heads


def _check_axes(found: Mapping[str, Tensor], path: Path) -> None:
    """Refuse tensors with more or fewer axes than any layout has, before they are turned."""
    wanted: dict[str, tuple[int, ...]] = {name: (2,) for name in _NATIVE if name.startswith("W")}
    wanted |= dict.fromkeys(BIASES, (1,)) | {"W_O": (1, 2, 3)}
    wanted |= dict.fromkeys(("W_Q", "W_K", "W_V"), (2, 3))
    wanted |= dict.fromkeys(("b_Q", "b_K", "b_V"), (1, 2))
    for name, tensor in found.items():
        axes = wanted[name]
        if name in ("W_K", "W_V") and found["W_Q"].ndim == 3:  # laid out like W_Q
            axes = (3,)
        if tensor.ndim not in axes or not tensor.numel():
            raise CheckpointError(
                f"{path}: {name} is of shape {list(tensor.shape)}; expected "
                f"{' or '.join(map(str, axes))} axes, none of them empty"
            )


def _check_shapes(weights: Mapping[str, Tensor], path: Path) -> None:
    """Refuse matrices that do not belong together, or to a modulus."""
    d_vocab, d_model = weights["tok_embed.weight"].shape
    square = (d_model, d_model)
    d_mlp = len(weights["layers.0.mlp.fc_in.weight"])
    n_answers = len(weights["head.weight"])
    wanted = {
        "pos.weight": (3, d_model),
        **{f"layers.0.attn.{part}.weight": square for part in "qkvo"},
        **{f"layers.0.attn.{part}.bias": (d_model,) for part in "qkvo"},
        "layers.0.mlp.fc_in.weight": (d_mlp, d_model),
        "layers.0.mlp.fc_in.bias": (d_mlp,),
        "layers.0.mlp.fc_out.weight": (d_model, d_mlp),
        "layers.0.mlp.fc_out.bias": (d_model,),
        "head.weight": (n_answers, d_model),
    }
    ours = {native: name for name, native in _NATIVE.items()}
    for native, shape in wanted.items():
        if tuple(weights[native].shape) != shape:
            raise CheckpointError(
                f"{path} is no one-layer modular-addition model: {ours[native]} is "
                f"{list(weights[native].shape)} where {list(shape)} belongs (as rows of outputs), "
                f"with {d_vocab} tokens and d_model {d_model}"
            )
    if n_answers not in (d_vocab - 1, d_vocab):
        raise CheckpointError(
            f"{path} has {d_vocab} tokens and {n_answers} outputs; modular addition has p + 1 "
            "tokens and p outputs (or p + 1)"
        )
    for native, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise CheckpointError(f"{path}: {ours[native]} is not finite")
