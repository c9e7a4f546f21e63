"""Where captured activations go: memory, or memory-mapped files that a restart goes on with."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.sites import Site, SiteError

log = logging.getLogger(__name__)

MEMORY_MAP_BYTES = 2 * 2**30


class Store:
    """Preallocated results of a capture, filled batch by batch.

    Attributes:
        done: How many examples are finished, counted in the capture's own running order.
    """

    def __init__(
        self,
        sites: Sequence[Site],
        *,
        n: int,
        width: int | None,
        path: Path | str | None,
        told: Sequence[Any],
    ) -> None:
        """Open a store.

        Args:
            sites: What is kept.
            n: Number of examples.
            width: Length of the longest, where every position is kept; None where some are picked.
            path: A folder for memory-mapped files, or None for memory.
            told: JSON-safe description of the capture; a folder that holds another is refused.

        Raises:
            SiteError: the folder holds another capture.
        """
        self.n = n
        self.sites = sites
        self.width = width
        self.tensors: dict[Site, Tensor] = {}
        self.folder = None if path is None else Path(path)
        self.done = 0
        self._maps: list[np.memmap] = []
        self._key = hashlib.sha256(json.dumps(list(told)).encode()).hexdigest()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._reopen(self.folder)

    def _reopen(self, folder: Path) -> None:
        state_file = folder / "capture.json"
        if not state_file.is_file():
            return
        try:
            state = json.loads(state_file.read_text(encoding="utf-8"))
        except json.JSONDecodeError as error:
            raise SiteError(f"{state_file} is damaged ({error}); delete {folder}") from error
        if state["key"] != self._key:
            raise SiteError(
                f"{folder} holds another capture (model, examples, sites or positions "
                "differ); choose another folder or delete it"
            )
        if all((folder / f"{site}.npy").is_file() for site in self.sites):
            self.done = int(state["done"])
            for site in self.sites:
                self._keep(site, np.load(folder / f"{site}.npy", mmap_mode="r+"))
            log.info("capture goes on after %d of %d examples", self.done, self.n)

    def _keep(self, site: Site, mapped: np.memmap) -> None:
        # Held beside the tensor, which does not lead back to the map that has to be flushed.
        self._maps.append(mapped)
        self.tensors[site] = torch.from_numpy(mapped)

    def write(
        self, rows: Int[Tensor, " row"], parts: Mapping[Site, Float[Tensor, "row ..."]]
    ) -> None:
        """Put a batch in its rows and record it: data first, so that a kill loses one batch.

        Raises:
            SiteError: it is all too large for memory, and there is no folder.
        """
        if not self.tensors:
            self._allocate(parts)
        for site, part in parts.items():
            target = self.tensors[site]
            # A batch may be shorter than the longest example: the rest stays zero.
            window: list[Any] = [rows, *(slice(0, size) for size in part.shape[1:])]
            target[tuple(window)] = part.to(target.dtype)
        self.done += len(rows)
        if self.folder is None:
            return
        for mapped in self._maps:
            mapped.flush()
        temporary = self.folder / "capture.tmp"
        temporary.write_text(json.dumps({"key": self._key, "done": self.done}), encoding="utf-8")
        temporary.replace(self.folder / "capture.json")

    def _allocate(self, parts: Mapping[Site, Tensor]) -> None:
        shapes = {site: self._shape(site, part) for site, part in parts.items()}
        size = sum(
            parts[site].element_size() * int(np.prod(shape, dtype=np.int64))
            for site, shape in shapes.items()
        )
        if self.folder is None and size > MEMORY_MAP_BYTES:
            raise SiteError(
                f"capturing {len(shapes)} sites takes {size / 2**30:.1f} GiB; pass path=FOLDER to "
                "keep it on disk, or fewer positions"
            )
        for site, shape in shapes.items():
            dtype = parts[site].dtype
            if self.folder is None:
                self.tensors[site] = torch.zeros(shape, dtype=dtype)
                continue
            # numpy has no bfloat16: on disk, halves of both kinds are kept as float32.
            kept = np.float64 if dtype == torch.float64 else np.float32
            name = self.folder / f"{site}.npy"
            mapped = np.lib.format.open_memmap(name, mode="w+", dtype=kept, shape=shape)
            self._keep(site, mapped)

    def _shape(self, site: Site, part: Tensor) -> tuple[int, ...]:
        """All examples, and as wide as the longest where every position is kept."""
        shape = [self.n, *part.shape[1:]]
        if self.width is not None:
            gone = ("head", "kv_head") if site.head is not None else ()
            axes = [axis for axis in site.axes if axis not in gone]
            along = ("pos", "query", "key")
            shape = [self.width if a in along else s for a, s in zip(axes, shape, strict=True)]
            shape[0] = self.n
        return tuple(shape)
