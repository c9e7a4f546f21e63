"""Weights kept along a training: one small safetensors file a step, all in one folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from interp.zoo.cards import replace_file

_NAME = re.compile(r"step-(\d+)\.safetensors")


class SnapshotError(ValueError):
    """There is no such snapshot, or it does not fit the network."""


def save_snapshot(folder: Path, network: nn.Module, step: int) -> Path:
    """Write what the network's learnt parameters are at a step; return the file."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:06d}.safetensors"
    learnt = {n: p.detach().contiguous() for n, p in network.named_parameters() if p.requires_grad}
    replace_file(path, save(learnt))
    return path


def list_snapshots(folder: Path) -> dict[int, Path]:
    """Snapshots in a folder, by step, in the order of steps.

    Raises:
        SnapshotError: there are none.
    """
    found = {
        int(match[1]): path
        for path in (folder.iterdir() if folder.is_dir() else ())
        if (match := _NAME.fullmatch(path.name))
    }
    if not found:
        raise SnapshotError(
            f"no snapshots in {folder}; expected files such as step-000100.safetensors"
        )
    return dict(sorted(found.items()))


def read_snapshot(path: Path) -> dict[str, Tensor]:
    """Parameters by name.

    Raises:
        SnapshotError: the file cannot be read.
    """
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise SnapshotError(f"{path} cannot be read as safetensors: {error}") from error


def put(network: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Put a snapshot's parameters into a network of the same shapes; the others stay.

    Raises:
        SnapshotError: a name or a shape does not fit.
    """
    own = dict(network.named_parameters())
    for name, tensor in weights.items():
        if name not in own or own[name].shape != tensor.shape:
            has = list(own[name].shape) if name in own else "no such parameter"
            raise SnapshotError(
                f"the snapshot's {name} of shape {list(tensor.shape)} does not fit the network: "
                f"{has}"
            )
        own[name].data.copy_(tensor)
