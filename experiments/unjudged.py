"""What removing heads did on a task that the model cannot do: every number, and no verdict."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame
    from rich.table import Table

    from interp.evidence import Evidence


def without_verdicts(rows: Iterable[Evidence], reason: str) -> DataFrame:
    """Return the evidence's frame with null verdicts and, in each row, why there is none.

    Args:
        rows: The evidence.
        reason: Why nothing can be judged.
    """
    import pandas as pd

    from interp.evidence.table import evidence_frame

    frame = evidence_frame(rows)
    frame["verdict"] = pd.Series([None] * len(frame), dtype="string")
    frame["reason"] = pd.Series([reason] * len(frame), dtype="string")
    return frame


def shown(frame: DataFrame) -> Any:
    """Return the table that the terminal shows of an evidence frame, with or without verdicts."""
    from interp.evidence.table import read_evidence, rich_table

    if frame["verdict"].isna().any():
        return _shown_without(frame)
    return rich_table(read_evidence(frame))


def _shown_without(frame: DataFrame) -> Table:
    from rich import box
    from rich.table import Table
    from rich.text import Text

    from interp.evidence.table import read_evidence

    readable = frame.assign(verdict="not load-bearing")  # only so that the rows can be read
    rows = [row.cells | {"verdict": "none"} for row in read_evidence(readable)]
    table = Table(title="The model cannot do the task: no verdict.", box=box.SIMPLE_HEAD)
    for name in rows[0]:
        table.add_column(name, overflow="fold")
    for cells in rows:
        table.add_row(*map(Text, cells.values()), end_section=True)
    return table
