"""The phases of grokking: memorisation, circuit formation, cleanup.

Nanda et al. (2023, §5.2) read them off the curves by eye; here they are read by rule. The circuit
forms while the test loss says nothing of it: the excluded loss turns up first (without the key
frequencies the model does ever worse on what it was trained on), and only when the memorised part
is cleaned away does the test loss fall.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from interp.fourier.basis import FourierError

FALLEN = 0.5
"""Share of its peak to which the test loss has fallen when cleanup is said to begin."""

OVER = 0.01
"""Test loss, in nats, at which cleanup is said to be over."""


@dataclass(frozen=True)
class Phases:
    """Where the phases meet, in steps; the first begins at the first step.

    Attributes:
        circuit_from: Memorisation ends and circuit formation begins: the excluded loss is at its
            smallest.
        cleanup_from: Cleanup begins: the test loss first falls below half of its peak, after
            memorisation.
        over_at: The test loss first falls below .01 nats; None where it never does.
    """

    circuit_from: int
    cleanup_from: int
    over_at: int | None


def phases_of(
    steps: Sequence[int], *, test_loss: Sequence[float], excluded_loss: Sequence[float]
) -> Phases | None:
    """Find the phases of a training that ended in grokking.

    Args:
        steps: When it was looked at, ascending.
        test_loss: On held-out pairs, nats.
        excluded_loss: On training pairs, without the key frequencies of the end, nats.

    Returns:
        The phases; None where the excluded loss never turns up or the test loss never falls, so
        that there are none to tell apart.

    Raises:
        FourierError: series of different lengths.
    """
    if not len(steps) == len(test_loss) == len(excluded_loss) or not steps:
        raise FourierError(
            f"phases need series of one length, got {len(steps)} steps, {len(test_loss)} test and "
            f"{len(excluded_loss)} excluded losses"
        )
    turn = min(range(len(steps)), key=lambda i: excluded_loss[i])
    if turn == len(steps) - 1:
        return None
    peak = max(test_loss[turn:])
    at_peak = turn + list(test_loss[turn:]).index(peak)
    fallen = next((i for i in range(at_peak, len(steps)) if test_loss[i] < FALLEN * peak), None)
    if fallen is None:
        return None
    over = next((steps[i] for i in range(fallen, len(steps)) if test_loss[i] < OVER), None)
    return Phases(steps[turn], steps[fallen], over)
