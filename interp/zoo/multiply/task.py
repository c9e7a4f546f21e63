"""The task: multiply two n-digit numbers, digits written least significant first.

A row is ``a_0 … a_{n-1} × b_0 … b_{n-1} = c_0 … c_{2n-1}``; the token at each position from ``=``
on predicts the next digit of the product. Operands are uniform over all digit strings, leading
zeros included, so that changing one digit of a row gives another row of the task.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.models import Examples

TIMES, EQUALS, D_VOCAB = 10, 11, 12
LARGEST = 9  # digits whose product still fits 64 bits
_MIX = (0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35)  # odd constants, to spread pairs evenly


class MultiplyError(ValueError):
    """A multiplication task cannot be as asked; the message says what was expected."""


@dataclass(frozen=True)
class Multiplication:
    """Multiplication of n digits by n digits.

    Attributes:
        n: Digits of each operand, 1 to 9.
        held_out: Share of the pairs of operands that training never sees.
    """

    n: int = 2
    held_out: float = 0.1

    def __post_init__(self) -> None:
        if not 1 <= self.n <= LARGEST:
            raise MultiplyError(f"n is {self.n}; expected 1 to {LARGEST} digits an operand")
        if not 0 < self.held_out < 1:
            raise MultiplyError(f"held_out is {self.held_out}; expected a share between 0 and 1")

    @property
    def width(self) -> int:
        """Tokens of a row: operands, marks and answer. Nothing is predicted at the last."""
        return 4 * self.n + 2

    @property
    def n_answers(self) -> int:
        """Digits of a product."""
        return 2 * self.n

    @property
    def predicts(self) -> tuple[int, ...]:
        """For each digit of the product, the position at which it is predicted."""
        return tuple(range(2 * self.n + 1, 4 * self.n + 1))

    @property
    def operands(self) -> tuple[int, ...]:
        """Positions of a_0 … a_{n-1} b_0 … b_{n-1}."""
        return (*range(self.n), *range(self.n + 1, 2 * self.n + 1))

    @property
    def digit_names(self) -> tuple[str, ...]:
        """Names of the operands' digits, in the order of :attr:`operands`."""
        return tuple(f"{which}{i}" for which in "ab" for i in range(self.n))

    def digits(self, numbers: Int[Tensor, " row"], n: int) -> Int[Tensor, "row digit"]:
        """The n lowest digits, least significant first."""
        return numbers[:, None] // 10 ** torch.arange(n) % 10

    def rows(self, a: Int[Tensor, " row"], b: Int[Tensor, " row"]) -> Int[Tensor, "row pos"]:
        """Whole rows of tokens, the last digit of the answer included.

        Raises:
            MultiplyError: an operand has more than n digits or is negative.
        """
        for name, numbers in (("a", a), ("b", b)):
            if len(numbers) and not 0 <= int(numbers.min()) <= int(numbers.max()) < 10**self.n:
                raise MultiplyError(f"{name} must be 0 to {10**self.n - 1}, for {self.n} digits")
        mark = torch.ones_like(a)[:, None]
        return torch.cat(
            [
                self.digits(a, self.n),
                TIMES * mark,
                self.digits(b, self.n),
                EQUALS * mark,
                self.digits(a * b, self.n_answers),
            ],
            1,
        )

    def operands_of(
        self, rows: Int[Tensor, "row pos"]
    ) -> tuple[Int[Tensor, " row"], Int[Tensor, " row"]]:
        """The numbers a and b that rows begin with."""
        scale = 10 ** torch.arange(self.n)
        a, b = rows[:, : self.n], rows[:, self.n + 1 : 2 * self.n + 1]
        return (a * scale).sum(1), (b * scale).sum(1)

    def running_sums(self, rows: Int[Tensor, "row pos"]) -> Int[Tensor, "row digit"]:
        """ĉ_k = s_k + ⌊ĉ_{k-1}/10⌋ with s_k = Σ_{i+j=k} a_i·b_j; the digit c_k is ĉ_k mod 10."""
        a, b = rows[:, : self.n], rows[:, self.n + 1 : 2 * self.n + 1]
        sums = rows.new_zeros((len(rows), self.n_answers))
        for i in range(self.n):
            sums[:, i : i + self.n] += a[:, i, None] * b
        for k in range(1, self.n_answers):
            sums[:, k] += sums[:, k - 1] // 10
        return sums

    def is_held_out(self, a: Int[Tensor, " row"], b: Int[Tensor, " row"]) -> Bool[Tensor, " row"]:
        """Whether pairs are kept from training, by a hash that is the same for (a, b) and (b, a).

        A product's mirror image is the same fact: on one side only, it would be a leak.
        """
        low, high = torch.minimum(a, b), torch.maximum(a, b)
        mixed = (low * _MIX[0] + high * _MIX[1]) % 2**32
        mixed = ((mixed ^ (mixed >> 15)) * _MIX[2]) % 2**32
        mixed = mixed ^ (mixed >> 13)
        return mixed % 10_000 < round(10_000 * self.held_out)

    def draw(
        self, n_rows: int, *, generator: torch.Generator, held_out: bool = False
    ) -> Int[Tensor, "row pos"]:
        """Draw rows, uniform over the pairs of one side of the hold-out.

        Args:
            n_rows: How many.
            generator: Draws them.
            held_out: Pairs that training never sees, or else those it does.
        """
        kept: list[Tensor] = []
        share = self.held_out if held_out else 1 - self.held_out
        while sum(map(len, kept)) < n_rows:
            ask = int(1.2 * n_rows / share) + 16
            a, b = torch.randint(10**self.n, (2, ask), generator=generator)
            right = self.is_held_out(a, b) == held_out
            kept.append(torch.stack([a[right], b[right]], 1))
        a, b = torch.cat(kept)[:n_rows].T
        return self.rows(a, b)

    def examples(self, rows: Int[Tensor, "row pos"], k: int | None = None) -> Examples:
        """Rows as examples, with every digit of the product scored, or one of them the answer.

        Mirror images (b, a) share a group with (a, b).

        Args:
            rows: As :meth:`rows` or :meth:`draw` make them.
            k: The digit that is the answer; None to score all.

        Raises:
            MultiplyError: there is no such digit.
        """
        if k is not None and not 0 <= k < self.n_answers:
            raise MultiplyError(f"k is {k}; expected a digit of the product, 0 to {2 * self.n - 1}")
        scored = torch.zeros_like(rows, dtype=torch.bool)
        scored[:, list(self.predicts) if k is None else [self.predicts[k]]] = True
        at = None if k is None else torch.full((len(rows),), self.predicts[k])
        a, b = (x.tolist() for x in self.operands_of(rows))
        return Examples(
            tokens=rows,
            scored=scored,
            answer=None if k is None else rows[:, self.predicts[k] + 1],
            answer_at=at,
            groups=tuple(f"{min(pair)}x{max(pair)}" for pair in zip(a, b, strict=True)),
            name=f"multiply-{self.n}x{self.n}" + ("" if k is None else f" c{k}"),
        )
