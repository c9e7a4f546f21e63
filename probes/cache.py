"""Activations kept on disk, so that a second command on the same model and data is quick.

A file an entry, in safetensors, written whole or not at all. The folder has a limit: the entries
not used for longest go first. Nothing here is needed for a result: where the folder cannot be
read or written, the work is done again, and the log says why.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.runfolder.files import read_tensors, write_tensors

if TYPE_CHECKING:
    from torch import Tensor

log = logging.getLogger(__name__)

FOLDER_VARIABLE, LIMIT_VARIABLE = "LOADBEARING_CACHE", "LOADBEARING_CACHE_GIB"
DEFAULT_GIB = 4.0
# A temporary file this old was left by a write that was killed; a younger one may be in progress.
_STALE_SECONDS = 3600.0


class CacheError(ValueError):
    """The cache's settings cannot be used; the message says what was expected."""


@dataclass(frozen=True)
class ActivationCache:
    """A folder of activations with a limit.

    Attributes:
        folder: Made when something is first kept.
        limit: Bytes of all entries together; 0 keeps nothing.
    """

    folder: Path
    limit: int

    def get(self, key: Mapping[str, Any]) -> dict[str, Tensor] | None:
        """Return what is kept under a key, and mark it as used; None where there is nothing.

        Args:
            key: Plain values that say what the tensors are.
        """
        file = self.file(key)
        if self.limit == 0 or not file.is_file():
            return None
        try:
            held = read_tensors(file)
        except Exception as error:  # damage shows as many kinds of error; all mean: not there
            log.warning("%s is damaged and is made anew: %s", file, error)
            self._remove(file)
            return None
        try:
            os.utime(file)
        except OSError as error:
            log.info("%s: its time of use cannot be written: %s", file, error)
        return held

    def put(self, key: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
        """Keep tensors under a key, if they are within the limit; then remove the least used.

        Args:
            key: Plain values that say what the tensors are.
            tensors: By name.
        """
        size = sum(t.numel() * t.element_size() for t in tensors.values())
        if size > self.limit:
            if self.limit:
                log.info("activations of %d bytes are over the cache's limit; not kept", size)
            return
        try:
            write_tensors(self.file(key), tensors)
            self.trim(keep=self.file(key))
        except OSError as error:
            log.warning("%s: activations cannot be kept: %s", self.folder, error)

    def trim(self, *, keep: Path | None = None) -> None:
        """Remove the entries not used for longest until the rest is within the limit.

        Args:
            keep: An entry that goes last: the newest, where clocks are coarse.
        """
        held = []
        for file in self.folder.iterdir():
            try:
                found = file.stat()
            except OSError:
                continue  # another command removed it meanwhile
            if file.name.startswith(".") and ".tmp-" in file.name:
                if time.time() - found.st_mtime > _STALE_SECONDS:
                    self._remove(file)
            elif file.suffix == ".safetensors":
                held.append((file == keep, found.st_mtime_ns, found.st_size, file))
        excess = sum(size for *_, size, _ in held) - self.limit
        for _, _, size, file in sorted(held):
            if excess <= 0:
                return
            self._remove(file)
            excess -= size

    def file(self, key: Mapping[str, Any]) -> Path:
        """Return where a key's tensors are kept, whether or not they are there."""
        text = json.dumps(key, sort_keys=True)
        return self.folder / f"{hashlib.sha256(text.encode()).hexdigest()}.safetensors"

    def _remove(self, file: Path) -> None:
        try:
            file.unlink(missing_ok=True)
        except OSError as error:
            log.warning("%s cannot be removed: %s", file, error)


def activation_cache(
    folder: Path | str | None = None, *, limit_gib: float | None = None
) -> ActivationCache:
    """Return the cache in a folder.

    Args:
        folder: Where; else what the variable LOADBEARING_CACHE names, else ``loadbearing`` in
            the user's cache directory (XDG_CACHE_HOME, or ``~/.cache``).
        limit_gib: Limit in GiB; else LOADBEARING_CACHE_GIB, else 4. 0 keeps nothing.

    Raises:
        CacheError: the folder is a file, or the limit no number of 0 or more.
    """
    chosen = folder or os.environ.get(FOLDER_VARIABLE)
    if not chosen:
        base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        chosen = Path(base) / "loadbearing" / "activations"
    path = Path(chosen).expanduser()
    if path.exists() and not path.is_dir():
        raise CacheError(f"the cache {path} is a file; expected a folder")
    given: str | float | None = limit_gib
    if given is None:
        given = os.environ.get(LIMIT_VARIABLE) or DEFAULT_GIB
    try:
        limit = float(given)
    except ValueError:
        limit = -1.0
    if not 0 <= limit < float("inf"):
        raise CacheError(f"the cache's limit is {given}; expected GiB, 0 or more (0 keeps nothing)")
    return ActivationCache(path, int(limit * 2**30))
