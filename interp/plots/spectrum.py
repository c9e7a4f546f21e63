"""Figures of a spectrum of directions: a quantity of several domains, layer by layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.arms import COLOURS
from interp.plots.style import GREY, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Layers beyond this many are named every so often.
_MOST_NAMES = 16


def lines_by_layer(
    values: Mapping[str, ArrayLike],
    *,
    layers: Sequence[str],
    y_label: str,
    low: Mapping[str, ArrayLike] | None = None,
    high: Mapping[str, ArrayLike] | None = None,
    null: tuple[ArrayLike, ArrayLike] | None = None,
    null_label: str = "null",
    chosen: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a quantity over layers, a line a domain, with intervals and a band for the null.

    Args:
        values: For each domain one number a layer.
        layers: Names of the layers.
        y_label: With units.
        low: Lower ends of the intervals.
        high: Upper ends.
        null: Lower and upper edge of the null's band, one number a layer.
        null_label: What the band is.
        chosen: Index of the layer to mark.
        title: Shown above; none when omitted.

    Raises:
        ValueError: a line has not as many numbers as there are layers.
    """
    across = np.arange(len(layers))
    with figure(max(4.6, 1.8 + 0.36 * len(layers)), 3.4) as (made, axes):
        if null is not None:
            edges = [np.asarray(edge, dtype=float) for edge in null]
            wide = len(layers) == 1  # one layer has no breadth to fill
            at = np.array([-0.3, 0.3]) if wide else across
            lower, upper = (np.repeat(edge, 2) if wide else edge for edge in edges)
            axes.fill_between(at, lower, upper, color=GREY, alpha=0.3, label=plain(null_label))
        axes.axhline(0.5, color="black", linewidth=0.6)
        if chosen is not None:
            axes.axvline(chosen, color=GREY, linewidth=1, linestyle=":", label="chosen")
        for i, (name, numbers) in enumerate(values.items()):
            up = np.asarray(numbers, dtype=float)
            if up.shape != across.shape:
                raise ValueError(
                    f"{name}: {len(layers)} layers need as many numbers, got {up.size}"
                )
            colour = COLOURS[i % len(COLOURS)]
            style = "-" if i < len(COLOURS) else "--"
            axes.plot(
                across,
                up,
                f"o{style}",
                color=colour,
                markersize=3.5,
                linewidth=1.3,
                label=plain(name),
            )
            if low is not None and high is not None:
                # Beside each other, so that the ends of several can be told apart.
                place = across + (i - (len(values) - 1) / 2) * 0.03
                ends = [np.asarray(side[name], dtype=float) for side in (low, high)]
                axes.vlines(place, *ends, color=colour, linewidth=0.8, alpha=0.6)
        step = max(1, -(-len(layers) // _MOST_NAMES))
        axes.set_xticks(
            across[::step], [plain(name) for name in layers[::step]], rotation=45, ha="right"
        )
        axes.set_xlim(-0.4, len(layers) - 0.6)
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(plain(y_label))
        axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if title:
            set_title(axes, title)
    return made
