"""Figures of how weights move in training, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED)


def components_needed(
    needed: Mapping[str, Sequence[float]],
    *,
    names: Sequence[str],
    walks: Mapping[str, Sequence[float]],
    title: str | None = None,
) -> Figure:
    """Draw how many principal components hold 90 % of each matrix's path, beside random walks.

    Args:
        needed: For each training one number a matrix.
        names: Of the matrices.
        walks: What random walks with as long steps need, in the same way.
        title: Shown above; none when omitted.
    """
    with figure(6.2, 0.9 + 0.3 * len(names)) as (made, axes):
        places = np.arange(len(names), dtype=float)
        high = 0.7 / max(1, len(needed))
        for i, (training, values) in enumerate(needed.items()):
            at = places + (i - (len(needed) - 1) / 2) * high
            axes.barh(
                at,
                np.asarray(values, dtype=float),
                height=high,
                color=_COLOURS[i % len(_COLOURS)],
                label=plain(training),
            )
            null = np.asarray(walks[training], dtype=float)
            axes.plot(null, at, "d", color="black", ms=4, label=None if i else "random walk")
        axes.set_yticks(places)
        axes.set_yticklabels([plain(name) for name in names], fontsize=8)
        axes.invert_yaxis()
        axes.set_xlabel("components that hold 90 % of the variance")
        axes.legend(fontsize=7.5, loc="upper left", bbox_to_anchor=(1.0, 1.0))
        if title:
            set_title(axes, title)
    return made


def paths(
    coordinates: Mapping[str, ArrayLike],
    *,
    shares: Mapping[str, ArrayLike],
    steps: Mapping[str, ArrayLike],
    title: str | None = None,
) -> Figure:
    """Draw each training's path in the plane of its first two components.

    Args:
        coordinates: For each training, checkpoints by components, two at least.
        shares: Of the variance, for each training.
        steps: When each checkpoint was; they colour the path.
        title: Shown above; none when omitted.
    """
    with figure(3.3 * len(coordinates) + 0.4, 3.1) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(coordinates), squeeze=False)[0]
        for axes, (name, rows) in zip(panels, coordinates.items(), strict=True):
            xy, part = np.asarray(rows, dtype=float), np.asarray(shares[name], dtype=float)
            axes.plot(xy[:, 0], xy[:, 1], color=GREY, linewidth=0.8)
            dots = axes.scatter(
                xy[:, 0], xy[:, 1], c=np.asarray(steps[name], dtype=float), cmap="viridis", s=12
            )
            axes.set_xlabel(f"component 1 ({part[0]:.0%})")
            axes.set_ylabel(f"component 2 ({part[1]:.0%})")
            made.colorbar(dots, ax=axes, label="step")
            set_title(axes, name)
        if title:
            made.suptitle(plain(title), fontsize=10, fontweight="bold")
    return made


def data_sizes(
    accuracies: Mapping[str, ArrayLike],
    *,
    sizes: Sequence[int],
    critical: Mapping[str, float | None],
    title: str | None = None,
) -> Figure:
    """Draw accuracy on pairs never trained on against the number of training pairs.

    Args:
        accuracies: For each way of training, seeds by sizes.
        sizes: Training pairs.
        critical: The critical size of each, where there is one.
        title: Shown above; none when omitted.
    """
    with figure(5.6, 3.4) as (made, axes):
        x = np.asarray(sizes, dtype=float)
        for i, (name, table) in enumerate(accuracies.items()):
            colour, rows = _COLOURS[i % len(_COLOURS)], np.asarray(table, dtype=float)
            for row in rows:
                axes.plot(x, row, "o", color=colour, markersize=4, alpha=0.6)
            axes.plot(x, rows.mean(0), color=colour, linewidth=1.4, label=plain(name))
            where = critical.get(name)
            if where is not None:
                axes.axvline(where, color=colour, linewidth=0.8, linestyle=":")
        axes.set_xscale("log")
        axes.set_xticks(x)
        axes.set_xticklabels([f"{size:.0f}" for size in x], fontsize=8)
        axes.minorticks_off()
        axes.set_ylim(-0.03, 1.03)
        axes.set_xlabel("training pairs")
        axes.set_ylabel("accuracy on pairs never trained on")
        axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def across_decays(
    values: Mapping[str, Mapping[float, Sequence[float | None]]],
    *,
    labels: Mapping[str, str],
    title: str | None = None,
) -> Figure:
    """Draw several quantities against weight decay, a panel each, one line a seed.

    Args:
        values: For each quantity, by weight decay, a number a seed; None where there is none.
        labels: What each quantity is called.
        title: Shown above; none when omitted.
    """
    with figure(2.7 * len(values) + 0.3, 2.9) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(values), squeeze=False)[0]
        for axes, (what, by_decay), colour in zip(panels, values.items(), _COLOURS, strict=False):
            decays = np.asarray(list(by_decay), dtype=float)
            rows = np.asarray(list(by_decay.values()), dtype=float).T
            for row in rows:
                axes.plot(decays, row, "o-", color=colour, linewidth=1.0, markersize=4, alpha=0.7)
            axes.set_xscale("log")
            axes.set_yscale("log")
            axes.set_xticks(decays, [f"{decay:g}" for decay in decays])
            known = rows[np.isfinite(rows)]
            # The same two decades' worth of height in every panel, so that slopes compare.
            middle = float(np.exp(np.log(known).mean())) if known.size else 1.0
            axes.set_ylim(middle / 6, middle * 6)
            axes.minorticks_off()
            ticks = [float(f"{middle * factor:.1g}") for factor in (0.25, 0.5, 1, 2, 4)]
            axes.set_yticks(ticks, [f"{tick:.0f}" for tick in ticks])
            axes.set_xlabel("weight decay")
            axes.set_title(wrapped(labels[what], 26), fontsize=8.5, fontweight="normal")
            if not known.size:
                axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", color=GREY)
        if title:
            made.suptitle(plain(title), fontsize=10, fontweight="bold")
    return made
