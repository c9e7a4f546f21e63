"""Statements from tables of facts, made so that words and length alone do not tell them apart.

Facts of one relation are put together in twos (threes where one is left over), and each subject
gets its own answer and the other's: "The capital of France is Paris / Rome", "The capital of Italy
is Rome / Paris". Within such a group every word stands in as many true statements as false ones,
and true ones have as many characters in all as false ones. With negations, so does ``not``.
"""

from __future__ import annotations

import csv
from collections import defaultdict
from dataclasses import dataclass
from importlib import resources

# Relation to (statement, its negation); {s} is the subject, {a} the answer.
SENTENCES: dict[str, dict[str, tuple[str, str]]] = {
    "definitional": {
        "young": ("{s} is a young {a}.", "{s} is not a young {a}."),
        "female": ("{s} is a female {a}.", "{s} is not a female {a}."),
        "male": ("{s} is a male {a}.", "{s} is not a male {a}."),
        "study": ("{s} is the study of {a}.", "{s} is not the study of {a}."),
        "polygon": ("{s} is a polygon with {a} sides.", "{s} is not a polygon with {a} sides."),
        "period": ("{s} is a period of {a}.", "{s} is not a period of {a}."),
        "performers": (
            "{s} is a group of {a} performers.",
            "{s} is not a group of {a} performers.",
        ),
        "kin": ("Your {s} is your {a}.", "Your {s} is not your {a}."),
        "measures": (
            "{s} is an instrument that measures {a}.",
            "{s} is not an instrument that measures {a}.",
        ),
        "work": ("{s} is someone who {a}.", "{s} is not someone who {a}."),
        "fear": ("{s} is the fear of {a}.", "{s} is not the fear of {a}."),
        "houses": ("{s} is a place built to house {a}.", "{s} is not a place built to house {a}."),
    },
    "empirical": {
        "capital": ("The capital of {s} is {a}.", "The capital of {s} is not {a}."),
        "symbol": (
            "The chemical symbol of {s} is {a}.",
            "The chemical symbol of {s} is not {a}.",
        ),
        "author": ("{s} was written by {a}.", "{s} was not written by {a}."),
        "continent": ("{s} is a country in {a}.", "{s} is not a country in {a}."),
        "flows": ("{s} flows into {a}.", "{s} does not flow into {a}."),
        "kind": ("{s} is a kind of {a}.", "{s} is not a kind of {a}."),
        "planet": (
            "{s} is the {a} planet from the Sun.",
            "{s} is not the {a} planet from the Sun.",
        ),
        "stands": ("{s} is in {a}.", "{s} is not in {a}."),
    },
    "fictional": {
        "appears": ("{s} is a character in {a}.", "{s} is not a character in {a}."),
        "lives": ("In the story, {s} lives {a}.", "In the story, {s} does not live {a}."),
        "is": ("In the story, {s} is {a}.", "In the story, {s} is not {a}."),
        "marries": ("In the story, {s} marries {a}.", "In the story, {s} does not marry {a}."),
        "foe": ("The great enemy of {s} is {a}.", "The great enemy of {s} is not {a}."),
    },
}


@dataclass(frozen=True)
class Fact:
    """What is so: of this relation, the subject has this answer and no other of the table."""

    relation: str
    subject: str
    answer: str


@dataclass(frozen=True)
class Sentence:
    """One statement of the project's own.

    Attributes:
        text: The statement.
        true: Whether it is true.
        kind: The relation or form it is an instance of.
        group: What binds it to others.
        pair: What binds it to its partner, of the other label.
    """

    text: str
    true: bool
    kind: str
    group: str
    pair: str


def facts(name: str) -> list[Fact]:
    """Return the facts of one set, in the table's order.

    Args:
        name: ``definitional``, ``empirical`` or ``fictional``.
    """
    text = resources.files("probes.data.own").joinpath(f"{name}.csv").read_text(encoding="utf-8")
    return [Fact(**row) for row in csv.DictReader(text.splitlines())]


def fact_sentences(name: str) -> list[Sentence]:
    """Return every statement of one set, negations included."""
    made = []
    for relation, known in by_relation(facts(name)).items():
        yes, no = SENTENCES[name][relation]
        for members in partners(known):
            group = f"{relation}: {' / '.join(fact.subject for fact in members)}"
            others = [*members[1:], members[0]]
            for fact, other in zip(members, others, strict=True):
                for form, polarity in ((yes, True), (no, False)):
                    pair = f"{relation}: {fact.subject}{'' if polarity else ', negated'}"
                    for answer, right in ((fact.answer, True), (other.answer, False)):
                        text = form.format(s=fact.subject, a=answer)
                        made.append(
                            Sentence(
                                text[0].upper() + text[1:],
                                right == polarity,
                                relation,
                                group,
                                pair,
                            )
                        )
    return made


def by_relation(known: list[Fact]) -> dict[str, list[Fact]]:
    """Return the facts of each relation."""
    of: dict[str, list[Fact]] = defaultdict(list)
    for fact in known:
        of[fact.relation].append(fact)
    return dict(of)


def partners(known: list[Fact]) -> list[list[Fact]]:
    """Put facts in groups of two, the last of three if they are odd, all of different answers.

    Facts with answers of like length come together, so that true and false differ little.
    """
    left = sorted(known, key=lambda fact: (len(fact.answer), fact.answer, fact.subject))
    groups: list[list[Fact]] = []
    while left:
        first = left.pop(0)
        at = next((i for i, fact in enumerate(left) if fact.answer != first.answer), None)
        if at is not None:
            groups.append([first, left.pop(at)])
            continue
        # Nothing of another answer is left: join a group in which this answer is new.
        home = next(g for g in reversed(groups) if first.answer not in {f.answer for f in g})
        home.append(first)
    return groups
