"""Which statements a probe was trained on, in the framing at hand or in another.

A framing puts turns before a statement that stands by itself (``Turn.framing`` marks them), so a
probe keeps two hashes of it: of the whole input, and of the statement alone. What stands in a
conversation of its own, such as the letter of an answer, is no statement without its turns.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from probes.data import StatementSet


def training_hashes(data: StatementSet) -> tuple[str, ...]:
    """Return what a probe keeps of the statements it is fitted to, as ``Probe.training_rows``."""
    alone = [bare for bare in _bare_hashes(data) if bare is not None]
    return tuple(dict.fromkeys([*data.row_hashes, *alone]))


def trained_on(data: StatementSet, hashes: Collection[str]) -> npt.NDArray[np.bool_]:
    """Say of each row whether a probe was fitted to its statement, in whatever framing.

    Args:
        data: The statements.
        hashes: The probe's ``training_rows``.
    """
    known = set(hashes)
    rows = zip(data.row_hashes, _bare_hashes(data), strict=True)
    return np.array([whole in known or bare in known for whole, bare in rows], dtype=bool)


def _bare_hashes(data: StatementSet) -> list[str | None]:
    """The hash of each statement without its framing; None where it stands in none."""
    if data.prompts is None:
        return [None] * len(data)
    bare = replace(data, prompts=None).row_hashes
    return [
        text if any(turn.framing for turn in turns) else None
        for text, turns in zip(bare, data.prompts, strict=True)
    ]
