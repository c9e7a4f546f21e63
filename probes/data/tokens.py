"""Statements as token ids, with the tokens that each span of characters falls on."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.chat import rendered
from probes.data.checks import DataError
from probes.data.statements import Span, StatementSet

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Encoded:
    """Token ids of statements, padded on the right, and which of them to pool over.

    Attributes:
        tokens: Ids ``[statement, pos]``.
        mask: True at real tokens ``[statement, pos]``.
        pooled: True at tokens that overlap a span ``[statement, pos]``; all real tokens but the
            beginning of the sequence where the set has no spans.
        data: The statements kept, aligned with the rows.
        skipped: Reason to places, of statements left out.
    """

    tokens: npt.NDArray[np.int64]
    mask: npt.NDArray[np.bool_]
    pooled: npt.NDArray[np.bool_]
    data: StatementSet
    skipped: dict[str, tuple[str, ...]]


def encoded(
    data: StatementSet,
    tokenizer: Any | None,
    *,
    bos_id: int | None = None,
    max_length: int | None = None,
) -> Encoded:
    """Tokenise statements, by the chat template where turns come before them.

    Rows whose span is cut off by ``max_length``, or falls on no token, are skipped, counted in
    ``skipped`` and logged; tokens, spans, labels and pairs stay aligned.

    Args:
        data: The statements.
        tokenizer: Of the model; None for sets of ids.
        bos_id: Put first in every row, unless None.
        max_length: Most tokens a row, ``bos_id`` included; longer rows lose their end.

    Raises:
        DataError: a tokenizer is missing or cannot say which characters a token stands for, or
            no row is left.
    """
    first = [] if bos_id is None else [bos_id]
    skipped: dict[str, list[str]] = {}
    rows, pools, kept = [], [], []
    shown = data if data.ids is not None else rendered(data, _given(tokenizer, data))
    for row in range(len(data)):
        if data.ids is not None:
            ids, offsets = list(data.ids[row]), None
        else:
            ids, offsets = _offsets(tokenizer, shown.texts[row], spans=shown.spans is not None)
        over = [True] * len(ids)
        if shown.spans is not None and offsets is not None:
            over = _overlapping(offsets, shown.spans[row])
        room = len(ids) if max_length is None else max(0, max_length - len(first))
        reason = None
        if not any(over):
            reason = "the span falls on no token"
        elif any(over[room:]):
            reason = f"the span is cut off at {max_length} tokens"
        if reason is not None:
            skipped.setdefault(reason, []).append(data.places[row])
            continue
        rows.append([*first, *ids[:room]])
        pools.append([*([False] * len(first)), *over[:room]])
        kept.append(row)
    for reason, places in skipped.items():
        log.warning("%s: %d statements skipped: %s", data.name, len(places), reason)
    if not kept:
        raise DataError(f"{data.name}: no statement is left: {'; '.join(skipped) or 'no rows'}")
    width = max(map(len, rows))
    tokens = np.zeros((len(rows), width), dtype=np.int64)
    mask = np.zeros((len(rows), width), dtype=bool)
    pooled = np.zeros((len(rows), width), dtype=bool)
    for i, (ids, over) in enumerate(zip(rows, pools, strict=True)):
        tokens[i, : len(ids)], mask[i, : len(ids)], pooled[i, : len(ids)] = ids, True, over
    said = {reason: tuple(places) for reason, places in skipped.items()}
    return Encoded(tokens, mask, pooled, shown.select(kept), said)


def _given(tokenizer: Any | None, data: StatementSet) -> Any:
    if tokenizer is None:
        raise DataError(f"{data.name}: texts need a tokenizer, and this model has none")
    return tokenizer


def _offsets(tokenizer: Any, text: str, *, spans: bool) -> tuple[list[int], list[Span] | None]:
    if not spans:
        return list(tokenizer.encode(text, add_special_tokens=False)), None
    try:
        found = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    except (NotImplementedError, ValueError):
        raise DataError(
            f"the tokenizer {type(tokenizer).__name__} cannot say which characters a token stands "
            "for, which spans need; use its fast version"
        ) from None
    return list(found["input_ids"]), [(int(a), int(b)) for a, b in found["offset_mapping"]]


def _overlapping(offsets: list[Span], spans: tuple[Span, ...]) -> list[bool]:
    return [any(a < end and start < b for start, end in spans) for a, b in offsets]
