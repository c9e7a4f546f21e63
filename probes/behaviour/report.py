"""How behavioural results show themselves: a table of estimates and the remarks beneath it."""

from __future__ import annotations

import html
from typing import TYPE_CHECKING

from probes.data.checks import is_missing

if TYPE_CHECKING:
    import pandas as pd


class Report:
    """A result with a title, a table and remarks; shown alike on the terminal and in a notebook."""

    @property
    def title(self) -> str:
        """What was measured, on what."""
        raise NotImplementedError

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be known to read the table."""
        raise NotImplementedError

    def table(self) -> pd.DataFrame:
        """The estimates, with the ends of their intervals in columns of their own."""
        raise NotImplementedError

    def __str__(self) -> str:
        return "\n".join([self.title, _shown(self.table()).to_string(index=False), *self.remarks])

    def _repr_html_(self) -> str:
        below = "".join(f"<p>{html.escape(remark)}</p>" for remark in self.remarks)
        shown = _shown(self.table()).to_html(index=False, escape=True)
        return f"<p><b>{html.escape(self.title)}</b></p>{shown}{below}"


def _shown(table: pd.DataFrame) -> pd.DataFrame:
    """Estimates and their intervals in one column each; what is missing as a dash."""
    columns: dict[str, list[str]] = {}
    for name in table.columns:
        if name.removesuffix("_low").removesuffix("_high") != name:
            continue
        cells = [_number(value) for value in table[name]]
        if f"{name}_low" in table.columns:
            ends = zip(table[f"{name}_low"], table[f"{name}_high"], strict=True)
            cells = [
                cell if is_missing(low) else f"{cell} [{_number(low)}, {_number(high)}]"
                for cell, (low, high) in zip(cells, ends, strict=True)
            ]
        columns[name] = cells
    return type(table)(columns)


def _number(value: object) -> str:
    if is_missing(value):
        return "–"
    return f"{value:.3f}" if isinstance(value, float) else str(value)
