"""Files of a trained SAE's folder: written whole or not at all, and read back without guessing."""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from interp.sae.dictionary import SaeError

CARD = "card.json"
CURVE = "curve.safetensors"
CHECKPOINT = "checkpoint.safetensors"
EVALUATION = "evaluation.safetensors"
#: sae-lens' own names.
WEIGHTS = "sae_weights.safetensors"
CONFIG = "cfg.json"


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole: a reader, or a kill at any moment, finds the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(6)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, fields: Mapping[str, Any]) -> None:
    """Write plain values as indented JSON; NaN and infinities are refused."""
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
    replace_file(path, f"{text}\n".encode())


def read_json(path: Path) -> dict[str, Any]:
    """Return the object that a JSON file holds.

    Raises:
        SaeError: no such file, or something else in it.
    """
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise SaeError(f"{path.parent} has no {path.name}; expected a saved SAE there") from error
    except ValueError as error:
        raise SaeError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise SaeError(f"{path} must hold one JSON object, holds a {type(fields).__name__}")
    return fields


def write_tensors(path: Path, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
    """Write tensors, and JSON-safe values beside them, in one file: they cannot come apart."""
    kept = {name: t.detach().cpu().contiguous().clone() for name, t in tensors.items()}
    replace_file(path, save(kept, metadata={"state": json.dumps(dict(state), allow_nan=False)}))


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Return the tensors of such a file, on the CPU, and the values beside them.

    Raises:
        SaeError: it is damaged.
    """
    try:
        with safe_open(path, framework="pt") as file:
            tensors: dict[str, torch.Tensor] = {n: file.get_tensor(n) for n in file.keys()}  # noqa: SIM118 (not a dict)
            state: dict[str, Any] = json.loads((file.metadata() or {})["state"])
    except Exception as error:
        raise SaeError(f"{path} is damaged ({error}); delete it to start afresh") from error
    return tensors, state
