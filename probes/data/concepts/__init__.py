"""Concept sets: sentences with a concept and sentences like them without it.

concept_set("nurse")                    # one of the project's own
read_concept("sailors.json")            # the user's: sentences, or words with templates
read_concept("words.txt")               # one word or sentence a line

A concept is a ``StatementSet`` whose label 1 means that the concept is there, so that it is split,
extracted and cached like any other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from interp.configs import near
from probes.data.checks import DataError
from probes.data.concepts.concept import Sentence, concept_statements, in_turn
from probes.data.concepts.own import own_data
from probes.data.concepts.reading import read_concept
from probes.data.statements import StatementSet

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "OWN_CONCEPTS",
    "TRIPLES",
    "Triple",
    "concept_set",
    "concept_table",
    "neutral_texts",
    "read_concept",
]

_OCCUPATIONS = (
    "nurse",
    "engineer",
    "teacher",
    "mechanic",
    "librarian",
    "programmer",
    "receptionist",
    "pilot",
    "cleaner",
    "judge",
    "dancer",
    "farmer",
)
OWN_CONCEPTS: tuple[str, ...] = (
    "women",
    "men",
    "young",
    "old",
    "rich",
    "poor",
    *_OCCUPATIONS,
    "pleasant",
    "unpleasant",
)
"""Names that ``concept_set`` knows."""


@dataclass(frozen=True)
class Triple:
    """Targets that may lie nearer to one of two reference concepts than to the other.

    Attributes:
        first: The reference that a positive bias points to.
        second: The other.
        targets: Concepts that are not about either.
    """

    first: str
    second: str
    targets: tuple[str, ...]


TRIPLES: dict[str, Triple] = {
    "gender": Triple("women", "men", _OCCUPATIONS),
    "age": Triple("young", "old", _OCCUPATIONS),
    "wealth": Triple("rich", "poor", _OCCUPATIONS),
    "sentiment": Triple("pleasant", "unpleasant", ("women", "men", "young", "old", *_OCCUPATIONS)),
}
"""The project's own triples, in the manner of BiasLens (2025): targets against two references."""


def concept_set(name: str) -> StatementSet:
    """Return one of the project's own concepts.

    Label 1 is the concept. Concepts of people stand in the same sentences about a neutral person,
    and no template is on both sides of a split; ``pleasant`` and ``unpleasant`` are each other's
    negatives, pair by pair.

    Args:
        name: One of ``OWN_CONCEPTS``.

    Raises:
        DataError: there is no such concept.
    """
    if name not in OWN_CONCEPTS:
        raise DataError(f"no concept {name!r}; {near(name, OWN_CONCEPTS)}")
    if name in ("pleasant", "unpleasant"):
        own = name == "pleasant"
        sides: tuple[list[Sentence], list[Sentence]] = ([], [])
        for number, pair in enumerate(own_data("feelings")["pairs"], start=1):
            for side, text in zip(sides, pair if own else reversed(pair), strict=True):
                side.append(Sentence(text, f"pair {number}", f"pair {number}"))
        return concept_statements(name, *sides, format="own")
    people = own_data("people")
    words = people["concepts"][name]["words"]
    positive, negative = (
        in_turn(people["templates"], [(word, word) for word in group], source="people.json")
        for group in (words, people["neutral"])
    )
    return concept_statements(name, positive, negative, format="own")


def neutral_texts() -> tuple[str, ...]:
    """Return sentences about no person and nothing good or bad, to draw random concepts from."""
    return tuple(own_data("neutral"))


def concept_table() -> pd.DataFrame:
    """Return one row an own concept: its name, what it is about, and how much it holds."""
    import pandas as pd

    people = own_data("people")["concepts"]
    rows = []
    for name in OWN_CONCEPTS:
        data = concept_set(name)
        about = people[name]["about"] if name in people else f"something {name}"
        n = sum(data.labels)
        rows.append(
            {
                "name": name,
                "about": about,
                "with": n,
                "without": len(data) - n,
                "groups": len(set(data.groups)),
            }
        )
    return pd.DataFrame(rows)
