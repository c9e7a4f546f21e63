"""Streaming capture: activations of a whole data set, holding only what will be read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

import torch
from jaxtyping import Int
from torch import Tensor

from interp.hooks.cutting import cut, layer_to_cut
from interp.hooks.packing import in_packs, pack
from interp.hooks.progress import progress
from interp.hooks.session import Watcher, session
from interp.hooks.sites import Site, SiteError
from interp.hooks.store import Store
from interp.models import Examples, Model
from interp.models.memory import in_batches

# Where matrix products on a CPU gain nothing from more.
TOKENS_PER_FORWARD = 512


class Captured(dict[Site, Tensor]):
    """Activations by site; sites may be written as text: ``found["L1.resid_post"]``."""

    def __missing__(self, key: object) -> Tensor:
        if isinstance(key, str) and (site := Site.parse(key)) in self:
            return self[site]
        raise SiteError(f"{key} was not captured; there are {', '.join(map(str, self))}")


Positions = None | int | str | Sequence[int] | Int[Tensor, "..."]


def capture(
    model: Model,
    examples: Examples,
    sites: Sequence[Site | str] | Site | str,
    *,
    positions: Positions = None,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    batch_size: int | None = None,
    path: Path | str | None = None,
) -> Captured:
    """Capture activations at sites over examples, in the order of the examples.

    Examples run sorted by length, as many at a time as fit a budget of tokens. The forward pass
    stops at the last site needed, so later layers and the unembedding cost nothing. Where only
    some positions of residual streams are kept, nothing else is held, and the last block needed
    runs at no others (see ``interp.hooks.cutting``). Results go into tensors allocated once.

    >>> capture(model, model.tokenize(texts), "L1.resid_post", positions="last")["L1.resid_post"]

    Args:
        model: The model.
        examples: What to run. May be padded, on either side.
        sites: Where; a head index keeps that head only.
        positions: Which positions to keep, counted over each example's *real* tokens: None for
            all (zeros after them, where an example is shorter than the longest), ``"last"``,
            an int or several (negative from the end), or a tensor ``[example]`` or
            ``[example, k]`` of such indices. A single position drops the position axis.
            Attention patterns and scores keep all.
        tokens_per_forward: Tokens at a time, with padding; reduced on out-of-memory. More than
            this gains nothing on a CPU; an accelerator wants more.
        batch_size: Examples at a time, in place of a budget of tokens; halved on out-of-memory.
        path: A folder for memory-mapped files. Needed past 2 GiB in all; a capture that was
            interrupted goes on from it where it stopped.

    Returns:
        For each site, ``[example, …]`` in the site's own axes. On the CPU.

    Raises:
        SiteError: an unknown site, or a position outside an example.
    """
    if not isinstance(examples, Examples):
        raise SiteError(
            f"capture needs Examples, got {type(examples).__name__}; make them with "
            "model.tokenize(texts) or Examples(tokens=…)"
        )
    wanted = Site.parse_all(sites)
    if not wanted:
        raise SiteError("no sites to capture; give at least one, such as L0.resid_post")
    for site in wanted:
        site.point(model)
        if site.position is not None:
            raise SiteError(f"{site}: say which positions by positions=, not in the site")
        if "query" in site.axes and positions is not None:
            raise SiteError(f"{site} is kept for all positions; leave positions=None")
    lengths = examples.lengths.cpu()
    picks, single = _picks(positions, lengths)
    order = torch.argsort(lengths, stable=True)
    chosen_positions = None if picks is None else [single, picks.tolist()]
    store = Store(
        wanted,
        n=len(order),
        width=int(lengths.max()) if picks is None else None,
        path=path,
        told=[model.fingerprint, examples.hash, [str(s) for s in wanted], chosen_positions],
    )
    start = store.done

    with progress("capturing", total=len(order), initial=start) as advance:

        def work(rows: slice) -> None:
            chosen = order[rows.start + start : rows.stop + start]
            tokens, mask = pack(examples, chosen)
            if picks is None:
                parts = _everything(model, wanted, tokens, mask)
            else:
                parts = _picked(model, wanted, tokens, mask, picks[chosen])
                if single:
                    parts = {site: part[:, 0] for site, part in parts.items()}
            store.write(chosen, parts)
            advance(len(chosen))

        if batch_size is None:
            in_packs(lengths[order][start:].tolist(), tokens_per_forward, work)
        else:
            in_batches(len(order) - start, batch_size, work)
    return Captured({site: store.tensors[site] for site in wanted})


def _everything(
    model: Model, wanted: Sequence[Site], tokens: Tensor, mask: Tensor
) -> dict[Site, Tensor]:
    """Run one batch and keep all positions."""
    with session(model, capture=wanted) as s:
        s.run_until_captured(tokens, mask)
    return {site: _without_padding(s[site].cpu(), mask, site) for site in wanted}


@torch.no_grad()
def _picked(
    model: Model,
    wanted: Sequence[Site],
    tokens: Int[Tensor, "row pos"],
    mask: Tensor,
    at: Int[Tensor, "row k"],
) -> dict[Site, Tensor]:
    """Run one batch and keep some positions, as soon as they are seen."""
    parts: dict[Site, Tensor] = {}
    layer = layer_to_cut(model, wanted) if at.shape[1] < tokens.shape[1] else None
    last = None if layer is None else Site(layer, "resid_post")

    def see(whole: Site, values: Tensor) -> None:
        here = at.to(values.device)
        if whole == last:  # already at these positions, each row's own
            here = torch.arange(at.shape[1], device=values.device).expand_as(here)
        rows = torch.arange(len(values), device=values.device)[:, None]
        for site in wanted:
            if site.whole == whole:
                mine = values if site.head is None else values[:, :, site.head]
                parts[site] = mine[rows, here].cpu()

    watch: dict[Site, Watcher] = {w: partial(see, w) for w in {s.whole: None for s in wanted}}
    opened = session(model, watch=watch) if layer is None else cut(model, layer, at, watch)
    with opened as s:
        s.run_until_captured(tokens, mask)
    return {site: parts[site] for site in wanted}


@torch.no_grad()
def reference_mean(
    model: Model,
    examples: Examples,
    sites: Sequence[Site | str] | Site | str,
    *,
    by_position: bool = False,
    batch_size: int = 32,
) -> Captured:
    """Mean activation at each site over the real tokens of a reference set, streamed.

    Args:
        model: The model.
        examples: The reference set.
        sites: Where; patterns and scores have no mean over positions and are refused.
        by_position: Keep one mean for each position rather than one over all. Needs examples
            without padding on the left.
        batch_size: Rows at a time; halved on out-of-memory.

    Returns:
        For each site, its own axes without batch (and without position unless ``by_position``,
        which then goes as far as the longest example), accumulated in float64 and returned in
        float32.
    """
    wanted = Site.parse_all(sites)
    if not wanted:
        raise SiteError("no sites to average; give at least one, such as L0.z")
    for site in wanted:
        if "pos" not in site.axes or site.position is not None:
            raise SiteError(f"{site} has no mean over positions")
    assert examples.mask is not None
    if by_position and not bool(examples.mask[:, 0].all()):
        raise SiteError("a mean by position needs examples without padding on the left")
    # Positions that no example reaches have no mean: the result ends where the longest does.
    width = int(examples.lengths.max()) if by_position else examples.tokens.shape[1]
    sums: dict[Site, Tensor] = {}

    def work(rows: slice) -> None:
        batch = examples.select(range(rows.start, rows.stop))
        assert batch.mask is not None
        tokens, mask = batch.tokens[:, :width], batch.mask[:, :width].cpu()
        with session(model, capture=wanted) as s:
            s.run_until_captured(tokens, mask)
        totals: dict[Site, Tensor] = {}
        for site in wanted:
            values = _without_padding(s[site].cpu(), mask, site).to(torch.float64)
            totals[site] = values.sum(0) if by_position else values.sum((0, 1))
        # Only when all are there: after an out-of-memory these rows are run again.
        for site, total in totals.items():
            sums[site] = sums[site] + total if site in sums else total

    in_batches(len(examples), batch_size, work)
    real = examples.mask[:, :width].cpu()
    counts = (real.sum(0) if by_position else real.sum()).to(torch.float64)
    means = Captured()
    for site, total in sums.items():
        n = counts.reshape(-1, *[1] * (total.ndim - 1)) if by_position else counts
        means[site] = (total / n).to(torch.float32)
    return means


def _without_padding(values: Tensor, mask: Tensor, site: Site) -> Tensor:
    """Zero what stands at padding, along every axis that counts positions."""
    for name in ("pos", "query", "key"):
        axes = site.axes
        if name not in axes:
            continue
        # From the end: a head's own part lacks the head axis, which stands before these two.
        axis = axes.index(name) if name == "pos" else axes.index(name) - len(axes)
        shape = [1] * values.ndim
        shape[0], shape[axis] = mask.shape
        values = values.masked_fill(~mask.reshape(shape), 0.0)
    return values


def _picks(
    positions: Positions, lengths: Int[Tensor, " example"]
) -> tuple[Int[Tensor, "example k"] | None, bool]:
    """Positions to keep, as non-negative indices among each example's real tokens.

    Returns:
        The indices, or None for all; and whether there is one an example, without an axis.
    """
    if positions is None:
        return None, False
    if isinstance(positions, str):
        if positions != "last":
            raise SiteError(f"unknown positions {positions!r}; expected 'last', ints or a tensor")
        positions = -1
    given = torch.as_tensor(positions).cpu()
    if given.numel() == 0 or given.is_floating_point() or given.dtype == torch.bool:
        raise SiteError(f"positions must be whole numbers and at least one, got {positions!r}")
    given = given.to(torch.int64)
    if isinstance(positions, Tensor) and given.ndim > 0:
        single = given.ndim == 1
        given = given[:, None] if single else given
        if given.ndim != 2 or len(given) != len(lengths):
            raise SiteError(
                f"positions as a tensor must have one row an example ({len(lengths)}), "
                f"got shape {list(positions.shape)}"
            )
    else:
        single = given.ndim == 0
        given = given.reshape(1, -1).expand(len(lengths), -1)
    at = torch.where(given < 0, given + lengths[:, None], given)
    outside = (at < 0) | (at >= lengths[:, None])
    if bool(outside.any()):
        row, column = outside.nonzero()[0].tolist()
        raise SiteError(
            f"position {int(given[row, column])} is outside example {row}, "
            f"which has {int(lengths[row])} tokens"
        )
    return at, single
