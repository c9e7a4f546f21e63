"""A world in which twenty targets lean, by known odds, to one of two references.

A document is ``BOS`` and some sentences ``x verb y adverb .``, all about one thing: a target
(65%), a reference (20%) or nothing (15%). A document about target k draws once which reference it
goes with, the first with chance σ(β_k), and every reference word in it is of that one; its
sentences speak of the target alone, of target and reference, of the reference alone, or of
nothing. So whoever has read the target and no reference word yet knows that the log-odds of the
first reference's words against the second's are β_k: a model that predicts well has the planted
bias, and how strong it is for each target is known.

Each reference has words of its own, all alike; so have verbs, adverbs and the words that say
nothing. Which of x and y is which is drawn afresh for every sentence.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.zoo.cards import get_card

BOS, STOP = range(2)
WORDS = ("BOS", ".")
REFERENCES = ("r1", "r2")
NEUTRAL = "neutral"
WIDTH = 5
"""Tokens in a sentence, its full stop included."""
ABOUT_TARGET, ABOUT_REFERENCE, ABOUT_NOTHING = range(3)
SHARES = (0.65, 0.20, 0.15)
"""Chances that a document is about a target, a reference, nothing."""
BOTH, TARGET, REFERENCE, NOTHING = range(4)
SENTENCES = ((0.40, 0.35, 0.15, 0.10), (0.0, 0.0, 0.75, 0.25), (0.0, 0.0, 0.0, 1.0))
"""By what a document is about: chances that a sentence speaks of target and reference, of the
target alone, of the reference alone, of nothing."""


class WorldError(ValueError):
    """There is no such concept, world or row; the message says what there is."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents and what decided them.

    Attributes:
        tokens: Token ids.
        about: ``ABOUT_TARGET``, ``ABOUT_REFERENCE`` or ``ABOUT_NOTHING``.
        target: Index of the target; of no meaning in other documents.
        first: Whether the document's reference is the first; of no meaning in neutral ones.
        speaks: Of each sentence, ``BOTH``, ``TARGET``, ``REFERENCE`` or ``NOTHING``.
    """

    tokens: Int[Tensor, "row pos"]
    about: Int[Tensor, " row"]
    target: Int[Tensor, " row"]
    first: Bool[Tensor, " row"]
    speaks: Int[Tensor, "row sentence"]


@dataclass(frozen=True)
class World:
    """The targets with their planted odds, and the tokens that they are told in.

    Attributes:
        n_targets: Targets.
        spread: Planted log-odds run evenly from ``-spread`` to ``spread``; 0 plants none, for a
            world without bias.
        n_reference: Words of each reference.
        n_neutral: Words that say nothing.
        n_verbs: Verbs.
        n_adverbs: Adverbs.
        seed: Decides which target has which log-odds.
    """

    n_targets: int = 20
    spread: float = 3.0
    n_reference: int = 8
    n_neutral: int = 16
    n_verbs: int = 8
    n_adverbs: int = 8
    seed: int = 0

    def __post_init__(self) -> None:
        counts = (self.n_reference, self.n_neutral, self.n_verbs, self.n_adverbs)
        if self.n_targets < 2 or min(counts) < 1:
            raise WorldError(
                f"n_targets={self.n_targets} and words {counts}: expected at least 2 targets and "
                "1 word of each kind"
            )
        if not 0.0 <= self.spread < float("inf"):
            raise WorldError(f"spread={self.spread}: expected log-odds of 0 or more")

    @cached_property
    def beta(self) -> Float[Tensor, " target"]:
        """Planted log-odds of the first reference, by target, in nats; in no order."""
        even = torch.linspace(-self.spread, self.spread, self.n_targets, dtype=torch.float64)
        generator = torch.Generator().manual_seed(self.seed)
        return even[torch.randperm(self.n_targets, generator=generator)]

    @property
    def targets(self) -> tuple[str, ...]:
        """Names of the targets, in the order of ``beta``: ``t0``, ``t1``, …"""
        return tuple(f"t{i}" for i in range(self.n_targets))

    @property
    def concepts(self) -> tuple[str, ...]:
        """Every name that a sentence can be asked for by: targets, ``r1``, ``r2``, ``neutral``."""
        return (*self.targets, *REFERENCES, NEUTRAL)

    def target_index(self, target: str) -> int:
        """Index of a target by name.

        Raises:
            WorldError: there is none; the message names the near ones.
        """
        _require(target, self.targets, "target")
        return self.targets.index(target)

    def ids(self, concept: str) -> Int[Tensor, " word"]:
        """Token ids of a concept's words, or of ``verb`` or ``adverb``.

        Raises:
            WorldError: there is no such concept; the message names the near ones.
        """
        _require(concept, self._spans, "concept")
        start, n = self._spans[concept]
        return torch.arange(start, start + n)

    def require_concept(self, name: str) -> None:
        """Refuse a name that is none of ``concepts``.

        Raises:
            WorldError: it is none; the message names the near ones.
        """
        _require(name, self.concepts, "concept")

    @cached_property
    def _spans(self) -> dict[str, tuple[int, int]]:
        sizes = {
            **dict.fromkeys(self.targets, 1),
            **dict.fromkeys(REFERENCES, self.n_reference),
            "verb": self.n_verbs,
            "adverb": self.n_adverbs,
            NEUTRAL: self.n_neutral,
        }
        spans, start = {}, len(WORDS)
        for name, n in sizes.items():
            spans[name] = (start, n)
            start += n
        return spans

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every token in words: ``t3``, ``r1.0``, ``verb.5``, ``neutral.7``."""
        named = [
            [name] if name in self.targets else [f"{name}.{i}" for i in range(n)]
            for name, (_, n) in self._spans.items()
        ]
        return (*WORDS, *(word for words in named for word in words))

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        return len(self.words)

    def text(self, tokens: Int[Tensor, " pos"]) -> str:
        """A row of tokens in words."""
        return " ".join(self.words[i] for i in tokens.tolist())

    def draw(self, concept: str, *shape: int, generator: torch.Generator) -> Int[Tensor, "*shape"]:
        """Words of a concept, or verbs or adverbs, all alike.

        Raises:
            WorldError: there is no such concept.
        """
        ids = self.ids(concept)
        return ids[torch.randint(len(ids), shape, generator=generator)]

    def documents(self, n: int, *, generator: torch.Generator, n_sentences: int = 4) -> Documents:
        """Draw documents, by the chances ``SHARES`` and ``SENTENCES``.

        Args:
            n: How many.
            generator: Draws everything.
            n_sentences: Sentences of each.
        """
        shape = (n, n_sentences)
        about = torch.multinomial(torch.tensor(SHARES), n, replacement=True, generator=generator)
        target = torch.randint(self.n_targets, (n,), generator=generator)
        chance = torch.where(about == ABOUT_TARGET, self.beta[target].sigmoid(), 0.5)
        first = torch.rand(n, generator=generator, dtype=torch.float64) < chance
        speaks = torch.multinomial(
            torch.tensor(SENTENCES)[about], n_sentences, replacement=True, generator=generator
        )
        drawn = {
            concept: self.draw(concept, *shape, generator=generator)
            for concept in (*REFERENCES, NEUTRAL, "verb", "adverb")
        }
        reference = torch.where(first[:, None], drawn["r1"], drawn["r2"])
        named = (self.ids("t0") + target)[:, None].expand(shape)
        x = torch.where((speaks == BOTH) | (speaks == TARGET), named, drawn[NEUTRAL])
        x = torch.where(speaks == REFERENCE, reference, x)
        other = self.draw(NEUTRAL, *shape, generator=generator)
        y = torch.where(speaks == BOTH, reference, other)
        swapped = torch.rand(shape, generator=generator) < 0.5
        slots = self.sentence(x, drawn["verb"], y, drawn["adverb"], swapped=swapped)
        tokens = torch.cat([torch.full((n, 1), BOS), slots.flatten(1)], dim=1)
        return Documents(tokens, about, target, first, speaks)

    def sentence(
        self,
        x: Int[Tensor, "*any"],
        verb: Int[Tensor, "*any"],
        y: Int[Tensor, "*any"],
        adverb: Int[Tensor, "*any"],
        *,
        swapped: Bool[Tensor, "*any"],
    ) -> Int[Tensor, "*any 5"]:
        """``x verb y adverb .``, or ``y verb x adverb .`` where ``swapped``."""
        parts = (torch.where(swapped, y, x), verb, torch.where(swapped, x, y), adverb)
        return torch.stack([*parts, torch.full_like(verb, STOP)], dim=-1)


def _require(name: str, options: Iterable[str], what: str) -> None:
    known = list(options)
    if name in known:
        return
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"expected one of {', '.join(known)}"
    raise WorldError(f"no {what} {name!r}; {hint}")


def world_of(recipe: dict[str, Any] | str) -> World:
    """The world that a model was trained in.

    Args:
        recipe: A bundled model's name, or the ``recipe`` of a model's card.

    Raises:
        WorldError: the card is of a model of another kind.
        CardError: no such bundled model.
    """
    name = recipe if isinstance(recipe, str) else "this recipe"
    fields = dict(get_card(recipe).recipe) if isinstance(recipe, str) else dict(recipe)
    wanted = World.__dataclass_fields__
    missing = sorted(set(wanted) - set(fields))
    if missing:
        raise WorldError(f"{name} is of no bias world: its recipe has no {', '.join(missing)}")
    return World(**{key: fields[key] for key in wanted})
