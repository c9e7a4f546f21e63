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

from interp.models.trainings import differences, optimizer_tensors, put_optimizer_tensors
from interp.zoo.cards import replace_file

# Where and how a training runs, which does not change what it is.
_RUNNING = ("threads", "device", "keep_every", "checkpoint_every")


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
        made_by: What decides the weights, as JSON; a checkpoint of something else is refused.
        state: JSON-safe values, such as the step.
    """
    tensors = {f"generator.{name}": g.get_state() for name, g in generators.items()}
    for name, parameter in model.named_parameters():
        tensors[f"model.{name}"] = parameter.detach()
    parameters = dict(model.named_parameters())
    for which, optimizer in optimizers.items():
        kept = optimizer_tensors(parameters, optimizer)
        tensors |= {f"optimizer.{which}.{key}": value for key, value in kept.items()}
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
        ValueError: the checkpoint was made by something else; the message names what differs.
    """
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata() or {}
        found = metadata.get("made_by", "")
        if _deciding(found) != _deciding(made_by):
            raise ValueError(
                f"{path} was made by another recipe or corpus: "
                f"{differences(_deciding(found), _deciding(made_by))}; give what it was begun "
                "with, delete it to start afresh, or train elsewhere"
            )
        for name, generator in generators.items():
            generator.set_state(file.get_tensor(f"generator.{name}"))
        parameters = dict(model.named_parameters())
        for name, parameter in parameters.items():
            parameter.data.copy_(file.get_tensor(f"model.{name}"))
        for which, optimizer in optimizers.items():
            prefix = f"optimizer.{which}."
            kept = [key for key in file.keys() if key.startswith(prefix)]  # noqa: SIM118 (not a dict)
            tensors = {key.removeprefix(prefix): file.get_tensor(key) for key in kept}
            put_optimizer_tensors(parameters, optimizer, tensors)
    state: dict[str, Any] = json.loads(metadata["state"])
    return state


def _deciding(made_by: str) -> str:
    """What decides a training, without what only says how it is run."""
    try:
        told = json.loads(made_by)
    except ValueError:
        return made_by
    return json.dumps(_without_running(told), sort_keys=True)


def _without_running(told: Any) -> Any:
    if not isinstance(told, dict):
        return told
    return {name: _without_running(x) for name, x in told.items() if name not in _RUNNING}
