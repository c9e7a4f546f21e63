"""Logical statements: what follows and what does not, from the same words in another order.

In every form the valid and the invalid conclusion use the same words, so that no word tells them
apart. The contents are made up; only the form decides.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from probes.data.own.facts import Sentence

_NAMES = (
    "Ada",
    "Ben",
    "Cleo",
    "Dan",
    "Eva",
    "Finn",
    "Gita",
    "Hugo",
    "Iris",
    "Jack",
    "Kara",
    "Liam",
    "Mona",
    "Nils",
    "Olga",
    "Paul",
    "Rosa",
    "Sven",
    "Tara",
    "Umar",
)
_COMPARED = ("taller", "older", "faster", "richer", "stronger", "heavier", "younger", "louder")
_KINDS = (
    "florps",
    "grints",
    "zibbles",
    "wadgets",
    "morgs",
    "tindles",
    "plaffs",
    "quorts",
    "snedges",
    "brinnits",
    "drolls",
    "yarks",
    "pomfits",
    "lurgs",
    "hexels",
    "jonders",
    "vaskets",
    "kimples",
)
_EVENTS = (
    "the bell rings",
    "the lamp is lit",
    "the gate is open",
    "the train is late",
    "the dog barks",
    "the shop is closed",
    "the fire is out",
    "the flag is up",
    "the pipe leaks",
    "the road is wet",
    "the band plays",
    "the oven is hot",
    "the boat has left",
    "the phone is off",
    "the bread is baked",
    "the clock has stopped",
)
_PLACES = ("north", "south", "east", "west")
_TOWNS = (
    "Alwick",
    "Borden",
    "Calder",
    "Dunmore",
    "Elsted",
    "Farrow",
    "Glenby",
    "Harlow",
    "Ilford",
    "Kelby",
    "Lorne",
    "Marden",
    "Norby",
    "Orton",
)
_ROWS = 12


Argument = tuple[str, str]  # what is given, and what is concluded


def logical_sentences() -> list[Sentence]:
    """Return every statement, negations included: 264 pairs plain and as many negated.

    Each argument and the one with its words in the opposite order are a group: between them even
    pairs of neighbouring words stand in as many true statements as false ones.
    """
    made = []
    for n in range(_ROWS):
        for turned in (False, True):
            for kind, valid, invalid in _arguments(n, turned=turned):
                group = f"{kind} {n + 1}"
                one = f"{group}{', turned' if turned else ''}"
                for verb, polarity in (
                    ("it follows that", True),
                    ("it does not follow that", False),
                ):
                    pair = one if polarity else f"{one}, negated"
                    for (given, concluded), follows in ((valid, True), (invalid, False)):
                        text = f"From {given}, {verb} {concluded}."
                        made.append(Sentence(text, follows == polarity, kind, group, pair))
    return made


def _arguments(n: int, *, turned: bool) -> Iterator[tuple[str, Argument, Argument]]:
    """Yield (form, a valid argument, an invalid one of the same words)."""

    def taken(words: Sequence[str], at: int, size: int) -> list[str]:
        found = _taken(words, at, size)
        return found[::-1] if turned else found

    orders = _orders(n, taken(_NAMES, n, 3), taken(_NAMES, n + 7, 3), taken(_TOWNS, n, 3))
    kinds, events = taken(_KINDS, n, 3), taken(_EVENTS, n, 3)
    for kind, given, valid, invalid in (*orders, *_quantified(kinds), *_conditionals(events)):
        yield kind, (given, valid), (given, invalid)
    e, f = events[0], events[-1]
    rule = f"'if {e}, {f}'"
    yield "ponens", (f"{rule} and '{e}'", f), (f"{rule} and '{f}'", e)
    no_e, no_f = f"it is not so that {e}", f"it is not so that {f}"
    yield "tollens", (f"{rule} and '{no_f}'", no_e), (f"{rule} and '{no_e}'", no_f)


def _orders(
    n: int, people: Sequence[str], others: Sequence[str], towns: Sequence[str]
) -> Iterator[tuple[str, str, str, str]]:
    than, of = f"is {_COMPARED[n % len(_COMPARED)]} than", f"lies {_PLACES[n % len(_PLACES)]} of"
    for kind, (one, two, three), link in (
        ("comparison", people, than),
        ("place", towns, of),
        ("time", others, "arrived before"),
    ):
        given = f"'{one} {link} {two}' and '{two} {link} {three}'"
        yield kind, given, f"{one} {link} {three}", f"{three} {link} {one}"
    # Nobody is the child of their own child, so the second is even excluded by what is given.
    d, e = others[0], others[-1]
    given = f"'{d} is the parent of {e}'"
    yield "converse", given, f"{e} is the child of {d}", f"{d} is the child of {e}"


def _quantified(kinds: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    p, q, r = kinds
    given = f"'all {p} are {q}' and 'all {q} are {r}'"
    yield "syllogism", given, f"all {p} are {r}", f"all {r} are {p}"
    valid, invalid = (
        f"every one of the {one} is one of the {other}" for one, other in ((p, r), (r, p))
    )
    yield "inclusion", f"'all {p} are {r}'", valid, invalid


def _conditionals(events: Sequence[str]) -> Iterator[tuple[str, str, str, str]]:
    e, f, g = events
    yield "chain", f"'if {e}, {f}' and 'if {f}, {g}'", f"if {e}, {g}", f"if {g}, {e}"
    yield "only", f"'{e} only when {g}'", f"whenever {e}, {g}", f"whenever {g}, {e}"
    valid, invalid = (
        f"it never happens that {one} without it being so that {other}"
        for one, other in ((e, g), (g, e))
    )
    yield "exclusion", f"'whenever {e}, {g}'", valid, invalid


def _taken(words: Sequence[str], n: int, size: int) -> list[str]:
    """Different words for each n: the stride grows when the words have all come first once."""
    length = len(words)
    step = 1 + n // length
    return [words[(n + i * step * 3) % length] for i in range(size)]
