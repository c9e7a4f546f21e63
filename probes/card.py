"""What stands in a probe's folder beside its tensors, and where such a folder may be written."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from interp.runfolder.files import names_in

CARD_FILE = "probe.json"
TENSORS_FILE = "probe.safetensors"
FORMAT = 2


class ProbeError(ValueError):
    """A probe cannot be read, saved or applied as asked; the message says what to do."""


@dataclass(frozen=True)
class Card:
    """What ``probe.json`` holds."""

    format: int
    model: str
    revision: str | None
    dtype: str
    fingerprint: str
    site: str
    position: int | str
    method: str
    bias: float
    data: str
    data_hash: str
    seed: int
    tensors_sha256: str
    metrics: dict[str, Any] = field(default_factory=dict)


def require_free(path: Path) -> None:
    """Refuse a place where a probe cannot be written without overwriting something.

    Raises:
        ProbeError: it is a file, or a folder with something in it.
    """
    if path.is_dir() and not names_in(path):
        return
    if path.exists() or path.is_symlink():
        raise ProbeError(f"{path} exists already; give a new folder")
