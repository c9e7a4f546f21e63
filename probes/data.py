"""Statements with two labels, every row of them checked."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

LABELS = {"0": False, "1": True, "false": False, "true": True}


class DataError(ValueError):
    """Statements cannot be used as they are; the message names the file, the row and why."""


@dataclass(frozen=True, eq=False)
class StatementSet:
    """Texts, each labelled 0 or 1. What the labels mean is the author's claim, not ours.

    Make one with ``read_statements`` or ``StatementSet.build``, which check every row.

    Attributes:
        texts: The statements, as the model will be given them.
        labels: True for label 1.
        groups: One name a statement; those of one group never straddle a split.
        domains: One name a statement, or None. Kept for comparisons between domains.
        places: Where each statement came from, for messages.
        name: What the set is called.
        grouped: Whether the groups were given; else every statement is a group of its own.
        n_duplicates: Rows left out because they repeat an earlier text with the same label.
    """

    texts: tuple[str, ...]
    labels: tuple[bool, ...]
    groups: tuple[str, ...]
    domains: tuple[str, ...] | None
    places: tuple[str, ...]
    name: str
    grouped: bool
    n_duplicates: int = 0

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        labels: Sequence[Any],
        *,
        groups: Sequence[Any] | None = None,
        domains: Sequence[Any] | None = None,
        places: Sequence[str] | None = None,
        name: str = "statements",
    ) -> StatementSet:
        """Check every row and return the set, exact repeats left out and counted.

        Args:
            texts: The statements.
            labels: 0, 1, false or true, as numbers, booleans or words.
            groups: What binds statements together, such as the question they share.
            domains: What each statement is about.
            places: Where each came from; ``row 1`` and so on when omitted.
            name: What the set is called.

        Raises:
            DataError: a bad row, a text with two labels, nothing at all, or only one label.
        """
        where = [f"row {i + 1}" for i in range(len(texts))] if places is None else list(places)
        given = {"labels": labels, "groups": groups, "domains": domains, "places": where}
        for field, column in given.items():
            if column is not None and len(column) != len(texts):
                raise DataError(f"{name}: {len(texts)} texts need as many {field}: {len(column)}")
        if not texts:
            raise DataError(f"{name} has no rows; expected statements of both labels")
        seen: dict[str, int] = {}
        kept: list[int] = []
        truth: dict[int, bool] = {}
        for i, text in enumerate(texts):
            place = f"{name}, {where[i]}"
            key = _checked_text(text, place)
            label = _label(labels[i], place)
            first = seen.setdefault(key, i)
            if first == i:
                kept.append(i)
                truth[i] = label
            elif truth[first] != label:
                raise DataError(
                    f"{place}: the statement of {where[first]} again, with label {int(label)} "
                    f"instead of {int(truth[first])}; keep one of them"
                )
        names = {
            field: None
            if column is None
            else [_name(value, field, f"{name}, {where[i]}") for i, value in enumerate(column)]
            for field, column in (("group", groups), ("domain", domains))
        }
        one = {truth[i] for i in kept}
        if len(one) == 1:
            raise DataError(
                f"{name}: all {len(kept)} statements have label {int(one.pop())}; "
                "expected both labels, 0 and 1"
            )
        return cls(
            texts=tuple(texts[i] for i in kept),
            labels=tuple(truth[i] for i in kept),
            groups=tuple((names["group"] or where)[i] for i in kept),
            domains=None if names["domain"] is None else tuple(names["domain"][i] for i in kept),
            places=tuple(where[i] for i in kept),
            name=name,
            grouped=groups is not None,
            n_duplicates=len(texts) - len(kept),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return (
            f"StatementSet({self.name!r}: {len(self)} statements, {sum(self.labels)} of label 1, "
            f"{len(set(self.groups))} groups)"
        )

    @property
    def y(self) -> npt.NDArray[np.bool_]:
        """The labels as an array."""
        return np.array(self.labels, dtype=bool)

    @property
    def hash(self) -> str:
        """SHA-256 over texts, labels and groups: equal iff it is the same data."""
        rows = list(zip(self.texts, self.labels, self.groups, strict=True))
        return hashlib.sha256(json.dumps(rows).encode()).hexdigest()

    @property
    def row_hashes(self) -> tuple[str, ...]:
        """A short hash of each text, by which a probe knows what it was trained on."""
        return tuple(hashlib.sha256(same_text(t).encode()).hexdigest()[:16] for t in self.texts)

    def select(self, rows: Sequence[int] | npt.NDArray[np.integer]) -> StatementSet:
        """Return the chosen rows, in the order given. They may be of one label only."""
        index = [int(i) for i in rows]
        columns = ("texts", "labels", "groups", "domains", "places")
        chosen: dict[str, Any] = {}
        for column in columns:
            values = getattr(self, column)
            chosen[column] = None if values is None else tuple(values[i] for i in index)
        return replace(self, **chosen)


def same_text(text: str) -> str:
    """Return what two texts share when they differ only in spaces or in how Unicode is written."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def _checked_text(text: Any, place: str) -> str:
    if not isinstance(text, str) or not text.strip():
        shown = "empty" if isinstance(text, str) else repr(text)
        raise DataError(f"{place}: the statement is {shown}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place}: the statement holds half a character (a surrogate)") from None
    return same_text(text)


def _label(value: Any, place: str) -> bool:
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in LABELS:
        return LABELS[value.strip().lower()]
    raise DataError(f"{place}: the label is {value!r}; expected 0, 1, true or false")


def _name(value: Any, field: str, place: str) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int)) or not str(value).strip():
        raise DataError(f"{place}: the {field} is {value!r}; expected a name or a whole number")
    return str(value).strip()
