"""Figures that lay bias in concept space beside behaviour, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", "#F0E442")
_IN_A_ROW = 3


def agreement_by_site(
    sites: Sequence[str],
    found: Mapping[str, Mapping[str, tuple[float, float, float]]],
    *,
    label: str,
    title: str | None = None,
) -> Figure:
    """Draw how far each method agrees with another measure, site by site, with intervals.

    Args:
        sites: Names of the sites, in order.
        found: By method and site: (value, low, high). A method may lack sites.
        label: What the value is.
        title: Shown above; none when omitted.

    Raises:
        ValueError: nothing to draw, or a site that is not among ``sites``.
    """
    if not found or not sites:
        raise ValueError("nothing to draw: give at least one site and method")
    places = {site: at for at, site in enumerate(sites)}
    aside = 0.6 / len(found)
    with figure(5.6, 3.2) as (made, axes):
        for number, (method, rows) in enumerate(found.items()):
            if strange := rows.keys() - places.keys():
                raise ValueError(f"{method} has {sorted(strange)[0]!r}, which is none of the sites")
            across = [places[site] + (number - (len(found) - 1) / 2) * aside for site in rows]
            values = np.array(list(rows.values())).reshape(-1, 3)
            reach = np.abs(values[:, 1:] - values[:, :1]).T
            axes.errorbar(
                across,
                values[:, 0],
                yerr=reach,
                fmt="o",
                markersize=4,
                linewidth=1.1,
                color=_COLOURS[number % len(_COLOURS)],
                label=plain(method),
            )
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_ylim(top=1.05)
        axes.set_xticks(range(len(sites)), [plain(site) for site in sites], rotation=30, ha="right")
        axes.set_ylabel(plain(label))
        made.legend(fontsize=7, loc="outside lower center", ncols=4)
        if title:
            set_title(axes, title)
    return made


def bias_and_behaviour(
    behaviour: ArrayLike,
    biases: Mapping[str, ArrayLike],
    *,
    planted: ArrayLike | None = None,
    x_label: str = "bias in behaviour (nats)",
    y_label: str = "bias in concept space",
    title: str | None = None,
) -> Figure:
    """Draw bias in concept space against behaviour, a panel a method, a point a target.

    Args:
        behaviour: Of each target.
        biases: By method, of each target.
        planted: What was planted in each target: orange where positive, blue where negative, the
            larger the farther from 0.
        x_label: With units.
        y_label: With units.
        title: Shown above; none when omitted.

    Raises:
        ValueError: no method, or not one number a target.
    """
    x = np.asarray(behaviour, dtype=float)
    known = None if planted is None else np.asarray(planted, dtype=float)
    values = {name: np.asarray(one, dtype=float) for name, one in biases.items()}
    for name, one in (*values.items(), *([] if known is None else [("planted", known)])):
        if x.ndim != 1 or one.shape != x.shape:
            raise ValueError(f"{name}: expected {x.shape[0]} values, got {one.shape}")
    if not values:
        raise ValueError("nothing to draw: give at least one method")
    columns = min(_IN_A_ROW, len(values))
    n_rows = -(-len(values) // columns)
    colour, size = _dots(known, len(x))
    with figure(2.3 * columns + 0.4, 2.1 * n_rows + 0.4) as (made, axes):
        axes.remove()
        panels = made.subplots(n_rows, columns, squeeze=False).ravel()
        for panel, (name, one) in zip(panels, values.items(), strict=False):
            panel.axhline(0, color=GREY, linewidth=0.6)
            panel.axvline(0, color=GREY, linewidth=0.6)
            panel.scatter(x, one, s=size, c=colour, linewidths=0)
            panel.set_title(plain(name), fontsize=8.5)
        for panel in panels[len(values) :]:
            panel.remove()
        made.supxlabel(plain(x_label), fontsize=9)
        made.supylabel(plain(y_label), fontsize=9)
        if title:
            told = " Orange: planted above 0; blue: below." if known is not None else ""
            made.suptitle(plain(title + "." + told if told else title), fontsize=9)
    return made


def _dots(planted: np.ndarray | None, n: int) -> tuple[list[str], np.ndarray]:
    if planted is None:
        return [BLUE] * n, np.full(n, 18.0)
    most = max(float(np.abs(planted).max()), 1e-12)
    return [ORANGE if one > 0 else BLUE for one in planted], 8 + 30 * np.abs(planted) / most
