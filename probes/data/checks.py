"""What one row of statements may hold, checked cell by cell."""

from __future__ import annotations

import math
import unicodedata
from typing import Any

import numpy as np

LABELS = {"0": False, "1": True, "false": False, "true": True}


class DataError(ValueError):
    """Statements cannot be used as they are; the message names the file, the row and why."""


def same_text(text: str) -> str:
    """Return what two texts share when they differ only in spaces or in how Unicode is written."""
    return " ".join(unicodedata.normalize("NFC", text).split())


def checked_text(text: Any, place: str, *, what: str = "statement") -> str:
    """Return a text as it stands.

    Raises:
        DataError: it is no text, empty, or holds half a character.
    """
    if not isinstance(text, str) or not text.strip():
        shown = "empty" if isinstance(text, str) else repr(text)
        raise DataError(f"{place}: the {what} is {shown}; expected text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise DataError(f"{place}: the {what} holds half a character (a surrogate)") from None
    return text


def checked_label(value: Any, place: str) -> bool:
    """Return a label as a boolean.

    Raises:
        DataError: it is not 0, 1, false or true.
    """
    if isinstance(value, (bool, int, np.bool_, np.integer)) and value in (0, 1):
        return bool(value)
    if isinstance(value, str) and value.strip().lower() in LABELS:
        return LABELS[value.strip().lower()]
    raise DataError(f"{place}: the label is {value!r}; expected 0, 1, true or false")


def checked_name(value: Any, field: str, place: str) -> str:
    """Return the name of a group, domain or pair as text.

    Raises:
        DataError: it is neither a text nor a whole number.
    """
    whole = isinstance(value, (str, int, np.integer)) and not isinstance(value, bool)
    if not whole or not str(value).strip():
        raise DataError(f"{place}: the {field} is {value!r}; expected a name or a whole number")
    return str(value).strip()


def is_missing(value: Any) -> bool:
    """Whether a cell holds nothing: null, a float's NaN, or blank text."""
    if value is None:
        return True
    if isinstance(value, float) and math.isnan(value):
        return True
    return isinstance(value, str) and not value.strip()
