"""Held-out rows that are also trained on: found and left out."""

from __future__ import annotations

import logging

import numpy as np

from interp.models import Examples
from interp.sae.dictionary import SaeError

log = logging.getLogger(__name__)

# Tokens in a stretch that is looked for among what is trained on.
_STRETCH = 16


def apart(train: Examples, held_out: Examples, *, marks: bool) -> tuple[Examples, Examples]:
    """Leave out held-out rows that are also trained on, as in text that repeats itself.

    A row counts as trained on where most of its stretches are, at whatever place: text may repeat
    itself out of step with the rows.

    Args:
        train: Rows to train on.
        held_out: Rows to evaluate on.
        marks: Whether every row begins with a beginning-of-sequence mark, which says nothing.

    Raises:
        SaeError: no row is left to evaluate on.
    """
    skip = int(marks)
    of_train, of_held_out = _stretches(
        train.tokens[:, skip:].numpy(), held_out.tokens[:, skip:].numpy()
    )
    also = np.isin(of_held_out, of_train).mean(1)
    kept = np.flatnonzero(also <= 0.5).tolist()
    twice = len(held_out) - len(kept)
    if not kept:
        raise SaeError(
            f"{held_out.name} repeats itself: all {twice} held-out rows are also trained on, so "
            "that none is left to evaluate on; give text that varies more"
        )
    if twice:
        log.warning(
            "%d of %d held-out rows of %s are also trained on and were left out",
            twice,
            len(held_out),
            held_out.name,
        )
    return train, held_out.select(kept)


def _stretches(*rows: np.ndarray) -> list[np.ndarray]:
    """Every stretch of some tokens, as a number: equal for equal stretches, by chance for others
    once in 2⁶⁴."""
    length = min(_STRETCH, *(part.shape[1] for part in rows))
    factors = np.random.default_rng(0).integers(1, 2**63, length, dtype=np.uint64) | np.uint64(1)
    found = []
    for part in rows:
        wide = part.astype(np.uint64) + np.uint64(1)
        n = part.shape[1] - length + 1
        total = np.zeros((len(part), n), dtype=np.uint64)
        for i, factor in enumerate(factors):
            mixed = wide[:, i : i + n] * factor
            total += mixed ^ (mixed >> np.uint64(29))
        found.append(total)
    return found
