"""Prompts that ask a bias world's model which reference a target goes with, and minimal pairs.

They begin ``BOS`` and a neutral sentence, and have the frames of sentences of the same seed and
part (:mod:`interp.zoo.bias_world.sentences`).

    asked = prompts(world, "t3", n=64, part="test", seed=0)
    asked.log_odds(model.logits(asked.examples.tokens)[:, -1])  # about asked.planted, each
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.models import Examples
from interp.zoo.bias_world.frames import START, Part, draw_frames
from interp.zoo.bias_world.world import NEUTRAL, REFERENCES, WIDTH, World, WorldError

Place = Literal["object", "next"]


@dataclass(frozen=True, eq=False)
class Prompts:
    """Texts that have spoken of one target and no reference: which one will it be?

    Attributes:
        examples: Tokens; ``answer_at`` is where the odds are read, the last position; ``groups``
            are frames.
        target: The target, or ``neutral`` for texts about nothing.
        place: ``object``: ``target verb``, and the odds are of the next word; ``next``: a whole
            sentence of the target, and the odds are of the next sentence's first word.
        planted: Planted log-odds, in nats; None for ``neutral``.
        first: Ids of the first reference's words.
        second: Ids of the second's.
    """

    examples: Examples
    target: str
    place: Place
    planted: float | None
    first: Int[Tensor, " word"]
    second: Int[Tensor, " word"]

    def __len__(self) -> int:
        return len(self.examples)

    def log_odds(self, logits: Float[Tensor, "row vocab"]) -> Float[Tensor, " row"]:
        """Log of the chance of the first reference's words over that of the second's, in nats.

        Args:
            logits: At ``examples.answer_at``.
        """
        return logits[:, self.first].logsumexp(1) - logits[:, self.second].logsumexp(1)


@dataclass(frozen=True, eq=False)
class Pairs:
    """Minimal pairs: whole sentences that differ in one word, a reference's.

    Attributes:
        more: Sentences of the target with a word of the first reference.
        less: The same with the word of the same number of the second.
        target: The target, or ``neutral``.
        differ_at: The position at which they differ.
    """

    more: Examples
    less: Examples
    target: str
    differ_at: int

    def __len__(self) -> int:
        return len(self.more)


def prompts(
    world: World,
    target: str,
    *,
    n: int = 64,
    place: Place = "object",
    part: Part = "all",
    seed: int = 0,
) -> Prompts:
    """Draw texts that name a target and no reference.

    Args:
        world: The world.
        target: A target, or ``neutral``, about which nothing is planted.
        n: Rows.
        place: Where the odds are read: ``object`` or ``next`` (see :class:`Prompts`).
        part: All frames, or one half of them.
        seed: Decides the halves and draws the rows.

    Raises:
        WorldError: no such target, place or part, or no rows asked for.
    """
    if place not in ("object", "next"):
        raise WorldError(f"unknown place {place!r}; expected object or next")
    generator = torch.Generator().manual_seed(seed)
    planted = _planted(world, target)
    frames = draw_frames(world, n, part=part, generator=generator)
    said = world.draw(target, n, generator=generator)
    swapped = torch.zeros_like(frames.swapped) if place == "object" else frames.swapped
    told = world.sentence(said, frames.verb, frames.word, frames.adverb, swapped=swapped)
    told = told[:, : 2 if place == "object" else WIDTH]
    tokens = torch.cat([frames.before, told], dim=1)
    return Prompts(
        examples=Examples(
            tokens=tokens,
            answer_at=torch.full((n,), tokens.shape[1] - 1),
            groups=frames.groups,
            name=f"{target} prompts {part}",
            seed=seed,
        ),
        target=target,
        place=place,
        planted=planted,
        first=world.ids("r1"),
        second=world.ids("r2"),
    )


def pairs(world: World, target: str, *, n: int = 64, part: Part = "all", seed: int = 0) -> Pairs:
    """Draw minimal pairs ``target verb reference adverb .``.

    Args:
        world: The world.
        target: A target, or ``neutral``, about which nothing is planted.
        n: Pairs.
        part: All frames, or one half of them.
        seed: Decides the halves and draws the rows.

    Raises:
        WorldError: no such target or part, or no rows asked for.
    """
    generator = torch.Generator().manual_seed(seed)
    _planted(world, target)
    frames = draw_frames(world, n, part=part, generator=generator)
    said = world.draw(target, n, generator=generator)
    which = torch.randint(world.n_reference, (n,), generator=generator)
    never = torch.zeros_like(frames.swapped)
    more, less = (
        Examples(
            tokens=torch.cat(
                [
                    frames.before,
                    world.sentence(
                        said, frames.verb, world.ids(name)[which], frames.adverb, swapped=never
                    ),
                ],
                dim=1,
            ),
            groups=frames.groups,
            name=f"{target} with {name} {part}",
            seed=seed,
        )
        for name in REFERENCES
    )
    return Pairs(more=more, less=less, target=target, differ_at=START + 2)


def _planted(world: World, target: str) -> float | None:
    return None if target == NEUTRAL else float(world.beta[world.target_index(target)])
