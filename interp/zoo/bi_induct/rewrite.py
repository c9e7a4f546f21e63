"""Bi-Induct's rewrite of the data: short copy snippets put into a natural stream.

A forward snippet is ``S SEP S``, a backward one ``S SEP reverse(S)``, S being a stretch of the
stream; the balanced arm flips a coin for each. A share of the tokens, annealed linearly from 50 %
to 0 over training, is snippets; the rest, and all of the natural arm, is the stream as it was
(Sabry & Belz 2025, "Induction Signatures Are Not Enough").

One thing differs from the paper: its snippets have 20 tokens, ours 8 to 32, drawn afresh. With one
length the copy always stands 21 tokens back, which one layer learns by position, and no induction
head forms.

All arms draw the same natural windows from the same generator state, and use their beginnings: what
an arm's rows lose to snippets is cut off at the end. Where the snippets stand is random.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Int
from torch import Tensor

from interp.zoo.bi_induct.streams import BOS, SEP, Stream

Arm = Literal["natural", "forward", "backward", "balanced"]
ARMS: tuple[Arm, ...] = get_args(Arm)


@dataclass(frozen=True)
class Batch:
    """Rows to train on.

    Attributes:
        rows: Token ids, each row begun with BOS.
        coverage: Share of the tokens after BOS that are part of a snippet.
    """

    rows: Int[Tensor, "row position"]
    coverage: float


def mixing_rate(step: int, n_steps: int, *, start: float = 0.5) -> float:
    """Share of snippet tokens aimed at in a step: from ``start``, linearly to 0 (m₀ = 50 %)."""
    return start * (1 - step / n_steps)


def batch(
    stream: Stream,
    arm: Arm,
    *,
    n: int,
    context: int,
    rate: float,
    lengths: tuple[int, int] = (8, 32),
    natural: torch.Generator,
    snippets: torch.Generator,
) -> Batch:
    """Draw one batch of an arm.

    Args:
        stream: Where natural windows and the snippets' S come from.
        arm: Which rewrite; ``natural`` puts in nothing, whatever the rate.
        n: Rows.
        context: Tokens in a row, BOS included.
        rate: Share of the tokens that should be snippets, 0 to 1; met on average.
        lengths: Shortest and longest S.
        natural: Draws the windows; in the same state for every arm, the windows are the same.
        snippets: Draws lengths, contents and places of the snippets.

    Raises:
        ValueError: a rate or lengths that cannot be.
    """
    low, high = lengths
    if not 0 <= rate <= 1 or not 2 <= low <= high:
        raise ValueError(
            f"rate={rate}, lengths={lengths}: expected a share from 0 to 1 and 2 ≤ shortest ≤ "
            "longest"
        )
    width = context - 1
    rows = stream.windows(n, width, generator=natural)
    covered = 0
    if arm != "natural" and rate > 0:
        for row in rows:
            made = _snippets(stream, arm, rate * width, lengths, room=width, generator=snippets)
            covered += sum(len(piece) for piece in made)
            row.copy_(_interleave(row, made, snippets))
    return Batch(torch.nn.functional.pad(rows, (1, 0), value=BOS), covered / (n * width))


def _snippets(
    stream: Stream,
    arm: Arm,
    wanted: float,
    lengths: tuple[int, int],
    *,
    room: int,
    generator: torch.Generator,
) -> list[Tensor]:
    """Snippets whose lengths add up, on average, to what is wanted, and never to more than fits."""
    made: list[Tensor] = []
    low, high = lengths
    while True:
        length = int(torch.randint(low, high + 1, (1,), generator=generator))
        size = 2 * length + 1
        # The last one goes in with the chance that makes the average right.
        if float(torch.rand(1, generator=generator)) >= wanted / size or size > room:
            return made
        first = stream.windows(1, length, generator=generator)[0]
        back = arm == "backward" or (
            arm == "balanced" and bool(torch.rand(1, generator=generator) < 0.5)
        )
        made.append(torch.cat([first, torch.tensor([SEP]), first.flip(0) if back else first]))
        wanted, room = wanted - size, room - size


def _interleave(row: Tensor, made: list[Tensor], generator: torch.Generator) -> Tensor:
    """The row's beginning, with the snippets at random places, as long as the row was."""
    left = len(row) - sum(len(piece) for piece in made)
    cuts = torch.randint(left + 1, (len(made),), generator=generator).sort().values.tolist()
    pieces: list[Tensor] = []
    for start, stop, snippet in zip([0, *cuts], cuts, made, strict=False):
        pieces += [row[start:stop], snippet]
    return torch.cat([*pieces, row[cuts[-1] if cuts else 0 : left]])
