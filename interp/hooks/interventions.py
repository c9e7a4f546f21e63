"""What can be done to an activation: pure functions of it, written as data."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.sites import KINDS, Site, SiteError

InterventionKind = Literal["zero", "mean", "resample", "set", "add", "project"]


@dataclass(frozen=True, eq=False)
class Intervention:
    """One change at one site. Applying it twice to the same activation gives the same result.

    Build one with ``zero``, ``mean``, ``resample``, ``set_to``, ``add`` or ``project_out``.

    Attributes:
        site: Where. A head index limits it to that head, a position to that position.
        kind: What is done.
        value: What it is done with; its meaning is the constructor's.
        scale: For ``add``, the multiple that is added.
        source: For ``resample``, which row of ``value`` each example takes.
    """

    site: Site
    kind: InterventionKind
    value: Float[Tensor, " *axes"] | None = None
    scale: float = 1.0
    source: Int[Tensor, " example"] | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.site}"

    def apply(
        self, activation: Float[Tensor, "batch ..."], rows: slice | None = None
    ) -> Float[Tensor, "batch ..."]:
        """Return the changed activation; the one given is left as it was.

        Args:
            activation: The whole activation at the site, all heads and positions, batch first.
            rows: Which examples of the data set these are, for ``resample``.

        Raises:
            SiteError: the value's shape does not fit the activation, or a row is too short.
        """
        kind = KINDS[self.site.kind]
        index: list[slice | int] = [slice(None)] * activation.ndim
        if self.site.head is not None:
            assert kind.head_axis is not None
            index[kind.head_axis] = self.site.head
        axis = kind.axes.index(self._pos_axis)
        length = activation.shape[axis]
        if self.site.position is not None:
            index[axis] = self.site.position_in(length)
        part = activation[tuple(index)]
        try:
            changed = self._change(part, rows, length).to(part.dtype).expand_as(part)
        except RuntimeError as error:
            raise self._misfit(part) from error
        result = activation.clone()
        result[tuple(index)] = changed
        return result

    def require_fit(self, mask: Bool[Tensor, "batch pos"]) -> None:
        """Refuse padded rows where a position would mean different things in different rows.

        Raises:
            SiteError: the site's position is padding in some row; or this is a mean by position
                and rows do not all begin at the first column; or it resamples every position.
        """
        if self.site.position is not None:
            column = mask[:, self.site.position_in(mask.shape[1])]
            if not bool(column.all()):
                row = int((~column).nonzero()[0])
                raise SiteError(
                    f"{self}: position {self.site.position} is padding in row {row}; run rows of "
                    "one length at a time"
                )
        elif self.kind == "resample":
            raise SiteError(f"{self}: resampling every position needs rows without padding")
        if self._by_position and not bool(mask[:, 0].all()):
            raise SiteError(f"{self}: a mean by position needs rows without padding on the left")

    @property
    def _pos_axis(self) -> str:
        """A pattern's position is its query."""
        return "query" if "query" in self.site.axes else "pos"

    @property
    def _own_axes(self) -> list[str]:
        """Axes of the activation that this touches, one head's where it names a head."""
        gone = ("head", "kv_head") if self.site.head is not None else ()
        return [axis for axis in self.site.axes if axis not in gone]

    @property
    def _by_position(self) -> bool:
        """Whether this is a mean with its own entry for each position.

        A value that is set has one for each column of the batch it was made for, padding and all.
        """
        if self.kind != "mean" or self.value is None or "pos" not in self.site.axes:
            return False
        return self.value.ndim == len(self._own_axes) - 1

    def _change(self, part: Tensor, rows: slice | None, length: int) -> Tensor:
        if self.kind == "zero":
            return torch.zeros_like(part)
        assert self.value is not None
        value = self.value.to(part.device)
        if self.kind == "mean":
            return self._at_positions(value, part, length, batch=False)
        if self.kind == "set":
            return value
        # Halves lose what is added or removed to rounding: at least float32 in between.
        exact = torch.promote_types(part.dtype, torch.float32)
        if self.kind == "add":
            return part.to(exact) + self.scale * value.to(exact)
        if self.kind == "project":
            basis, wide = value.to(exact), part.to(exact)
            return wide - (wide @ basis) @ basis.T
        assert self.source is not None
        chosen = self.source if rows is None else self.source[rows]
        if len(chosen) != part.shape[0]:
            raise SiteError(
                f"{self}: {part.shape[0]} rows ran, the source was drawn for {len(chosen)}; "
                "run the same examples, or say which rows these are"
            )
        return self._at_positions(value[chosen.to(value.device)], part, length, batch=True)

    def _at_positions(self, value: Tensor, part: Tensor, length: int, *, batch: bool) -> Tensor:
        """Bring a mean or another example's activation to the part's positions.

        Shapes are matched exactly, never broadcast by chance: a value for each position must not
        pass for one for each example.
        """
        axes = self._own_axes if batch else self._own_axes[1:]
        if value.ndim == len(axes) and self._pos_axis in axes:
            axis = axes.index(self._pos_axis)
            if value.shape[axis] < length:
                raise SiteError(
                    f"{self}: the value has {value.shape[axis]} positions, the rows {length}"
                )
            if self.site.position is not None:
                value = value.select(axis, self.site.position_in(length))
            elif "key" not in axes:  # made on longer rows than these
                value = value.narrow(axis, 0, length)
        elif not batch and self.site.position is None and "pos" in axes:
            value = value.unsqueeze(0)  # one mean for every position
        wanted = part.shape if batch else part.shape[1:]
        same = value.ndim == len(wanted) and all(
            have in (want, 1) if axis == "pos" else have == want
            for have, want, axis in zip(value.shape, wanted, self._part_axes(batch), strict=False)
        )
        if not same:
            raise self._misfit(part)
        return value

    def _part_axes(self, batch: bool) -> list[str]:
        axes = self._own_axes if batch else self._own_axes[1:]
        return [a for a in axes if self.site.position is None or a != self._pos_axis]

    def _misfit(self, part: Tensor) -> SiteError:
        shape = None if self.value is None else list(self.value.shape)
        return SiteError(
            f"{self}: a value of shape {shape} does not fit the activation there, "
            f"{list(part.shape)} ({', '.join(self._part_axes(batch=True))})"
        )


def zero(site: Site | str) -> Intervention:
    """Set the activation to zero. Also removes what a value bias puts there."""
    return Intervention(Site.parse(site), "zero")


def mean(site: Site | str, reference: Float[Tensor, " *axes"]) -> Intervention:
    """Replace by a mean taken over a reference set (see ``hooks.reference_mean``).

    Args:
        site: Where.
        reference: The mean, of exactly the site's own shape without its batch axis (and without
            its position axis unless the mean is by position; it may then cover more positions
            than the rows have). A site with one position takes its own entry.
    """
    return Intervention(Site.parse(site), "mean", reference)


def resample(
    site: Site | str,
    activations: Float[Tensor, "example ..."],
    *,
    seed: int,
    groups: Sequence[str] = (),
) -> Intervention:
    """Replace by what the site held on another example, by a seeded derangement.

    Args:
        site: Where.
        activations: What the site holds on every example of the set to be run, in its order;
            with all positions, or for a site with one position, that position alone.
        seed: Draws the derangement: no example receives its own activation.
        groups: One label an example, where some belong together (``Examples.groups``): then none
            receives its own group's either, such as that of the same prompt standing twice.

    Raises:
        SiteError: fewer than two examples, or a group of more than half of them.
    """
    source = derangement(len(activations), seed=seed, groups=groups)
    return Intervention(Site.parse(site), "resample", activations, source=source)


def set_to(site: Site | str, value: Float[Tensor, " *axes"]) -> Intervention:
    """Replace by a given value, broadcast over the leading axes it lacks.

    Positions, where it has them, are columns of the batch to be run, padding included.
    """
    return Intervention(Site.parse(site), "set", value)


def add(site: Site | str, vector: Float[Tensor, " *axes"], *, scale: float = 1.0) -> Intervention:
    """Add ``scale`` times a vector: steering."""
    return Intervention(Site.parse(site), "add", vector, scale=scale)


def project_out(site: Site | str, directions: Float[Tensor, " *axes"]) -> Intervention:
    """Remove the span of one direction, or of several given as rows.

    Raises:
        SiteError: a direction is zero, or the directions are not independent.
    """
    site = Site.parse(site)
    if "query" in site.axes:
        raise SiteError(f"project out at {site}: attention has no directions to remove")
    rows = torch.atleast_2d(directions).to(torch.float64)
    if rows.ndim != 2 or not bool(torch.isfinite(rows).all()):
        raise SiteError(
            f"project out at {site}: expected finite directions [d] or [k, d], "
            f"got shape {list(directions.shape)}"
        )
    lengths = rows.norm(dim=1, keepdim=True)
    dependent = rows.shape[0] > rows.shape[1] or not bool((lengths > 0).all())
    if not dependent:  # judged on unit vectors: a short direction is as good as a long one
        q, r = torch.linalg.qr((rows / lengths).T)
        dependent = float(r.diagonal().abs().min()) <= 1e-8
    if dependent:
        raise SiteError(
            f"project out at {site}: the directions are zero or not linearly independent"
        )
    return Intervention(site, "project", q)


def derangement(n: int, *, seed: int, groups: Sequence[str] = ()) -> Int[Tensor, " n"]:
    """A random permutation of 0…n−1 that leaves nothing in place, or in its own group.

    Where all groups differ it is drawn by rejection, so every derangement is equally likely (about
    e tries). Else the examples are shuffled, put together by group, and moved on by the size of the
    largest, which is the shortest move that takes every one out of its group.

    Raises:
        SiteError: n < 2, labels for another number, or a group of more than half: there is none.
    """
    if n < 2:
        raise SiteError(f"resampling needs at least two examples, got {n}")
    if groups and len(groups) != n:
        raise SiteError(f"resampling {n} examples needs as many group labels, got {len(groups)}")
    generator = torch.Generator().manual_seed(seed)
    sizes = Counter(groups)
    if len(sizes) < len(groups):
        label, largest = sizes.most_common(1)[0]
        if 2 * largest > n:
            raise SiteError(
                f"{largest} of {n} examples are of the group {label!r}: too few others to resample"
            )
        together = sorted(torch.randperm(n, generator=generator).tolist(), key=groups.__getitem__)
        source = torch.empty(n, dtype=torch.int64)
        source[together] = torch.tensor(together).roll(-largest)
        return source
    while True:
        order = torch.randperm(n, generator=generator)
        if not bool((order == torch.arange(n)).any()):
            return order


def ablate_heads(
    heads: Sequence[tuple[int, int]], values: dict[int, Float[Tensor, " *axes"]] | None = None
) -> list[Intervention]:
    """Interventions that remove query heads' outputs.

    Args:
        heads: (layer, head) pairs.
        values: For each layer, what to put there for all its heads, shaped ``[head, d_head]``
            or ``[pos, head, d_head]``; zero where None.

    Raises:
        SiteError: a head's layer has no value.
    """
    found = []
    for layer, head in sorted(heads):
        site = Site(layer, "z", head)
        if values is not None and layer not in values:
            raise SiteError(f"no value for {site}: values are given for layers {sorted(values)}")
        found.append(zero(site) if values is None else mean(site, values[layer][..., head, :]))
    return found
