"""Frames: what sentences of different concepts share, so that they differ in one word only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.zoo.bias_world.world import BOS, NEUTRAL, WIDTH, World, WorldError

Part = Literal["all", "train", "test"]
N_BEFORE = 1
"""Neutral sentences before the one that counts."""
START = 1 + N_BEFORE * WIDTH
"""Position of the first word of the sentence that counts."""
STOP_AT = START + WIDTH - 1
"""Position of its full stop, where the bias of what was said is looked for."""


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames, one a row, and the neutral sentences before them.

    Attributes:
        before: ``BOS`` and the neutral sentences.
        verb: Verbs.
        word: Neutral words.
        adverb: Adverbs.
        swapped: Whether the concept's word comes after the neutral one.
        groups: A label a frame.
    """

    before: Int[Tensor, "row before"]
    verb: Int[Tensor, " row"]
    word: Int[Tensor, " row"]
    adverb: Int[Tensor, " row"]
    swapped: Bool[Tensor, " row"]
    groups: tuple[str, ...]


def draw_frames(world: World, n: int, *, part: Part, generator: torch.Generator) -> Frames:
    """Draw different frames; where there are fewer than rows, they take turns.

    Args:
        world: The world.
        n: Rows.
        part: All frames, or one half of them.
        generator: Decides the halves and draws everything.

    Raises:
        WorldError: no such part, or no rows asked for.
    """
    if part not in ("all", "train", "test"):
        raise WorldError(f"unknown part {part!r}; expected all, train or test")
    if n < 1:
        raise WorldError(f"n={n}: expected at least 1 row")
    sizes = (world.n_verbs, world.n_neutral, world.n_adverbs, 2)
    total = sizes[0] * sizes[1] * sizes[2] * sizes[3]
    order = torch.randperm(total, generator=generator)
    half = total // 2
    order = {"all": order, "train": order[:half], "test": order[half:]}[part]
    chosen = order[torch.arange(n) % len(order)]
    verb, word, adverb, swapped = torch.unravel_index(chosen, sizes)
    before = world.sentence(
        world.draw(NEUTRAL, n, N_BEFORE, generator=generator),
        world.draw("verb", n, N_BEFORE, generator=generator),
        world.draw(NEUTRAL, n, N_BEFORE, generator=generator),
        world.draw("adverb", n, N_BEFORE, generator=generator),
        swapped=torch.zeros(n, N_BEFORE, dtype=torch.bool),
    )
    return Frames(
        before=torch.cat([torch.full((n, 1), BOS), before.flatten(1)], dim=1),
        verb=world.ids("verb")[verb],
        word=world.ids(NEUTRAL)[word],
        adverb=world.ids("adverb")[adverb],
        swapped=swapped.bool(),
        groups=tuple(f"frame{i}" for i in chosen.tolist()),
    )
