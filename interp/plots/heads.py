"""Figures about attention heads, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def head_map(
    values: ArrayLike,
    *,
    label: str,
    title: str | None = None,
    null: float | None = None,
    null_label: str = "null",
    marked: Sequence[tuple[int, int]] = (),
) -> Figure:
    """Draw one number per head: layers down, heads across.

    Args:
        values: Of shape [layer, head].
        label: What the colour means, with units.
        title: Shown above; none when omitted.
        null: What a head that does nothing of the kind would score, drawn on the colour bar.
        null_label: What this null is.
        marked: (layer, head) pairs to frame.
    """
    grid = np.asarray(values, dtype=float)
    if grid.ndim != 2:
        raise ValueError(f"a head map needs values of shape [layer, head], got {grid.shape}")
    n_layers, n_heads = grid.shape
    low = min(0.0, float(grid.min()))
    high = max(float(grid.max()), low + 1e-9)
    with figure(1.6 + 0.34 * max(n_heads, 6), 1.1 + 0.34 * max(n_layers, 3)) as (made, axes):
        colours = "viridis" if low >= 0 else "PuOr"
        if low < 0:  # a diverging scale is honest only when symmetric about zero
            high = max(high, -low)
            low = -high
        image = axes.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="equal")
        axes.set_xlabel("head")
        axes.set_ylabel("layer")
        axes.set_xticks(range(0, n_heads, max(1, n_heads // 12)))
        axes.set_yticks(range(0, n_layers, max(1, n_layers // 12)))
        if n_layers * n_heads <= 60:
            middle = (low + high) / 2
            for (layer, head), value in np.ndenumerate(grid):
                dark = value < middle if colours == "viridis" else abs(value) > 0.7 * high
                axes.text(
                    head,
                    layer,
                    f"{value:.2f}".replace("0.", ".", 1),
                    ha="center",
                    va="center",
                    fontsize=6.5,
                    color="white" if dark else "black",
                )
        for layer, head in marked:
            axes.add_patch(_frame(head, layer))
        marked_null = null is not None and low <= null <= high
        about = f"{label}\norange: {null_label} {null:.2g}" if marked_null else label
        bar = made.colorbar(image, ax=axes, shrink=0.9, label=plain(about))
        if marked_null:
            bar.ax.axhline(null, color=ORANGE, linewidth=2)
        if title:
            set_title(axes, title)
    return made


def _frame(x: float, y: float) -> object:
    from matplotlib.patches import Rectangle

    return Rectangle((x - 0.5, y - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=2)


@dataclass(frozen=True)
class Point:
    """One thing with a signature and an effect, to be drawn.

    Attributes:
        name: Written beside it, when highlighted.
        signature: How much it looks like the mechanism.
        effect: What removing it does, with ``low`` and ``high`` its interval.
        low: Lower end of the interval.
        high: Upper end of the interval.
        highlighted: Whether it was selected.
    """

    name: str
    signature: float
    effect: float
    low: float
    high: float
    highlighted: bool = False


def signature_and_effect(
    points: Sequence[Point],
    *,
    signature_label: str,
    effect_label: str,
    controls: ArrayLike = (),
    controls_label: str = "matched random sets",
    together: Point | None = None,
    title: str | None = None,
) -> Figure:
    """Draw signature across, effect up, and the controls' effects beside them at the right.

    Args:
        points: What was measured.
        signature_label: The horizontal axis, with units.
        effect_label: The vertical axis, with units.
        controls: Effects of matched-random controls; drawn as a strip of their own.
        controls_label: Written under the strip.
        together: The selected heads removed as one set: what the controls are compared with,
            drawn in their strip.
        title: Shown above; none when omitted.
    """
    null = np.asarray(controls, dtype=float).ravel()
    with figure(5.6, 3.6) as (made, axes):
        for chosen, colour in ((False, GREY), (True, BLUE)):
            some = [p for p in points if p.highlighted is chosen]
            if not some:
                continue
            effect = np.array([p.effect for p in some])
            reach = np.abs(np.array([[p.effect - p.low, p.high - p.effect] for p in some]).T)
            axes.errorbar(
                [p.signature for p in some],
                effect,
                yerr=reach,
                fmt="o",
                color=colour,
                markersize=4.5,
                linewidth=1.2,
                label="selected heads" if chosen else "other heads",
            )
        # The selected, and whatever else costs as much as they do: a head without the signature
        # may matter more than those that have it.
        bar = min((p.effect for p in points if p.highlighted), default=0.0)
        rest = [p for p in points if not p.highlighted and p.low > 0 and p.effect >= bar]
        named = [p for p in points if p.highlighted]
        named += sorted(rest, key=lambda p: -p.effect)[:3]
        for i, p in enumerate(sorted(named, key=lambda p: p.effect)):
            axes.annotate(
                plain(p.name),
                (p.signature, p.effect),
                textcoords="offset points",
                xytext=(7, 4 if i % 2 else -10),
                fontsize=7.5,
            )
        if null.size:
            right = max((p.signature for p in points), default=1.0)
            span = max(right - min((p.signature for p in points), default=0.0), 1e-3)
            at, half = right + 0.3 * span, 0.09 * span
            ticks = [t for t in axes.get_xticks() if t <= right + 0.05 * span]
            axes.axvspan(at - half, at + half, color=GREY, alpha=0.15, linewidth=0)
            # A fixed jitter, so that the same run draws the same figure.
            jitter = (np.arange(null.size) * 0.618034 % 1 - 0.5) * 1.6 * half
            axes.plot(at + jitter, null, ".", color=ORANGE, markersize=4, label=controls_label)
            if together is not None:
                reach = [[together.effect - together.low], [together.high - together.effect]]
                axes.errorbar(
                    [at],
                    [together.effect],
                    yerr=np.abs(reach),
                    fmt="D",
                    color=RED,
                    markersize=6,
                    linewidth=1.5,
                    label=f"{plain(together.name)} removed",
                )
            left = min((p.signature for p in points), default=0.0) - 0.06 * span
            axes.set_xlim(left, at + 1.3 * half)
            axes.set_xticks([*[t for t in ticks if t >= left], at])
            axes.set_xticklabels([*[f"{t:g}" for t in ticks if t >= left], "sets"])
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xlabel(plain(signature_label))
        axes.set_ylabel(plain(effect_label))
        axes.legend(loc="best", fontsize=7.5)
        if title:
            set_title(axes, title)
    return made
