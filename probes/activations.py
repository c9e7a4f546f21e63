"""Activations of statements at one place of one model, with what says where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks import Site, SiteError
from interp.models import Examples, Model, ModelError
from probes.cache import ActivationCache
from probes.data import DataError, StatementSet
from probes.extraction import Position, Reading, parse_position, read, vectors

__all__ = [
    "Activations",
    "Extraction",
    "Position",
    "checked_site",
    "extract",
    "extract_sites",
    "parse_position",
    "tokenise",
]


@dataclass(frozen=True, eq=False)
class Activations:
    """Activations of statements, and the model, site and position they were taken at.

    A bare tensor of the right width could come from anywhere; probes score these only.

    Attributes:
        values: One row a statement; one a token where the position is ``every``.
        lengths: Number of tokens of each row's statement, its beginning-of-sequence token included.
        fingerprint: Of the model.
        model: The model's name, for messages and tables.
        site: Where in the model.
        position: Which token of each statement, or how its tokens were pooled.
        dtype: The type of the model's weights.
        revision: The model's revision on the Hub, where one was asked for.
        owners: The statement of each row, ascending from 0; None where every row is one.
    """

    values: Float[Tensor, "row d"]
    lengths: Int[Tensor, " row"]
    fingerprint: str
    model: str
    site: Site
    position: Position
    dtype: str = "float32"
    revision: str | None = None
    owners: Int[Tensor, " row"] | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.is_floating_point():
            raise DataError(
                f"activations must be numbers of shape [example, d], got {self.values.dtype} of "
                f"shape {list(self.values.shape)}"
            )
        if self.lengths.shape != self.values.shape[:1]:
            raise DataError(f"{len(self.values)} activations need as many lengths")
        if self.owners is not None and self.owners.shape != self.lengths.shape:
            raise DataError(f"{len(self.values)} rows need as many owners")
        if not bool(torch.isfinite(self.values).all()):
            row = int((~torch.isfinite(self.values)).any(1).nonzero()[0])
            row = row if self.owners is None else int(self.owners[row])
            raise DataError(
                f"the activation of statement {row} at {self.site} is not finite; "
                "load the model in float32"
            )

    def __len__(self) -> int:
        return len(self.values)

    @property
    def n_statements(self) -> int:
        """How many statements the rows are of."""
        return len(self.values) if self.owners is None else len(self.owners.unique())

    @property
    def statement_lengths(self) -> Int[Tensor, " statement"]:
        """Number of tokens of each statement."""
        if self.owners is None:
            return self.lengths
        found = torch.zeros(self.n_statements, dtype=self.lengths.dtype)
        found[self.owners] = self.lengths
        return found

    def select(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Activations:
        """Return the chosen statements, in the order given, with all rows of theirs."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        if self.owners is None:
            return replace(self, values=self.values[index], lengths=self.lengths[index])
        counts = torch.bincount(self.owners)
        starts = counts.cumsum(0) - counts
        picked = [torch.arange(int(starts[i]), int(starts[i] + counts[i])) for i in index.tolist()]
        owners = torch.repeat_interleave(torch.arange(len(index)), counts[index])
        rows_of = torch.cat(picked)
        return replace(
            self, values=self.values[rows_of], lengths=self.lengths[rows_of], owners=owners
        )

    def spread(self, labels: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Give every row what its statement has, such as its label."""
        return labels if self.owners is None else labels[self.owners.numpy()]

    def by_statement(
        self, scores: Float[Tensor, "*batch row"]
    ) -> Float[Tensor, "*batch statement"]:
        """Return each statement's score: the mean over its rows."""
        if self.owners is None:
            return scores
        counts = torch.bincount(self.owners)
        summed = scores.new_zeros((*scores.shape[:-1], len(counts)))
        return summed.index_add(-1, self.owners, scores) / counts


@dataclass(frozen=True, eq=False)
class Extraction:
    """Activations at several sites, of the statements that could be read.

    Attributes:
        data: The statements kept, aligned with the activations.
        at: Activations by site.
        skipped: Reason to places, of statements left out.
    """

    data: StatementSet
    at: dict[Site, Activations]
    skipped: dict[str, tuple[str, ...]]


def tokenise(model: Model, data: StatementSet) -> Examples:
    """Statements as the model's tokens, groups kept.

    Raises:
        DataError: a statement is longer than the context, or two differ as text but not as
            tokens, so that one could be trained on and the other scored.
        ModelError: the model has no tokenizer.
    """
    try:
        examples = model.tokenize(data.texts, name=data.name)
    except ModelError as error:
        if model.tokenizer is None:
            raise
        raise DataError(f"{data.name}: {_named(error, model, data)}") from error
    seen: dict[tuple[int, ...], int] = {}
    assert examples.mask is not None
    for row, (tokens, mask) in enumerate(zip(examples.tokens, examples.mask, strict=True)):
        first = seen.setdefault(tuple(tokens[mask].tolist()), row)
        if first != row:
            raise DataError(
                f"{data.name}, {data.places[row]}: to the tokenizer of {model.spec.name} this is "
                f"the same as {data.places[first]} ({data.texts[first][:60]!r}); keep one of them, "
                "or use a model that knows these words"
            )
    return replace(examples, groups=data.groups)


def extract(
    model: Model,
    data: StatementSet,
    *,
    site: Site | str,
    position: Position = "last",
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Activations:
    """Run statements through a model and keep what a probe reads at one site.

    Args:
        model: The model.
        data: The statements. Spans say which of their tokens are pooled, turns what comes first.
        site: Where, such as ``L6.resid_post`` or ``L6H1``: a place with one vector a token.
        position: See ``probes.extraction.parse_position``.
        batch_size: Statements at a time, halved on out-of-memory; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Raises:
        SiteError: the model has no such site, or it does not hold one vector a token.
        DataError: a statement is too long, or has no such position: none is left out.
    """
    found = extract_sites(
        model, data, sites=[site], position=position, batch_size=batch_size, cache=cache
    )
    for reason, places in found.skipped.items():
        raise DataError(
            f"{data.name}, {places[0]}: {reason} (so in {len(places)} of {len(data)} statements); "
            "leave them out, or use extract_sites, which does"
        )
    (activations,) = found.at.values()
    return activations


def extract_sites(
    model: Model,
    data: StatementSet,
    *,
    sites: Sequence[Site | str],
    position: Position = "last",
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Extraction:
    """``extract`` at several sites in one pass; statements that cannot be read are left out.

    Those are the ones longer than the context, or whose span falls on no token: they are counted
    in ``skipped`` and logged.

    Raises:
        SiteError: as ``extract``.
        DataError: no statement is left, or one has no such position.
    """
    places = list(dict.fromkeys(checked_site(model, site) for site in sites))
    if not places:
        raise SiteError("no sites to extract; give at least one, such as L0.resid_post")
    reading: Reading = read(model, data, parse_position(position))
    found = vectors(model, reading, places, batch_size=batch_size, cache=cache)
    owners = reading.owners
    lengths = reading.lengths if owners is None else reading.lengths[owners]
    return Extraction(
        data=reading.data,
        at={
            site: Activations(
                values=values,
                lengths=lengths,
                fingerprint=model.fingerprint,
                model=model.spec.name,
                site=site,
                position=reading.position,
                dtype=model.spec.dtype,
                revision=model.spec.revision,
                owners=owners,
            )
            for site, values in found.items()
        },
        skipped=reading.skipped,
    )


def checked_site(model: Model, site: Site | str) -> Site:
    """Return the site if it holds one vector a token in this model.

    Raises:
        SiteError: it does not, or the model has no such site.
    """
    where = Site.parse(site)
    if where.position is not None:
        raise SiteError(f"{where}: give the position by itself, as position={where.position}")
    where.point(model)
    per_token = [axis for axis in where.axes if axis not in ("batch", "pos")]
    if where.head is not None and "query" not in per_token:
        per_token = [axis for axis in per_token if axis not in ("head", "kv_head")]
    if len(per_token) != 1:
        raise SiteError(
            f"{where} is not one vector a token ({' × '.join(per_token)}); "
            f"a probe reads a place such as L{where.layer}.resid_post or L{where.layer}H0"
        )
    return where


def _named(error: ModelError, model: Model, data: StatementSet) -> str:
    """The error of the first statement that cannot be tokenised, with its place in the file."""
    for text, place in zip(data.texts, data.places, strict=True):
        try:
            model.tokenize(text)
        except ModelError as own:
            return f"{place}: {str(own).replace('text 0', 'the statement', 1)}"
    return str(error)
