"""Matched-random controls: what else could have been removed instead.

Removing any few heads hurts a little. An effect means something only beside the effects of removing
other heads that are alike in all but the property in question. Two families:

* **layer-matched**: the same number of heads in each layer, the target's own excluded. (Crosbie &
  Shutova 2024 match layers but leave the exclusion out; Yin & Steinhardt 2025 draw globally.)
* **norm-matched**: as many heads from anywhere outside the target, alike in mean output norm
  ‖z W_O‖, since a random head of the right layer may be an inert attention sink.

Two kinds of set are drawn for a target. What its removal costs *beside other heads* is read off the
control sets, which share no head with it. How often a set *chosen without regard to the signature*
would have cost as much, the p-value, is read off the null sets, which may. Were those left out, a
target holding the one head that matters would beat every set, for no other set could hold that
head: with signatures that mean nothing, p then falls to .05 or below up to 19 % of the time
(simulated in ``tests/science/test_null_sets.py``). For a single head the two are the same.

For both, the candidates are ordered (by layer, or by norm) and each target head, in the same order,
gets a window of candidates that may stand in for it; ``interp.evidence.windows`` counts the sets
that follow and draws from them.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from torch import Tensor

from interp.evidence.windows import draw_sets, window_around

Head = tuple[int, int]
"""(layer, head)."""


def head_name(head: Head) -> str:
    """Write a head as the field does: ``L3H7``."""
    return f"L{head[0]}H{head[1]}"


# Heads whose norm is below this share of the largest are dead, and equally dead to the match.
_DEAD = 1e-6
# The nearest so many candidates may stand in for a head that nothing is close to.
_NEAREST = 3


class ControlsError(ValueError):
    """The controls cannot be drawn as asked; the message says what does not fit."""


class NoControlsError(ControlsError):
    """Not one control set exists for this target, so no evidence can be built on it."""


@dataclass(frozen=True)
class ControlSets:
    """Sets of heads to remove instead of the target.

    Attributes:
        family: How they are matched, such as ``layer-matched``.
        sets: Distinct sets, none touching the target.
        n_possible: How many such sets exist in this model.
        enumerated: Whether ``sets`` is all of them.
        norm_ratios: For each set the geometric mean of its heads' norms over that of the
            target's: 1 is a perfect match, 4 a bad one. None in families not matched on norm.
        null_sets: Distinct sets of the same shape other than the target, which may share heads
            with it: the null distribution of the p-value. Those of ``sets`` where omitted.
        n_null_possible: How many of these exist.
    """

    family: str
    sets: tuple[frozenset[Head], ...]
    n_possible: int
    enumerated: bool
    norm_ratios: tuple[float, ...] | None = None
    null_sets: tuple[frozenset[Head], ...] = ()
    n_null_possible: int = 0

    def __post_init__(self) -> None:
        if not self.sets:
            raise NoControlsError(f"no {self.family} control set was given; give at least one")
        if len(set(self.sets)) != len(self.sets):
            raise ControlsError(f"the {self.family} control sets are not distinct")
        if self.n_possible < len(self.sets):
            raise ControlsError(
                f"{len(self.sets)} {self.family} control sets cannot come from the "
                f"{self.n_possible} possible ones"
            )

        if not self.null_sets:
            object.__setattr__(self, "null_sets", self.sets)
            object.__setattr__(self, "n_null_possible", self.n_possible)

    def __len__(self) -> int:
        return len(self.sets)


def layer_matched(
    target: Collection[Head],
    n_layers: int,
    n_heads: int,
    *,
    n: int,
    seed: int,
    exclude: Collection[Head] = (),
) -> ControlSets:
    """Draw sets with as many heads of each layer as the target has, and none of the target's.

    There are ∏ₗ C(Hₗ, kₗ) of them, kₗ being the target's heads in layer l and Hₗ the layer's heads
    outside target and ``exclude``. The null sets may share heads with the target: ∏ₗ C(Hₗ + kₗ, kₗ)
    less one.

    Args:
        target: The heads in question.
        n_layers: Layers of the model.
        n_heads: Query heads a layer, H.
        n: How many sets to draw; all are returned when there are no more.
        seed: Decides which.
        exclude: Further heads that are no controls, such as others that share the target's
            signature and may share its work.

    Raises:
        NoControlsError: some layer has fewer heads left than the target takes of it.
        ControlsError: an empty target, a head outside the model, or n < 1.
    """
    heads = _check_target(target, n_layers, n_heads, n)
    barred = {*heads, *exclude}
    candidates = []
    for layer in sorted({layer for layer, _ in heads}):
        taken = sum(1 for other, _ in heads if other == layer)
        left = [(layer, head) for head in range(n_heads) if (layer, head) not in barred]
        if len(left) < taken:
            raise NoControlsError(
                f"layer {layer} has {n_heads} heads and the target takes {taken}, which leaves "
                f"{len(left)} for a control set of {taken}: take a smaller target, or "
                "norm_matched controls, which may come from other layers"
            )
        candidates += left

    def windows(among: Sequence[Head]) -> list[range]:
        found = []
        for layer, _ in heads:
            inside = [i for i, (other, _) in enumerate(among) if other == layer]
            found.append(range(inside[0], inside[-1] + 1))
        return found

    return _families(
        "layer-matched", heads, candidates, sorted({*candidates, *heads}), windows, n=n, seed=seed
    )


def norm_matched(
    target: Collection[Head],
    norms: Float[Tensor, "layer head"],
    *,
    n: int,
    seed: int,
    tolerance: float = 2.0,
    exclude: Collection[Head] = (),
) -> ControlSets:
    """Draw sets of as many heads from anywhere else in the model, alike in output norm.

    The rule: a head may stand in for a target head when its norm is within a factor ``tolerance``
    of it. Where fewer than max(3, k) heads are, k being the size of the target, that many nearest
    in log norm may (so a set always exists when k heads are left, and three nearest heads stand in
    for a lone outlier). A set is a control when its heads can be paired one to one with the
    target's under this rule. Look at ``norm_ratios`` for how well they match.

    Heads with less than a millionth of the largest norm are dead and count as equally so.

    Args:
        target: The heads in question.
        norms: Mean over tokens of ‖z W_O‖ for every head, ≥ 0, in any unit.
        n: How many sets to draw; all are returned when there are no more.
        seed: Decides which.
        tolerance: Largest factor between a head and its stand-in, ≥ 1.
        exclude: Further heads that are no controls, as in ``layer_matched``.

    Raises:
        NoControlsError: fewer heads are left outside the target than are in it.
        ControlsError: an empty target, a head outside the model, n < 1, or impossible norms.
    """
    if norms.ndim != 2:
        raise ControlsError(f"norms must have shape [layer, head], got {list(norms.shape)}")
    heads = _check_target(target, norms.shape[0], norms.shape[1], n)
    value = norms.detach().cpu().double().numpy()
    if not np.isfinite(value).all() or (value < 0).any():
        raise ControlsError("norms must be finite and not negative: they are mean lengths ‖z W_O‖")
    if not tolerance >= 1:
        raise ControlsError(f"tolerance is a factor of at least 1 between norms, got {tolerance}")
    largest = float(value.max())
    log_norm = np.log(np.maximum(value, _DEAD * largest)) if largest else np.zeros_like(value)

    layers, per_layer = log_norm.shape

    def by_norm(heads_left_out: set[Head]) -> list[Head]:
        everywhere = ((i, j) for i in range(layers) for j in range(per_layer))
        left = [head for head in everywhere if head not in heads_left_out]
        return sorted(left, key=lambda head: (float(log_norm[head]), head))

    candidates = by_norm({*heads, *exclude})
    if len(candidates) < len(heads):
        raise NoControlsError(
            f"the target takes {len(heads)} of the model's {log_norm.size} heads, which leaves "
            f"{len(candidates)} for a control set of {len(heads)}: take a smaller target"
        )
    wanted = sorted(float(log_norm[head]) for head in heads)

    def windows(among: Sequence[Head]) -> list[range]:
        logs = np.array([float(log_norm[head]) for head in among])
        # Heads of the target are near themselves and must not use up the nearest ones.
        own = len(set(among) & set(heads))
        fewest = min(len(logs), max(_NEAREST, len(heads)) + own)
        return [window_around(logs, log, math.log(tolerance), fewest) for log in wanted]

    found = _families(
        "norm-matched",
        heads,
        candidates,
        by_norm(set(exclude) - set(heads)),
        windows,
        n=n,
        seed=seed,
    )
    centre = float(np.mean(wanted))
    ratios = tuple(
        math.exp(float(np.mean([log_norm[head] for head in heads_])) - centre)
        for heads_ in found.sets
    )
    return dataclasses.replace(found, norm_ratios=ratios)


def _families(
    family: str,
    target: Sequence[Head],
    outside: Sequence[Head],
    everywhere: Sequence[Head],
    windows: Callable[[Sequence[Head]], list[range]],
    *,
    n: int,
    seed: int,
) -> ControlSets:
    """Draw the sets that share no head with the target, and the null sets, which may."""

    def draw(among: Sequence[Head], count: int) -> tuple[list[frozenset[Head]], int]:
        picks, n_possible = draw_sets(windows(among), len(among), count, seed=seed)
        return [frozenset(among[i] for i in pick) for pick in picks], n_possible

    # One more than asked for, since the target itself may be among them.
    drawn, n_null = draw(everywhere, n + 1)
    null_sets = [heads for heads in drawn if heads != frozenset(target)][:n]
    controls, n_possible = draw(outside, n)
    return ControlSets(
        family=family,
        sets=tuple(controls),
        n_possible=n_possible,
        enumerated=n_possible <= n,
        # With one head the two are the same, but for the order they were drawn in.
        null_sets=tuple(null_sets) if len(target) > 1 else (),
        n_null_possible=n_null - 1 if len(target) > 1 else 0,
    )


def _check_target(target: Collection[Head], n_layers: int, n_heads: int, n: int) -> list[Head]:
    heads = sorted({(int(layer), int(head)) for layer, head in target})
    if not heads:
        raise ControlsError("the target is empty; name at least one (layer, head)")
    if n < 1:
        raise ControlsError(f"n must be at least 1 control set, got {n}")
    for layer, head in heads:
        if not (0 <= layer < n_layers and 0 <= head < n_heads):
            raise ControlsError(
                f"L{layer}H{head} is not in the model: layers are 0 to {n_layers - 1}, heads 0 to "
                f"{n_heads - 1}"
            )
    return heads
