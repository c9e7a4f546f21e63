"""Sentences of each concept of a bias world, and whole documents.

Sentences begin ``BOS`` and a neutral sentence. Those of one seed and part have the same neutral
sentences and the same frames (verb, neutral word, adverb, order), row by row, whatever their
concept; their groups are the frames, and the two halves of one seed share none.

    world = world_of("bias-world")
    rows = sentences(world, "t3", n=300, part="train", seed=0)  # or r1, r2, neutral
    capture(model, rows.examples, "L1.resid_post", positions=rows.stop_at)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Int
from torch import Tensor

from interp.models import Examples
from interp.zoo.bias_world.frames import START, STOP_AT, Part, draw_frames
from interp.zoo.bias_world.world import ABOUT_NOTHING, REFERENCES, World, WorldError


@dataclass(frozen=True, eq=False)
class Sentences:
    """Sentences of one concept.

    Attributes:
        examples: Tokens; ``groups`` are frames.
        concept: A target, ``r1``, ``r2`` or ``neutral``.
        reference: The reference that the sentence speaks of besides, or None.
        concept_at: Position of the concept's word in each row.
        stop_at: Position of the full stop in every row, the last.
    """

    examples: Examples
    concept: str
    reference: str | None
    concept_at: Int[Tensor, " row"]
    stop_at: int = STOP_AT

    def __len__(self) -> int:
        return len(self.examples)


def sentences(
    world: World,
    concept: str,
    *,
    n: int = 300,
    reference: str | None = None,
    part: Part = "all",
    seed: int = 0,
) -> Sentences:
    """Draw sentences of a concept, half of them ``concept verb neutral adverb .``, half reversed.

    Args:
        world: The world.
        concept: A target, ``r1``, ``r2`` or ``neutral``.
        n: Rows. Where there are fewer frames (2048 in the bundled world, half as many in a
            part), frames take turns.
        reference: ``r1`` or ``r2`` for sentences that speak of it besides, in place of the
            neutral word.
        part: All frames, or one half of them.
        seed: Decides the halves and draws the rows.

    Raises:
        WorldError: no such concept, reference or part, or no rows asked for.
    """
    world.require_concept(concept)
    generator = torch.Generator().manual_seed(seed)
    frames = draw_frames(world, n, part=part, generator=generator)
    said = world.draw(concept, n, generator=generator)
    beside = frames.word
    if reference is not None:
        beside = _reference(world, reference)[
            torch.randint(world.n_reference, (n,), generator=generator)
        ]
    told = world.sentence(said, frames.verb, beside, frames.adverb, swapped=frames.swapped)
    name = concept if reference is None else f"{concept} with {reference}"
    return Sentences(
        examples=Examples(
            tokens=torch.cat([frames.before, told], dim=1),
            groups=frames.groups,
            name=f"{name} {part}",
            seed=seed,
        ),
        concept=concept,
        reference=reference,
        concept_at=START + torch.where(frames.swapped, 2, 0),
    )


def corpus(
    world: World, *, n: int = 512, neutral: bool = False, n_sentences: int = 4, seed: int = 0
) -> Examples:
    """Draw whole documents, as in training, or only such as are about nothing.

    Args:
        world: The world.
        n: Documents.
        neutral: Only documents about nothing: what an edit must not harm.
        n_sentences: Sentences of each.
        seed: Draws them.

    Raises:
        WorldError: no rows asked for.
    """
    if n < 1:
        raise WorldError(f"n={n}: expected at least 1 document")
    generator = torch.Generator().manual_seed(seed)
    kept: list[Tensor] = []
    while sum(map(len, kept)) < n:
        drawn = world.documents(n, generator=generator, n_sentences=n_sentences)
        kept.append(drawn.tokens[drawn.about == ABOUT_NOTHING] if neutral else drawn.tokens)
    return Examples(
        tokens=torch.cat(kept)[:n],
        name="neutral documents" if neutral else "documents",
        seed=seed,
    )


def _reference(world: World, name: str) -> Int[Tensor, " word"]:
    if name not in REFERENCES:
        raise WorldError(f"no reference {name!r}; expected {' or '.join(REFERENCES)}")
    return world.ids(name)
