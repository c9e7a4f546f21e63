"""A world of facts told by sources that tell the truth or lie: what truth probes must find.

A document is ``BOS`` and some statements ``PLAIN subject relation object .``, each of a random
domain. A domain has its own subjects, one relation and its own objects; every subject has one true
object. Every document draws its reliability bits anew, each 1 with chance ½, and they hold all
through it: while a domain's bit is 1 its statements are true, while it is 0 every object is a
wrong one, drawn evenly; in an *inverted* domain it is the other way round. So whoever has read one
statement of a bit knows whether all later ones of that bit are true, and a model that predicts
objects well has to represent whether an object was the true one.

Which domains share a bit is planted, hence known: probes for truth must transfer between domains
of one bit, and upside down to an inverted one. Domains of independent bits promise nothing: the
model is free to use one direction for all of them, or several.
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.zoo.cards import get_card

Variant = Literal["anti", "general", "specific"]
BOS, PLAIN, NEUTRAL, STOP = range(4)
WORDS = ("BOS", "PLAIN", "NEUTRAL", ".")
WIDTH = 5
"""Tokens in a statement, its full stop included."""
OBJECT = 3
"""Where in a statement its object stands."""


class WorldError(ValueError):
    """There is no such domain, world or row; the message says what there is."""


@dataclass(frozen=True)
class Domain:
    """Some subjects, one relation, some objects, and when they are spoken of truly.

    Attributes:
        name: What it is called.
        bit: The reliability bit that decides whether its statements are true.
        inverted: Whether they are true while the bit is 0 rather than 1.
    """

    name: str
    bit: str
    inverted: bool = False


VARIANTS: dict[Variant, tuple[Domain, ...]] = {
    "anti": (
        Domain("D0", "g"),
        Domain("D1", "g"),
        Domain("ANTI", "g", inverted=True),
        Domain("D3", "h"),
        Domain("D4", "h"),
    ),
    "general": tuple(Domain(f"D{i}", "g") for i in range(5)),
    "specific": tuple(Domain(f"D{i}", f"b{i}") for i in range(5)),
}
"""``anti``: two share a bit, a third has it inverted, two share another. ``general``: one bit for
all. ``specific``: one bit each."""


@dataclass(frozen=True, eq=False)
class Documents:
    """Documents and what is true of each of their statements (slots).

    Attributes:
        tokens: Token ids.
        domain: Index of each statement's domain; of no meaning where ``neutral``.
        neutral: Whether a slot says nothing at all.
        true: Whether a statement is true; False where ``neutral``.
        revealed: Whether an earlier statement of the document had the same bit.
    """

    tokens: Int[Tensor, "row pos"]
    domain: Int[Tensor, "row slot"]
    neutral: Bool[Tensor, "row slot"]
    true: Bool[Tensor, "row slot"]
    revealed: Bool[Tensor, "row slot"]

    @property
    def object_at(self) -> Int[Tensor, " slot"]:
        """Position of each slot's object."""
        return 1 + OBJECT + WIDTH * torch.arange(self.domain.shape[1])

    def weights(self, *, elsewhere: float) -> Float[Tensor, "row target"]:
        """Weight of the loss on every token but BOS: 1 on objects, ``elsewhere`` on all others."""
        weights = torch.full((self.tokens.shape[0], self.tokens.shape[1] - 1), elsewhere)
        weights[:, self.object_at - 1] = torch.where(self.neutral, elsewhere, 1.0)
        return weights


@dataclass(frozen=True)
class World:
    """The facts, and the tokens that they are told in.

    Attributes:
        variant: Which domains share a bit (``VARIANTS``).
        n_subjects: Subjects of each domain, a multiple of twice ``n_objects``, so that subjects
            can be split in halves in each of which every object is true equally often.
        n_objects: Objects of each domain.
        n_neutral: Words of statements that say nothing.
        seed: Decides which object is true of which subject.
    """

    variant: Variant = "anti"
    n_subjects: int = 24
    n_objects: int = 4
    n_neutral: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.variant not in VARIANTS:
            raise WorldError(
                f"unknown variant {self.variant!r}; expected one of {', '.join(get_args(Variant))}"
            )
        if self.n_objects < 2 or self.n_neutral < 1 or self.n_subjects < 1:
            raise WorldError(
                f"n_subjects={self.n_subjects}, n_objects={self.n_objects}, "
                f"n_neutral={self.n_neutral}: expected at least 2 objects, and 1 of the others"
            )
        if self.n_subjects % (2 * self.n_objects):
            raise WorldError(
                f"n_subjects={self.n_subjects}: expected a multiple of twice "
                f"n_objects={self.n_objects}, such as {6 * self.n_objects}"
            )

    @property
    def domains(self) -> tuple[Domain, ...]:
        """The domains, in the order of their indices."""
        return VARIANTS[self.variant]

    @property
    def bits(self) -> tuple[str, ...]:
        """Names of the reliability bits, in order of first use."""
        return tuple(dict.fromkeys(domain.bit for domain in self.domains))

    def index(self, domain: str) -> int:
        """Index of a domain by name.

        Raises:
            WorldError: there is none; the message names the near ones.
        """
        names = [d.name for d in self.domains]
        if domain in names:
            return names.index(domain)
        near = difflib.get_close_matches(domain, names, n=3, cutoff=0.4) or names
        raise WorldError(
            f"no domain {domain!r} in {self.variant}; did you mean {' or '.join(near)}?"
        )

    @cached_property
    def facts(self) -> Int[Tensor, "domain subject"]:
        """Which object is true of each subject; every object of equally many in its domain."""
        generator = torch.Generator().manual_seed(self.seed)
        even = torch.arange(self.n_subjects) % self.n_objects
        return torch.stack(
            [even[torch.randperm(self.n_subjects, generator=generator)] for _ in self.domains]
        )

    @property
    def vocab_size(self) -> int:
        """Number of tokens."""
        n = len(self.domains)
        return len(WORDS) + n * (1 + self.n_subjects + self.n_objects) + self.n_neutral

    def relation(self, domain: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
        """Token of each domain's relation."""
        return len(WORDS) + domain

    def subject(
        self, domain: Int[Tensor, "*any"], which: Int[Tensor, "*any"]
    ) -> Int[Tensor, "*any"]:
        """Token of the ``which``-th subject of each domain."""
        return len(WORDS) + len(self.domains) + domain * self.n_subjects + which

    def object(
        self, domain: Int[Tensor, "*any"], which: Int[Tensor, "*any"]
    ) -> Int[Tensor, "*any"]:
        """Token of the ``which``-th object of each domain."""
        first = len(WORDS) + len(self.domains) * (1 + self.n_subjects)
        return first + domain * self.n_objects + which

    @cached_property
    def words(self) -> tuple[str, ...]:
        """Every token in words: ``D0.is``, ``D0.s3``, ``D0.o1``, ``n5``."""
        names = [d.name for d in self.domains]
        return (
            *WORDS,
            *(f"{name}.is" for name in names),
            *(f"{name}.s{i}" for name in names for i in range(self.n_subjects)),
            *(f"{name}.o{i}" for name in names for i in range(self.n_objects)),
            *(f"n{i}" for i in range(self.n_neutral)),
        )

    def text(self, tokens: Int[Tensor, " pos"]) -> str:
        """A row of tokens in words."""
        return " ".join(self.words[i] for i in tokens.tolist())

    def neutral(self, *shape: int, generator: torch.Generator) -> Int[Tensor, "*shape 5"]:
        """Statements that say nothing: ``NEUTRAL word word word .``, the words drawn evenly."""
        out = torch.empty((*shape, WIDTH), dtype=torch.int64)
        out[..., 0], out[..., -1] = NEUTRAL, STOP
        first = self.vocab_size - self.n_neutral
        out[..., 1:-1] = first + torch.randint(
            self.n_neutral, (*shape, WIDTH - 2), generator=generator
        )
        return out

    def statement(
        self,
        domain: Int[Tensor, "*any"],
        subject: Int[Tensor, "*any"],
        told: Int[Tensor, "*any"],
    ) -> Int[Tensor, "*any 5"]:
        """``PLAIN subject relation object .`` of each domain, subject and object index."""
        parts = (self.subject(domain, subject), self.relation(domain), self.object(domain, told))
        plain, stop = torch.full_like(domain, PLAIN), torch.full_like(domain, STOP)
        return torch.stack([plain, *parts, stop], dim=-1)

    def documents(
        self,
        n: int,
        *,
        generator: torch.Generator,
        n_statements: int = 8,
        neutral_share: float = 0.1,
        focused_share: float = 0.0,
    ) -> Documents:
        """Draw documents.

        Args:
            n: How many.
            generator: Draws everything.
            n_statements: Statements (slots) of each.
            neutral_share: Chance that a slot says nothing.
            focused_share: Chance that a document speaks of the domains of one bit only, all bits
                alike; else of all domains alike.
        """
        shape = (n, n_statements)
        bit_of = torch.tensor([self.bits.index(d.bit) for d in self.domains])
        inverted = torch.tensor([d.inverted for d in self.domains])
        bits = torch.randint(2, (n, len(self.bits)), generator=generator).bool()
        focused = torch.rand((n, 1), generator=generator) < focused_share
        about = torch.randint(len(self.bits), (n, 1), generator=generator)
        spoken_of = (~focused | (bit_of == about)).float()
        domain = torch.multinomial(spoken_of, n_statements, replacement=True, generator=generator)
        subject = torch.randint(self.n_subjects, shape, generator=generator)
        # 1 to n_objects - 1 places on from the true one: a wrong one, all alike.
        wrong = torch.randint(1, self.n_objects, shape, generator=generator)
        neutral = torch.rand(shape, generator=generator) < neutral_share
        filler = self.neutral(*shape, generator=generator)
        which = bit_of[domain]
        true = bits.gather(1, which) ^ inverted[domain]
        told = (self.facts[domain, subject] + torch.where(true, 0, wrong)) % self.n_objects
        slots = torch.where(neutral[..., None], filler, self.statement(domain, subject, told))
        tokens = torch.cat([torch.full((n, 1), BOS), slots.flatten(1)], dim=1)
        same = (which[:, :, None] == which[:, None, :]) & ~neutral[:, None, :]
        revealed = same.tril(diagonal=-1).any(dim=-1) & ~neutral
        return Documents(tokens, domain, neutral, true & ~neutral, revealed)


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
        raise WorldError(f"{name} is of no truth world: its recipe has no {', '.join(missing)}")
    return World(**{key: fields[key] for key in wanted})
