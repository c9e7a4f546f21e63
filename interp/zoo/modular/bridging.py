"""A trained one-layer network as a loaded model: its weights, name for name, in a native bridge."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from interp.models import Model, ModelSpec, load_model
from interp.models.checks import fingerprint
from interp.models.native import NOT_ARCHITECTURE, native_parameters
from interp.zoo.cards import replace_file
from interp.zoo.modular.network import Network


def as_model(network: Network, name: str = "modular") -> Model:
    """Load a network's weights, as they are now, into a bridge of its configuration.

    Logits at ``=`` agree with the network's own to float rounding.
    """
    fields = network.native_config()
    model = load_model(ModelSpec(name, native=fields))
    own = weights_of(network)
    with torch.no_grad():
        for parameter_name, parameter in native_parameters(model.bridge):
            if parameter_name in own:
                parameter.copy_(own[parameter_name])
    described = {key: value for key, value in fields.items() if key not in NOT_ARCHITECTURE}
    print_of_model = fingerprint(described, native_parameters(model.bridge))
    return dataclasses.replace(model, fingerprint=print_of_model)


def write_folder(folder: Path, fields: Mapping[str, Any], weights: Mapping[str, Tensor]) -> None:
    """Write a native folder, which ``load_model`` reads; each file whole.

    Args:
        folder: Made if missing.
        fields: Of ``native.json``.
        weights: Every parameter by its native name.
    """
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / "native.json", f"{json.dumps(dict(fields), indent=2)}\n".encode())
    replace_file(folder / "model.safetensors", save(dict(weights)))


def weights_of(network: Network) -> dict[str, Tensor]:
    """A network's parameters by their native names, biases included."""
    return {name: p.detach().contiguous() for name, p in network.named_parameters()}
