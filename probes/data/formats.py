"""Statements from files, folders, the Hub and the project's own sets, by one function."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from interp.configs import near
from probes.data.checks import DataError
from probes.data.conversations import read_insider, read_rollouts, read_sycophancy
from probes.data.draft import Drafts
from probes.data.files import SUFFIXES, TABLES, Row, json_document, rows_of, table_rows
from probes.data.statements import StatementSet
from probes.data.tables import (
    ColumnNames,
    read_claims,
    read_ethics,
    read_geometry,
    read_labelled,
)

HUB, OWN = "hf:", "set:"
_MADE_OF = {"city", "n1", "statement1", "relation", "likelihood", "correct_country"}


@dataclass(frozen=True)
class Format:
    """A published format, or a plain table.

    Attributes:
        about: What it holds, in one line.
        table: Reads rows of cells, or None for a format of JSON documents.
        document: Reads a JSON document, or None for a format of tables.
    """

    about: str
    table: Callable[[Sequence[Row], str, ColumnNames, Drafts], None] | None = None
    document: Callable[[Any, str, Drafts], None] | None = None


FORMATS: dict[str, Format] = {
    "claims": Format("Claim, Negated Claim: a true and a false claim a row", read_claims),
    "geometry_of_truth": Format("statement, label and what it was made of", read_geometry),
    "internal_state": Format("statement, label: NAME_true_false.csv", read_labelled),
    "repe": Format("statement, label: true_false_facts.csv", read_labelled),
    "ethics": Format("input, label, is_short: commonsense morality", read_ethics),
    "sycophancy": Format("positive and negative answers", document=read_sycophancy),
    "rollouts": Format("rollouts: graded conversations", document=read_rollouts),
    "insider": Format("metadata, transcript: reports of a trade", document=read_insider),
    "plain": Format("statement or text, label; optionally group, pair, domain", read_labelled),
}


def read_statements(
    source: str | Path | Sequence[str | Path],
    *,
    format: str | None = None,
    text: str | None = None,
    label: str | None = None,
    group: str | None = None,
    domain: str | None = None,
    pair: str | None = None,
) -> StatementSet:
    """Read statements; what was left out is logged and stands in the set's ``report``.

    A plain table has the columns ``statement`` or ``text``; ``label`` (0, 1, false or true);
    and, where there are any, ``group``, ``pair`` and ``domain``. Others are ignored.

    Args:
        source: A .csv, .jsonl, .json or .parquet file in UTF-8, a folder of them, or several
            files; ``hf:NAME``, ``hf:NAME:CONFIG`` or ``hf:NAME:CONFIG:SPLIT`` for a dataset of
            the Hub (needs the package ``datasets``); ``set:NAME`` for one of the project's own.
        format: One of ``FORMATS``; found by columns and keys when omitted.
        text: The column of the statements, if it has another name.
        label: The column of the labels, if it has another name.
        group: The column that binds statements together, if it has another name.
        domain: The column that says what a statement is about, if it has another name.
        pair: The column that binds a statement of label 1 to one of label 0.

    Returns:
        The statements. In the published formats label 1 is true or honest.

    Raises:
        DataError: the source or one of its rows cannot be used; names the row and says why.
    """
    if format is not None and format not in FORMATS:
        raise DataError(f"no format {format!r}; {near(format, FORMATS)}")
    names = ColumnNames(text, label, group, domain, pair)
    if isinstance(source, (str, Path)) and str(source).startswith(OWN):
        from probes.data.own import statement_set

        return statement_set(str(source).removeprefix(OWN))
    drafts = Drafts()
    if isinstance(source, (str, Path)) and str(source).startswith(HUB):
        from probes.data.hub import hub_rows

        name = str(source)
        used = _read_table(
            hub_rows(name.removeprefix(HUB)), name, name, format, names=names, drafts=drafts
        )
    else:
        files, name = _files(source)
        kinds = [_read_file(file, format, names, drafts, alone=len(files) == 1) for file in files]
        used = " and ".join(dict.fromkeys(kinds))
    data = drafts.built(name=name, format=used)
    assert data.report is not None
    data.report.log()
    return data


def _files(source: str | Path | Sequence[str | Path]) -> tuple[list[Path], str]:
    if not isinstance(source, (str, Path)):
        files = [Path(one) for one in source]
        if not files:
            raise DataError("no files given; expected at least one")
        for file in files:
            _check_suffix(file)
        return files, " + ".join(map(str, files))
    path = Path(source)
    if path.is_dir() and path.suffix.lower() not in SUFFIXES:
        files = sorted(f for f in path.iterdir() if f.is_file() and f.suffix.lower() in SUFFIXES)
        if not files:
            raise DataError(f"{path} holds no file of statements ({', '.join(SUFFIXES)})")
        return files, str(path)
    _check_suffix(path)
    return [path], str(path)


def _check_suffix(file: Path) -> None:
    if file.suffix.lower() in SUFFIXES:
        return
    from probes.data.own import OWN_SETS

    hint = f"; did you mean {OWN}{file}?" if str(file) in OWN_SETS else ""
    raise DataError(
        f"{file}: expected a file ending in {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}{hint}"
    )


def _read_file(
    file: Path, format: str | None, names: ColumnNames, drafts: Drafts, *, alone: bool
) -> str:
    """Read one of the files into the drafts, and return the name of its format."""
    found = Drafts()
    if file.suffix.lower() in TABLES:
        used = _read_table(
            table_rows(file), str(file), _stem(file), format, names=names, drafts=found
        )
    else:
        used = _read_document(json_document(file), file, format, names, found)
    if not found.rows and not found.skipped:
        drafts.empty.append(str(file))
    where = "" if alone else f"{file.name}, "
    own_places = {row.pair for row in found.rows} if used == "claims" else set()
    keep_domain = names.domain is not None or used == "sycophancy"
    for row in found.rows:
        drafts.rows.append(
            replace(
                row,
                place=where + row.place,
                # A group named for its row means nothing in another file.
                group=where + row.group if row.group in own_places else row.group,
                pair=row.pair if alone or row.pair is None else f"{file.name}:{row.pair}",
                domain=row.domain if alone or keep_domain else file.stem,
            )
        )
    drafts.whole += [where + place for place in found.whole]
    for reason, places in found.skipped.items():
        drafts.skipped[reason] += [where + place for place in places]
    return used


def _read_table(
    rows: list[Row],
    source: str,
    stem: str,
    format: str | None,
    *,
    names: ColumnNames,
    drafts: Drafts,
) -> str:
    if not rows:
        return format or "plain"
    used = format or _sniffed(rows[0][1], stem, names)
    reader = FORMATS[used].table
    if reader is None:
        raise DataError(f"{source}: {used} is a format of JSON files, and this is a table")
    reader(rows, source, names, drafts)
    return used


def _stem(file: Path) -> str:
    """The file's name with its folder's, which tell apart formats of the same columns."""
    return f"{file.parent.name}/{file.stem}"


def _read_document(
    document: Any, file: Path, format: str | None, names: ColumnNames, drafts: Drafts
) -> str:
    used = format or _sniffed_document(document, file)
    reader = FORMATS[used].document
    if reader is not None:
        reader(document, str(file), drafts)
        return used
    if not isinstance(document, list):
        raise DataError(f"{file}: {used} needs a list of rows, got {type(document).__name__}")
    return _read_table(
        rows_of(document, file), str(file), _stem(file), format, names=names, drafts=drafts
    )


def _sniffed(row: Mapping[str, Any], stem: str, names: ColumnNames) -> str:  # noqa: PLR0911
    """The format that a table's columns, and where those leave it open its name, speak for."""
    columns = set(row)
    if any((names.text, names.label, names.domain, names.pair)):
        return "plain"
    if "Claim" in columns or "Negated Claim" in columns:
        return "claims"
    if {"input", "label", "is_short"} <= columns:
        return "ethics"
    if {"question", "correct_answer", "plausible_answer"} <= columns:
        return "geometry_of_truth"
    if {"statement", "label"} <= columns and "group" not in columns:
        if columns & _MADE_OF or stem.endswith("_en_trans") or "geometry_of_truth/" in stem:
            return "geometry_of_truth"
        if columns == {"statement", "label"} and stem.endswith("_true_false"):
            return "internal_state"
        if columns == {"statement", "label"} and stem.endswith("true_false_facts"):
            return "repe"
    return "plain"


def _sniffed_document(document: Any, file: Path) -> str:
    if isinstance(document, Mapping):
        if {"positive", "negative"} & set(document):
            return "sycophancy"
        if "rollouts" in document:
            return "rollouts"
        keys = ", ".join(map(str, document)) or "none"
        raise DataError(
            f"{file}: no known format; expected the keys positive and negative, or rollouts, or a "
            f"list of rows; its keys: {keys}"
        )
    if not isinstance(document, list):
        raise DataError(f"{file}: expected an object or a list, got {type(document).__name__}")
    first = document[0] if document and isinstance(document[0], Mapping) else {}
    if {"metadata", "transcript"} & set(first):
        return "insider"
    return "sycophancy" if "bio_messages" in first else "plain"
