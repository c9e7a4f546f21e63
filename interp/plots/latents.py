"""Figures about latents of sparse autoencoders, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Cost:
    """One edit: what it costs and what it takes away.

    Attributes:
        name: Written beside it.
        cost: Added loss on neutral text, in nats a token.
        gone: Share of the bias slope that is gone, with ``low`` and ``high`` its interval.
        low: Lower end of the interval.
        high: Upper end of the interval.
    """

    name: str
    cost: float
    gone: float
    low: float
    high: float


def reduction_against_cost(
    curve: Sequence[Cost],
    *,
    others: Sequence[Cost] = (),
    controls: ArrayLike = (),
    controls_label: str = "matched random latents",
    title: str | None = None,
) -> Figure:
    """Draw how much of a bias is gone against what that costs, for more and more latents.

    Args:
        curve: One point for each number of latents, in that order, joined by a line.
        others: Baselines.
        controls: Reductions under random latents; drawn as a strip at the right.
        controls_label: What they are.
        title: Shown above; none when omitted.

    Raises:
        ValueError: no point to draw.
    """
    if not curve:
        raise ValueError("nothing to draw: give at least one point of the curve")
    null = np.asarray(controls, dtype=float).ravel()
    with figure(5.6, 3.6) as (made, axes):
        for some, colour, style, label in (
            (curve, BLUE, "o-", "top latents edited (number beside)"),
            (others, GREEN, "s", "baselines"),
        ):
            if not some:
                continue
            gone = np.array([point.gone for point in some])
            reach = np.abs(np.array([[p.gone - p.low, p.high - p.gone] for p in some]).T)
            axes.errorbar(
                [point.cost for point in some],
                gone,
                yerr=reach,
                fmt=style,
                color=colour,
                markersize=4.5,
                linewidth=1.2,
                label=label,
            )
            for point in some:
                axes.annotate(
                    plain(point.name),
                    (point.cost, point.gone),
                    textcoords="offset points",
                    xytext=(5, 4),
                    fontsize=7.5,
                )
        if null.size:
            low, high = axes.get_xlim()
            _strip(axes, null, controls_label, low=low, high=high)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.axhline(1, color=GREY, linewidth=0.8, linestyle="--")
        axes.set_xlabel("added loss on neutral text (nats a token)")
        axes.set_ylabel("share of the bias slope gone")
        axes.legend(loc="best", fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def chosen_and_judged(
    choosing: ArrayLike,
    judged: ArrayLike,
    *,
    names: Sequence[str],
    controls: ArrayLike = (),
    together: float | None = None,
    title: str | None = None,
) -> Figure:
    """Draw what removing each latent cost on the text that chose it, and costs on other text.

    Args:
        choosing: Damage of each latent, removed alone, on the text that chose it.
        judged: The same on other text.
        names: Written beside the points.
        controls: Damage of random sets that fire as often; drawn as a strip at the right.
        together: Damage of all latents at once, in their strip.
        title: Shown above; none when omitted.

    Raises:
        ValueError: not as many of each.
    """
    across, up = np.asarray(choosing, dtype=float), np.asarray(judged, dtype=float)
    if not len(across) == len(up) == len(names):
        raise ValueError(f"{len(names)} names need as many points, got {len(across)}, {len(up)}")
    null = np.asarray(controls, dtype=float).ravel()
    with figure(5.6, 3.6) as (made, axes):
        axes.plot(across, up, "o", color=BLUE, markersize=4.5, label="a latent alone")
        for name, x, y in zip(names, across, up, strict=True):
            axes.annotate(
                plain(name), (x, y), textcoords="offset points", xytext=(5, 4), fontsize=7.5
            )
        # From 0 on, or the line of equal damage would look flat.
        low, high = min(0.0, *across) if len(across) else 0.0, axes.get_xlim()[1]
        axes.set_xlim(low, high)
        axes.plot(
            [low, high], [low, high], "--", color=GREY, linewidth=0.8, label="the same on both"
        )
        if null.size:
            _strip(axes, null, "random sets that fire as often", low=low, high=high)
            if together is not None:
                at = high + 0.12 * (high - low)
                axes.plot([at], [together], "D", color=RED, markersize=6, label="all together")
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_xlabel("damage on the text that chose them (nats a token)")
        axes.set_ylabel("damage on other text (nats a token)")
        axes.legend(loc="best", fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def _strip(axes: Any, values: ArrayLike, label: str, *, low: float, high: float) -> None:
    """Draw values as a cloud of their own at the right."""
    null = np.asarray(values, dtype=float)
    span = high - low
    at, half = high + 0.12 * span, 0.05 * span
    axes.axvspan(at - half, at + half, color=GREY, alpha=0.15, linewidth=0)
    # A fixed jitter, so that the same run draws the same figure.
    jitter = (np.arange(null.size) * 0.618034 % 1 - 0.5) * 1.6 * half
    axes.plot(at + jitter, null, ".", color=ORANGE, markersize=4, label=plain(label))
    ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
    axes.set_xlim(low, at + 1.5 * half)
    axes.set_xticks([*ticks, at])
    axes.set_xticklabels([*(f"{tick:g}" for tick in ticks), "random"])
