"""The user's own minimal pairs, as a table of pairs or of templates.

A row is a pair, ``more,less[,group,kind]``, or a template::

    template,more,less,job,kind
    The {job} said that {} was late.,she,he,nurse|teacher|cleaner,gender

``{}`` is filled by ``more`` and by ``less``; every other slot by its column, in which ``|`` parts
alternatives (in JSONL, a list will do). A template's pairs are one group unless it names one. In
JSONL, ``more`` and ``less`` of a pair may be lists of token ids, for models without a tokenizer.
"""

from __future__ import annotations

import itertools
import string
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from interp.configs import near
from probes.behaviour.items import BehaviourError, Pair, PairSet, Text, shared_frame
from probes.data.checks import DataError, checked_name, checked_text, is_missing
from probes.data.files import table_rows

KEYS = ("template", "more", "less", "group", "kind")
ONE = "pairs"


def read_pairs(path: Path | str) -> PairSet:
    """Read pairs or templates from a .csv, .jsonl or .parquet file.

    Args:
        path: The file; it may hold both kinds of row.

    Raises:
        BehaviourError: the file or one of its rows cannot be read; names the row and says why.
    """
    path = Path(path)
    pairs: list[Pair] = []
    try:
        for place, row in table_rows(path):
            held = {key: value for key, value in row.items() if not is_missing(value)}
            pairs += _row(held, place, f"{path}, {place}")
    except DataError as error:
        raise BehaviourError(str(error)) from None
    if not pairs:
        raise BehaviourError(f"{path} has no rows; expected more and less, or template, in each")
    return PairSet(tuple(pairs), name=path.stem)


def _row(row: Mapping[str, Any], place: str, at: str) -> list[Pair]:
    if missing := [key for key in ("more", "less") if key not in row]:
        raise BehaviourError(f"{at}: no {missing[0]!r}; every row needs more and less")
    kind = checked_name(row["kind"], "kind", at) if "kind" in row else ONE
    group = checked_name(row["group"], "group", at) if "group" in row else ""
    if "template" in row:
        return _filled(row, kind, group or place, place, at)
    if unknown := [key for key in row if key not in KEYS]:
        raise BehaviourError(
            f"{at}: unknown column {unknown[0]!r}; {near(unknown[0], KEYS)} "
            "(columns of other names fill the slots of a template)"
        )
    more, less = (_text(row[key], key, at) for key in ("more", "less"))
    if isinstance(more, str) != isinstance(less, str):
        raise BehaviourError(f"{at}: more and less must both be texts, or both lists of ids")
    if more == less:
        raise BehaviourError(f"{at}: more and less are the same")
    if not group and isinstance(more, str) and isinstance(less, str):
        group = shared_frame(more, less)
    return [Pair(more, less, kind, group or place, place)]


def _filled(row: Mapping[str, Any], kind: str, group: str, place: str, at: str) -> list[Pair]:
    template = checked_text(row["template"], at, what="template")
    try:
        slots = [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]
    except ValueError as error:
        raise BehaviourError(f"{at}: the template {template!r} cannot be read: {error}") from None
    if "" not in slots:
        raise BehaviourError(f"{at}: the template has no {{}} for more and less to fill")
    named = list(dict.fromkeys(name for name in slots if name))
    if reserved := [name for name in named if name in KEYS]:
        raise BehaviourError(f"{at}: a slot may not be called {reserved[0]!r}; rename it")
    if unfilled := [name for name in named if name not in row]:
        raise BehaviourError(
            f"{at}: nothing fills the slot {{{unfilled[0]}}}; add a column of that name"
        )
    if unused := [key for key in row if key not in KEYS and key not in named]:
        raise BehaviourError(f"{at}: the template has no slot {{{unused[0]}}}")
    texts = {key: checked_text(row[key], at, what=key) for key in ("more", "less")}
    if texts["more"] == texts["less"]:
        raise BehaviourError(f"{at}: more and less are the same")
    choices = [_alternatives(row[name], name, at) for name in named]
    pairs = []
    for chosen in itertools.product(*choices):
        values = dict(zip(named, chosen, strict=True))
        more, less = (_fill(template, texts[key], values) for key in ("more", "less"))
        pairs.append(Pair(more, less, kind, group, ", ".join([place, *chosen])))
    return pairs


def _fill(template: str, said: str, values: Mapping[str, str]) -> str:
    # Not str.format: a template is data, and must not reach into attributes of what fills it.
    parts = []
    for literal, name, _, _ in string.Formatter().parse(template):
        parts.append(literal)
        if name is not None:
            parts.append(said if name == "" else values[name])
    return "".join(parts)


def _alternatives(value: Any, name: str, at: str) -> list[str]:
    held = value if isinstance(value, list) else str(value).split("|")
    return [checked_text(one, at, what=f"slot {name}").strip() for one in held]


def _text(value: Any, key: str, at: str) -> Text:
    if isinstance(value, list):
        if not value or not all(type(i) is int and i >= 0 for i in value):
            raise BehaviourError(f"{at}: {key} is a list, but not of token ids (0 or above)")
        return tuple(value)
    return checked_text(value, at, what=key)
