"""What can be done to an activation: pure functions of it, written as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
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
    value: Float[Tensor, "..."] | None = None
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
            SiteError: the value's shape does not fit the activation.
        """
        kind = KINDS[self.site.kind]
        index: list[slice | int] = [slice(None)] * activation.ndim
        if self.site.head is not None:
            assert kind.head_axis is not None
            index[kind.head_axis] = self.site.head
        if self.site.position is not None:
            # A pattern's position is its query.
            axis = kind.axes.index("query" if "query" in kind.axes else "pos")
            index[axis] = self.site.position
        part = activation[tuple(index)]
        try:
            changed = self._change(part, rows).to(part.dtype).expand_as(part)
        except RuntimeError as error:
            shape = None if self.value is None else list(self.value.shape)
            raise SiteError(
                f"{self}: a value of shape {shape} does not fit the activation there, "
                f"{list(part.shape)} ({', '.join(kind.axes)})"
            ) from error
        result = activation.clone()
        result[tuple(index)] = changed
        return result

    def _change(self, part: Tensor, rows: slice | None) -> Tensor:
        if self.kind == "zero":
            return torch.zeros_like(part)
        assert self.value is not None
        value = self.value.to(part.device)
        if self.kind in ("mean", "set"):
            return self._positions(value, part)
        if self.kind == "add":
            return part + self.scale * value.to(part.dtype)
        if self.kind == "project":
            basis = value.to(part.dtype)
            return part - (part @ basis) @ basis.T
        assert self.source is not None
        if rows is None and len(self.source) != part.shape[0]:
            raise SiteError(
                f"{self}: {part.shape[0]} rows ran, the source was drawn for {len(self.source)}; "
                "run the same examples, or say which rows these are"
            )
        chosen = self.source if rows is None else self.source[rows]
        return self._positions(value[chosen.to(value.device)], part)

    def _positions(self, value: Tensor, part: Tensor) -> Tensor:
        """Cut a value that has positions to the part's, where the batch is shorter."""
        gone = ("head", "kv_head") if self.site.head is not None else ()
        axes = [a for a in self.site.axes if a not in gone]
        if self.site.position is not None or "pos" not in axes or value.ndim < 2:
            return value
        axis = axes.index("pos") - len(axes)
        if -axis > value.ndim or value.shape[axis] <= part.shape[axis]:
            return value
        return value.narrow(axis, 0, part.shape[axis])


def zero(site: Site | str) -> Intervention:
    """Set the activation to zero. Also removes what a value bias puts there."""
    return Intervention(Site.parse(site), "zero")


def mean(site: Site | str, reference: Float[Tensor, "..."]) -> Intervention:
    """Replace by a mean taken over a reference set (see ``hooks.reference_mean``).

    Args:
        site: Where.
        reference: The mean, of the site's own shape without its batch axis (and without its
            position axis unless the mean is by position).
    """
    return Intervention(Site.parse(site), "mean", reference)


def resample(
    site: Site | str, activations: Float[Tensor, "example ..."], *, seed: int
) -> Intervention:
    """Replace by what the site held on another example, by a seeded derangement.

    Args:
        site: Where.
        activations: What the site holds on every example of the set to be run, in its order.
        seed: Draws the derangement: no example receives its own activation.

    Raises:
        SiteError: fewer than two examples.
    """
    return Intervention(
        Site.parse(site), "resample", activations, source=derangement(len(activations), seed=seed)
    )


def set_to(site: Site | str, value: Float[Tensor, "..."]) -> Intervention:
    """Replace by a given value, broadcast over what it lacks."""
    return Intervention(Site.parse(site), "set", value)


def add(site: Site | str, vector: Float[Tensor, "..."], *, scale: float = 1.0) -> Intervention:
    """Add ``scale`` times a vector: steering."""
    return Intervention(Site.parse(site), "add", vector, scale=scale)


def project_out(site: Site | str, directions: Float[Tensor, "..."]) -> Intervention:
    """Remove the span of one direction, or of several given as rows.

    Raises:
        SiteError: a direction is zero, or the directions are not independent.
    """
    rows = torch.atleast_2d(directions).to(torch.float64)
    q, r = torch.linalg.qr(rows.T)
    weakest = float(r.diagonal().abs().min())
    if rows.shape[0] > rows.shape[1] or weakest <= 1e-8 * float(rows.norm(dim=1).max()):
        raise SiteError(
            f"project out at {site}: the directions are zero or not linearly independent"
        )
    return Intervention(Site.parse(site), "project", q.to(directions.dtype))


def derangement(n: int, *, seed: int) -> Int[Tensor, " n"]:
    """A random permutation of 0…n−1 that leaves nothing in place.

    Drawn by rejection, so every derangement is equally likely (about e tries).

    Raises:
        SiteError: n < 2, where there is none.
    """
    if n < 2:
        raise SiteError(f"resampling needs at least two examples, got {n}")
    generator = torch.Generator().manual_seed(seed)
    while True:
        order = torch.randperm(n, generator=generator)
        if not bool((order == torch.arange(n)).any()):
            return order


def ablate_heads(
    heads: Sequence[tuple[int, int]], values: dict[int, Float[Tensor, "..."]] | None = None
) -> list[Intervention]:
    """Interventions that remove query heads' outputs.

    Args:
        heads: (layer, head) pairs.
        values: For each layer, what to put there for all its heads, shaped ``[head, d_head]``
            or ``[pos, head, d_head]``; zero where None.
    """
    found = []
    for layer, head in sorted(heads):
        site = Site(layer, "z", head)
        found.append(zero(site) if values is None else mean(site, values[layer][..., head, :]))
    return found
