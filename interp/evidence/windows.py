"""Sets with one member from each of several windows: counted, numbered, and drawn evenly.

1. Candidates stand in an order, and each member of the target has a window of them that may stand
   in for it. Both ends of the windows never decrease from member to member.
2. Then a set of candidates can stand in for the target exactly when its i-th member lies in the
   i-th window, so the sets are counted, without double counting, by a short recursion.
3. Number them 0 … n_possible − 1 in lexicographic order.
4. Take all of them when there are no more than were asked for, else distinct numbers drawn
   uniformly without replacement, and decode each number into its set.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float


def window_around(
    logs: Float[np.ndarray, " candidate"], log: float, reach: float, fewest: int
) -> range:
    """Return the candidates within ``reach`` of ``log``, widened to the ``fewest`` nearest.

    Both ends never decrease in ``log``, which is what the counting rests on.

    Args:
        logs: The candidates' values, ascending.
        log: The value to be near.
        reach: How far from it is near, at least 0.
        fewest: How many to take where fewer are near; no more than there are.
    """
    slack = 1e-9  # norms equal to the tolerance up to rounding are inside it
    low = int(np.searchsorted(logs, log - reach - slack, side="left"))
    high = int(np.searchsorted(logs, log + reach + slack, side="right"))
    left = right = int(np.searchsorted(logs, log))
    while right - left < fewest:
        if left > 0 and (right == len(logs) or log - logs[left - 1] <= logs[right] - log):
            left -= 1
        else:
            right += 1
    return range(min(low, left), max(high, right))


def draw_sets(
    windows: Sequence[range], n_candidates: int, n: int, *, seed: int
) -> tuple[list[tuple[int, ...]], int]:
    """Draw distinct increasing tuples whose i-th entry lies in the i-th window; count them all.

    Args:
        windows: For each member of the target the candidates that may stand in for it; both ends
            never decrease.
        n_candidates: Candidates in all.
        n: How many sets to draw; all are returned, in order, when there are no more.
        seed: Decides which.

    Returns:
        The tuples, and how many there are in all.
    """
    # ways[i][j]: completions that choose entries i, i+1, … from candidates j, j+1, …
    ways = [[0] * (n_candidates + 1) for _ in windows] + [[1] * (n_candidates + 1)]
    for i in reversed(range(len(windows))):
        for j in reversed(range(n_candidates)):
            ways[i][j] = ways[i][j + 1] + (ways[i + 1][j + 1] if j in windows[i] else 0)
    n_possible = ways[0][0]
    if n_possible <= n:
        return [_decode(rank, windows, ways) for rank in range(n_possible)], n_possible
    rng = np.random.default_rng(seed)
    ranks: dict[int, None] = {}
    while len(ranks) < n:
        ranks[_below(n_possible, rng)] = None
    return [_decode(rank, windows, ways) for rank in ranks], n_possible


def _decode(rank: int, windows: Sequence[range], ways: list[list[int]]) -> tuple[int, ...]:
    """Return the tuple with this number, in lexicographic order."""
    chosen = []
    j = 0
    for i, window in enumerate(windows):
        j = max(j, window.start)
        while rank >= ways[i + 1][j + 1]:
            rank -= ways[i + 1][j + 1]
            j += 1
        chosen.append(j)
        j += 1
    return tuple(chosen)


def _below(limit: int, rng: np.random.Generator) -> int:
    """Draw uniformly from 0 … limit − 1, which may be far beyond 64 bits."""
    bits = limit.bit_length()
    n_bytes = (bits + 7) // 8
    while True:
        draw = int.from_bytes(rng.bytes(n_bytes), "big") >> (8 * n_bytes - bits)
        if draw < limit:
            return draw
