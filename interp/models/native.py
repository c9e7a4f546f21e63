"""Models built from a configuration alone: TransformerLens' own small architecture."""

from __future__ import annotations

import difflib
import inspect
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from interp.models.spec import ModelError

CONFIG_FILE = "native.json"
WEIGHTS_FILE = "model.safetensors"
# Fields that may stand in a configuration without saying what the model computes.
NOT_ARCHITECTURE = frozenset({"bos_token_id", "model_name", "dtype", "device", "seed"})
NORMS = (None, "LN", "LNPre", "RMS", "RMSPre")


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
            ``bos_token_id`` and ``model_name`` are ours and left out, and so are ``dtype`` and
            ``device``, which the caller decides.
        name: What the model is called.
        seed: Seeds the initial weights.
        dtype: Type of the weights.
        device: Where they live.

    Raises:
        ModelError: a field is unknown, missing or impossible.
    """
    from transformer_lens.config import TransformerBridgeConfig
    from transformer_lens.model_bridge import TransformerBridge

    given = {k: v for k, v in fields.items() if k == "seed" or k not in NOT_ARCHITECTURE}
    known = {
        parameter
        for kind in TransformerBridgeConfig.__mro__
        if kind is not object
        for parameter in inspect.signature(kind).parameters
    } - {"args", "kwargs"}
    _check_fields(given, name=name, known=sorted(known))
    try:
        cfg = TransformerBridgeConfig(**{"seed": seed, "dtype": dtype, **given})
        return TransformerBridge.boot_native(cfg, dtype=dtype, device=device, model_name=name)
    except (TypeError, ValueError, RuntimeError, AssertionError) as error:
        raise ModelError(f"{name}: not a native configuration: {error}") from error


def _check_fields(given: Mapping[str, Any], *, name: str, known: Sequence[str]) -> None:
    """Refuse what the configuration class would drop, take for something else or trip over."""
    for field in given:
        if field not in known:
            near = difflib.get_close_matches(field, known, n=3)
            meant = f"; did you mean {' or '.join(near)}?" if near else ""
            raise ModelError(f"{name}: a native configuration has no field {field!r}{meant}")
    for field in ("n_layers", "d_model", "n_heads", "d_head", "n_ctx", "d_vocab"):
        value = given.get(field)
        if value is not None and (not isinstance(value, int) or value < 1):
            raise ModelError(f"{name}: {field} must be a positive whole number, got {value!r}")
    if given.get("normalization_type", "LN") not in NORMS:
        raise ModelError(
            f"{name}: unknown normalization_type {given['normalization_type']!r}; "
            f"expected one of {', '.join(map(str, NORMS))}"
        )


def bos_of(fields: Mapping[str, Any], *, name: str, d_vocab: int) -> int | None:
    """The beginning-of-sequence id a native configuration names, if it names one.

    Raises:
        ModelError: it lies outside the vocabulary.
    """
    bos = fields.get("bos_token_id")
    if bos is None:
        return None
    if not isinstance(bos, int) or not 0 <= bos < d_vocab:
        raise ModelError(
            f"{name}: bos_token_id {bos!r} is outside the vocabulary (0…{d_vocab - 1})"
        )
    return bos


def native_parameters(bridge: Any) -> Iterator[tuple[str, Tensor]]:
    """Yield the parameters under the names that NativeModel itself gives them."""
    for name, parameter in bridge.original_model.named_parameters():
        yield name.replace("._original_component", ""), parameter


def load_native_weights(bridge: Any, folder: Path) -> None:
    """Fill a native bridge from ``model.safetensors``; every name and shape must agree.

    Raises:
        ModelError: a parameter is missing, unexpected or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = folder / WEIGHTS_FILE
    if not path.is_file():
        raise ModelError(f"{folder} has {CONFIG_FILE} but no {WEIGHTS_FILE}")
    try:
        stored = load_file(path)
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{path} cannot be read as safetensors: {error}") from error
    wanted = dict(native_parameters(bridge))
    # The bridge gives the unembedding a bias that NativeModel does not have; it stays zero.
    missing = sorted(set(wanted) - set(stored) - {"head.bias"})
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
