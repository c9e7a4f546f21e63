"""Parts of a data set that share no group, each with both labels in proportion."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.checks import DataError
from probes.data.statements import StatementSet

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


def split(data: StatementSet, *, held_out: float, seed: int) -> tuple[StatementSet, StatementSet]:
    """Split a set in two so that no group straddles and both parts hold both labels.

    Args:
        data: The statements.
        held_out: Share of the rows to hold out, strictly between 0 and 1.
        seed: Seeds the order of the groups.

    Returns:
        (to train on, held out).

    Raises:
        DataError: as ``group_split`` and ``check_split``.
    """
    known, new = group_split(data.y, data.groups, held_out=held_out, seed=seed, name=data.name)
    check_split(data, known, new)
    return data.select(known), data.select(new)


def group_folds(
    labels: Sequence[bool] | npt.NDArray[np.bool_],
    groups: Sequence[str],
    *,
    n_folds: int = 5,
    seed: int,
    name: str = "the data",
) -> list[tuple[Rows, Rows]]:
    """Cut rows into folds that share no group, each with both labels in proportion.

    Args:
        labels: The labels, both of them present.
        groups: One name a row.
        n_folds: How many, at least 2.
        seed: Seeds the order of the groups.
        name: What the data are called, for messages.

    Returns:
        For each fold (rows to train on, rows held out), each ascending; every row is held out
        once.

    Raises:
        DataError: fewer groups with a label than folds, or a fold left with one label.
    """
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    if n_folds < 2:
        raise DataError(f"n_folds is {n_folds}; expected at least 2")
    y = np.asarray(labels, dtype=bool)
    _, of = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
    for label in (False, True):
        n_groups = len(np.unique(of[y == label]))
        if n_groups < n_folds:
            raise DataError(
                f"{name}: {n_groups} groups with label {int(label)} cannot be cut into {n_folds} "
                f"folds; give more groups, or ask for {max(n_groups, 2)} folds or fewer"
            )
    # Single rows need no balancing of groups, which takes a while.
    single = len(np.unique(of)) == len(of)
    kind = StratifiedKFold if single else StratifiedGroupKFold
    cutter = kind(n_folds, shuffle=True, random_state=seed)
    cut = cutter.split(of, y) if single else cutter.split(of, y, of)
    folds = [(np.sort(known), np.sort(new)) for known, new in cut]
    for number, sides in enumerate(folds, start=1):
        if any(len(np.unique(y[side])) < 2 for side in sides):
            raise DataError(
                f"{name}: fold {number} of {n_folds} is left with one label, because large groups "
                "hold most of the other; ask for fewer folds"
            )
    return folds


def check_split(data: StatementSet, *parts: Sequence[int] | Rows) -> None:
    """Refuse parts of a set between which an answer leaks.

    Args:
        data: The statements.
        *parts: The rows of each part, two parts or more.

    Raises:
        DataError: a row is in two parts; a group or pair straddles; or, where no groups were
            given, a statement and its negation (found by their words) lie in different parts.
    """
    part_of: dict[int, int] = {}
    for number, rows in enumerate(parts):
        for row in map(int, rows):
            if part_of.setdefault(row, number) != number:
                raise DataError(f"{data.name}, {data.places[row]}: this row is in two parts")
    for what, names in (("group", data.groups), ("pair", data.pairs or ())):
        seen: dict[str, int] = {}
        for row in sorted(part_of):
            name = names[row] if names else None
            if name is None:
                continue
            first = seen.setdefault(name, row)
            if part_of[first] != part_of[row]:
                raise DataError(
                    f"{data.name}: the split leaks: {data.places[first]} and {data.places[row]} "
                    f"are of one {what} ({name!r}) but lie in different parts; use group_split"
                )
    if data.grouped:
        return
    for one, other in data.likely_negations:
        if part_of.get(one, -1) != part_of.get(other, -1) and {one, other} <= part_of.keys():
            raise DataError(
                f"{data.name}: the split leaks: {data.places[other]} ({data.texts[other][:60]!r}) "
                f"looks like the negation of {data.places[one]}, in another part; name the column "
                "that binds them as the group"
            )


def _enough(counts: npt.NDArray[Any]) -> bool:
    return bool(((counts > 0).sum(0) >= _FEWEST_GROUPS).all())
