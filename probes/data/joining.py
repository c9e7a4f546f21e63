"""Several sets as one, groups that they share kept together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from probes.data.building import PREFIX
from probes.data.checks import DataError
from probes.data.statements import StatementSet


def joined(sets: Sequence[StatementSet], *, name: str | None = None) -> StatementSet:
    """Put sets together, each a domain of its own where it names none.

    Groups of one name become one group, so a city's claims and their negations from two files
    stay together; groups that no file gave are kept apart.

    Args:
        sets: At least one; all texts or all ids.
        name: What the whole is called; the names of the parts when omitted.

    Raises:
        DataError: no sets, or the same statement with two labels.
    """
    if not sets:
        raise DataError("no sets to join; expected at least one")
    if len({one.ids is None for one in sets}) > 1:
        raise DataError("sets of texts and sets of token ids cannot be joined")
    rows: dict[str, list[Any]] = defaultdict(list)
    for number, one in enumerate(sets):
        own = f"{PREFIX}{number}:"
        rows["texts"] += one.texts
        rows["labels"] += one.labels
        rows["groups"] += [g if one.grouped else f"{own}{g}" for g in one.groups]
        rows["domains"] += one.domains or [one.name] * len(one)
        rows["places"] += [f"{one.name}, {place}" for place in one.places]
        pairs = one.pairs or [None] * len(one)
        rows["pairs"] += [None if p is None else f"{number}:{p}" for p in pairs]
        rows["spans"] += one.spans or [None] * len(one)
        rows["prompts"] += one.prompts or [()] * len(one)
        rows["ids"] += one.ids or ()

    def given(field: str) -> list[Any] | None:
        return rows[field] if any(getattr(one, field) is not None for one in sets) else None

    by_ids = sets[0].ids is not None
    return StatementSet.build(
        None if by_ids else rows["texts"],
        rows["labels"],
        groups=rows["groups"] if any(one.grouped for one in sets) else None,
        domains=rows["domains"],
        places=rows["places"],
        name=name or " + ".join(one.name for one in sets),
        ids=rows["ids"] if by_ids else None,
        pairs=given("pairs"),
        spans=given("spans"),
        prompts=given("prompts"),
        format="joined",
    )
