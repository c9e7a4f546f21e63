"""Rows on their way from a file to a set, with what was skipped on the way."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import Any

from probes.data.checks import DataError, checked_name
from probes.data.statements import Span, StatementSet, Turn


@dataclass(frozen=True)
class Draft:
    """One statement as a reader found it; ``StatementSet.build`` checks it.

    Attributes:
        text: The statement.
        label: 0, 1, false or true; in the published formats 1 is true or honest.
        place: Where it came from.
        group: What binds it to others, or None.
        pair: What binds it to its partner, or None.
        domain: What it is about, or None.
        spans: The characters to pool over; None for all of them.
        prompt: The turns before it.
    """

    text: Any
    label: Any
    place: str
    group: Any = None
    pair: Any = None
    domain: Any = None
    spans: tuple[Span, ...] | None = None
    prompt: tuple[Turn, ...] = ()


@dataclass
class Drafts:
    """All that readers found: statements, and rows skipped by reason.

    Attributes:
        rows: The statements.
        skipped: Reason to places.
        empty: Files without rows.
        whole: Statements kept and pooled over whole, because their format's span is not there.
    """

    rows: list[Draft] = field(default_factory=list)
    skipped: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    empty: list[str] = field(default_factory=list)
    whole: list[str] = field(default_factory=list)

    def skip(self, reason: str, place: str) -> None:
        """Leave a row out, and remember why."""
        self.skipped[reason].append(place)

    def built(self, *, name: str, format: str) -> StatementSet:
        """Return the set, every row checked.

        Args:
            name: What it is called.
            format: What it was read as.

        Raises:
            DataError: see ``StatementSet.build``.
        """
        rows = self.rows
        if not rows:
            why = "".join(f"; {len(at)} skipped: {reason}" for reason, at in self.skipped.items())
            raise DataError(f"{name} has no rows{why}; expected statements of both labels")

        def column(values: list[Any], nothing: Any = None) -> list[Any] | None:
            return values if any(value != nothing for value in values) else None

        domains = column([row.domain for row in rows])
        data = StatementSet.build(
            [row.text for row in rows],
            [row.label for row in rows],
            groups=column([row.group for row in rows]),
            domains=domains
            and [
                checked_name("none" if row.domain is None else row.domain, "domain", row.place)
                for row in rows
            ],
            places=[row.place for row in rows],
            name=name,
            pairs=column([row.pair for row in rows]),
            spans=column([row.spans for row in rows]),
            prompts=column([row.prompt for row in rows], ()),
            format=format,
            skipped=self.skipped,
            empty_sources=self.empty,
        )
        assert data.report is not None
        return replace(data, report=replace(data.report, spans_not_found=tuple(self.whole)))
