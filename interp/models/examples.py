"""What a model is fed: token ids with their mask, what is scored, and how rows belong together."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Int
from torch import Tensor


class ExamplesError(ValueError):
    """The rows given cannot be examples; the message says which part does not fit."""


@dataclass(frozen=True, eq=False)
class Examples:
    """Token sequences with everything a measurement needs to know about them.

    Attributes:
        tokens: Token ids, one row an example.
        mask: True at real tokens, False at padding (left or right). All true when omitted.
        scored: True at position q where the prediction of ``tokens[q + 1]`` counts. The last
            column is never scored, nor is a position whose next token is padding.
        answer: The right answer's token id, where the task has one answer an example.
        wrong: A wrong answer's token id, to take differences against.
        answer_at: The position whose logits are read for ``answer``.
        groups: One label an example; rows of one group never straddle a split. When omitted,
            rows of the same tokens share one, so that no prompt is selected on and judged on.
        name: What the examples are, for tables and provenance.
        seed: The seed that made them, or None where none did.
    """

    tokens: Int[Tensor, "example pos"]
    mask: Bool[Tensor, "example pos"] | None = None
    scored: Bool[Tensor, "example pos"] | None = None
    answer: Int[Tensor, " example"] | None = None
    wrong: Int[Tensor, " example"] | None = None
    answer_at: Int[Tensor, " example"] | None = None
    groups: tuple[str, ...] = ()
    name: str = "examples"
    seed: int | None = None

    def __post_init__(self) -> None:
        tokens = self.tokens
        if tokens.ndim != 2 or tokens.is_floating_point() or tokens.dtype == torch.bool:
            raise ExamplesError(
                f"tokens must be integer ids of shape [example, pos], got {tokens.dtype} "
                f"of shape {list(tokens.shape)}"
            )
        n, width = tokens.shape
        if n == 0 or width == 0:
            raise ExamplesError(f"no examples: tokens have shape {[n, width]}")
        if tokens.dtype != torch.int64:
            object.__setattr__(self, "tokens", tokens.to(torch.int64))
        if self.mask is None:
            object.__setattr__(self, "mask", torch.ones_like(tokens, dtype=torch.bool))
        if not self.groups:
            seen: dict[bytes, str] = {}
            rows = [row.tobytes() for row in self.tokens.cpu().numpy()]
            labels = tuple(seen.setdefault(row, str(i)) for i, row in enumerate(rows))
            object.__setattr__(self, "groups", labels)
        self._check(n, width)

    def _check(self, n: int, width: int) -> None:
        mask = self.mask
        assert mask is not None
        for field, value in (("mask", mask), ("scored", self.scored)):
            if value is not None and (value.shape != (n, width) or value.dtype != torch.bool):
                raise ExamplesError(
                    f"{field} must be booleans of shape {[n, width]}, got {value.dtype} "
                    f"of shape {list(value.shape)}"
                )
        if not bool(mask.any(dim=1).all()):
            empty = int((~mask.any(dim=1)).nonzero()[0])
            raise ExamplesError(f"example {empty} has no real token: its mask is all false")
        # One run of real tokens a row: a hole would shift positions silently.
        steps = mask[:, 1:].int() - mask[:, :-1].int()
        if bool(((steps == 1).sum(1) + mask[:, 0].int() > 1).any()):
            raise ExamplesError(
                "a mask has a hole between real tokens; padding may stand only before or after them"
            )
        self._check_answers(n, width)
        if len(self.groups) != n:
            raise ExamplesError(f"{n} examples need {n} group labels, got {len(self.groups)}")
        if self.scored is not None:
            real_next = torch.zeros_like(mask)
            real_next[:, :-1] = mask[:, 1:]
            if bool((self.scored & ~(mask & real_next)).any()):
                raise ExamplesError(
                    "a scored position must be a real token followed by a real token: "
                    "the prediction at q is judged against tokens[q + 1]"
                )

    def _check_answers(self, n: int, width: int) -> None:
        assert self.mask is not None
        for field in ("answer", "wrong", "answer_at"):
            value = getattr(self, field)
            if value is None:
                continue
            if value.shape != (n,):
                raise ExamplesError(f"{field} must have shape {[n]}, got {list(value.shape)}")
            if value.is_floating_point() or value.dtype == torch.bool:
                raise ExamplesError(f"{field} must be integers, got {value.dtype}")
        if self.answer_at is not None:
            inside = (self.answer_at >= 0) & (self.answer_at < width)
            if not bool(inside.all()):
                raise ExamplesError(f"answer_at must lie in 0…{width - 1}")
            if not bool(self.mask.gather(1, self.answer_at[:, None].to(torch.int64)).all()):
                raise ExamplesError("answer_at points at padding, where logits mean nothing")

    def __len__(self) -> int:
        return int(self.tokens.shape[0])

    def __repr__(self) -> str:
        return (
            f"Examples({self.name!r}, {len(self)} × {self.tokens.shape[1]} tokens, "
            f"{len(set(self.groups))} groups, hash {self.hash[:12]})"
        )

    @property
    def padded(self) -> bool:
        """Whether any position is padding."""
        assert self.mask is not None
        return not bool(self.mask.all())

    @property
    def lengths(self) -> Int[Tensor, " example"]:
        """Number of real tokens in each example."""
        assert self.mask is not None
        return self.mask.sum(dim=1)

    @property
    def hash(self) -> str:
        """SHA-256 over every tensor and label: two sets are the same data iff equal."""
        digest = hashlib.sha256()
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            digest.update(field.name.encode())
            if isinstance(value, Tensor):
                digest.update(str((value.dtype, tuple(value.shape))).encode())
                digest.update(value.detach().cpu().contiguous().numpy().tobytes())
            elif field.name == "groups":
                digest.update("\0".join(value).encode())
        return digest.hexdigest()

    def select(
        self, indices: Sequence[int] | Int[Tensor, " chosen"] | Bool[Tensor, " example"]
    ) -> Examples:
        """Return the chosen rows, in the order given; or those where a mask over rows is true."""
        index = torch.as_tensor(indices)
        if index.dtype == torch.bool:  # a mask over rows, which as integers would pick rows 0 and 1
            index = index.nonzero()[:, 0]
        index = index.to(torch.int64).reshape(-1)
        rows = index.tolist()
        changes: dict[str, Any] = {"groups": tuple(self.groups[i] for i in rows)}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, Tensor):
                changes[field.name] = value[index]
        return dataclasses.replace(self, **changes)

    def split(self, fraction: float, *, seed: int) -> tuple[Examples, Examples]:
        """Split in two by group, so that no group straddles.

        Args:
            fraction: Share of the *groups* in the first part, strictly between 0 and 1.
            seed: Decides which groups go where.

        Raises:
            ExamplesError: fewer than two groups, or a fraction outside (0, 1).
        """
        if not 0.0 < fraction < 1.0:
            raise ExamplesError(f"fraction must lie strictly between 0 and 1, got {fraction}")
        labels = sorted(set(self.groups))
        if len(labels) < 2:
            raise ExamplesError(
                f"{self.name}: a split needs at least two groups, there is {len(labels)}"
            )
        order = torch.randperm(len(labels), generator=torch.Generator().manual_seed(seed))
        n_first = min(max(round(fraction * len(labels)), 1), len(labels) - 1)
        first = {labels[i] for i in order[:n_first].tolist()}
        chosen = [i for i, group in enumerate(self.groups) if group in first]
        rest = [i for i, group in enumerate(self.groups) if group not in first]
        return self.select(chosen), self.select(rest)

    def batches(self, size: int) -> Iterator[tuple[slice, Examples]]:
        """Yield consecutive (rows, examples) of at most ``size`` rows."""
        if size < 1:
            raise ExamplesError(f"batch size must be at least 1, got {size}")
        for start in range(0, len(self), size):
            rows = slice(start, min(start + size, len(self)))
            yield rows, self.select(range(rows.start, rows.stop))
