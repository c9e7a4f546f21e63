"""Finished parts of an unfinished run: stored under ``parts/``, so that a resumed run skips them.

One part is one file, whose suffix says what it holds:

====================  ==========================================================
``NAME.json``         numbers, text, None, lists and mappings of them
``NAME.parquet``      a pandas DataFrame
``NAME.tensor``       one torch tensor or numpy array, as safetensors
``NAME.tensors``      a mapping from names to tensors, as safetensors
====================  ==========================================================
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.runfolder.files import (
    RunError,
    checked_name,
    read_json,
    read_table,
    read_tensors,
    write_json,
    write_table,
    write_tensors,
)

_SUFFIXES = (".json", ".parquet", ".tensor", ".tensors")


def find(folder: Path, name: str) -> Path | None:
    """Return the file of a stored part, or None if the part is not there."""
    for suffix in _SUFFIXES:
        path = _path(folder, name, suffix)
        if path.is_file():
            return path
    return None


def store(folder: Path, name: str, value: Any) -> Path:
    """Store a part in one step and return its file.

    Raises:
        RunError: The value is none of the four kinds.
    """
    if _is_array(value):
        return write_tensors(_path(folder, name, ".tensor"), {"value": value})
    if isinstance(value, Mapping) and value and all(_is_array(item) for item in value.values()):
        return write_tensors(_path(folder, name, ".tensors"), value)
    if _is_a(value, "pandas", "DataFrame"):
        return write_table(_path(folder, name, ".parquet"), value)
    # Wrapped, so that a stored None differs from a missing or damaged file.
    return write_json(_path(folder, name, ".json"), {"value": value})


def load(path: Path) -> Any:
    """Return what a part's file holds; tensors come back on the CPU."""
    match path.suffix:
        case ".json":
            held = read_json(path)
            if not isinstance(held, dict):
                raise RunError(f"{path} is damaged: delete it and resume again")
            return held["value"]
        case ".parquet":
            return read_table(path)
        case ".tensor":
            return read_tensors(path)["value"]
    return read_tensors(path)


def _path(folder: Path, name: str, suffix: str) -> Path:
    *groups, last = [checked_name(piece, "part") for piece in name.split("/")]
    return folder.joinpath("parts", *groups, last + suffix)


def _is_array(value: Any) -> bool:
    """Whether this is a tensor or an array with an own storage; scalars of numpy are not."""
    return _is_a(value, "torch", "Tensor") or _is_a(value, "numpy", "ndarray")


def _is_a(value: Any, package: str, name: str) -> bool:
    # A value of a package's type exists only where the package is loaded: no import needed.
    module = sys.modules.get(package)
    return module is not None and isinstance(value, getattr(module, name))
