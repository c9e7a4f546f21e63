"""The project's own in-context tasks, made from its own words (:mod:`interp.zoo.icl_words`).

Every maker takes ``n`` pairs and a seed, and draws from a NumPy generator of that seed alone. The
names follow the published files where the task is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from interp.zoo.icl import IclError, IclTask, Kind, Pair, register_icl_task
from interp.zoo.icl_words import (
    ANIMALS,
    NOUNS,
    OBJECTS,
    OPPOSITES,
    VERBS,
    invented,
    past,
    plural,
)

_WORDS = tuple(dict.fromkeys((*ANIMALS, *OBJECTS, *VERBS)))
# Draws of a pair that already stands there, before the task counts as used up.
_TRIES = 50


def _by_word(
    name: str, kind: Kind, words: Sequence[str], output: Callable[[str], str], *, n: int, seed: int
) -> IclTask:
    """Known words first, in random order, then invented ones."""
    rng = np.random.default_rng(seed)
    chosen = [str(word) for word in rng.permutation(np.array(words))[:n]]
    chosen += invented(rng, n - len(chosen))
    pairs = tuple((word, output(word)) for word in chosen)
    return IclTask(name, kind, pairs, seed=seed)


def _drawn(
    name: str,
    kind: Kind,
    draw: Callable[[np.random.Generator], tuple[Pair, tuple[str, ...]]],
    *,
    n: int,
    seed: int,
) -> IclTask:
    """Pairs drawn one by one until there are ``n`` with different inputs."""
    rng = np.random.default_rng(seed)
    found: dict[str, tuple[str, tuple[str, ...]]] = {}
    idle = 0
    while len(found) < n:
        (given, output), choices = draw(rng)
        idle = idle + 1 if given in found else 0
        if idle > _TRIES:
            raise IclError(f"{name}: n={n} asked for, but only about {len(found)} can be made")
        found.setdefault(given, (output, choices))
    choices_each = tuple(choices for _, choices in found.values())
    return IclTask(
        name,
        kind,
        tuple((given, output) for given, (output, _) in found.items()),
        choices=choices_each if all(choices_each) else (),
        seed=seed,
    )


def _register_by_word(
    name: str, kind: Kind, words: Sequence[str], output: Callable[[str], str]
) -> None:
    @register_icl_task(name)
    def make(*, n: int, seed: int) -> IclTask:
        return _by_word(name, kind, words, output, n=n, seed=seed)


_register_by_word("singular-plural", "lexical", NOUNS, plural)
_register_by_word("present-past", "lexical", VERBS, past)
_register_by_word("capitalize", "character", _WORDS, str.capitalize)
_register_by_word("first-letter", "character", _WORDS, lambda word: word[0])
_register_by_word("last-letter", "character", _WORDS, lambda word: word[-1])
_register_by_word("next-capital-letter", "character", _WORDS, lambda word: _next_letter(word[0]))
_register_by_word("word-length", "character", _WORDS, lambda word: str(len(word)))


def _next_letter(letter: str) -> str:
    """The letter after it in the alphabet, as a capital; after z comes A."""
    return chr((ord(letter) - ord("a") + 1) % 26 + ord("A"))


@register_icl_task("antonym")
def antonym(*, n: int, seed: int) -> IclTask:
    """A word and its opposite, either way round; the list is finite.

    Raises:
        IclError: more pairs than the list has.
    """
    both = [*OPPOSITES, *((right, left) for left, right in OPPOSITES)]
    # A word with several opposites would have several right answers: its first counts.
    unique = list(dict(reversed(both)).items())
    if n > len(unique):
        raise IclError(f"antonym: n={n} asked for, the list has {len(unique)}; ask for fewer")
    order = np.random.default_rng(seed).permutation(len(unique))[:n]
    return IclTask("antonym", "lexical", tuple(unique[i] for i in order.tolist()), seed=seed)


def _register_list(name: str, size: int, place: Callable[[list[str]], str]) -> None:
    def draw(rng: np.random.Generator) -> tuple[Pair, tuple[str, ...]]:
        items = [str(word) for word in rng.choice(_WORDS, size, replace=False)]
        return (", ".join(items), place(items)), tuple(items)

    @register_icl_task(name)
    def make(*, n: int, seed: int) -> IclTask:
        return _drawn(name, "list-position", draw, n=n, seed=seed)


for _size in (3, 5):
    _register_list(f"choose-first-of-{_size}", _size, lambda items: items[0])
    _register_list(f"choose-middle-of-{_size}", _size, lambda items: items[len(items) // 2])
    _register_list(f"choose-last-of-{_size}", _size, lambda items: items[-1])
    _register_list(f"alphabetically-first-{_size}", _size, min)
    _register_list(f"alphabetically-last-{_size}", _size, max)


@register_icl_task("animal-v-object-3")
def animal_v_object(*, n: int, seed: int) -> IclTask:
    """Three things, of which one is an animal: which?"""

    def draw(rng: np.random.Generator) -> tuple[Pair, tuple[str, ...]]:
        animal = str(rng.choice(ANIMALS))
        others = [str(word) for word in rng.choice(OBJECTS, 2, replace=False)]
        items = [str(word) for word in rng.permutation([animal, *others])]
        return (", ".join(items), animal), tuple(items)

    return _drawn("animal-v-object-3", "list-position", draw, n=n, seed=seed)


@register_icl_task("animal-or-object")
def animal_or_object(*, n: int, seed: int) -> IclTask:
    """One thing: is it an animal or an object? The list is finite.

    Raises:
        IclError: more pairs than the list has.
    """
    both = [*((w, "animal") for w in ANIMALS), *((w, "object") for w in OBJECTS)]
    if n > len(both):
        raise IclError(f"animal-or-object: n={n} asked for, the list has {len(both)}")
    order = np.random.default_rng(seed).permutation(len(both))[:n]
    pairs = tuple(both[i] for i in order.tolist())
    classes = (("animal", "object"),) * n
    return IclTask("animal-or-object", "classification", pairs, choices=classes, seed=seed)


@register_icl_task("parity")
def parity(*, n: int, seed: int) -> IclTask:
    """A number: is it odd or even?"""

    def draw(rng: np.random.Generator) -> tuple[Pair, tuple[str, ...]]:
        number = int(rng.integers(10, 10_000))
        return (str(number), "odd" if number % 2 else "even"), ("even", "odd")

    return _drawn("parity", "classification", draw, n=n, seed=seed)


@register_icl_task("key-value-recall-3")
def key_value_recall(*, n: int, seed: int) -> IclTask:
    """Three invented keys with random words, then one of the keys: which word was its?

    The answer is in the input and nowhere else.
    """

    def draw(rng: np.random.Generator) -> tuple[Pair, tuple[str, ...]]:
        keys = invented(rng, 3)
        values = [str(word) for word in rng.choice(_WORDS, 3, replace=False)]
        asked = int(rng.integers(3))
        told = ", ".join(f"{key} is {value}" for key, value in zip(keys, values, strict=True))
        return (f"{told}; {keys[asked]}", values[asked]), tuple(values)

    return _drawn("key-value-recall-3", "recall", draw, n=n, seed=seed)


@register_icl_task("copy")
def copy(*, n: int, seed: int) -> IclTask:
    """Three words, and the same three again."""

    def draw(rng: np.random.Generator) -> tuple[Pair, tuple[str, ...]]:
        words = " ".join(str(word) for word in rng.choice(_WORDS, 3, replace=False))
        return (words, words), ()

    return _drawn("copy", "copy", draw, n=n, seed=seed)
