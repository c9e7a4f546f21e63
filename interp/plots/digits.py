"""Figures of digits: attribution, running-sum probes, scores with their nulls, prisms, trees."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_COLOURS = (BLUE, ORANGE, GREEN, RED, "#CC79A7", "#56B4E9", GREY)


def attribution_maps(
    maps: Mapping[str, ArrayLike],
    *,
    operands: Sequence[str],
    impossible: ArrayLike,
    title: str | None = None,
) -> Figure:
    """Draw what each digit of the answer loses when an operand digit changes, a panel a model.

    Args:
        maps: For each model its mean drops in logits, [operand, answer].
        operands: Names of the operands' digits.
        impossible: True where the answer digit does not depend on the operand digit; marked ×.
        title: Shown above; none when omitted.
    """
    grids = {name: np.asarray(values, dtype=float) for name, values in maps.items()}
    top = max(float(np.abs(grid).max()) for grid in grids.values()) or 1.0
    where = np.argwhere(np.asarray(impossible, dtype=bool))
    with figure(1.2 + 2.9 * len(grids), 3.1) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(grids), squeeze=False)[0]
        for axes, (name, grid) in zip(panels, grids.items(), strict=True):
            image = axes.imshow(grid, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
            for row, column in where:
                axes.text(column, row, "×", ha="center", va="center", color=GREY, fontsize=8)
            axes.set_xticks(range(grid.shape[1]), [f"c{k}" for k in range(grid.shape[1])])
            axes.set_yticks(range(len(operands)), [plain(text) for text in operands])
            axes.set_xlabel(plain(name))
        panels[0].set_ylabel("digit replaced (× cannot matter)")
        made.colorbar(image, ax=list(panels), shrink=0.9, label="drop of the largest logit")
        if title:
            set_title(panels[0], title)
    return made


def sum_errors(
    errors: Mapping[str, Mapping[str, ArrayLike]],
    *,
    nulls: Mapping[str, Mapping[str, ArrayLike]],
    title: str | None = None,
) -> Figure:
    """Draw the error of running-sum probes by digit, a panel a model and a line a site.

    Args:
        errors: For each model and site the mean absolute error at c_0, c_1, ….
        nulls: By name, for each model what is had without the site; black lines.
        title: Shown above; none when omitted.
    """
    with figure(2.2 + 2.9 * len(errors), 2.9) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(errors), squeeze=False, sharey=True)[0]
        for axes, (name, sites) in zip(panels, errors.items(), strict=True):
            for (label, models), style in zip(nulls.items(), ("--", ":", "-."), strict=False):
                null = np.asarray(models[name], dtype=float)
                axes.plot(range(len(null)), null, style, color="black", lw=1, label=plain(label))
            for i, (site, values) in enumerate(sites.items()):
                colour = _COLOURS[i % len(_COLOURS)]
                heights = np.asarray(values, dtype=float)
                axes.plot(range(len(heights)), heights, "o-", color=colour, lw=1.2, ms=3.5,
                          label=plain(site))  # fmt: skip
            axes.set_xticks(range(len(heights)), [f"c{k}" for k in range(len(heights))])
            axes.set_ylim(bottom=0)
            axes.set_xlabel(plain(name))
        panels[0].set_ylabel("mean absolute error of ĉ")
        panels[-1].legend(fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if title:
            set_title(panels[0], title)
    return made


def scores_with_nulls(
    scores: Mapping[str, Mapping[str, float]],
    *,
    nulls: Mapping[str, Mapping[str, ArrayLike]],
    label: str,
    title: str | None = None,
) -> Figure:
    """Draw scores from 0 to 1 as dots beside the range of their nulls as bars, a colour a model.

    Args:
        scores: For each model its scores by name.
        nulls: For each model and score what shuffling gives.
        label: What the scores are.
        title: Shown above; none when omitted.
    """
    names = list(next(iter(scores.values())))
    with figure(5.4, 1.3 + 0.42 * len(names)) as (made, axes):
        for i, (model, found) in enumerate(scores.items()):
            colour = _COLOURS[i % len(_COLOURS)]
            for j, name in enumerate(names):
                y = j + 0.26 * (i - (len(scores) - 1) / 2)
                null = np.asarray(nulls[model][name], dtype=float)
                low, high = np.quantile(null, [0.025, 0.975])
                axes.plot([low, high], [y, y], color=GREY, lw=5, alpha=0.5, solid_capstyle="butt",
                          label="shuffled, 95%" if i == j == 0 else None)  # fmt: skip
                axes.plot(
                    found[name], y, "o", color=colour, ms=5, label=plain(model) if j == 0 else None
                )
        axes.set_yticks(range(len(names)), [plain(name) for name in names])
        axes.invert_yaxis()
        axes.set_xlim(-0.02, 1.02)
        axes.set_xlabel(plain(label))
        axes.legend(fontsize=7.5, loc="center left", bbox_to_anchor=(1.0, 0.5))
        if title:
            set_title(axes, title)
    return made


def prisms(means: Mapping[str, ArrayLike], *, title: str | None = None) -> Figure:
    """Draw ten digits in the plane of frequency 2, even ones filled: a pentagon, if it is one.

    Args:
        means: For each model or place its centred digit means, [10, feature].
        title: Shown above; none when omitted.
    """
    turn = 2 * np.pi * 2 * np.arange(10) / 10
    with figure(0.6 + 2.5 * len(means), 2.8) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(means), squeeze=False)[0]
        for axes, (name, values) in zip(panels, means.items(), strict=True):
            points = np.asarray(values, dtype=float)
            points = points - points.mean(0)
            # The plane that the means turn in at frequency 2.
            plane = np.linalg.qr(np.stack([np.cos(turn) @ points, np.sin(turn) @ points]).T)[0]
            at = points @ plane
            axes.scatter(*at[::2].T, color=BLUE, s=28, label="even")
            axes.scatter(*at[1::2].T, edgecolor=BLUE, facecolor="none", s=28, label="odd")
            for digit, (x, y) in enumerate(at):
                axes.annotate(str(digit), (x, y), xytext=(4, 3), textcoords="offset points",
                              fontsize=8)  # fmt: skip
            axes.set_aspect("equal", adjustable="datalim")
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(plain(name))
        panels[-1].legend(fontsize=7)
        if title:
            set_title(panels[0], title)
    return made


def attention_maps(
    pattern: ArrayLike, *, tokens: Sequence[str], first: int, title: str | None = None
) -> Figure:
    """Draw mean attention, a panel for each head: rows look, columns are looked at.

    Args:
        pattern: [layer, head, query, key].
        tokens: What stands at each position.
        first: The first query drawn.
        title: Shown above; none when omitted.
    """
    grid = np.asarray(pattern, dtype=float)[:, :, first:]
    layers, heads = grid.shape[:2]
    with figure(0.8 + 1.9 * heads, 0.7 + 1.7 * layers) as (made, whole):
        whole.remove()
        panels = made.subplots(layers, heads, squeeze=False, sharex=True, sharey=True)
        for (layer, head), axes in np.ndenumerate(panels):
            image = axes.imshow(grid[layer, head], cmap="Blues", vmin=0, vmax=1, aspect="auto")
            axes.set_title(f"L{layer}H{head}", fontsize=8)
        for axes in panels[:, 0]:
            axes.set_yticks(
                range(grid.shape[2]), [plain(text) for text in tokens[first:]], fontsize=6
            )
        for axes in panels[-1]:
            axes.set_xticks(
                range(grid.shape[3]), [plain(text) for text in tokens], fontsize=6, rotation=90
            )
        made.colorbar(image, ax=panels, shrink=0.8, label="mean attention")
        if title:
            made.suptitle(plain(title), x=0.01, ha="left", fontsize=10, fontweight="bold")
    return made


def minkowski_clusters(
    cells: Mapping[str, ArrayLike], *, first: str, title: str | None = None
) -> Figure:
    """Draw a head's mean outputs for 100 pairs of digits on two principal axes.

    A Minkowski sum shows as ten like clusters, each coloured by its first digit.

    Args:
        cells: For each model its means, [first, second, feature].
        first: What the first digit is.
        title: Shown above; none when omitted.
    """
    with figure(0.9 + 2.7 * len(cells), 2.9) as (made, whole):
        whole.remove()
        panels = made.subplots(1, len(cells), squeeze=False)[0]
        drawn: Any = None
        for axes, (name, values) in zip(panels, cells.items(), strict=True):
            points = np.asarray(values, dtype=float)
            flat = points.reshape(-1, points.shape[-1])
            flat = flat - flat.mean(0)
            at = flat @ np.linalg.svd(flat, full_matrices=False)[2][:2].T
            drawn = axes.scatter(
                *at.T, c=np.repeat(np.arange(len(points)), points.shape[1]), cmap="viridis", s=10
            )
            axes.set_xticks([])
            axes.set_yticks([])
            axes.set_xlabel(plain(name))
        made.colorbar(drawn, ax=list(panels), shrink=0.9, label=plain(first))
        if title:
            set_title(panels[0], title)
    return made
