"""Models built from a configuration alone: TransformerLens' own small architecture."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.models.spec import ModelError

CONFIG_FILE = "native.json"
WEIGHTS_FILE = "model.safetensors"


def read_native_config(folder: Path) -> dict[str, Any]:
    """Read the configuration of a native folder.

    Raises:
        ModelError: the file is not a JSON object.
    """
    path = folder / CONFIG_FILE
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, json.JSONDecodeError) as error:
        raise ModelError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise ModelError(f"{path} must hold one JSON object of configuration fields")
    return fields


def boot_native(
    fields: Mapping[str, Any], *, name: str, seed: int, dtype: torch.dtype, device: torch.device
) -> Any:
    """Build a bridge with random weights from native configuration fields.

    Args:
        fields: Fields of a ``TransformerBridgeConfig`` (``n_layers``, ``d_model``, …);
            ``bos_token_id`` and ``model_name`` are ours and left out.
        name: What the model is called.
        seed: Seeds the initial weights.
        dtype: Type of the weights.
        device: Where they live.

    Raises:
        ModelError: a field is unknown, missing or impossible.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    given = {k: v for k, v in fields.items() if k not in ("bos_token_id", "model_name")}
    try:
        cfg = TransformerBridgeConfig(**{"seed": seed, "dtype": dtype, **given})
        return TransformerBridge.boot_native(cfg, dtype=dtype, device=device, model_name=name)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{name}: not a native configuration: {error}") from error


def native_parameters(bridge: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters under the names that NativeModel itself gives them."""
    for name, parameter in bridge.original_model.named_parameters():
        yield name.replace("._original_component", ""), parameter


def load_native_weights(bridge: Any, folder: Path) -> None:
    """Fill a native bridge from ``model.safetensors``; every name and shape must agree.

    Raises:
        ModelError: a parameter is missing, unexpected or of another shape.
    """
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"{folder} has {CONFIG_FILE} but no {WEIGHTS_FILE}")
    stored = load_file(path)
    wanted = dict(native_parameters(bridge))
    # The bridge gives the unembedding a bias that NativeModel does not have; it stays zero.
    missing = sorted(
        k for k, v in wanted.items() if k not in stored and bool(v.detach().abs().max() > 0)
    )
    surplus = sorted(set(stored) - set(wanted))
    if missing or surplus:
        raise ModelError(
            f"{path} does not fit its configuration: missing {missing[:3]}, surplus {surplus[:3]}"
        )
    with torch.no_grad():
        for name, tensor in stored.items():
            if wanted[name].shape != tensor.shape:
                raise ModelError(
                    f"{path}: {name} has shape {list(tensor.shape)}, "
                    f"the configuration needs {list(wanted[name].shape)}"
                )
            wanted[name].copy_(tensor)
