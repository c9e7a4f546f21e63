"""Figures of group representations, cosets and margins, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED)


def representation_bars(
    shares: Mapping[str, ArrayLike],
    *,
    names: Sequence[str],
    chance: ArrayLike,
    keys: Sequence[str] = (),
    title: str | None = None,
) -> Figure:
    """Draw shares of variance by representation, a bar for each of several things.

    Args:
        shares: For each thing its share at each representation.
        names: Of the representations; key ones are shown in bold.
        chance: The share of something unstructured, drawn as a line across each group of bars.
        keys: Which are key.
        title: Shown above; none when omitted.

    Raises:
        ValueError: shares and names differ in number.
    """
    level = np.asarray(chance, dtype=float)
    at = np.arange(len(names))
    with figure(min(12.0, max(3.6, 1.6 + 0.55 * len(names))), 3.0) as (made, axes):
        width = 0.8 / max(1, len(shares))
        for i, (what, values) in enumerate(shares.items()):
            heights = np.asarray(values, dtype=float)
            if heights.shape != (len(names),) or level.shape != (len(names),):
                raise ValueError(
                    f"{len(names)} representations need as many values, got {list(heights.shape)} "
                    f"for {what} and {list(level.shape)} for chance"
                )
            left = at + (i + 0.5) * width - 0.4
            colour = _COLOURS[i % len(_COLOURS)]
            axes.bar(left, heights, width=width, color=colour, label=plain(what))
        axes.hlines(level, at - 0.42, at + 0.42, color=GREY, lw=1.4, label="chance")
        axes.set_xticks(at, [plain(name) for name in names], rotation=45, ha="right")
        for label, name in zip(axes.get_xticklabels(), names, strict=True):
            label.set_fontsize(7.5 if len(names) < 30 else 5)
            label.set_fontweight("bold" if name in keys else "normal")
        axes.set_ylabel("share of variance")
        axes.set_ylim(bottom=0)
        axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def two_readings(
    purity: ArrayLike,
    concentration: ArrayLike,
    *,
    null_purity: float,
    null_concentration: float,
    title: str | None = None,
) -> Figure:
    """Draw every neuron by how pure it is in one representation and how constant on cosets.

    Args:
        purity: Largest share of its inputs' variance in one representation.
        concentration: Coset concentration of the same neurons.
        null_purity: The 95th percentile of purity where there is nothing to find.
        null_concentration: The same of concentration.
        title: Shown above; none when omitted.
    """
    with figure(3.8, 3.4) as (made, axes):
        axes.scatter(
            np.asarray(purity, dtype=float),
            np.asarray(concentration, dtype=float),
            s=14,
            color=BLUE,
            alpha=0.6,
            linewidths=0,
        )
        axes.axvline(null_purity, color=ORANGE, lw=1.2, label="95 % of neurons, renamed elements")
        axes.axhline(null_concentration, color=ORANGE, lw=1.2)
        axes.set_xlabel("share in one representation")
        axes.set_ylabel("coset concentration")
        axes.set_xlim(0, 1.03)
        axes.set_ylim(min(0, float(np.min(np.asarray(concentration, dtype=float)))), 1.03)
        axes.legend(fontsize=7, loc="lower left")
        if title:
            set_title(axes, title)
    return made


def margin_bars(
    shares: Mapping[str, float],
    *,
    climbed: Mapping[str, float],
    null: Mapping[str, float],
    title: str | None = None,
) -> Figure:
    """Draw normalised margins as shares of the largest possible, which is the line at 1.

    Args:
        shares: By network, as training left it.
        climbed: The same after climbing the margin itself.
        null: The same before training; drawn as a dot, at 0 where it is negative.
        title: Shown above; none when omitted.
    """
    names = list(shares)
    with figure(2.4 + 1.0 * len(names), 3.0) as (made, axes):
        at = np.arange(len(names))
        kinds = (("trained", shares, BLUE), ("after climbing the margin", climbed, GREEN))
        for i, (label, values, colour) in enumerate(kinds):
            xs = at + 0.4 * (i - 0.5)
            heights = [max(0.0, values[name]) for name in names]
            axes.bar(xs, heights, color=colour, width=0.38, label=label)
            for x, height, name in zip(xs, heights, names, strict=True):
                axes.annotate(
                    f"{values[name]:.3f}",
                    (x, 0.5 * height),
                    ha="center",
                    va="center",
                    fontsize=7.5,
                    color="white",
                )
        dots = [max(0.0, null[name]) for name in names]
        told = "untrained" if any(dots) else "untrained (below 0)"
        axes.scatter(at, dots, color=ORANGE, s=18, zorder=3, label=told, clip_on=False)
        axes.axhline(1, color=GREY, lw=1.2, label="largest possible")
        axes.set_xticks(at, [plain(name) for name in names], rotation=30, ha="right")
        axes.set_ylabel("normalised margin / γ*")
        axes.set_ylim(0, 1.05)
        axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        if title:
            set_title(axes, title)
    return made
