"""Statements that differ by a negation or by capitals alone, found by their words."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from probes.data.checks import same_text

_NEGATIONS = {"not", "no", "never", "cannot"}
# "does not mean" against "means": the auxiliary comes with the negation.
_AUXILIARIES = {"does", "do", "did"}


def likely_negations(texts: Sequence[str], groups: Sequence[str]) -> list[tuple[int, int]]:
    """Return rows that differ by a negation alone and are of different groups.

    Args:
        texts: The statements.
        groups: One name a statement.

    Returns:
        (earlier row, later row), each later row once.
    """
    first: dict[tuple[str, ...], list[tuple[int, int]]] = defaultdict(list)
    found = []
    for row, text in enumerate(texts):
        words = same_text(text).lower().replace("n't", " not").strip(".").split()
        count = sum(word in _NEGATIONS for word in words)
        # The verb's ending goes with the auxiliary.
        rest = tuple(w.rstrip("s") or w for w in words if w not in _NEGATIONS | _AUXILIARIES)
        before = first[rest]
        for other, negations in before:
            if groups[other] != groups[row] and negations != count:
                found.append((other, row))
                break
        before.append((row, count))
    return found


def case_conflicts(texts: Sequence[str], labels: Sequence[bool]) -> list[tuple[int, int]]:
    """Return rows of opposite labels whose texts differ by capitals alone.

    Args:
        texts: The statements.
        labels: True for label 1.

    Returns:
        (first row, later row), each later row once.
    """
    first: dict[str, int] = {}
    pairs = ((first.setdefault(same_text(text).lower(), i), i) for i, text in enumerate(texts))
    return [(one, i) for one, i in pairs if labels[one] != labels[i]]
