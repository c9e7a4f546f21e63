"""Training checkpoints: one safetensors file, so that weights and step count cannot come apart."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save
from torch import nn

from interp.zoo.cards import replace_file


def save_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    generators: Mapping[str, torch.Generator],
    made_by: str,
    state: Mapping[str, Any],
) -> None:
    """Write everything that a training needs to go on, whole or not at all.

    Args:
        path: The file.
        model: Its parameters.
        optimizers: Their state for each parameter.
        generators: Their states.
        made_by: What decides the weights; a checkpoint of something else is refused.
        state: JSON-safe values, such as the step.
    """
    tensors = {f"generator.{name}": g.get_state() for name, g in generators.items()}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
        for which, optimizer in optimizers.items():
            for key, value in optimizer.state.get(parameter, {}).items():
                tensors[f"optimizer.{which}.{key}.{name}"] = torch.as_tensor(value)
    metadata = {"made_by": made_by, "state": json.dumps(dict(state))}
    replace_file(path, save(tensors, metadata=metadata))


def load_checkpoint(
    path: Path,
    *,
    model: nn.Module,
    optimizers: Mapping[str, torch.optim.Optimizer],
    generators: Mapping[str, torch.Generator],
    made_by: str,
) -> dict[str, Any]:
    """Put a checkpoint's contents in place and return its state.

    Raises:
        ValueError: the checkpoint was made by something else.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        if metadata.get("made_by") != made_by:
            raise ValueError(
                f"{path} was made by another recipe or corpus: expected {made_by}, found "
                f"{metadata.get('made_by')}; delete it to start afresh, or train elsewhere."
            )
        for name, generator in generators.items():
            generator.set_state(file.get_tensor(f"generator.{name}"))
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            parameter.data.copy_(file.get_tensor(f"model.{name}"))
        for key in file.keys():  # noqa: SIM118 (not a dict)
            if key.startswith("optimizer."):
                _, which, entry, name = key.split(".", 3)
                parameter = parameters[name]
                optimizers[which].state[parameter][entry] = file.get_tensor(key)
    state: dict[str, Any] = json.loads(metadata["state"])
    return state
