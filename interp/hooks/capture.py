"""Streaming capture: activations of a whole data set, holding only what will be read."""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.progress import progress
from interp.hooks.session import session
from interp.hooks.sites import Site, SiteError
from interp.models import Examples, Model
from interp.models.memory import in_batches

log = logging.getLogger(__name__)

MEMORY_MAP_BYTES = 2 * 2**30
Positions = None | int | str | Sequence[int] | Int[Tensor, "..."]


def capture(
    model: Model,
    examples: Examples,
    sites: Sequence[Site | str],
    *,
    positions: Positions = None,
    batch_size: int = 32,
    path: Path | str | None = None,
) -> dict[Site, Tensor]:
    """Capture activations at sites over examples, in the order of the examples.

    Examples run in batches of similar length; the forward pass stops at the last site needed,
    so later layers and the unembedding cost nothing; results go into tensors allocated once.

    Args:
        model: The model.
        examples: What to run. May be padded, on either side.
        sites: Where; a head index keeps that head only.
        positions: Which positions to keep, counted over each example's *real* tokens: None for
            all (padding left as zeros after them), ``"last"``, an int or several (negative from
            the end), or a tensor ``[example]`` or ``[example, k]`` of such indices. A single
            position drops the position axis. Attention patterns and scores keep all.
        batch_size: Rows at a time; halved on out-of-memory.
        path: A folder for memory-mapped files. Needed past 2 GiB in all; a capture that was
            interrupted goes on from it where it stopped.

    Returns:
        For each site, ``[example, …]`` in the site's own axes. On the CPU.

    Raises:
        SiteError: an unknown site, or a position outside an example.
    """
    wanted = list(dict.fromkeys(Site.parse(s) for s in sites))
    if not wanted:
        raise SiteError("no sites to capture; give at least one, such as L0.resid_post")
    for site in wanted:
        if site.position is not None:
            raise SiteError(f"{site}: say which positions by positions=, not in the site")
        if "query" in site.axes and positions is not None:
            raise SiteError(f"{site} is kept for all positions; leave positions=None")
    assert examples.mask is not None
    lengths = examples.lengths
    picks = _picks(positions, lengths)
    single = isinstance(positions, int | str) or (
        isinstance(positions, Tensor) and positions.ndim == 1
    )
    order = torch.argsort(lengths, stable=True)
    store = _Store(model, examples, wanted, positions, path)
    width = int(lengths.max())

    with progress("capturing", total=len(order), initial=store.done) as advance:

        def work(rows: slice) -> None:
            chosen = order[rows.start + start : rows.stop + start]
            tokens, mask = _pack(examples, chosen)
            with session(model, capture=wanted) as s:
                s.run_until_captured(tokens, mask)
            for site in wanted:
                values = s[site].cpu()
                if "query" in site.axes:
                    part = values
                elif picks is None:
                    part = values.masked_fill(~_broadcast(mask, values), 0.0)
                else:
                    at = picks[chosen]
                    part = torch.stack([values[i, at[i]] for i in range(len(chosen))])
                    part = part[:, 0] if single else part
                store.write(site, chosen, part, width)
            store.finish(len(chosen))
            advance(len(chosen))

        start = store.done
        in_batches(len(order) - start, batch_size, work)
    return store.result()


@torch.no_grad()
def reference_mean(
    model: Model,
    examples: Examples,
    sites: Sequence[Site | str],
    *,
    by_position: bool = False,
    batch_size: int = 32,
) -> dict[Site, Float[Tensor, "..."]]:
    """Mean activation at each site over the real tokens of a reference set, streamed.

    Args:
        model: The model.
        examples: The reference set.
        sites: Where; patterns and scores have no mean over positions and are refused.
        by_position: Keep one mean for each position rather than one over all. Needs examples
            without padding on the left.
        batch_size: Rows at a time; halved on out-of-memory.

    Returns:
        For each site, its own axes without batch (and without position unless ``by_position``),
        accumulated in float64 and returned in float32.
    """
    wanted = list(dict.fromkeys(Site.parse(s) for s in sites))
    for site in wanted:
        if "pos" not in site.axes:
            raise SiteError(f"{site} has no mean over positions")
    assert examples.mask is not None
    if by_position and not bool(examples.mask[:, 0].all()):
        raise SiteError("a mean by position needs examples without padding on the left")
    sums: dict[Site, Tensor] = {}
    counts = examples.mask.sum(0).to(torch.float64) if by_position else examples.mask.sum()

    def work(rows: slice) -> None:
        batch = examples.select(range(rows.start, rows.stop))
        assert batch.mask is not None
        with session(model, capture=wanted) as s:
            s.run_until_captured(batch.tokens, batch.mask)
        for site in wanted:
            values = s[site].cpu().to(torch.float64)
            values = values.masked_fill(~_broadcast(batch.mask, values), 0.0)
            total = values.sum(0) if by_position else values.sum((0, 1))
            sums[site] = sums[site] + total if site in sums else total

    in_batches(len(examples), batch_size, work)
    means = {}
    for site, total in sums.items():
        n = counts.clamp(min=1)
        shaped = n.reshape(-1, *[1] * (total.ndim - 1)) if by_position else n
        means[site] = (total / shaped).to(torch.float32)
    return means


def _broadcast(mask: Tensor, values: Tensor) -> Tensor:
    return mask.reshape(*mask.shape, *[1] * (values.ndim - 2))


def _pack(examples: Examples, chosen: Tensor) -> tuple[Tensor, Tensor]:
    """Rows as right-padded ids, no wider than the longest of them."""
    assert examples.mask is not None
    lengths = examples.lengths[chosen]
    width = int(lengths.max())
    tokens = torch.zeros((len(chosen), width), dtype=torch.int64)
    mask = torch.arange(width)[None, :] < lengths[:, None]
    tokens[mask] = examples.tokens[chosen][examples.mask[chosen]]
    return tokens, mask


def _picks(positions: Positions, lengths: Tensor) -> Int[Tensor, "example k"] | None:
    """Positions to keep, as non-negative indices into each example's real tokens."""
    if positions is None:
        return None
    if isinstance(positions, str):
        if positions != "last":
            raise SiteError(f"unknown positions {positions!r}; expected 'last', ints or a tensor")
        positions = -1
    given = torch.as_tensor(positions, dtype=torch.int64)
    if isinstance(positions, Tensor):
        given = given[:, None] if given.ndim == 1 else given
        if given.ndim != 2 or len(given) != len(lengths):
            raise SiteError(
                f"positions as a tensor must have one row an example ({len(lengths)}), "
                f"got shape {list(positions.shape)}"
            )
    else:
        given = given.reshape(1, -1).expand(len(lengths), -1)
    at = torch.where(given < 0, given + lengths[:, None], given)
    outside = (at < 0) | (at >= lengths[:, None])
    if bool(outside.any()):
        row, column = outside.nonzero()[0].tolist()
        raise SiteError(
            f"position {int(given[row, column])} is outside example {row}, "
            f"which has {int(lengths[row])} tokens"
        )
    return at


class _Store:
    """Where results go: tensors in memory, or memory-mapped files that a restart goes on with."""

    def __init__(
        self,
        model: Model,
        examples: Examples,
        sites: Sequence[Site],
        positions: Positions,
        path: Path | str | None,
    ) -> None:
        self.n = len(examples)
        self.sites = sites
        self.tensors: dict[Site, Tensor] = {}
        self.folder = None if path is None else Path(path)
        self.done = 0
        where = positions.tolist() if isinstance(positions, Tensor) else positions
        told = json.dumps([model.fingerprint, examples.hash, [str(s) for s in sites], where])
        self.key = hashlib.sha256(told.encode()).hexdigest()
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._reopen()

    def _state(self) -> Path:
        assert self.folder is not None
        return self.folder / "capture.json"

    def _file(self, site: Site) -> Path:
        assert self.folder is not None
        return self.folder / f"{site}.npy"

    def _reopen(self) -> None:
        if not self._state().is_file():
            return
        state = json.loads(self._state().read_text(encoding="utf-8"))
        if state["key"] != self.key:
            raise SiteError(
                f"{self.folder} holds another capture (model, examples, sites or positions "
                "differ); choose another folder or delete it"
            )
        if all(self._file(site).is_file() for site in self.sites):
            self.done = int(state["done"])
            for site in self.sites:
                mapped = np.load(self._file(site), mmap_mode="r+")
                self.tensors[site] = torch.from_numpy(mapped)
            log.info("capture goes on after %d of %d examples", self.done, self.n)

    def write(self, site: Site, rows: Tensor, part: Tensor, width: int) -> None:
        if site not in self.tensors:
            self.tensors[site] = self._allocate(site, part, width)
        target = self.tensors[site]
        if target.shape[1:] == part.shape[1:]:
            target[rows] = part.to(target.dtype)
        else:  # shorter than the longest example: the rest stays zero
            window = tuple(slice(0, size) for size in part.shape[1:])
            target[(rows, *window)] = part.to(target.dtype)

    def _allocate(self, site: Site, part: Tensor, width: int) -> Tensor:
        shape = [self.n, *part.shape[1:]]
        axes = [a for a in site.axes if not (site.head is not None and a in ("head", "kv_head"))]
        if len(axes) == len(shape):  # positions were kept: as wide as the longest example
            shape = [width if a in ("pos", "query", "key") else s
                     for a, s in zip(axes, shape, strict=True)]
            shape[0] = self.n
        size = part.element_size() * int(np.prod(shape))
        if self.folder is None:
            if size * len(self.sites) > MEMORY_MAP_BYTES:
                raise SiteError(
                    f"capturing {len(self.sites)} sites takes about "
                    f"{size * len(self.sites) / 2**30:.1f} GiB; pass path=FOLDER to keep it on "
                    "disk, or fewer positions"
                )
            return torch.zeros(shape, dtype=part.dtype)
        # numpy has no bfloat16: on disk, halves of both kinds are kept as float32.
        dtype = np.float64 if part.dtype == torch.float64 else np.float32
        made = np.lib.format.open_memmap(
            self._file(site), mode="w+", dtype=dtype, shape=tuple(shape)
        )
        return torch.from_numpy(made)

    def finish(self, n_rows: int) -> None:
        """Record a finished batch: data first, then the count, so a kill loses one batch."""
        self.done += n_rows
        if self.folder is None:
            return
        for tensor in self.tensors.values():
            base: Any = tensor.numpy().base
            while base is not None and not hasattr(base, "flush"):
                base = getattr(base, "base", None)
            if base is not None:
                base.flush()
        temporary = self._state().with_suffix(".tmp")
        temporary.write_text(json.dumps({"key": self.key, "done": self.done}), encoding="utf-8")
        os.replace(temporary, self._state())

    def result(self) -> dict[Site, Tensor]:
        return {site: self.tensors[site] for site in self.sites}
