"""The figure of an ordered token set, from plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, ORANGE, figure, plain

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def order_bars(
    power: ArrayLike,
    detrended: ArrayLike,
    *,
    null: float,
    detrended_null: float,
    trend: float,
    title: str | None = None,
) -> Figure:
    """Draw a spectrum as it is, and without the trend, each with what shuffled orders reach.

    Args:
        power: Share of the variance at frequencies 1, 2, …
        detrended: The same of what the trend leaves.
        null: What the largest frequency of 95 % of shuffled orders stays below.
        detrended_null: The same without their trends.
        trend: Share of the variance that is the trend.
        title: Shown above; none when omitted.
    """
    parts = (
        ("as it is", np.asarray(power, dtype=float), null, BLUE),
        (
            f"without the trend ({trend:.2f})",
            np.asarray(detrended, dtype=float),
            detrended_null,
            GREEN,
        ),
    )
    with figure(6.4, 2.7) as (made, whole):
        whole.remove()
        panels = made.subplots(1, 2, sharey=True)
        for axes, (name, values, level, colour) in zip(panels, parts, strict=True):
            axes.bar(np.arange(1, len(values) + 1), values, color=colour, width=0.7)
            axes.axhline(level, color=ORANGE, lw=1.3, label="largest of 95 % of shuffled orders")
            axes.set_xlabel("frequency")
            axes.xaxis.get_major_locator().set_params(integer=True)
            axes.set_title(name, fontweight="normal", fontsize=9)
        panels[0].set_ylabel("share of the variance")
        panels[0].legend(fontsize=7, loc="upper right")
        if title:
            made.suptitle(plain(title), fontsize=10, fontweight="bold", ha="left", x=0.02)
    return made
