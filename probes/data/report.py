"""What reading a set of statements left out or found odd: counted, shown and saved."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# Places named in a message; the saved report names all of them.
_SHOWN = 3


@dataclass(frozen=True)
class ReadReport:
    """What became of the rows of a source; nothing is left out without standing here.

    Attributes:
        source: The file, folder or name that was read.
        format: The format it was read as.
        n_read: Statements found, those left out included.
        n_kept: Statements in the set.
        n_label_1: Kept statements of label 1.
        n_groups: Groups among the kept.
        n_pairs: Whole pairs among the kept.
        grouped: Whether anything bound rows together; else each is a group of its own.
        duplicates: Places left out because they repeat an earlier statement with its label.
        skipped: Reason to places, for rows that the format itself leaves out.
        unpaired: Places of kept rows whose partner is missing.
        one_label_domains: Domains of which only one label is there.
        empty_sources: Files that hold no rows.
        spans_not_found: Places pooled over whole, because their format's span is not there.
        likely_negations: Rows that negate another row of no common group, by their words.
        case_conflicts: Rows that differ from another by capitals alone and have the other label.
    """

    source: str
    format: str
    n_read: int
    n_kept: int
    n_label_1: int
    n_groups: int
    n_pairs: int
    grouped: bool
    duplicates: tuple[str, ...] = ()
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    unpaired: tuple[str, ...] = ()
    one_label_domains: tuple[str, ...] = ()
    empty_sources: tuple[str, ...] = ()
    spans_not_found: tuple[str, ...] = ()
    likely_negations: int = 0
    case_conflicts: int = 0

    @property
    def clean(self) -> bool:
        """Whether every row was kept and nothing is odd."""
        return not self.remarks()

    def remarks(self) -> list[str]:
        """Return one sentence for everything left out or odd."""
        said = []
        if self.duplicates:
            said.append(f"{_rows(self.duplicates, 'repeated statement')} left out")
        for reason, places in self.skipped.items():
            said.append(f"{_rows(places, 'row')} skipped: {reason}")
        if self.unpaired:
            said.append(f"{_rows(self.unpaired, 'statement')} without a partner")
        if self.spans_not_found:
            said.append(
                f"{_rows(self.spans_not_found, 'statement')} pooled over whole, because the "
                "format's span was not found"
            )
        if self.one_label_domains:
            said.append(f"only one label in: {', '.join(self.one_label_domains)}")
        if self.empty_sources:
            said.append(f"no rows in: {', '.join(self.empty_sources)}")
        if self.likely_negations:
            said.append(
                f"{self.likely_negations} statements look like the negation of another that is "
                "not in their group; name the column that binds them, or the split leaks"
            )
        if self.case_conflicts:
            said.append(
                f"{self.case_conflicts} statements differ from another by capitals alone, and "
                "have the other label"
            )
        return said

    def __str__(self) -> str:
        counts = (
            f"{self.source} ({self.format}): {self.n_kept} of {self.n_read} statements, "
            f"{self.n_label_1} of label 1, "
            + (f"{self.n_groups} groups" if self.grouped else "no groups given")
            + (f", {self.n_pairs} pairs" if self.n_pairs else "")
        )
        return "; ".join([counts, *self.remarks()])

    def to_dict(self) -> dict[str, Any]:
        """Return all fields as plain values, every place named."""
        return json.loads(json.dumps(asdict(self) | {"skipped": dict(self.skipped)}))

    def save(self, path: str | Path) -> None:
        """Write the report as JSON.

        Args:
            path: A file; its folder must be there.
        """
        text = json.dumps(self.to_dict(), indent=2, ensure_ascii=False)
        Path(path).write_text(text + "\n", encoding="utf-8")

    def log(self) -> None:
        """Log the report: as a warning where anything was left out or is odd."""
        log.log(logging.INFO if self.clean else logging.WARNING, "%s", self)


def _rows(places: tuple[str, ...], what: str) -> str:
    named = ", ".join(places[:_SHOWN]) + (", …" if len(places) > _SHOWN else "")
    return f"{len(places)} {what}{'s' if len(places) > 1 else ''} ({named})"
