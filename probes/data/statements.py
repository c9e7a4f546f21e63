"""Statements with two labels, every row of them checked."""

from __future__ import annotations

import hashlib
import html
import json
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from probes.data.building import Columns, checked_rows, without_repeats
from probes.data.checks import DataError
from probes.data.report import ReadReport
from probes.data.tabling import statement_frame, written_inputs
from probes.data.wording import case_conflicts, likely_negations

if TYPE_CHECKING:
    import pandas as pd

Span = tuple[int, int]
_SHOWN_ROWS = 8
_COLUMNS = ("texts", "labels", "groups", "places", "domains", "pairs", "spans", "prompts", "ids")


@dataclass(frozen=True)
class Turn:
    """One turn of the conversation that comes before a statement.

    Attributes:
        role: Who speaks.
        content: What is said.
        pooled: Whether its characters are pooled over too, besides the statement's.
        framing: Whether it was put before a statement that stands by itself, as ``framed`` does.
    """

    role: Literal["system", "user", "assistant"]
    content: str
    pooled: bool = False
    framing: bool = field(default=False, compare=False)

    def __post_init__(self) -> None:
        if self.role not in ("system", "user", "assistant"):
            raise DataError(f"a turn's role is {self.role!r}; expected system, user or assistant")
        if not isinstance(self.content, str):
            raise DataError(f"a turn's content is {self.content!r}; expected text")


@dataclass(frozen=True, eq=False)
class StatementSet:
    """Statements, each labelled 0 or 1. What the labels mean is the author's claim, not ours.

    In the published formats and the project's own sets label 1 is true or honest. Make a set with
    ``read_statements``, ``statement_set`` or ``StatementSet.build``, which check every row.

    Attributes:
        texts: The statements, as the model will be given them; of ``ids``, the ids in words.
        labels: True for label 1.
        groups: One name a statement; those of one group never straddle a split.
        domains: One name a statement, or None. Kept for comparisons between domains.
        places: Where each statement came from, for messages.
        name: What the set is called.
        grouped: Whether the groups were given; else every statement is a group of its own.
        n_duplicates: Rows left out because they repeat an earlier text with the same label.
        pairs: One name a statement, or None for a statement without a partner. A pair has one
            statement of each label, both of one group.
        spans: Of each statement, the runs of characters [start, end) to pool over.
        prompts: Of each statement, the turns before it; it is then the assistant's turn.
        ids: Token ids to feed in place of the text, for models without a tokenizer.
        report: What reading left out, where the set was read.
    """

    texts: tuple[str, ...]
    labels: tuple[bool, ...]
    groups: tuple[str, ...]
    domains: tuple[str, ...] | None
    places: tuple[str, ...]
    name: str
    grouped: bool
    n_duplicates: int = 0
    pairs: tuple[str | None, ...] | None = None
    spans: tuple[tuple[Span, ...], ...] | None = None
    prompts: tuple[tuple[Turn, ...], ...] | None = None
    ids: tuple[tuple[int, ...], ...] | None = None
    report: ReadReport | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        checked_rows(self)

    @classmethod
    def build(
        cls,
        texts: Sequence[str] | None = None,
        labels: Sequence[Any] = (),
        *,
        groups: Sequence[Any] | None = None,
        domains: Sequence[Any] | None = None,
        places: Sequence[str] | None = None,
        name: str = "statements",
        pairs: Sequence[Any] | None = None,
        spans: Sequence[Any] | None = None,
        prompts: Sequence[Sequence[Turn]] | None = None,
        ids: Sequence[Sequence[int]] | None = None,
        format: str = "built",
        skipped: Mapping[str, Sequence[str]] | None = None,
        empty_sources: Sequence[str] = (),
    ) -> StatementSet:
        """Check every row and return the set, exact repeats left out and counted.

        Two rows are the same where text (but for spaces and the writing of Unicode), prompt and
        ids agree. Where a repeat is left out, its group becomes one with that of the row kept.

        Args:
            texts: The statements; left out where ``ids`` are given.
            labels: 0, 1, false or true, as numbers, booleans or words.
            groups: What binds statements together, such as the question they share. A None in
                it makes the row a group of its own. Left out, pairs are the groups.
            domains: What each statement is about.
            places: Where each came from; ``row 1`` and so on when omitted.
            name: What the set is called.
            pairs: What binds a statement of label 1 to its partner of label 0.
            spans: For each statement (start, end), several of them, or None for all of it.
            prompts: The turns before each statement.
            ids: Token ids, in place of texts.
            format: What the rows were read as, for the report.
            skipped: Reason to places, of rows that the caller left out, for the report.
            empty_sources: Files without rows, for the report.

        Raises:
            DataError: a bad row, a text with two labels, nothing at all, or only one label.
        """
        columns, repeats, unpaired = without_repeats(
            Columns(texts, labels, groups, domains, places, pairs, spans, prompts, ids), name
        )
        n_skipped = sum(map(len, (skipped or {}).values()))
        made = cls(name=name, n_duplicates=len(repeats), **columns)
        return replace(
            made,
            report=ReadReport(
                source=name,
                format=format,
                n_read=len(made) + len(repeats) + n_skipped,
                n_kept=len(made),
                n_label_1=sum(made.labels),
                n_groups=len(set(made.groups)),
                n_pairs=len(made.pair_rows[0]),
                grouped=made.grouped,
                duplicates=tuple(repeats),
                skipped={reason: tuple(where) for reason, where in (skipped or {}).items()},
                unpaired=tuple(unpaired),
                one_label_domains=tuple(made.one_label_domains),
                empty_sources=tuple(empty_sources),
                likely_negations=len(made.likely_negations),
                case_conflicts=len(made.case_conflicts),
            ),
        )

    def __len__(self) -> int:
        return len(self.texts)

    def __repr__(self) -> str:
        return (
            f"StatementSet({self.name!r}: {len(self)} statements, {sum(self.labels)} of label 1, "
            f"{len(set(self.groups))} groups)"
        )

    def _repr_html_(self) -> str:
        shown = self.table().head(_SHOWN_ROWS).to_html(index=False, escape=True, max_rows=None)
        more = f"<p>… {len(self) - _SHOWN_ROWS} more</p>" if len(self) > _SHOWN_ROWS else ""
        return f"<p>{html.escape(repr(self))}</p>{shown}{more}"

    @property
    def y(self) -> npt.NDArray[np.bool_]:
        """The labels as an array."""
        return np.array(self.labels, dtype=bool)

    @property
    def hash(self) -> str:
        """SHA-256 over all that a model or a split sees: equal iff it is the same data."""
        held: list[Sequence[Any]] = [self.texts, self.labels, self.groups]
        for name in ("pairs", "spans", "prompts", "ids"):
            column = getattr(self, name)
            if column is not None:
                said = _said(column) if name == "prompts" else column
                held.append([(name, value) for value in said])
        return hashlib.sha256(json.dumps(list(zip(*held, strict=True))).encode()).hexdigest()

    @property
    def row_hashes(self) -> tuple[str, ...]:
        """A short hash of each row's input, by which a probe knows what it was trained on."""
        inputs = written_inputs(self)
        return tuple(hashlib.sha256(text.encode()).hexdigest()[:16] for text in inputs)

    @property
    def pair_rows(self) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Rows of label 1 and their partners of label 0, aligned; unpaired rows are not there."""
        of: dict[str, dict[bool, int]] = defaultdict(dict)
        for row, pair in enumerate(self.pairs or ()):
            if pair is not None:
                of[pair][self.labels[row]] = row
        whole = [held for held in of.values() if len(held) == 2]
        return (
            np.array([held[True] for held in whole], dtype=np.intp),
            np.array([held[False] for held in whole], dtype=np.intp),
        )

    @property
    def one_label_domains(self) -> list[str]:
        """Domains of which only one label is there."""
        held: dict[str, set[bool]] = defaultdict(set)
        for domain, label in zip(self.domains or (), self.labels, strict=self.domains is not None):
            held[domain].add(label)
        return [domain for domain, labels in held.items() if len(labels) == 1]

    @property
    def likely_negations(self) -> list[tuple[int, int]]:
        """Rows that differ by a negation alone and are in no common group.

        Found by their words (``not``, ``n't``, ``no``, ``never`` and forms of *do*), so that
        other negations stay unseen.
        """
        if self.prompts is not None or self.ids is not None:
            return []
        return likely_negations(self.texts, self.groups)

    @property
    def case_conflicts(self) -> list[tuple[int, int]]:
        """Rows of opposite labels whose texts differ by capitals alone."""
        if self.prompts is not None or self.ids is not None:
            return []
        return case_conflicts(self.texts, self.labels)

    def select(self, rows: Sequence[int] | npt.NDArray[Any]) -> StatementSet:
        """Return the chosen rows, in the order given. They may be of one label only, or none.

        Args:
            rows: Indices, or a boolean a row.

        Raises:
            DataError: a boolean array of another length.
        """
        given = np.asarray(rows)
        if given.dtype == bool:
            if given.shape != (len(self),):
                raise DataError(f"{len(self)} statements need as many booleans: {len(given)}")
            given = np.flatnonzero(given)
        index = [int(i) for i in given]
        chosen: dict[str, Any] = {}
        for column in _COLUMNS:
            values = getattr(self, column)
            chosen[column] = None if values is None else tuple(values[i] for i in index)
        return replace(self, **chosen)

    def filter(
        self,
        *,
        domain: str | None = None,
        label: bool | None = None,
        where: Callable[[str], bool] | None = None,
    ) -> StatementSet:
        """Return the rows that meet every condition given.

        Args:
            domain: Its domain.
            label: Its label.
            where: Asked of each text.

        Raises:
            DataError: no row does, or there is no such domain.
        """
        if domain is not None:
            known = set(self.domains or ())
            if domain not in known:
                from interp.configs import near

                raise DataError(f"{self.name} has no domain {domain!r}; {near(domain, known)}")
        kept = [
            row
            for row in range(len(self))
            if (domain is None or (self.domains or ())[row] == domain)
            and (label is None or self.labels[row] == label)
            and (where is None or where(self.texts[row]))
        ]
        if not kept:
            raise DataError(f"{self.name}: no statement meets the conditions")
        return self.select(kept)

    def table(self) -> pd.DataFrame:
        """Return one row a statement: text, label, group, domain, pair, place and, if any, more."""
        return statement_frame(self)


def _said(prompts: Sequence[Sequence[Turn]]) -> list[list[tuple[str, str, bool]]]:
    return [[(turn.role, turn.content, turn.pooled) for turn in turns] for turns in prompts]
