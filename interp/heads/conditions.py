"""What else is done to the model, and which heads are left out, while heads are compared.

Induction heads and function-vector heads overlap, so that removing the one removes some of the
other. Two conditions tell them apart: function-vector heads *left out*, neither removed nor used as
controls (Yin & Steinhardt 2025); and *removed throughout*, in the unchanged run as in all others,
so that what they do is done neither with nor without the heads in question.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from interp.evidence import Head
from interp.heads.ablation import AblationError, Ablations


@dataclass(frozen=True)
class Condition:
    """Under what circumstances heads are compared.

    Attributes:
        name: For tables; empty for the plain comparison.
        excluded: Heads that are neither in targets nor in controls.
        removed: Heads that are removed in every run, the one compared with included.
    """

    name: str = ""
    excluded: frozenset[Head] = frozenset()
    removed: frozenset[Head] = frozenset()

    def needs(self, sets: Sequence[frozenset[Head]]) -> tuple[frozenset[Head], ...]:
        """Return the sets to remove so that ``under`` can compare these sets."""
        return (self.removed, *(heads | self.removed for heads in sets))

    def under(self, found: Ablations, sets: Sequence[frozenset[Head]]) -> Ablations:
        """Read what removing ``sets`` does under this condition off what was removed.

        Raises:
            AblationError: a set that was not removed.
        """
        where = {heads: i for i, heads in enumerate(found.sets)}
        wanted = self.needs(sets)
        if missing := [heads for heads in wanted if heads and heads not in where]:
            raise AblationError(f"{len(missing)} sets were not removed, such as {missing[0]}")
        rows = [found.ablated[where[h]] if h else found.clean for h in wanted]
        ablated = torch.stack(rows[1:]) if rows[1:] else found.ablated[:0]
        return Ablations(found.metric, tuple(sets), rows[0], ablated)


PLAIN = Condition()


def function_vector_conditions(heads: frozenset[Head]) -> tuple[Condition, Condition]:
    """Return the two conditions that set function-vector heads aside."""
    return (
        Condition("function-vector heads left out", excluded=heads),
        Condition("function-vector heads removed throughout", excluded=heads, removed=heads),
    )
