"""Controls that are drawn, not chosen among what the model has, such as random directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from interp.evidence.controls import NoControlsError


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
    n_possible: ClassVar[int] = 10**18
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
