"""What any training's checkpoint holds: the optimizer's state, and what decided the training."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

# Settings named in a refusal; more of them say no more.
_NAMED = 6


def optimizer_tensors(
    parameters: Mapping[str, nn.Parameter], optimizer: torch.optim.Optimizer
) -> dict[str, Tensor]:
    """Return an optimizer's state, as ``ENTRY.PARAMETER``."""
    return {
        f"{entry}.{name}": torch.as_tensor(value)
        for name, parameter in parameters.items()
        for entry, value in optimizer.state.get(parameter, {}).items()
    }


def put_optimizer_tensors(
    parameters: Mapping[str, nn.Parameter],
    optimizer: torch.optim.Optimizer,
    tensors: Mapping[str, Tensor],
) -> None:
    """Put back what ``optimizer_tensors`` returned, each tensor where its optimizer wants it."""
    by_parameter = {
        id(parameter): bool(group.get("fused") or group.get("capturable"))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }
    for key, value in tensors.items():
        entry, name = key.split(".", 1)
        parameter = parameters[name]
        # Plain Adam counts its steps on the CPU.
        moves = entry != "step" or by_parameter[id(parameter)]
        optimizer.state[parameter][entry] = value.to(parameter.device) if moves else value


def differences(found: str, expected: str) -> str:
    """Name the settings in which two trainings differ, each as it was and as it is asked for.

    Args:
        found: What decided the training that was begun, as JSON.
        expected: What decides the one asked for.

    Returns:
        Such as ``lr (begun with 0.01, now 0.1)``; of long ones only the name; or that it cannot
        be told.
    """
    try:
        held, asked = json.loads(found), json.loads(expected)
    except ValueError:
        held = asked = None
    if not isinstance(held, dict) or not isinstance(asked, dict):
        return "it does not say which"
    before, now = _flat(held), _flat(asked)
    names = [name for name in dict.fromkeys((*before, *now)) if before.get(name) != now.get(name)]
    told = [_told(name, before, now) for name in names[:_NAMED]]
    if len(names) > _NAMED:
        told.append(f"and {len(names) - _NAMED} more")
    return ", ".join(told)


def _told(name: str, before: Mapping[str, str], now: Mapping[str, str]) -> str:
    old, new = (side.get(name, "nothing") for side in (before, now))
    short = name.rpartition(".")[2]
    return short if len(old) + len(new) > 60 else f"{short} (begun with {old}, now {new})"


def _flat(value: Any, name: str = "") -> dict[str, str]:
    """Leaves of nested objects, as JSON, by their dotted names; lists are leaves."""
    if not isinstance(value, dict) or (name and not value):
        return {name: json.dumps(value)}  # as written, since 1 and 1.0 are told apart there
    return {
        leaf_name: leaf
        for key, inner in value.items()
        for leaf_name, leaf in _flat(inner, f"{name}.{key}").items()
    }
