"""Two parts of a data set that share no group, each with both labels in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data import DataError

Rows = npt.NDArray[np.intp]

# Orders of the groups that are tried; with groups of one size the first is as good as any.
_ORDERS = 50
# With one group of a label there is no telling the label from the group.
_FEWEST_GROUPS = 2


def group_split(
    labels: Sequence[bool] | npt.NDArray[np.bool_],
    groups: Sequence[str],
    *,
    held_out: float,
    seed: int,
    name: str = "the data",
) -> tuple[Rows, Rows]:
    """Split rows so that no group straddles and both parts hold both labels in proportion.

    Groups come in random order; each is held out if that brings the counts of held-out rows of
    the two labels nearer to their targets. Of several orders the one that ends nearest is taken.

    Args:
        labels: The labels, both of them present.
        groups: One name a row.
        held_out: Share of the rows to hold out, strictly between 0 and 1.
        seed: Seeds the order of the groups.
        name: What the data are called, for messages.

    Returns:
        (rows to train on, rows held out), each ascending.

    Raises:
        DataError: no split leaves at least two groups with each label on both sides.
    """
    if not 0 < held_out < 1:
        raise DataError(f"held_out is {held_out}; expected a share strictly between 0 and 1")
    y = np.asarray(labels, dtype=bool)
    names, of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    counts = np.stack([np.bincount(of, weights=~y), np.bincount(of, weights=y)], axis=1)
    totals = counts.sum(0)
    shares = counts / np.maximum(totals, 1)
    rng = np.random.default_rng(seed)
    best: tuple[float, npt.NDArray[np.bool_]] | None = None
    for _ in range(_ORDERS):
        taken = np.zeros(len(names), dtype=bool)
        gap = np.full(2, held_out)  # what is still wanted of each label
        for group in rng.permutation(len(names)):
            after = gap - shares[group]
            if float(after @ after) < float(gap @ gap):
                taken[group], gap = True, after
        if _enough(counts[taken]) and _enough(counts[~taken]):
            distance = float(gap @ gap)
            if best is None or distance < best[0]:
                best = distance, taken
            if distance <= float((1 / totals**2).sum()):
                break  # within one row of each label: no order does better
    if best is None:
        by_label = (counts > 0).sum(0)
        raise DataError(
            f"{name}: {len(names)} groups ({by_label[0]} with label 0, {by_label[1]} with label "
            f"1) cannot be split so that both parts have at least {_FEWEST_GROUPS} groups with "
            "each label; give more groups, or another share to hold out"
        )
    out = best[1][of]
    return np.flatnonzero(~out), np.flatnonzero(out)


def shuffled_labels(
    labels: npt.NDArray[np.bool_], groups: Sequence[str], *, rng: np.random.Generator
) -> npt.NDArray[np.bool_]:
    """Labels that say nothing about the rows, but hang together within groups as the true ones do.

    Every group is given the share of label 1 of a random group, on rows of its own at random
    (a share that does not divide evenly is rounded at random). Where every row is a group this
    is a plain permutation; in pairs of a claim and its negation it swaps within pairs; groups of
    one label keep to one label, so that the null is as variable as the data.

    Args:
        labels: The true labels, both of them present.
        groups: One name a row.
        rng: Seeded by the caller.
    """
    _, of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    sizes = np.bincount(of)
    shares = np.bincount(of, weights=labels) / sizes
    members = np.split(np.argsort(of, kind="stable"), np.cumsum(sizes)[:-1])
    while True:
        given = np.zeros(len(labels), dtype=bool)
        for rows, share in zip(members, rng.permutation(shares), strict=True):
            wanted = share * len(rows)
            # The small term keeps a whole number that rounding put just below itself.
            n = int(np.floor(wanted + 1e-9))
            n += int(rng.random() < wanted - n)
            given[rng.permutation(rows)[:n]] = True
        if given.any() and not given.all():
            return given


def _enough(counts: npt.NDArray[Any]) -> bool:
    return bool(((counts > 0).sum(0) >= _FEWEST_GROUPS).all())
