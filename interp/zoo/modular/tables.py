"""Two-operand tasks: a table of answers, its tokens, and which pairs are trained on."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.models import Examples


class TableError(ValueError):
    """The table, or the split of its pairs, cannot be had as asked."""


@dataclass(frozen=True, eq=False)
class Table:
    """A binary operation on n things, written ``a b =`` and answered in one token.

    Operands are tokens 0 … n−1, ``=`` is token n. The network reads the answer at ``=``.

    Attributes:
        answers: ``answers[a, b]`` is c, from 0 to ``n_answers`` − 1.
        name: What the operation is called.
        n_answers: Outputs the network has; n unless told.
    """

    answers: Int[Tensor, "n n"]
    name: str
    n_answers: int = 0

    def __post_init__(self) -> None:
        answers = self.answers
        if answers.ndim != 2 or answers.shape[0] != answers.shape[1] or len(answers) < 2:
            raise TableError(
                f"{self.name}: expected a square table of at least 2 × 2, got {list(answers.shape)}"
            )
        if answers.is_floating_point() or answers.dtype == torch.bool:
            raise TableError(f"{self.name}: answers must be whole numbers, got {answers.dtype}")
        object.__setattr__(self, "answers", answers.to(torch.int64))
        object.__setattr__(self, "n_answers", self.n_answers or len(answers))
        low, high = int(self.answers.min()), int(self.answers.max())
        if low < 0 or high >= self.n_answers:
            raise TableError(
                f"{self.name}: answers run from {low} to {high}; expected 0…{self.n_answers - 1}"
            )

    @property
    def n(self) -> int:
        """Operands there are."""
        return len(self.answers)

    @property
    def pairs(self) -> Int[Tensor, "pair 2"]:
        """All pairs (a, b), a slowest: row ``a * n + b``."""
        return torch.cartesian_prod(torch.arange(self.n), torch.arange(self.n))

    def split(self, train_fraction: float, *, seed: int) -> Bool[Tensor, "n n"]:
        """Draw the pairs to train on; the others are held out.

        Args:
            train_fraction: Share of all n² pairs, strictly between 0 and 1.
            seed: Decides which.

        Returns:
            True at pairs to train on.

        Raises:
            TableError: a fraction that leaves nothing to train on, or nothing held out.
        """
        n_train = int(train_fraction * self.n**2)
        if not (0 < train_fraction < 1 and n_train > 0):
            raise TableError(
                f"train_fraction is {train_fraction}; expected a share of the {self.n**2} pairs "
                "strictly between 0 and 1, of at least one pair"
            )
        order = torch.randperm(self.n**2, generator=torch.Generator().manual_seed(seed))
        train = torch.zeros(self.n**2, dtype=torch.bool)
        train[order[:n_train]] = True
        return train.reshape(self.n, self.n)

    def examples(self, which: Bool[Tensor, "n n"] | None = None) -> Examples:
        """Pairs as prompts for a loaded model, answered at ``=``.

        Args:
            which: The pairs wanted; all when omitted.

        Returns:
            Rows (a, b, =) in the order of :attr:`pairs`. (a, b) and (b, a) share a group.
        """
        chosen = torch.ones_like(self.answers, dtype=torch.bool) if which is None else which
        pairs = chosen.nonzero()
        sign = torch.full((len(pairs), 1), self.n)
        ordered = pairs.sort(dim=1).values.tolist()
        return Examples(
            tokens=torch.cat([pairs, sign], dim=1),
            answer=self.answers[chosen],
            answer_at=torch.full((len(pairs),), 2),
            groups=tuple(f"{a},{b}" for a, b in ordered),
            name=self.name,
        )


def modular_addition(p: int) -> Table:
    """The table of a + b mod p.

    Raises:
        TableError: p below 2.
    """
    if p < 2:
        raise TableError(f"p is {p}; expected a modulus of at least 2")
    residues = torch.arange(p)
    return Table((residues[:, None] + residues) % p, f"a + b mod {p}")
