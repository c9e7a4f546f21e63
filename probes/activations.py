"""Activations of statements at one place of one model, with what says where they come from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks import Site, SiteError, capture
from interp.models import Examples, Model, ModelError
from probes.data import DataError, StatementSet

Position = Literal["last"] | int


@dataclass(frozen=True, eq=False)
class Activations:
    """One activation a statement, and the model, site and position they were taken at.

    A bare tensor of the right width could come from anywhere; probes score these only.

    Attributes:
        values: One row a statement.
        lengths: Number of tokens of each statement, its beginning-of-sequence token included.
        fingerprint: Of the model.
        model: The model's name, for messages and tables.
        site: Where in the model.
        position: Which token of each statement.
        dtype: The type of the model's weights.
        revision: The model's revision on the Hub, where one was asked for.
    """

    values: Float[Tensor, "example d"]
    lengths: Int[Tensor, " example"]
    fingerprint: str
    model: str
    site: Site
    position: Position
    dtype: str = "float32"
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or not self.values.is_floating_point():
            raise DataError(
                f"activations must be numbers of shape [example, d], got {self.values.dtype} of "
                f"shape {list(self.values.shape)}"
            )
        if self.lengths.shape != self.values.shape[:1]:
            raise DataError(f"{len(self.values)} activations need as many lengths")
        if not bool(torch.isfinite(self.values).all()):
            row = int((~torch.isfinite(self.values)).any(1).nonzero()[0])
            raise DataError(
                f"the activation of statement {row} at {self.site} is not finite; "
                "load the model in float32"
            )

    def __len__(self) -> int:
        return len(self.values)

    def select(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> Activations:
        """Return the chosen rows, in the order given."""
        index = torch.as_tensor(np.asarray(rows), dtype=torch.int64)
        return replace(self, values=self.values[index], lengths=self.lengths[index])


def parse_position(text: str | int) -> Position:
    """Read a position: ``last``, or a token's index, negative from the end.

    Raises:
        DataError: it is neither.
    """
    if text == "last":
        return "last"
    try:
        return int(text)
    except ValueError:
        raise DataError(
            f"position is {text!r}; expected last, or the index of a token, such as -2"
        ) from None


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
    position: Position | str = "last",
    batch_size: int = 32,
) -> Activations:
    """Run statements through a model and keep one activation each.

    Args:
        model: The model.
        data: The statements.
        site: Where, such as ``L6.resid_post`` or ``L6H1``: a place with one vector a token.
        position: Which token: ``last``, or an index, negative from the end.
        batch_size: Rows at a time; halved on out-of-memory.

    Raises:
        SiteError: the model has no such site, or it does not hold one vector a token.
        DataError: a statement is too long, or too short for the position.
    """
    where = checked_site(model, site)
    at = parse_position(position)
    examples = tokenise(model, data)
    if at != "last":
        short = examples.lengths < (at + 1 if at >= 0 else -at)
        if bool(short.any()):
            row = int(short.nonzero()[0])
            raise DataError(
                f"{data.name}, {data.places[row]}: {int(examples.lengths[row])} tokens, "
                f"so there is none at position {at}"
            )
    values = capture(model, examples, [where], positions=at, batch_size=batch_size)[where]
    return Activations(
        values=values,
        lengths=examples.lengths,
        fingerprint=model.fingerprint,
        model=model.spec.name,
        site=where,
        position=at,
        dtype=model.spec.dtype,
        revision=model.spec.revision,
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
