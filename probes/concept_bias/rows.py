"""What bias in concept space is measured on: activations of targets, two references, neutral text.

Rows of all concepts lie in one pool, and a *replicate* gives every row a weight: one where it is as
it is, how often its group was drawn where groups are resampled. Rows of the two references also
carry a label, which a shuffle changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.data import shuffled_labels

_FEWEST_GROUPS = 5


class ConceptBiasError(ValueError):
    """Bias cannot be measured on these concepts; the message says why."""


@dataclass(frozen=True, eq=False)
class ConceptRows:
    """Sentences of one concept at one place.

    Attributes:
        name: Of the concept.
        values: One row a sentence.
        groups: One name a row. Names are shared between concepts: sentences of one template or
            frame are resampled together.
    """

    name: str
    values: Float[Tensor, "row d"]
    groups: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or len(self.values) != len(self.groups):
            raise ConceptBiasError(
                f"{self.name}: activations of shape {list(self.values.shape)} and "
                f"{len(self.groups)} groups; expected [row, d] and one group a row"
            )
        if not bool(torch.isfinite(self.values).all()):
            row = int((~torch.isfinite(self.values)).any(1).nonzero()[0])
            raise ConceptBiasError(
                f"{self.name}: the activation of row {row} is not finite; use float32"
            )
        if len(set(self.groups)) < _FEWEST_GROUPS:
            raise ConceptBiasError(
                f"{self.name} has {len(set(self.groups))} groups of sentences; expected at least "
                f"{_FEWEST_GROUPS}"
            )


@dataclass(frozen=True, eq=False)
class BiasRows:
    """All concepts of one measurement, at one place.

    Attributes:
        targets: Concepts whose bias is measured.
        first: The reference that a positive bias points to.
        second: The other.
        neutral: Sentences of none of them: the negatives of all.
        held_out: Neutral sentences kept from every fit, to be steered.
        place: Where.
    """

    targets: tuple[ConceptRows, ...]
    first: ConceptRows
    second: ConceptRows
    neutral: ConceptRows
    held_out: Float[Tensor, "row d"]
    place: str = "arrays"

    @classmethod
    def build(
        cls,
        targets: Sequence[ConceptRows],
        first: ConceptRows,
        second: ConceptRows,
        neutral: ConceptRows,
        *,
        held_out: float = 0.25,
        place: str = "arrays",
        seed: int,
    ) -> BiasRows:
        """Check the concepts, and keep some of the neutral sentences' groups from every fit.

        Args:
            targets: Two or more.
            first: One reference.
            second: The other.
            neutral: Sentences of none of them.
            held_out: Share of the neutral groups to keep.
            place: What the place is called.
            seed: Seeds which.

        Raises:
            ConceptBiasError: fewer than two targets, repeated names, different widths, or too
                few neutral sentences.
        """
        concepts = [*targets, first, second, neutral]
        names = [one.name for one in concepts]
        if len(targets) < 2 or len(set(names)) < len(names):
            raise ConceptBiasError(
                f"expected at least two targets, two references and neutral sentences, all of "
                f"different names, got {', '.join(names)}"
            )
        if len({one.values.shape[1] for one in concepts}) > 1:
            raise ConceptBiasError("the concepts' activations are of different widths")
        if not 0 < held_out < 1:
            raise ConceptBiasError(f"held_out is {held_out}; expected a share between 0 and 1")
        groups = list(dict.fromkeys(neutral.groups))
        order = np.random.default_rng(seed).permutation(len(groups))
        kept = {groups[i] for i in order[: max(1, round(held_out * len(groups)))]}
        away = torch.tensor([group in kept for group in neutral.groups])
        fitted = ConceptRows(
            neutral.name,
            neutral.values[~away],
            tuple(g for g in neutral.groups if g not in kept),
        )
        return cls(tuple(targets), first, second, fitted, neutral.values[away], place)

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the targets."""
        return tuple(one.name for one in self.targets)

    @cached_property
    def pool(self) -> Float[Tensor, "row d"]:
        """All rows but those held out: targets, first, second, neutral."""
        return torch.cat([one.values for one in self._all]).double()

    @cached_property
    def groups(self) -> tuple[str, ...]:
        """The group of every row of the pool."""
        return tuple(group for one in self._all for group in one.groups)

    @property
    def _all(self) -> tuple[ConceptRows, ...]:
        return (*self.targets, self.first, self.second, self.neutral)

    @cached_property
    def spans(self) -> dict[str, Int[Tensor, " row"]]:
        """Which rows of the pool each concept has."""
        ends = np.cumsum([0, *(len(one.values) for one in self._all)])
        return {
            one.name: torch.arange(int(start), int(end))
            for one, start, end in zip(self._all, ends[:-1], ends[1:], strict=True)
        }

    @property
    def reference_rows(self) -> Int[Tensor, " row"]:
        """Rows of both references."""
        return torch.cat([self.spans[self.first.name], self.spans[self.second.name]])

    @property
    def reference_labels(self) -> Bool[Tensor, " row"]:
        """True for the first reference."""
        return torch.arange(len(self.reference_rows)) < len(self.first.values)

    def shuffles(self, n: int, *, seed: int) -> Bool[Tensor, "shuffle row"]:
        """Labels of the references' rows that say nothing, hanging together as the true ones do."""
        rng = np.random.default_rng(seed)
        groups = [self.groups[row] for row in self.reference_rows.tolist()]
        real = self.reference_labels.numpy()
        drawn = [shuffled_labels(real, groups, rng=rng) for _ in range(n)]
        return torch.from_numpy(np.stack(drawn))

    def resamples(self, n: int, *, seed: int) -> Float[Tensor, "replicate row"]:
        """How often each row of the pool counts when groups are drawn with replacement.

        Groups are drawn for all concepts together, for what they share is not independent. A
        draw that leaves a concept without rows is drawn again.
        """
        names, of = np.unique(
            np.asarray(self.groups, dtype=object).astype(str), return_inverse=True
        )
        rng = np.random.default_rng(seed)
        found: list[np.ndarray] = []
        spans = [span.numpy() for span in self.spans.values()]
        while len(found) < n:
            counts = np.bincount(rng.integers(0, len(names), len(names)), minlength=len(names))
            weights = counts[of].astype(float)
            if all(weights[span].any() for span in spans):
                found.append(weights)
        return torch.from_numpy(np.stack(found))
