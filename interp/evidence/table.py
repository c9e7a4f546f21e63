"""Evidence in tables: a tidy frame that survives parquet, a terminal table, a notebook table."""

from __future__ import annotations

import dataclasses
import html
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

from interp.evidence.evidence import Evidence, EvidenceError

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

_INTERVALS = ("interval", "excess_interval")
_LISTS = ("controls", "null_effects")
# C(720, 30) has 54 digits: counts of control sets go into a frame as text, exactly.
_AS_TEXT = ("n_possible", "n_null_possible")
# A field's annotation: its column's type, nullable where the field is, and its Python type.
_KINDS: dict[str, tuple[str, type]] = {
    "str": ("string", str),
    "str | None": ("string", str),
    "Verdict": ("string", str),
    "bool": ("bool", bool),
    "int": ("int64", int),
    "float": ("float64", float),
    "float | None": ("Float64", float),
}
_STYLES = {"load-bearing": "bold green", "underpowered": "yellow", "not load-bearing": "default"}


def evidence_frame(rows: Iterable[Evidence]) -> pd.DataFrame:
    """Lay evidence out as a tidy frame, one row a subject, that parquet stores without loss.

    Columns are the fields of :class:`Evidence`, except that each interval becomes two
    (``interval_low``, ``interval_high``), ``controls`` and ``null_effects`` hold a list in each
    cell, and ``n_possible`` and ``n_null_possible`` are text (they can exceed 64 bits). Missing
    values are nulls, not NaN.
    """
    import pandas as pd

    records = [_record(row) for row in rows]
    frame = pd.DataFrame(records, columns=_columns())
    types = {f"{name}_{end}": "float64" for name in _INTERVALS for end in ("low", "high")}
    for field in dataclasses.fields(Evidence):
        if field.name in _AS_TEXT:
            types[field.name] = "string"
        elif field.type in _KINDS:
            types[field.name] = _KINDS[str(field.type)][0]
    return frame.astype(types)


def read_evidence(frame: pd.DataFrame) -> list[Evidence]:
    """Read the rows of :func:`evidence_frame` back, also after a trip through parquet.

    Raises:
        EvidenceError: a column is missing.
    """
    import pandas as pd

    if "correction" not in frame.columns:  # as in tables written before there were two
        frame = frame.assign(correction="Holm")
    missing = [name for name in _columns() if name not in frame.columns]
    if missing:
        raise EvidenceError(f"not an evidence table: column {', '.join(missing)} is missing")
    rows = []
    for record in frame[_columns()].to_dict(orient="records"):
        values: dict[str, Any] = {}
        for field in dataclasses.fields(Evidence):
            name = field.name
            if name in _INTERVALS:
                values[name] = [float(record[f"{name}_{end}"]) for end in ("low", "high")]
            elif name in _LISTS:
                values[name] = [float(effect) for effect in record[name]]
            elif pd.isna(record[name]):
                values[name] = None
            else:
                values[name] = _KINDS[str(field.type)][1](record[name])
        rows.append(Evidence.from_dict(values))
    return rows


def rich_table(rows: Iterable[Evidence], *, title: str | None = None) -> Table:
    """Lay evidence out for the terminal; text in the data is shown as it is, never as markup."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    rows = list(rows)
    table = Table(
        title=None if title is None else Text(title), box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0)
    )
    for name in _headings(rows):
        # Words are broken only when very long, and never cut: an ellipsis would hide numbers.
        words = [word for row in rows for word in row.cells[name].split()]
        table.add_column(name, overflow="fold", min_width=min(20, max(map(len, words), default=1)))
    for row in rows:
        style = _STYLES[row.verdict]
        table.add_row(
            *(Text(t, style=style if n == "verdict" else "") for n, t in row.cells.items()),
            end_section=True,
        )
    return table


class EvidenceTable(Sequence[Evidence]):
    """Rows of evidence that show themselves as a table, in Jupyter and in the terminal."""

    def __init__(self, rows: Iterable[Evidence]) -> None:
        self._rows = tuple(rows)

    @overload
    def __getitem__(self, index: int) -> Evidence: ...
    @overload
    def __getitem__(self, index: slice) -> EvidenceTable: ...
    def __getitem__(self, index: int | slice) -> Evidence | EvidenceTable:
        if isinstance(index, slice):
            return EvidenceTable(self._rows[index])
        return self._rows[index]

    def __len__(self) -> int:
        return len(self._rows)

    def __iter__(self) -> Iterator[Evidence]:
        return iter(self._rows)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, EvidenceTable) and self._rows == other._rows

    def __hash__(self) -> int:
        return hash(self._rows)

    def __str__(self) -> str:
        return "\n".join(map(str, self._rows)) or "no evidence"

    def __repr__(self) -> str:
        return str(self)

    def __rich__(self) -> Table:
        return rich_table(self._rows)

    def _repr_html_(self) -> str:
        """Show the table in Jupyter; all text is escaped, the reason is the row's tooltip."""
        head = "".join(f"<th>{html.escape(name)}</th>" for name in _headings(self._rows))
        body = "".join(
            f'<tr title="{html.escape(row.reason)}">'
            + "".join(
                f"<td style='white-space: pre-line'>{html.escape(text)}</td>"
                for text in row.cells.values()
            )
            + "</tr>"
            for row in self._rows
        )
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"

    def frame(self) -> pd.DataFrame:
        """Return the rows as a tidy frame (:func:`evidence_frame`)."""
        return evidence_frame(self._rows)


def _headings(rows: Sequence[Evidence]) -> list[str]:
    return list(rows[0].cells) if rows else ["subject", "verdict"]


def _columns() -> list[str]:
    names: list[str] = []
    for field in dataclasses.fields(Evidence):
        if field.name in _INTERVALS:
            names += [f"{field.name}_low", f"{field.name}_high"]
        else:
            names.append(field.name)
    return names


def _record(row: Evidence) -> dict[str, Any]:
    record = row.to_dict()
    for name in _INTERVALS:
        record[f"{name}_low"], record[f"{name}_high"] = record.pop(name)
    for name in _AS_TEXT:
        record[name] = str(record[name])
    return record
