"""The parts of a model that attribution speaks of, and what takes the place of each.

A unit is a slice of one activation: a head's output, one neuron, the residual stream at one
position. Estimates and exact replacements are made from the same table, so that the two compare.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import Literal

import torch
from einops import reduce
from jaxtyping import Bool, Float
from torch import Tensor

from interp.hooks import Site, session
from interp.models import Examples, Model

Of = Literal["heads", "queries", "keys", "values", "mlps", "neurons", "residual"]
Replacement = Literal["mean", "mean-by-position", "zero", "resample", "paired"]
Unit = tuple[int, ...]


class AttributionError(ValueError):
    """An attribution that cannot be made as asked; the message says why."""


@dataclass(frozen=True)
class UnitKind:
    """How the units of one kind lie in an activation.

    Attributes:
        site: The kind of place.
        axes: What counts the units of a layer; none where the layer has one.
        about: What one of them is.
    """

    site: str
    axes: tuple[str, ...]
    about: str

    def reduce(self, products: Float[Tensor, "batch pos ..."]) -> Float[Tensor, "batch ..."]:
        """Sum over every axis but the examples' and the units'."""
        axes = Site(0, self.site).axes
        return reduce(products, f"{' '.join(axes)} -> {' '.join(('batch', *self.axes))}", "sum")

    def index(self, unit: Unit) -> tuple[slice | int, ...]:
        """Where a unit lies in the activation at its layer's site; (layer,) is all its units."""
        place = dict(zip(self.axes, unit[1:], strict=False))
        return tuple(place.get(axis, slice(None)) for axis in Site(0, self.site).axes)

    def name(self, unit: Unit) -> str:
        """Write a unit as sites are written; a neuron as ``L3N17``, which sites do not have."""
        layer, *rest = unit
        if not rest:
            return str(Site(layer, self.site))
        if self.axes == ("neuron",):
            return f"L{layer}N{rest[0]}"
        if self.axes == ("pos",):
            return str(Site(layer, self.site, position=rest[0]))
        return str(Site(layer, self.site, rest[0]))


UNIT_KINDS: dict[str, UnitKind] = {
    "heads": UnitKind("z", ("head",), "a query head's output before W_O, at all positions"),
    "queries": UnitKind("q", ("head",), "a head's queries, before any rotation"),
    "keys": UnitKind("k", ("kv_head",), "a key/value head's keys, before any rotation"),
    "values": UnitKind("v", ("kv_head",), "a key/value head's values"),
    "mlps": UnitKind("mlp_out", (), "what an MLP adds to the residual stream"),
    "neurons": UnitKind("mlp_post", ("neuron",), "a neuron after its activation function"),
    "residual": UnitKind("resid_pre", ("pos",), "the residual stream into a layer, at a column"),
}


def unit_kind(of: str) -> UnitKind:
    """Look a kind of unit up.

    Raises:
        AttributionError: no such kind, with near matches.
    """
    if of not in UNIT_KINDS:
        near = difflib.get_close_matches(of, UNIT_KINDS, n=2, cutoff=0.5) or list(UNIT_KINDS)
        raise AttributionError(f"unknown units of={of!r}; expected {' or '.join(near)}")
    return UNIT_KINDS[of]


def unit_sites(model: Model, of: str) -> list[Site]:
    """One site a layer, each checked to be there and editable.

    Raises:
        AttributionError: no such kind of unit.
        SiteError: the model has no such place, or changes there do not take hold in it.
    """
    sites = [Site(layer, unit_kind(of).site) for layer in range(model.n_layers)]
    for site in sites:
        site.require_editable(model)
    return sites


@torch.no_grad()
def shapes(model: Model, sites: list[Site]) -> dict[Site, tuple[int, ...]]:
    """Axes after batch and position at each site, from a run on a single token."""
    with session(model, capture=sites) as s:
        s.run_until_captured(torch.zeros((1, 1), dtype=torch.int64))
    return {site: tuple(s[site].shape[2:]) for site in sites}


def real_mask(examples: Examples) -> Bool[Tensor, "example pos"]:
    """True at real tokens."""
    assert examples.mask is not None
    return examples.mask


def real(tensor: Float[Tensor, "batch pos ..."], batch: Examples) -> Float[Tensor, "batch pos ..."]:
    """Zero what stands at padding."""
    mask = real_mask(batch).to(tensor.device)
    return tensor.masked_fill(~mask.reshape(*mask.shape, *[1] * (tensor.ndim - 2)), 0.0)
