"""Figures of steering: effects beside random directions and the natural gap, and dose curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9")


def effect_bars(
    names: Sequence[str],
    effects: ArrayLike,
    *,
    intervals: Sequence[tuple[float, float]],
    random: Sequence[ArrayLike],
    gaps: Sequence[float | None],
    label: str,
    title: str | None = None,
) -> Figure:
    """Draw a bar a direction, with what its controls do beside it and the natural gap above.

    Args:
        names: Of the directions.
        effects: One a direction.
        intervals: Of the effects, drawn as whiskers.
        random: For each direction the effects of its controls, drawn as dots.
        gaps: For each direction the natural gap, drawn as a line, or None.
        label: Of the axis, with units.
        title: Shown above; none when omitted.
    """
    values = np.asarray(effects, dtype=float)
    with figure(1.8 + 0.95 * max(2, len(names)), 3.2) as (made, axes):
        where = np.arange(len(names))
        axes.bar(where - 0.15, values, width=0.4, color=BLUE, label="along the direction")
        ends = np.abs(np.asarray(intervals, dtype=float).T - values)
        axes.errorbar(where - 0.15, values, yerr=ends, fmt="none", ecolor="black", capsize=2)
        for i, (dots, gap) in enumerate(zip(random, gaps, strict=True)):
            own = np.asarray(dots, dtype=float).ravel()
            jitter = (np.arange(own.size) * 0.618034 % 1 - 0.5) * 0.18
            text = "controls" if i == 0 else None
            axes.plot(i + 0.22 + jitter, own, ".", color=GREY, markersize=3, label=text)
            if gap is not None:
                text = "natural gap" if i == 0 else None
                axes.hlines(gap, i - 0.4, i + 0.4, color=ORANGE, linewidth=2, label=text)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xticks(where)
        turned = {"rotation": 30, "ha": "right"} if max(map(len, names)) > 10 else {}
        axes.set_xticklabels([plain(name) for name in names], **turned)
        axes.set_ylabel(plain(label))
        made.legend(fontsize=7.5, loc="outside lower center", ncols=3)
        if title:
            set_title(axes, title)
    return made


def dose_curves(
    curves: Mapping[str, Mapping[str, ArrayLike]],
    *,
    label: str = "change of log-odds, nats",
    title: str | None = None,
) -> Figure:
    """Draw the change of log-odds over the amount pushed, with the band of random directions.

    Args:
        curves: For each direction its columns ``amount``, ``change``, ``low``, ``high``,
            ``random_low`` and ``random_high``, such as a frame of ``probes.dose_curve``. Zero,
            where nothing changes, is added.
        label: Of the vertical axis, with units.
        title: Shown above; none when omitted.
    """
    with figure(5.0, 3.4) as (made, axes):
        for i, (name, curve) in enumerate(curves.items()):
            colour = _COLOURS[i % len(_COLOURS)]
            columns = {
                key: np.append(np.asarray(curve[key], dtype=float), 0.0)
                for key in ("amount", "change", "low", "high", "random_low", "random_high")
            }
            order = np.argsort(columns["amount"], kind="stable")
            columns = {key: column[order] for key, column in columns.items()}
            amount = columns["amount"]
            text = "random directions" if i == 0 else None
            low, high = columns["random_low"], columns["random_high"]
            axes.fill_between(amount, low, high, color=GREY, alpha=0.3, linewidth=0, label=text)
            axes.fill_between(
                amount, columns["low"], columns["high"], color=colour, alpha=0.25, linewidth=0
            )
            axes.plot(amount, columns["change"], "o-", color=colour, label=plain(name))
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xlabel("amount pushed, natural gaps")
        axes.set_ylabel(plain(label))
        axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made
