"""Words that the project's own in-context tasks are made of, chosen for this project.

All are plain and regular: a plural or a past is what the rule gives. Where more words are wanted
than stand here, they are invented; the rules hold for those as well.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


ANIMALS = _words(
    """badger beetle camel cat cobra cow crab crow dog dolphin donkey duck eagle falcon ferret
    finch frog gecko goat hamster hawk hen heron horse kitten lemur lion lizard llama monkey moth
    newt otter owl panda parrot peacock pelican penguin pig pony puffin puppy rabbit raccoon rat
    raven robin seal shark skunk snail snake spider squirrel stork swan tiger toad turtle walrus
    weasel whale worm yak zebra"""
)
OBJECTS = _words(
    """anchor axe bag ball barrel basket bell bench blanket bottle bowl box brick bridge broom
    bucket button cabinet candle cart chair chimney clock coat cup curtain desk dish door drum
    fence flag fork gate glass glove hammer hat jar kettle key ladder lamp lantern lens mirror
    mug nail needle oven pencil piano pillow pipe plate pocket pot radio ring road rope rug sail
    scarf shirt spoon stove table tent ticket towel tower tray truck vase violin wagon wall watch
    wheel window"""
)
# Without those whose plural the rule below does not give.
NOUNS = tuple(word for word in (*ANIMALS, *OBJECTS) if word not in {"scarf"})
VERBS = _words(
    """add answer ask bake bark borrow brush call carry change clean climb close cook copy count
    cover cross cry dance deliver dry enter fill fix fold follow glue guess hate help hope hunt
    jump kick laugh learn lift like listen live look love march marry melt move open paint pass
    play pour pray print pull push rain reach rescue rest roll row sail save shout smile sneeze
    start stay study talk taste thank touch try turn use visit wait walk want wash watch wish
    work worry yell"""
)
OPPOSITES = tuple(
    (left, right)
    for left, _, right in (
        pair.partition("/")
        for pair in _words(
            """hot/cold big/small tall/short fast/slow up/down left/right open/closed
        day/night wet/dry hard/soft light/dark loud/quiet rich/poor young/old full/empty
        early/late high/low near/far thick/thin strong/weak sweet/sour happy/sad clean/dirty
        heavy/weightless wide/narrow deep/shallow sharp/blunt true/false first/last inside/outside
        above/below push/pull win/lose start/stop love/hate arrive/depart remember/forget
        buy/sell give/take question/answer summer/winter north/south east/west friend/enemy
        entrance/exit sunrise/sunset brave/cowardly smooth/rough safe/dangerous"""
        )
    )
)

_ONSETS = _words(
    "b c d f g h j k l m n p r s t v w bl br cl cr dr fl fr gl gr pl pr sl sn sp st tr"
)
_VOWELS = _words("a e i o u ai ea oo ou")
_CODAS = _words("b ck d ft g l ll m mp n nd nt p r rd rk rm sk st t sh x ss")
_PLAIN = frozenset((*ANIMALS, *OBJECTS, *VERBS, *(w for pair in OPPOSITES for w in pair)))


def invented(rng: np.random.Generator, n: int, *, avoid: Iterable[str] = ()) -> list[str]:
    """Draw ``n`` different words that sound English and are none of those here.

    The second syllable is never open, so that the last letter is a consonant.
    """
    taken = set(avoid) | _PLAIN
    found: list[str] = []
    while len(found) < n:
        parts = [_ONSETS, _VOWELS, _ONSETS, _VOWELS, _CODAS]
        word = "".join(str(rng.choice(part)) for part in parts)
        if word not in taken:
            taken.add(word)
            found.append(word)
    return found


def plural(noun: str) -> str:
    """The regular plural: -es after a hiss, -ies for a consonant and y, else -s."""
    if noun.endswith(("s", "x", "z", "ch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def past(verb: str) -> str:
    """The regular past: -d after e, -ied for a consonant and y, else -ed; no letter is doubled."""
    if verb.endswith("e"):
        return f"{verb}d"
    if verb.endswith("y") and verb[-2] not in "aeiou":
        return f"{verb[:-1]}ied"
    return f"{verb}ed"
