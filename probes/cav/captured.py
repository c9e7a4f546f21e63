"""Activations of a concept's sentences at several sites, whatever form the sentences come in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from interp.hooks import Site, capture
from interp.models import Examples, Model
from probes.activations import checked_site, extract_sites
from probes.cav.vectors import CAVError
from probes.data import StatementSet

Concept = StatementSet | Examples
"""Sentences of a concept: a set, of which those of label 1 are, or token ids, all of which are."""
At = Literal["last", "mean"] | int
"""Which token of a sentence a vector is fitted to, counted from the end where negative."""


@dataclass(frozen=True, eq=False)
class Captured:
    """A concept's sentences at some sites.

    Attributes:
        name: Of the concept.
        groups: One name a sentence.
        keys: What tells one sentence from another.
        at: Activations by site, in at least single precision.
    """

    name: str
    groups: tuple[str, ...]
    keys: tuple[str, ...]
    at: dict[Site, Float[Tensor, "row d"]]


def captured(
    model: Model,
    concept: Concept,
    sites: Sequence[Site | str],
    *,
    position: At = "last",
    label: bool | None = True,
) -> Captured:
    """Run a concept's sentences through a model.

    Args:
        model: The model.
        concept: The sentences.
        sites: Places with one vector a token.
        position: Which token. Token ids have no mean.
        label: Which sentences of a set; None for all.

    Raises:
        CAVError: a mean was asked of token ids.
        DataError: a sentence cannot be read, or none has the label.
        SiteError: no such site, or not one vector a token.
    """
    places = [checked_site(model, site) for site in Site.parse_all(sites)]
    if isinstance(concept, Examples):
        if position == "mean":
            raise CAVError(f"{concept.name!r} is token ids: position last or an index")
        at = -1 if position == "last" else position
        found = capture(model, concept, places, positions=at)
        rows = [t[m].tolist() for t, m in zip(concept.tokens, _mask(concept), strict=True)]
        values = {site: found[site].float() for site in places}
        return Captured(concept.name, concept.groups, tuple(map(str, rows)), values)
    if position == "every":
        raise CAVError("a concept's sentence is one vector: position last, mean or an index")
    chosen = concept if label is None else concept.filter(label=label)
    held = extract_sites(model, chosen, sites=places, position=position)
    return Captured(
        name=concept.name,
        groups=held.data.groups,
        keys=held.data.row_hashes,
        at={site: found.values.float() for site, found in held.at.items()},
    )


def _mask(examples: Examples) -> Tensor:
    assert examples.mask is not None
    return examples.mask
