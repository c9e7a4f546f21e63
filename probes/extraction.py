"""From statements to one vector a statement or token, at several places in one pass."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks import Site, capture
from interp.hooks.capture import TOKENS_PER_FORWARD
from interp.models import Examples, Model
from probes.cache import ActivationCache
from probes.data import DataError, Encoded, StatementSet, encoded
from probes.pooling import every_token, mean_over

log = logging.getLogger(__name__)

# A token's index, or last, mean, every, or char:N.
Position = Literal["last", "mean", "every"] | int | str
CHARACTER = "char:"
# Activations of all tokens are pooled before more than this is held.
_HELD_BYTES = 2**28


@dataclass(frozen=True, eq=False)
class Reading:
    """Statements as a model reads them, and which of their tokens a probe gets.

    Attributes:
        examples: The tokens, padded on the right.
        encoded: The tokens with what is pooled over.
        data: The statements kept, as they were given: turns and groups are theirs.
        rows: Which of the statements given they are.
        skipped: Reason to places, of statements left out.
        position: How tokens become rows.
    """

    examples: Examples
    encoded: Encoded
    data: StatementSet
    rows: tuple[int, ...]
    skipped: dict[str, tuple[str, ...]]
    position: Position

    @property
    def lengths(self) -> Int[Tensor, " statement"]:
        """Number of tokens of each statement, what comes before it included."""
        return self.examples.lengths

    @property
    def owners(self) -> Int[Tensor, " row"] | None:
        """Which statement each row is of; None where every statement is one row."""
        if self.position != "every":
            return None
        return torch.from_numpy(self.encoded.pooled).nonzero()[:, 0]

    @property
    def hash(self) -> str:
        """SHA-256 over what the model is fed and what is pooled: the tokenizer's doing too."""
        digest = hashlib.sha256(repr(self.encoded.tokens.shape).encode())
        for part in (self.encoded.tokens, self.encoded.mask, self.encoded.pooled):
            digest.update(part.tobytes())
        return digest.hexdigest()


def parse_position(text: str | int) -> Position:
    """Read how tokens become rows.

    Args:
        text: ``last``, ``mean`` or ``every`` (of the span's tokens, or of the statement's);
            ``char:N`` for the token of a statement's character N; or a token's index, counted
            from the beginning of what the model reads. Numbers may count from the end.

    Raises:
        DataError: it is none of them.
    """
    if text in ("last", "mean", "every"):
        return str(text)
    number = text.removeprefix(CHARACTER) if isinstance(text, str) else text
    try:
        found = int(number)
    except ValueError:
        raise DataError(
            f"position is {text!r}; expected last, mean, every, char:N for the token of a "
            "character, or the index of a token, such as -2"
        ) from None
    return found if number == text else f"{CHARACTER}{found}"


def read(model: Model, data: StatementSet, position: Position) -> Reading:
    """Tokenise statements, by the chat template where turns come before them.

    A statement whose span falls on no token, or which is longer than the model's context, is
    left out, counted and logged; everything stays aligned.

    Raises:
        DataError: nothing is left; two statements differ as text but not as tokens, so that one
            could be trained on and the other scored; or a statement has no such position.
        ModelError: the model has no tokenizer, or ids are outside its vocabulary.
    """
    if model.tokenizer is None and data.ids is None:
        model.tokenize(data.texts[:1])  # refuses, and says what to do
    # Groups carry each row's number through: which rows are kept is not said otherwise.
    numbered = replace(data, groups=tuple(map(str, range(len(data)))), pairs=None)
    if isinstance(position, str) and position.startswith(CHARACTER):
        numbered = _at_character(numbered, int(position.removeprefix(CHARACTER)))
    found = encoded(numbered, model.tokenizer, bos_id=model.bos_id, max_length=model.n_ctx)
    rows = tuple(int(group) for group in found.data.groups)
    kept = data if len(rows) == len(data) else data.select(rows)
    _refuse_same(found, kept, model)
    examples = Examples(
        tokens=torch.from_numpy(found.tokens),
        mask=torch.from_numpy(found.mask),
        groups=kept.groups,
        name=data.name,
    )
    model.check_tokens(examples.tokens)
    if isinstance(position, int):
        short = examples.lengths < (position + 1 if position >= 0 else -position)
        if bool(short.any()):
            row = int(short.nonzero()[0])
            raise DataError(
                f"{data.name}, {kept.places[row]}: {int(examples.lengths[row])} tokens, "
                f"so there is none at position {position}"
            )
    return Reading(examples, found, kept, rows, found.skipped, position)


def vectors(
    model: Model,
    reading: Reading,
    sites: Sequence[Site],
    *,
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> dict[Site, Float[Tensor, "row d"]]:
    """Run statements once and keep what a probe reads, at every site; what is cached is not run.

    Args:
        model: The model.
        reading: The statements as it reads them.
        sites: Places with one vector a token.
        batch_size: Statements at a time; None for a budget of tokens.
        cache: Where to look first, and to keep what is found.
    """
    found: dict[Site, Tensor] = {}
    keys = {site: _key(model, reading, site) for site in sites}
    owners = reading.owners
    n_rows = len(reading.data) if owners is None else len(owners)
    if cache is not None:
        for site, key in keys.items():
            held = cache.get(key)
            if held is not None and "values" in held and len(held["values"]) == n_rows:
                found[site] = held["values"]
    missing = [site for site in sites if site not in found]
    if missing:
        for site, values in _run(model, reading, missing, batch_size).items():
            found[site] = values
            if cache is not None and bool(torch.isfinite(values).all()):
                cache.put(keys[site], {"values": values})
    log.info("%d of %d sites were in the cache", len(sites) - len(missing), len(sites))
    return {site: found[site] for site in sites}


def _run(
    model: Model, reading: Reading, sites: Sequence[Site], batch_size: int | None
) -> dict[Site, Tensor]:
    pooled = torch.from_numpy(reading.encoded.pooled)
    position = reading.position
    options: dict[str, Any] = {
        "batch_size": batch_size,
        "tokens_per_forward": TOKENS_PER_FORWARD,
    }
    if position not in ("mean", "every"):
        # Padding is on the right, so that a column is a position among real tokens.
        reach = torch.arange(1, pooled.shape[1] + 1)
        at: Any = position if isinstance(position, int) else (pooled * reach).argmax(1)
        return dict(capture(model, reading.examples, list(sites), positions=at, **options))
    order = torch.argsort(reading.lengths, stable=True)
    parts: dict[Site, list[Tensor]] = {site: [] for site in sites}
    # As many at a time as may be held with every token of theirs, at every site.
    width = int(reading.lengths.max())
    wide = 4 * max(model.d_model, 4 * model.d_model if _wide(sites) else 0)
    size = max(1, _HELD_BYTES // (width * wide * len(sites)))
    for start in range(0, len(order), size):
        chosen = order[start : start + size]
        held = capture(model, reading.examples.select(chosen), list(sites), **options)
        for site in sites:
            values = held[site]
            over = pooled[chosen, : values.shape[1]]
            if position == "mean":
                parts[site].append(mean_over(values, over))
            else:
                rows, owner = every_token(values, over)
                parts[site] += rows.split(torch.bincount(owner, minlength=len(chosen)).tolist())
    back = torch.argsort(order)
    if position == "mean":
        return {site: torch.cat(done)[back] for site, done in parts.items()}
    return {site: torch.cat([done[i] for i in back.tolist()]) for site, done in parts.items()}


def _wide(sites: Sequence[Site]) -> bool:
    return any(site.kind.startswith("mlp") for site in sites)


def _key(model: Model, reading: Reading, site: Site) -> dict[str, Any]:
    return {
        "format": 1,
        "fingerprint": model.fingerprint,
        "dtype": str(model.dtype),
        "data": reading.data.hash,
        "tokens": reading.hash,
        "site": str(site),
        "position": reading.position,
    }


def _at_character(data: StatementSet, character: int) -> StatementSet:
    """Spans of the one character, counted from the statement's end where negative."""
    if data.ids is not None:
        raise DataError(f"{data.name}: token ids have no characters; give a token's index")
    spans = []
    for text, place in zip(data.texts, data.places, strict=True):
        at = character + len(text) if character < 0 else character
        if not 0 <= at < len(text):
            raise DataError(
                f"{data.name}, {place}: {len(text)} characters, so there is none at {character}"
            )
        spans.append(((at, at + 1),))
    prompts = data.prompts
    if prompts is not None:  # the one character alone
        prompts = tuple(tuple(replace(t, pooled=False) for t in turns) for turns in prompts)
    return replace(data, spans=tuple(spans), prompts=prompts)


def _refuse_same(found: Encoded, data: StatementSet, model: Model) -> None:
    seen: dict[tuple[bytes, bytes], int] = {}
    for row, (tokens, mask, over) in enumerate(
        zip(found.tokens, found.mask, found.pooled, strict=True)
    ):
        first = seen.setdefault((tokens[mask].tobytes(), over[mask].tobytes()), row)
        if first != row:
            raise DataError(
                f"{data.name}, {data.places[row]}: to the tokenizer of {model.spec.name} this is "
                f"the same as {data.places[first]} ({data.texts[first][:60]!r}); keep one of them, "
                "or use a model that knows these words"
            )
