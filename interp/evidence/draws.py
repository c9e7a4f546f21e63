"""Controls that are drawn, not chosen among what the model has, such as random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence.controls import NoControlsError
from interp.evidence.evidence import ENDLESS


@dataclass(frozen=True)
class RandomDraws:
    """Controls drawn afresh from a continuum, such as random directions.

    There is no end of them, no two are the same, and none is the target: so they are told apart by
    their number alone, and serve for the excess and for p alike.

    Attributes:
        family: What they are, such as ``random-direction``.
        n: How many were drawn.
        n_possible: A count that stands for no end.
        norm_ratios: None: they are as long as the target by construction.
    """

    family: str
    n: int
    n_possible: ClassVar[int] = ENDLESS
    norm_ratios: ClassVar[None] = None

    def __post_init__(self) -> None:
        if self.n < 1:
            raise NoControlsError(f"no {self.family} control was drawn; draw at least one")

    def __len__(self) -> int:
        return self.n

    @property
    def sets(self) -> tuple[int, ...]:
        """The draws, by number."""
        return tuple(range(self.n))

    @property
    def null_sets(self) -> tuple[int, ...]:
        """The same: no draw has anything of the target's."""
        return self.sets

    @property
    def n_null_possible(self) -> int:
        """As ``n_possible``."""
        return self.n_possible


def random_units(
    n: int, d: int, *, seed: int, like: Float[Tensor, "row d"] | None = None
) -> Float[Tensor, "draw d"]:
    """Draw random directions of length 1.

    Args:
        n: How many.
        d: Their width.
        seed: Decides which.
        like: Activations; directions are then drawn with their covariance, so that they point
            where activations vary. It is shrunk towards the same in every direction by as much as
            so few rows need (Bodnar et al. 2014, clipped to 0 … 1). All directions are alike when
            omitted.

    Raises:
        NoControlsError: fewer than one, activations of another width, or ones that never vary.
    """
    if n < 1 or d < 2:
        raise NoControlsError(f"{n} random directions of width {d}; expected at least 1 of 2")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((n, d), generator=generator, dtype=torch.float64)
    if like is not None:
        if like.ndim != 2 or like.shape[1] != d:
            raise NoControlsError(f"activations have shape {list(like.shape)}; expected [row, {d}]")
        centred = (like.double() - like.double().mean(0)) / len(like) ** 0.5
        trace = float((centred**2).sum())
        if trace == 0:
            raise NoControlsError(
                "the activations are the same everywhere, so nothing is like them"
            )
        smaller = centred @ centred.T if len(centred) < d else centred.T @ centred
        beyond = float((smaller**2).sum()) - trace**2 / d  # how far from the same everywhere
        kept = 0.0 if beyond <= 0 else min(1.0, max(0.0, 1 - trace**2 / len(like) / beyond))
        weights = torch.randn((n, len(centred)), generator=generator, dtype=torch.float64)
        drawn = kept**0.5 * (weights @ centred) + ((1 - kept) * trace / d) ** 0.5 * drawn
    return drawn / drawn.norm(dim=1, keepdim=True)
