"""Figures that compare training arms, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOURS = (BLUE, ORANGE, GREEN, RED, GREY, "#CC79A7", "#56B4E9")


def learning_curves(
    curves: Mapping[str, Sequence[tuple[ArrayLike, ArrayLike]]],
    *,
    x_label: str,
    y_label: str,
    title: str | None = None,
) -> Figure:
    """Draw a quantity over training: a line a seed, one colour an arm.

    Args:
        curves: For each arm its seeds' (x, y), of equal lengths.
        x_label: With units.
        y_label: With units.
        title: Shown above; none when omitted.
    """
    with figure(5.6, 3.4) as (made, axes):
        for (name, lines), colour in zip(curves.items(), _cycle(len(curves)), strict=True):
            for i, (x, y) in enumerate(lines):
                axes.plot(
                    np.asarray(x, dtype=float),
                    np.asarray(y, dtype=float),
                    color=colour,
                    linewidth=1.3,
                    alpha=0.85,
                    label=plain(name) if i == 0 else None,
                )
        axes.set_xlabel(plain(x_label))
        axes.set_ylabel(plain(y_label))
        axes.set_ylim(bottom=min(0.0, axes.get_ylim()[0]))
        axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def by_arm(
    values: Mapping[str, ArrayLike],
    *,
    label: str,
    controls: Mapping[str, ArrayLike] | None = None,
    controls_label: str = "matched random sets",
    title: str | None = None,
) -> Figure:
    """Draw one number a seed for every arm, its mean as a bar, and controls beside it.

    Args:
        values: For each arm one number a seed.
        label: What it is, with units.
        controls: For each arm the controls' numbers; drawn beside the arm's own.
        controls_label: What they are.
        title: Shown above; none when omitted.
    """
    with figure(1.4 + 1.1 * max(3, len(values)), 3.2) as (made, axes):
        for i, ((name, numbers), colour) in enumerate(
            zip(values.items(), _cycle(len(values)), strict=True)
        ):
            own = np.asarray(numbers, dtype=float).ravel()
            axes.plot(np.full(own.size, i - 0.12), own, "o", color=colour, markersize=5)
            axes.hlines(own.mean(), i - 0.3, i + 0.06, color=colour, linewidth=2)
            null = np.asarray((controls or {}).get(name, ()), dtype=float).ravel()
            if null.size:
                jitter = (np.arange(null.size) * 0.618034 % 1 - 0.5) * 0.16
                where = np.full(null.size, i + 0.22) + jitter
                text = controls_label if i == 0 else None
                axes.plot(where, null, ".", color=GREY, markersize=3, label=text)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(range(len(values)))
        axes.set_xticklabels([plain(name).replace(", ", ",\n") for name in values], fontsize=8)
        axes.set_ylabel(plain(label))
        if controls:
            axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def _cycle(n: int) -> list[str]:
    return [COLOURS[i % len(COLOURS)] for i in range(n)]
