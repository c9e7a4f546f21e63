"""Sentences with a concept and without it, from templates and words or written out."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from probes.data.checks import DataError
from probes.data.statements import StatementSet

SLOT = "{word}"


class Sentence(NamedTuple):
    """One sentence of a concept set.

    Attributes:
        text: What the model reads.
        group: What binds it to others, such as its template; None where nothing does.
        place: Where it came from, for messages.
    """

    text: str
    group: str | None
    place: str


def in_turn(
    templates: Sequence[str], words: Sequence[tuple[str, str]], *, source: object
) -> list[Sentence]:
    """Put words into templates, each in turn: as many sentences as the longer list has entries.

    Sentences of one template are one group, so that a probe is never tested on a template that
    it was fitted to, with the concept's word or without it.

    Args:
        templates: Sentences that hold ``{word}`` once.
        words: (word, its place).
        source: The file, for messages.

    Raises:
        DataError: no templates or no words, or a template without its slot.
    """
    if not templates or not words:
        missing = "template" if not templates else "word"
        raise DataError(f"{source}: there is no {missing} to make sentences of; give at least one")
    for number, template in enumerate(templates, start=1):
        if not isinstance(template, str) or template.count(SLOT) != 1:
            raise DataError(
                f"{source}, template {number}: {template!r} must hold {SLOT} exactly once"
            )
    made = []
    for i in range(max(len(templates), len(words))):
        template = templates[i % len(templates)]
        word, place = words[i % len(words)]
        text = template.replace(SLOT, word)
        made.append(Sentence(text[0].upper() + text[1:], f"template: {template}", place))
    return made


def concept_statements(
    name: str,
    positive: Sequence[Sentence],
    negative: Sequence[Sentence],
    *,
    format: str,
) -> StatementSet:
    """Return a concept as a statement set: label 1 where the concept is there.

    Args:
        name: What the concept is called.
        positive: Sentences with it.
        negative: Sentences without it.
        format: What they were read as, for the report.

    Raises:
        DataError: no sentence of one kind, a sentence of both, or a cell that is no text.
    """
    for kind, sentences in (("with", positive), ("without", negative)):
        if not sentences:
            raise DataError(f"{name}: there is no sentence {kind} the concept; give at least one")
    both = [*positive, *negative]
    groups = [sentence.group for sentence in both]
    return StatementSet.build(
        [sentence.text for sentence in both],
        [True] * len(positive) + [False] * len(negative),
        groups=groups if any(groups) else None,
        places=[sentence.place for sentence in both],
        name=name,
        format=format,
    )
