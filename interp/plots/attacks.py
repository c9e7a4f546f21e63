"""Figures of attacks on monitors, from plain numbers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.plots.style import BLUE, GREEN, GREY, ORANGE, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class AttackBar:
    """One monitor under one attack, to be drawn.

    Attributes:
        name: Written below.
        before: Recall before the attack.
        after: Recall under it, with ``low`` and ``high`` its interval.
        low: Lower end of the interval.
        high: Upper end.
        random: Recall under random suffixes as long.
        kept: Share of prompts whose behaviour the attack keeps.
    """

    name: str
    before: float
    after: float
    low: float
    high: float
    random: tuple[float, ...]
    kept: float


def attack_bars(bars: Sequence[AttackBar], *, title: str | None = None) -> Figure:
    """Draw each monitor's recall before an attack, under random suffixes and under the attack.

    Args:
        bars: From left to right.
        title: Shown above; none when omitted.
    """
    with figure(2.4 + 1.1 * max(2, len(bars)), 3.4) as (made, axes):
        for i, bar in enumerate(bars):
            first = i == 0

            def named(text: str, first: bool = first) -> str | None:
                return text if first else None

            axes.hlines(
                bar.before, i - 0.38, i + 0.38, color=GREY, linewidth=1.5, label=named("before")
            )
            at = np.full(len(bar.random), i - 0.2) + 0.1 * np.linspace(-1, 1, len(bar.random))
            axes.plot(
                at, bar.random, ".", color=ORANGE, markersize=6, label=named("random suffixes")
            )
            reach = [[bar.after - bar.low], [bar.high - bar.after]]
            axes.errorbar(
                [i],
                [bar.after],
                yerr=np.abs(reach),
                fmt="o",
                color=BLUE,
                markersize=6,
                label=named("under attack"),
            )
            axes.plot(
                [i + 0.2],
                [bar.kept],
                "D",
                color=GREEN,
                markersize=5,
                markerfacecolor="none",
                label=named("behaviour kept under attack"),
            )
        axes.axhline(0.01, color="black", linewidth=0.6, linestyle=":")
        axes.set_xticks(range(len(bars)), [plain(bar.name) for bar in bars], fontsize=8)
        axes.set_xlim(-0.6, max(1, len(bars)) - 0.4)
        axes.set_ylim(-0.04, 1.04)
        axes.set_ylabel("recall at 1 % false alarms (dotted);\nshare of prompts")
        if bars:
            axes.legend(fontsize=7, loc="upper left", bbox_to_anchor=(1, 1))
        if title:
            set_title(axes, title)
    return made
