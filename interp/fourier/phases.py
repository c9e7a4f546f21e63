"""The phases of grokking: memorisation, circuit formation, cleanup.

Nanda et al. (2023, §5.2) read them off the curves by eye; here they are read by rule. The circuit
forms while the test loss says nothing of it: the excluded loss turns up first (without the key
frequencies the model does ever worse on what it was trained on), and only when the memorised part
is cleaned away does the test loss fall. Where the training pairs were not learnt before, or the
test loss was below that of guessing when the excluded loss turned, there was no such order.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from interp.fourier.basis import FourierError

FALLEN = 0.5
"""Share of its peak to which the test loss has fallen when cleanup is said to begin."""

OVER = 0.01
"""Test loss, in nats, at which cleanup is said to be over."""

LEARNT = 0.9
"""Share of the training pairs answered rightly when these are said to be learnt."""


@dataclass(frozen=True)
class Phases:
    """Where the phases meet, in steps; the first begins at the first step.

    Attributes:
        circuit_from: Memorisation ends and circuit formation begins: the excluded loss is at its
            smallest. None where there are no phases.
        cleanup_from: Cleanup begins: the test loss first falls below half of its peak, after
            memorisation. None likewise.
        over_at: The test loss first falls below .01 nats; None where it never does.
        within: The longest interval between two looks: steps are known to within so many.
        reason: Why there are no phases; None where there are.
    """

    circuit_from: int | None
    cleanup_from: int | None
    over_at: int | None
    within: int
    reason: str | None = None


def phases_of(
    steps: Sequence[int],
    *,
    test_loss: Sequence[float],
    excluded_loss: Sequence[float],
    train_accuracy: Sequence[float],
    n_answers: int,
) -> Phases:
    """Find the phases of a training that ended in grokking.

    Args:
        steps: When it was looked at, ascending.
        test_loss: On held-out pairs, nats.
        excluded_loss: On training pairs, without the key frequencies of the end, nats.
        train_accuracy: Share of the training pairs answered rightly.
        n_answers: Answers there are: guessing costs log ``n_answers`` nats.

    Returns:
        The phases, or why there are none to tell apart.

    Raises:
        FourierError: series of different lengths, or fewer than 2 looks or answers.
    """
    lengths = [len(series) for series in (steps, test_loss, excluded_loss, train_accuracy)]
    if len(set(lengths)) != 1 or lengths[0] < 2:
        raise FourierError(
            f"phases need series of one length, at least 2, got {lengths[0]} steps, {lengths[1]} "
            f"test losses, {lengths[2]} excluded losses and {lengths[3]} training accuracies"
        )
    if n_answers < 2:
        raise FourierError(f"n_answers is {n_answers}; expected at least 2")
    within = max(b - a for a, b in pairwise(steps))
    turn = min(range(len(steps)), key=lambda i: excluded_loss[i])
    guessing = math.log(n_answers)
    if turn == len(steps) - 1:
        return _none(within, "the excluded loss never turns up")
    if train_accuracy[turn] < LEARNT:
        return _none(
            within,
            f"when the excluded loss turns up, at step {steps[turn]}, only "
            f"{train_accuracy[turn]:.0%} of the training pairs are right: they were not learnt "
            "before the circuit",
        )
    if test_loss[turn] < guessing:
        return _none(
            within,
            f"when the excluded loss turns up, at step {steps[turn]}, the test loss of "
            f"{test_loss[turn]:.2g} nats is already below that of guessing, {guessing:.2g}",
        )
    at_peak = max(range(len(steps)), key=lambda i: test_loss[i])
    low = FALLEN * test_loss[at_peak]
    after = range(max(turn, at_peak), len(steps))
    fallen = next((i for i in after if test_loss[i] < low), None)
    if fallen is None:
        return _none(within, "the test loss never falls to half of its peak")
    over = next((steps[i] for i in range(fallen, len(steps)) if test_loss[i] < OVER), None)
    return Phases(steps[turn], steps[fallen], over, within)


def _none(within: int, reason: str) -> Phases:
    return Phases(None, None, None, within, reason)
