"""What monitors read, and the scores that they are made of: differentiable, and in float64."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional

from interp.hooks import Site
from probes.fit.rule import Labels, LinearRule, NetRule


@dataclass(frozen=True, eq=False)
class Seen:
    """What a monitor reads at one site.

    Attributes:
        values: The vectors that it reads of each prompt, padded to the longest.
        real: True at vectors that are no padding; at least one a prompt.
    """

    values: Float[Tensor, "row read d"]
    real: Bool[Tensor, "row read"]

    def __len__(self) -> int:
        return len(self.values)

    def rows(self) -> Float[Tensor, "vector d"]:
        """All vectors without padding, prompt by prompt."""
        return self.values[self.real]

    def spread(self, labels: Labels) -> Labels:
        """Give every vector its prompt's label."""
        return np.repeat(labels, self.real.sum(1).cpu().numpy())

    def mean(self, scores: Float[Tensor, "row read"]) -> Float[Tensor, " row"]:
        """Average over the vectors of each prompt."""
        real = self.real.to(scores.device)
        kept = torch.where(real, scores, torch.zeros_like(scores))
        return kept.sum(1) / real.sum(1)

    def select(self, rows: npt.NDArray[np.intp]) -> Seen:
        """Return some prompts, in the order given."""
        index = torch.from_numpy(np.asarray(rows, dtype=np.int64))
        return Seen(self.values[index], self.real[index])


View = Mapping[Site, Seen]
"""What is read at each site."""


def joined(parts: Sequence[Seen]) -> Seen:
    """Put together what is read of several batches of prompts."""
    width = max(part.values.shape[1] for part in parts)

    def widened(x: Tensor) -> Tensor:
        more = (x.shape[0], width - x.shape[1], *x.shape[2:])
        return torch.cat([x, x.new_zeros(more)], dim=1)

    return Seen(
        torch.cat([widened(part.values) for part in parts]),
        torch.cat([widened(part.real) for part in parts]),
    )


def stacked(views: Sequence[View]) -> dict[Site, Seen]:
    """Put together what is read, at the same sites, of several sets of prompts."""
    return {site: joined([view[site] for view in views]) for site in views[0]}


class Part(Protocol):
    """The score at one site, and what an attacker lowers instead where the score saturates."""

    def score(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """What is averaged and held against the threshold."""

    def alarm(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """What an attacker lowers: rises with the score, and has a slope wherever that is high."""


@dataclass(frozen=True, eq=False)
class RulePart:
    """A fitted rule.

    Attributes:
        rule: Its scores are above zero for the label that it was fitted to find.
        unit: Spread of its scores over the rows it was fitted to: what the attack counts in.
        sign: −1 where the monitor is to find the other label.
        probability: Whether the score is the probability rather than the rule's own.
    """

    rule: LinearRule | NetRule
    unit: float
    sign: int = 1
    probability: bool = True

    def score(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The probability, or the rule's own score."""
        raw = self.sign * self.rule.scores(x)
        return torch.sigmoid(raw) if self.probability else raw

    def alarm(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """−log(1 − p), in units of the spread: p itself has no slope where the rule is sure."""
        return functional.softplus(self.sign * self.rule.scores(x) / self.unit)


@dataclass(frozen=True, eq=False)
class CosinePart:
    """The cosine with a direction, seen from a centre."""

    direction: Float[Tensor, " d"]
    centre: Float[Tensor, " d"]

    def score(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """−1 to 1."""
        return functional.cosine_similarity(x.double() - self.centre, self.direction, dim=-1)

    def alarm(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The cosine itself."""
        return self.score(x)


@dataclass(frozen=True, eq=False)
class DistancePart:
    """The squared Mahalanobis distance from the benign rows.

    Attributes:
        whiten: Inverse of the Cholesky factor of the covariance.
        centre: Mean of the benign rows.
        unit: Mean distance of the benign rows themselves: what the attack counts in.
    """

    whiten: Float[Tensor, "d d"]
    centre: Float[Tensor, " d"]
    unit: float

    def score(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The squared distance."""
        return ((x.double() - self.centre) @ self.whiten.T).pow(2).sum(-1)

    def alarm(self, x: Float[Tensor, "*batch d"]) -> Float[Tensor, "*batch"]:
        """The logarithm of the distance: a far row would otherwise outweigh all else."""
        return torch.log1p(self.score(x) / self.unit)
