"""Files of a run folder: written whole or not at all, and read back without guessing.

Every write goes to a hidden temporary file in the same folder, is flushed to the disk, and is then
moved over its final name in one step. A reader therefore sees the old file or the new one.
"""

from __future__ import annotations

import json
import math
import os
import re
import secrets
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_TEMPORARY = re.compile(r"\.[^/]*\.tmp-[0-9a-f]+")


class RunError(ValueError):
    """A run folder cannot be made, resumed or read as asked; the message says what to do."""


def checked_name(name: str, what: str) -> str:
    """Return ``name`` if it can name a file anywhere, else raise ``RunError``."""
    if not _NAME.fullmatch(name):
        raise RunError(
            f"{what} name {name!r}: expected letters, digits, - and _ (no dot, no slash), "
            "beginning with a letter or digit"
        )
    return name


def write_atomic(path: Path, write: Callable[[Path], Any]) -> Path:
    """Call ``write(temporary)`` and move what it wrote to ``path`` in one step.

    Args:
        path: The final file; replaced if it exists. Its folder is made if missing.
        write: Writes a whole file to the path that it is given.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{path.name}.tmp-{secrets.token_hex(6)}"
    try:
        write(temporary)
        # safetensors makes files that only their owner may read; others should open a run too.
        mask = os.umask(0)
        os.umask(mask)
        temporary.chmod(0o666 & ~mask)
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return path


def _sync_folder(folder: Path) -> None:
    # Without this a power cut can lose the rename itself. Not possible on Windows.
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def write_text(path: Path, text: str) -> Path:
    """Write a UTF-8 text file atomically, with line feeds on every platform."""
    return write_atomic(path, lambda temporary: temporary.write_bytes(text.encode()))


def write_json(path: Path, value: Any) -> Path:
    """Write plain values as JSON atomically; NaN and infinities are refused."""
    text = json.dumps(jsonable(value, path.name), indent=2, ensure_ascii=False, allow_nan=False)
    return write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Return what a JSON file holds, or None if it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return None


def jsonable(value: Any, where: str) -> Any:
    """Return ``value`` as what JSON keeps exactly; numpy and torch scalars become Python ones.

    Raises:
        RunError: NaN, an infinity, a key that is no text, or a type that JSON does not have; the
            message names the place inside ``value``.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, Mapping):
        for key in value:
            if not isinstance(key, str):
                raise RunError(f"{where}: key {key!r} is not text; expected text keys")
        return {key: jsonable(item, f"{where}.{key}") for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, int):
        return int(value)
    if isinstance(value, float):
        if not math.isfinite(value):
            raise RunError(
                f"{where} is {value}; expected a finite number. Store None and say why in a text "
                "beside it where there is no number"
            )
        return float(value)
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        return jsonable(value.item(), where)
    raise RunError(
        f"{where} is a {type(value).__name__}; expected numbers, text, None, lists or mappings "
        "(tables go to save_table, tensors to save_tensors)"
    )


def write_table(path: Path, frame: Any) -> Path:
    """Write a pandas DataFrame as parquet, atomically."""
    import pandas as pd

    if not isinstance(frame, pd.DataFrame):
        raise RunError(f"{path.name}: got a {type(frame).__name__}; expected a pandas DataFrame")
    return write_atomic(path, lambda temporary: frame.to_parquet(temporary, engine="pyarrow"))


def read_table(path: Path) -> Any:
    """Return the DataFrame of a parquet file."""
    import pandas as pd

    return pd.read_parquet(path, engine="pyarrow")


def write_tensors(path: Path, tensors: Mapping[str, Any]) -> Path:
    """Write named tensors (torch, any device; or numpy arrays) as safetensors, atomically."""
    import torch
    from safetensors.torch import save_file

    kept: dict[str, torch.Tensor] = {}
    for name, value in tensors.items():
        tensor = value if isinstance(value, torch.Tensor) else torch.as_tensor(value)
        # A copy of its own: safetensors refuses views that share memory.
        kept[name] = tensor.detach().cpu().contiguous().clone()
    return write_atomic(path, lambda temporary: save_file(kept, temporary))


def read_tensors(path: Path) -> dict[str, Any]:
    """Return the tensors of a safetensors file, on the CPU."""
    from safetensors.torch import load_file

    return load_file(path)


def write_figure(path: Path, figure: Any) -> Path:
    """Write a matplotlib figure atomically, as the suffix of ``path`` says (png or svg).

    The same figure gives the same bytes: SVG ids are salted by a constant instead of at random, and
    no date is written.
    """
    import matplotlib as mpl

    metadata = {"Date": None} if path.suffix == ".svg" else None
    with mpl.rc_context({"svg.hashsalt": "loadbearing"}):
        return write_atomic(
            path,
            lambda temporary: figure.savefig(
                temporary, format=path.suffix[1:], metadata=metadata, dpi=150
            ),
        )


def names_in(folder: Path) -> list[str]:
    """Return the names in a folder, without what a killed write left behind."""
    return sorted(p.name for p in folder.iterdir() if not _TEMPORARY.fullmatch(p.name))


def remove_leftovers(folder: Path) -> None:
    """Remove the temporary files that killed writes left in a folder and its subfolders."""
    for path in folder.rglob(".*.tmp-*"):
        if _TEMPORARY.fullmatch(path.name):
            path.unlink(missing_ok=True)
