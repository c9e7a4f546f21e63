"""Parting statements in three: for fitting monitors, for training attacks, and for judging."""

from __future__ import annotations

import numpy as np

from probes.data import DataError, StatementSet
from probes.data.split import Rows, check_split, group_split
from probes.probe import Probe
from probes.seen import trained_on

# Share of the statements to fit monitors on; the rest is halved for practice and judging.
_KNOWN = 0.4


def three_parts(
    data: StatementSet, probe: Probe | None, *, seed: int, notes: list[str]
) -> tuple[Rows, Rows, Rows]:
    """Part statements by group: to fit monitors on, to practise attacks on, and to judge by.

    Args:
        data: The statements.
        probe: A trained probe; the groups of what it was fitted to, in whatever framing, are the
            first part.
        seed: Of the order of the groups.
        notes: Takes a line where a probe decides the first part.

    Raises:
        DataError: too few statements or groups.
    """
    seen = trained_on(data, () if probe is None else probe.training_rows)
    used = {data.groups[row] for row in np.flatnonzero(seen)}
    if used:
        known = np.array([group in used for group in data.groups])
        first, rest = np.flatnonzero(known), np.flatnonzero(~known)
        notes.append(f"monitors are fitted on the {len(first)} statements that the probe knows")
        if len(set(data.y[first])) < 2 or len(set(data.y[rest])) < 2:
            raise DataError(
                f"{data.name}: the probe was fitted to {len(first)} of its {len(data)} "
                "statements, and one label is missing there or among the others; give more "
                "statements that it has not seen"
            )
    else:
        out = 1 - _KNOWN
        first, rest = group_split(data.y, data.groups, held_out=out, seed=seed, name=data.name)
    left = data.select(rest)
    here, there = group_split(left.y, left.groups, held_out=0.5, seed=seed, name=data.name)
    check_split(data, first, rest[here], rest[there])
    return first, rest[here], rest[there]
