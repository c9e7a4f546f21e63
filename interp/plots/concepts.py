"""Figures of concept vectors: sensitivities beside their null, bias by layer and by target."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9")


def sensitivities(
    rows: Sequence[tuple[str, str, float, float, float]],
    *,
    sensitive: Sequence[bool],
    label: str,
    title: str | None = None,
) -> Figure:
    """Draw one point a site and concept, over the range of random concepts.

    Args:
        rows: (site, concept, value, low and high end of the null's range).
        sensitive: Which of them pass the test: filled.
        label: What the value is.
        title: Shown above; none when omitted.

    Raises:
        ValueError: no rows, or not as many flags.
    """
    if not rows or len(rows) != len(sensitive):
        raise ValueError(f"{len(rows)} rows and {len(sensitive)} flags; expected as many, and some")
    with figure(5.6, 1.5 + 0.24 * len(rows)) as (made, axes):
        for at, ((_, _, value, low, high), found) in enumerate(zip(rows, sensitive, strict=True)):
            axes.plot(
                [low, high], [at, at], color=GREY, linewidth=5, alpha=0.5, solid_capstyle="butt"
            )
            axes.plot(
                [value],
                [at],
                "o",
                color=BLUE,
                markersize=5,
                markerfacecolor=BLUE if found else "white",
            )
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_yticks(range(len(rows)), [plain(f"{site}  {name}") for site, name, *_ in rows])
        axes.invert_yaxis()
        axes.set_xlabel(plain(label))
        axes.plot([], [], "o", color=BLUE, label="passes after Holm")
        axes.plot([], [], "o", color=BLUE, markerfacecolor="white", label="does not")
        axes.plot([], [], color=GREY, linewidth=5, alpha=0.5, label="95% of random ones")
        made.legend(fontsize=7, loc="outside lower center", ncols=3)
        if title:
            set_title(axes, title)
    return made


def bias_by_layer(
    sites: Sequence[str],
    values: Mapping[str, ArrayLike],
    nulls: Mapping[str, ArrayLike],
    *,
    label: str,
    title: str | None = None,
) -> Figure:
    """Draw mean |bias| by site, one line a method, each with its shuffled null dotted.

    Args:
        sites: Names of the sites, in order.
        values: By method, one number a site.
        nulls: By method, the 95% quantile of the null at each site.
        label: What is drawn up.
        title: Shown above; none when omitted.

    Raises:
        ValueError: a method with another number of values than sites.
    """
    for name, numbers in (*values.items(), *nulls.items()):
        if np.shape(numbers) != (len(sites),):
            raise ValueError(f"{name}: expected {len(sites)} values, got {np.shape(numbers)}")
    across = np.arange(len(sites))
    with figure(5.2, 3.2) as (made, axes):
        for colour, (name, numbers) in zip(_COLOURS, values.items(), strict=False):
            up = np.asarray(numbers, dtype=float)
            axes.plot(across, up, "o-", color=colour, markersize=4, label=plain(name))
            if name in nulls:
                null = np.asarray(nulls[name], dtype=float)
                axes.plot(across, null, ":", color=colour, linewidth=1.2)
        axes.plot([], [], ":", color=GREY, label="95% of shuffled references")
        axes.set_xticks(across, [plain(site) for site in sites], rotation=45, ha="right")
        axes.set_ylim(bottom=0)
        axes.set_ylabel(plain(label))
        axes.legend(fontsize=7)
        if title:
            set_title(axes, title)
    return made


def bias_by_target(
    names: Sequence[str],
    across: ArrayLike,
    values: ArrayLike,
    intervals: ArrayLike | None,
    *,
    x_label: str,
    y_label: str,
    title: str | None = None,
) -> Figure:
    """Draw each target's bias in concept space against another measure, with its interval.

    Args:
        names: Of the targets.
        across: The other measure.
        values: Bias in concept space.
        intervals: Of shape [target, 2]; None to draw none.
        x_label: With units.
        y_label: With units.
        title: Shown above; none when omitted.

    Raises:
        ValueError: not one number a target.
    """
    x, y = np.asarray(across, dtype=float), np.asarray(values, dtype=float)
    if not x.shape == y.shape == (len(names),):
        raise ValueError(f"{len(names)} targets need as many values, got {x.shape} and {y.shape}")
    with figure(4.8, 3.6) as (made, axes):
        if intervals is not None:
            ends = np.asarray(intervals, dtype=float)
            axes.vlines(x, ends[:, 0], ends[:, 1], color=GREY, linewidth=1.2)
        axes.plot(x, y, "o", color=BLUE, markersize=4.5)
        for name, at, up in zip(names, x, y, strict=True):
            axes.annotate(
                plain(name), (at, up), xytext=(3, 3), textcoords="offset points", fontsize=6.5
            )
        axes.axhline(0, color="black", linewidth=0.6)
        axes.axvline(0, color="black", linewidth=0.6)
        axes.set_xlabel(plain(x_label))
        axes.set_ylabel(plain(y_label))
        if title:
            set_title(axes, title)
    return made
