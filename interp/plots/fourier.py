"""Figures of Fourier features and of grokking, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, RED, GREEN, ORANGE, GREY, "#CC79A7", "#56B4E9")
_PHASES = ("memorisation", "circuit formation", "cleanup")


def grokking(
    steps: ArrayLike,
    losses: Mapping[str, ArrayLike],
    *,
    gini: Mapping[str, ArrayLike],
    sum_of_squares: ArrayLike,
    phases: Sequence[int] = (),
    n_answers: int | None = None,
    grokked_at: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw the progress measures of a training: losses, sparsity of the weights, their size.

    Args:
        steps: When it was looked at.
        losses: Cross-entropies in nats, by name; on a logarithmic scale.
        gini: Gini coefficients in the Fourier basis, by what they are of.
        sum_of_squares: Of all weights.
        phases: Steps at which memorisation gives way to circuit formation, and that to cleanup.
        n_answers: Answers there are; the loss of guessing among them is drawn, log ``n_answers``.
        grokked_at: First step at which 99 % of the held-out pairs were right; marked.
        title: Shown above; none when omitted.
    """
    x = np.asarray(steps, dtype=float)
    with figure(6.2, 5.6) as (made, whole):
        whole.remove()
        top, middle, bottom = made.subplots(3, 1, sharex=True, height_ratios=(3, 1.3, 1))
        for (name, values), colour in zip(losses.items(), _cycle(len(losses)), strict=True):
            top.plot(x, np.asarray(values, dtype=float), color=colour, lw=1.4, label=plain(name))
        top.set_yscale("log")
        if n_answers is not None:
            top.axhline(np.log(n_answers), color=GREY, lw=1, ls="--", label="guessing")
        if grokked_at is not None:
            said = f"99 % of held-out pairs right, step {grokked_at}"
            top.axvline(grokked_at, color=GREY, lw=1, ls=":", label=said)
        if len(phases):  # room for their names
            top.set_ylim(top=8 * top.get_ylim()[1])
        top.set_ylabel("loss (nats)")
        top.legend(fontsize=7.5, loc="lower left")
        for (name, values), colour in zip(gini.items(), _cycle(len(gini)), strict=True):
            middle.plot(x, np.asarray(values, dtype=float), color=colour, lw=1.4, label=plain(name))
        middle.set_ylabel("Gini")
        middle.set_ylim(0, 1)
        if gini:
            middle.legend(fontsize=7.5, loc="upper left")
        bottom.plot(x, np.asarray(sum_of_squares, dtype=float), color=BLUE, lw=1.4)
        bottom.set_ylabel("Σ weights²")
        bottom.set_ylim(bottom=0)
        bottom.set_xlabel("step")
        for axes in (top, middle, bottom):
            _shade(axes, x, phases, named=axes is top)
        if title:
            set_title(top, title)
    return made


def _shade(axes: Any, x: np.ndarray, phases: Sequence[int], *, named: bool) -> None:
    if not len(phases):
        return
    ends = [float(x.min()), *map(float, phases), float(x.max())]
    for i, (left, right) in enumerate(pairwise(ends)):
        axes.axvspan(left, right, color=GREY, alpha=0.06 + 0.1 * (i % 2), linewidth=0)
        if named:
            axes.text(
                (left + right) / 2,
                0.995,
                _PHASES[i].replace(" ", "\n"),
                transform=axes.get_xaxis_transform(),
                ha="center",
                va="top",
                fontsize=7,
                color="#555555",
            )


def frequency_bars(
    powers: Mapping[str, ArrayLike],
    *,
    y_label: str,
    keys: Sequence[int] = (),
    nulls: Mapping[str, float] | None = None,
    null_label: str = "largest in shuffled order",
    title: str | None = None,
) -> Figure:
    """Draw one number per frequency, a panel for each of several things, with its null as a line.

    Args:
        powers: For each thing its values at frequencies 1, 2, ….
        y_label: What they are, with units.
        keys: Frequencies to mark.
        nulls: For a thing, what its largest value is where there is nothing to find.
        null_label: What this null is.
        title: Shown above; none when omitted.
    """
    with figure(6.2, 0.9 + 1.35 * len(powers)) as (made, whole):
        whole.remove()
        panels = made.subplots(len(powers), 1, sharex=True, squeeze=False)[:, 0]
        for i, (axes, (name, values)) in enumerate(zip(panels, powers.items(), strict=True)):
            heights = np.asarray(values, dtype=float)
            at = np.arange(1, len(heights) + 1)
            marked = np.isin(at, np.asarray(keys, dtype=int))
            axes.bar(at, heights, color=np.where(marked, BLUE, GREY), width=0.8)
            for k, height in zip(at[marked], heights[marked], strict=True):
                axes.annotate(str(k), (k, height), ha="center", va="bottom", fontsize=7)
            if nulls and name in nulls:
                axes.axhline(nulls[name], color=ORANGE, lw=1.2, label=plain(null_label))
                if i == 0:
                    axes.legend(fontsize=7.5)
            axes.set_ylabel(plain(name), fontsize=8)
            axes.margins(y=0.15)
        panels[-1].set_xlabel("frequency")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        made.supylabel(plain(y_label), fontsize=9)
        if title:
            set_title(panels[0], title)
    return made


def _cycle(n: int) -> list[str]:
    return [_COLOURS[i % len(_COLOURS)] for i in range(n)]
