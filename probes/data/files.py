"""Rows of CSV, JSONL, JSON and parquet files, each with its place for messages."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from probes.data.checks import DataError

Row = tuple[str, dict[str, Any]]

TABLES = (".csv", ".jsonl", ".parquet")
SUFFIXES = (*TABLES, ".json")


def table_rows(file: Path) -> list[Row]:
    """Read a table: (place, cells by column) of every row.

    Args:
        file: Ends in .csv, .jsonl or .parquet.

    Raises:
        DataError: the file or one of its rows cannot be read; names the row and says why.
    """
    _require(file)
    readers = {".csv": _csv_rows, ".jsonl": _jsonl_rows, ".parquet": _parquet_rows}
    return list(readers[file.suffix.lower()](file))


def json_document(file: Path) -> Any:
    """Read a JSON file whole.

    Raises:
        DataError: it is not there, not UTF-8, empty or not JSON, with the line.
    """
    _require(file)
    text = _decoded(file)
    if not text.strip():
        raise DataError(f"{file} has no rows: the file is empty")
    try:
        return json.loads(text, object_pairs_hook=_unique)
    except json.JSONDecodeError as error:
        raise DataError(f"{file}, line {error.lineno}: not JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}: not JSON: {error}") from None


def rows_of(items: list[Any], source: object) -> list[Row]:
    """Give every object of a list its place.

    Raises:
        DataError: an item is no object.
    """
    rows = []
    for number, item in enumerate(items, start=1):
        if not isinstance(item, dict):
            raise DataError(
                f'{source}, row {number}: expected an object such as {{"statement": "…", '
                f'"label": 1}}, got {type(item).__name__}'
            )
        rows.append((f"row {number}", item))
    return rows


def _require(file: Path) -> None:
    if not file.is_file():
        raise DataError(f"no file {file}; expected a file of statements ({', '.join(SUFFIXES)})")


def _decoded(file: Path) -> str:
    raw = file.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise DataError(f"{file}, line {line}: not UTF-8; save the file as UTF-8") from None


def _csv_rows(file: Path) -> Iterator[Row]:
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


def _jsonl_rows(file: Path) -> Iterator[Row]:
    # Not splitlines: texts may hold the other characters that Unicode calls line ends.
    for number, line in enumerate(_decoded(file).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line, object_pairs_hook=_unique)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{file}, row {number}: not JSON: {error}") from None
        if not isinstance(row, dict):
            raise DataError(
                f'{file}, row {number}: expected an object such as {{"statement": "…", "label": 1}}'
            )
        yield f"row {number}", row


def _parquet_rows(file: Path) -> Iterator[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(file)
    except (pa.ArrowException, OSError) as error:
        first = str(error).splitlines()[0]
        raise DataError(f"{file}: not a parquet file: {first}") from None
    for number, row in enumerate(table.to_pylist(), start=1):
        yield f"row {number}", row


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    held = dict(pairs)
    if len(held) != len(pairs):
        raise ValueError("a key is given twice")
    return held
