"""Which texts train a probe and which test it: groups apart, labels balanced."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from interp.sae.dictionary import SaeError


def by_group(
    groups: Sequence[str], *, held_out: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training and of test texts; no group on both sides.

    Raises:
        SaeError: there is one group only.
    """
    labels = np.array(groups)
    names = rng.permutation(np.unique(labels))
    n = min(max(round(held_out * len(names)), 1), len(names) - 1)
    if len(names) < 2:
        raise SaeError("all texts are of one group; a split needs two")
    test = np.isin(labels, names[:n])
    return (~test).nonzero()[0], test.nonzero()[0]


def unbiased_and_biased(
    train: np.ndarray, cell: np.ndarray, *, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw as many training texts for both: m of every cell, and 2m of each where labels agree.

    Args:
        train: Rows to draw from.
        cell: 2·desired + spurious, of every text.
        rng: Draws them.

    Raises:
        SaeError: too few of some combination of labels.
    """
    sizes = [int((cell[train] == c).sum()) for c in range(4)]
    m = min(*sizes, sizes[0] // 2, sizes[3] // 2)
    if m == 0:
        raise SaeError(
            f"training texts by (desired, spurious): {sizes[0]} of 00, {sizes[1]} of 01, "
            f"{sizes[2]} of 10, {sizes[3]} of 11; some combination of labels has too few: "
            "expected at least 1 of each, and 2 where the labels agree"
        )
    unbiased = drawn(train, cell, range(4), most=m, rng=rng)
    return unbiased, drawn(train, cell, (0, 3), most=2 * m, rng=rng)


def drawn(
    rows: np.ndarray,
    cell: np.ndarray,
    cells: Sequence[int],
    *,
    most: int | None = None,
    rng: np.random.Generator,
) -> np.ndarray:
    """Draw as many rows of every cell: ``most``, or as many as the smallest cell has.

    Raises:
        SaeError: a cell has none.
    """
    parts = [rows[cell[rows] == c] for c in cells]
    n = min(map(len, parts)) if most is None else most
    if n == 0:
        raise SaeError("some combination of labels has no text on one side of the split")
    return np.sort(np.concatenate([rng.choice(part, n, replace=False) for part in parts]))
