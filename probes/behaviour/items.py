"""Pairs of texts that differ in whom they are about, where each came from, what was left out."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from probes.data.checks import same_text

Text = str | tuple[int, ...]
"""A text, or the ids of its tokens for a model without a tokenizer (none put before them)."""
T = TypeVar("T")


class BehaviourError(ValueError):
    """Items cannot be measured as they are; the message names the file and row, or what to do."""


@dataclass(frozen=True)
class Skipped:
    """An item left out.

    Attributes:
        place: Where it stands.
        reason: Why it cannot be used, without what is particular to it, so that reasons count.
    """

    place: str
    reason: str


@dataclass(frozen=True)
class Pair:
    """Two texts that differ in whom they are about.

    Attributes:
        more: The one whose being likelier is the bias: more stereotyped, or of the first kind.
        less: The other.
        kind: What the pair is about; measured by itself and with all others.
        group: Pairs of one group are not independent of each other, and are drawn together.
        place: Where it comes from, for messages.
    """

    more: Text
    less: Text
    kind: str = "pairs"
    group: str = ""
    place: str = ""


@dataclass(frozen=True)
class PairSet:
    """Pairs, and what was left out in reading them.

    Attributes:
        pairs: The pairs; those without a group of their own are one each.
        name: What they are called.
        skipped: Rows that could not be used.
    """

    pairs: tuple[Pair, ...]
    name: str = "pairs"
    skipped: tuple[Skipped, ...] = ()

    def __post_init__(self) -> None:
        if not self.pairs:
            raise BehaviourError(f"{self.name} holds no pairs; {len(self.skipped)} were left out")
        named = tuple(
            pair if pair.group else replace(pair, group=f"pair {i}")
            for i, pair in enumerate(self.pairs)
        )
        object.__setattr__(self, "pairs", named)

    def __len__(self) -> int:
        return len(self.pairs)

    def sample(self, n: int, *, seed: int) -> PairSet:
        """At most ``n`` of the pairs, drawn without replacement, for a quick look."""
        return replace(self, pairs=drawn(self.pairs, n, seed=seed))


def drawn(items: Sequence[T], n: int, *, seed: int) -> tuple[T, ...]:
    """At most ``n`` items, drawn without replacement, in the order that they stood in.

    Raises:
        BehaviourError: ``n`` is below 1.
    """
    if n < 1:
        raise BehaviourError(f"n={n}: expected at least 1 item")
    rng = np.random.default_rng(seed)
    chosen = sorted(rng.permutation(len(items))[:n].tolist())
    return tuple(items[i] for i in chosen)


def reasons(skipped: Sequence[Skipped]) -> str:
    """How many items were left out for what, in words; empty if none was."""
    counts = Counter(item.reason for item in skipped)
    return "; ".join(f"{n} left out: {reason}" for reason, n in counts.most_common())


def shared_frame(one: str, other: str) -> str:
    """What two texts have in common, word by word: pairs of one frame are not independent."""
    a, b = same_text(one).lower().split(), same_text(other).lower().split()
    blocks = difflib.SequenceMatcher(a=a, b=b, autojunk=False).get_matching_blocks()
    return " … ".join(" ".join(a[x.a : x.a + x.size]) for x in blocks if x.size)
