"""Published tables of statements, and plain ones: cells to statements.

Formats, by their columns: *claims* (``Claim``, ``Negated Claim``; Truthfulness Spectrum, 2026),
*geometry_of_truth* (``statement``, ``label`` and what the sentence was made of, or ``question``,
``correct_answer``, ``plausible_answer``; Marks & Tegmark 2023), *internal_state* (Azaria &
Mitchell 2023) and *repe* (Zou et al. 2023; both ``statement``, ``label``), *ethics* (``input``,
``label``, ``is_short``; Hendrycks et al. 2021, commonsense).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from interp.configs import near
from probes.data.checks import DataError, checked_label, checked_text, is_missing
from probes.data.draft import Draft, Drafts
from probes.data.files import Row

TEXT_COLUMNS = ("statement", "text")
# The notes on the paper keep short inputs of at most this many characters.
_ETHICS_CHARACTERS = 100
_TRANSLATED = re.compile(r"The \w+ word '([^']+)'")


@dataclass(frozen=True)
class ColumnNames:
    """Columns named by the caller; None where the usual names are to be looked for."""

    text: str | None = None
    label: str | None = None
    group: str | None = None
    domain: str | None = None
    pair: str | None = None


def read_claims(rows: Sequence[Row], source: str, names: ColumnNames, drafts: Drafts) -> None:
    """Each row's claim, then its negation; the two are a pair."""
    for place, row in rows:
        at = f"{source}, {place}"
        domain = row.get("Domain")
        for column, label in (("Claim", 1), ("Negated Claim", 0)):
            text = checked_text(_cell(row, column, at), at, what=column)
            group = _cell(row, names.group, at) if names.group else place
            domain = None if is_missing(domain) else domain
            said = f"{place} {column}"
            drafts.rows.append(Draft(text, label, said, f"{group}", place, domain))


def read_geometry(rows: Sequence[Row], source: str, names: ColumnNames, drafts: Drafts) -> None:
    """Statements bound by what they are about; question and answers become two statements.

    Groups: the city, the two numbers in either order, the translated word, the subject of a
    relation, the question. Pooled over: the last full stop, as in the paper.
    """
    for place, row in rows:
        at = f"{source}, {place}"
        if "correct_answer" in row:
            question = checked_text(_cell(row, "question", at), at, what="question")
            for column, label in (("correct_answer", 1), ("plausible_answer", 0)):
                answer = checked_text(_cell(row, column, at), at, what=column)
                text = f"{question} {answer}"
                span = ((len(question) + 1, len(text)),)
                said = f"{place} {column}"
                drafts.rows.append(
                    Draft(text, label, said, f"question:{question}", place, None, span)
                )
            continue
        text = checked_text(_cell(row, "statement", at), at)
        end = len(text.rstrip())
        # A sentence that ends otherwise is pooled over whole: there is no stop to look at.
        spans = ((end - 1, end),) if text[end - 1] in ".!?" else None
        if spans is None:
            drafts.whole.append(place)
        group = _cell(row, names.group, at) if names.group else _subject(row, text)
        drafts.rows.append(Draft(text, _cell(row, "label", at), place, group, spans=spans))


def read_labelled(rows: Sequence[Row], source: str, names: ColumnNames, drafts: Drafts) -> None:
    """Statements and labels, with group, domain and pair where there are such columns."""
    first = rows[0][1]
    text = names.text or _text_column(first, source)
    label = names.label or "label"
    group, domain, pair = (
        named or (usual if usual in first else None)
        for named, usual in (
            (names.group, "group"),
            (names.domain, "domain"),
            (names.pair, "pair"),
        )
    )
    # A column called pair may bind more rows than two, or rows of one label: a group, then.
    paired = pair is not None and (names.pair is not None or _is_pairs(rows, pair, label))
    for place, row in rows:
        at = f"{source}, {place}"
        bound = group or pair
        drafts.rows.append(
            Draft(
                _cell(row, text, at),
                _cell(row, label, at),
                place,
                None if bound is None else _given(_cell(row, bound, at)),
                _cell(row, pair, at) if paired and pair is not None else None,
                None if domain is None else _given(_cell(row, domain, at)),
            )
        )


def read_ethics(rows: Sequence[Row], source: str, names: ColumnNames, drafts: Drafts) -> None:
    """Two verdicts on each short scenario, pooled over ``wrong`` or ``not wrong``.

    The dataset's label 1 says that what is done is wrong, so ``wrong`` is then the honest verdict.
    """
    for place, row in rows:
        at = f"{source}, {place}"
        scenario = checked_text(_cell(row, "input", at), at, what="input").strip()
        wrong = checked_label(_cell(row, "label", at), at)
        short = row.get("is_short", True)
        if short not in (True, "True", "true", 1, "1"):
            drafts.skip("a long scenario (is_short is false)", place)
            continue
        if len(scenario) > _ETHICS_CHARACTERS:
            drafts.skip(f"a scenario of more than {_ETHICS_CHARACTERS} characters", place)
            continue
        for verdict, honest in ((" wrong.", wrong), (" not wrong.", not wrong)):
            text = f"{scenario} What I did was{verdict}"
            span = ((len(text) - len(verdict), len(text)),)
            said = f"{place}{verdict.rstrip('.')}"
            group = f"scenario:{scenario}"
            drafts.rows.append(Draft(text, honest, said, group, place, None, span))


def _subject(row: Mapping[str, Any], text: str) -> str | None:
    if "city" in row:
        return f"city:{row['city']}"
    if "n1" in row and "n2" in row:
        low, high = sorted((str(row["n1"]), str(row["n2"])))
        return f"numbers:{low}-{high}"
    if "relation" in row and "subject" in row:
        return f"{row['relation']}:{row['subject']}"
    if "question" in row:
        return f"question:{row['question']}"
    if found := _TRANSLATED.match(text):
        return f"word:{found[1]}"
    return None


def _text_column(row: Mapping[str, Any], source: str) -> str:
    found = [column for column in TEXT_COLUMNS if column in row]
    if len(found) != 1:
        columns = ", ".join(row) or "none"
        raise DataError(
            f"{source}: expected one column called statement or text, and one called label; "
            f"it has: {columns}"
        )
    return found[0]


def _is_pairs(rows: Sequence[Row], pair: str, label: str) -> bool:
    seen: set[tuple[str, str]] = set()
    for _, row in rows:
        key = str(row.get(pair)).strip(), str(row.get(label)).strip().lower()
        if key in seen:
            return False
        seen.add(key)
    return True


def _cell(row: Mapping[str, Any], column: str, at: str) -> Any:
    if column not in row:
        raise DataError(f"{at}: no column {column!r}; {near(column, row, what='it has')}")
    return row[column]


def _given(value: Any) -> Any:
    """A cell of a name; None, which would mean no name, is refused later as any bad name is."""
    return "" if value is None else value
