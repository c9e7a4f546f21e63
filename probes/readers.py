"""Statements from files: CSV and JSONL, refused with file, row and reason where malformed."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from interp.configs import near
from probes.data import DataError, StatementSet

TEXT_COLUMNS = ("statement", "text")


def read_statements(path: str | Path, *, group: str | None = None) -> StatementSet:
    """Read a CSV (with a header) or JSONL file of statements.

    Columns: ``statement`` or ``text``; ``label`` (0, 1, false or true); and, where there are
    any, ``group`` and ``domain``. Others are ignored.

    Args:
        path: A file ending in .csv or .jsonl, in UTF-8.
        group: The column that binds statements together, if it is not called ``group``.

    Raises:
        DataError: the file or one of its rows cannot be used; names the row and says why.
    """
    file = Path(path)
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows}
    if file.suffix.lower() not in readers:
        raise DataError(f"{file}: expected a file ending in .csv or .jsonl")
    rows = list(readers[file.suffix.lower()](file))
    if not rows:
        raise DataError(f"{file} has no rows; expected statements of both labels")
    text = _text_column(rows[0][1], file)
    columns: dict[str, list[Any]] = {text: [], "label": []}
    for column in (group or "group", "domain"):
        if column in rows[0][1] or column == group:
            columns[column] = []
    for place, row in rows:
        for column, values in columns.items():
            if column not in row:
                raise DataError(
                    f"{file}, {place}: no column {column!r}; {near(column, row, what='it has')}"
                )
            values.append(row[column])
    return StatementSet.build(
        columns[text],
        columns["label"],
        groups=columns.get(group or "group"),
        domains=columns.get("domain"),
        places=[place for place, _ in rows],
        name=str(file),
    )


def _text_column(row: Mapping[str, Any], file: Path) -> str:
    found = [column for column in TEXT_COLUMNS if column in row]
    if len(found) != 1:
        columns = ", ".join(row) or "none"
        raise DataError(
            f"{file}: expected one column called statement or text, and one called label; "
            f"it has: {columns}"
        )
    return found[0]


def _decoded(file: Path) -> str:
    if not file.is_file():
        raise DataError(f"no file {file}; expected a CSV or JSONL file of statements")
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: not UTF-8; save the file as UTF-8") from None


def _csv_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    # Strict: a stray quote is an error here, where the default would swallow rows in silence.
    reader = csv.reader(io.StringIO(_decoded(file), newline=""), strict=True)
    header: list[str] = []
    count = 0
    line = 1
    try:
        for cells in reader:
            place, line = f"line {line}", reader.line_num + 1
            if not cells:
                continue
            if not header:
                header = [cell.strip() for cell in cells]
                if repeated := {name for name in header if header.count(name) > 1}:
                    raise DataError(f"{file}: two columns are called {sorted(repeated)[0]!r}")
                continue
            count += 1
            if len(cells) != len(header):
                raise DataError(
                    f"{file}, row {count} ({place}): {len(cells)} cells under {len(header)} "
                    "columns; put texts with commas in double quotes"
                )
            yield f"row {count} ({place})", dict(zip(header, cells, strict=True))
    except csv.Error as error:
        raise DataError(f"{file}, row {count + 1} (line {line}): {error}") from None


def _jsonl_rows(file: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        held = dict(pairs)
        if len(held) != len(pairs):
            raise ValueError("a key is given twice")
        return held

    # Not splitlines: texts may hold the other characters that Unicode calls line ends.
    for number, line in enumerate(_decoded(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=unique)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, row {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{file}, row {number}: expected an object such as {{"statement": "…", "label": 1}}'
            )
        yield f"row {number}", row
