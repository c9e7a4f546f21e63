"""What probes read from a few latents, and what they lose when latents are taken out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from interp.plots.style import BLUE, GREY, ORANGE, figure, plain, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Score = tuple[float, ...]
"""Latents removed, the score, the ends of its interval, mean and largest of random latents."""


def probes_and_removals(
    accuracies: Mapping[str, Mapping[int, float]],
    scores: Mapping[str, Sequence[Score]],
    *,
    title: str | None = None,
) -> Figure:
    """Draw accuracy of sparse probes by their size, and scores by the latents taken out.

    Args:
        accuracies: By what is probed, mean accuracy by number of features.
        scores: By name; a score without any defined value is left out. Missing nulls are NaN.
        title: Shown above; none when omitted.

    Raises:
        ValueError: no accuracy to draw.
    """
    if not accuracies or not all(accuracies.values()):
        raise ValueError("nothing to draw: give at least one accuracy of each kind")
    drawn = {name: rows for name, rows in scores.items() if rows}
    with figure(2.6 + 2.4 * len(drawn), 3.1) as (made, axes):
        axes.remove()
        panels = made.subplots(1, 1 + len(drawn), squeeze=False).ravel()
        left = panels[0]
        for (name, by_k), colour in zip(accuracies.items(), (BLUE, ORANGE), strict=False):
            left.plot(
                range(len(by_k)),
                list(by_k.values()),
                "o-",
                color=colour,
                markersize=4,
                label=plain(name),
            )
            left.set_xticks(range(len(by_k)), [str(k) for k in by_k])
        left.axhline(0.5, color=GREY, linewidth=0.8, linestyle="--")
        left.set_ylim(0.4, 1.03)
        left.set_xlabel("features probed")
        left.set_ylabel("accuracy on other texts")
        left.legend(fontsize=7.5, loc="center right")
        for panel, (name, rows) in zip(panels[1:], drawn.items(), strict=True):
            across = np.arange(len(rows))
            held = np.array(rows, dtype=float)
            reach = np.abs(held[:, 2:4] - held[:, 1:2]).T
            panel.errorbar(
                across,
                held[:, 1],
                yerr=reach,
                fmt="o-",
                color=BLUE,
                markersize=4,
                label="latents chosen",
            )
            panel.plot(across, held[:, 4], ":", color=GREY, label="random latents, mean")
            panel.plot(across, held[:, 5], "--", color=GREY, label="random latents, largest")
            panel.axhline(0, color="black", linewidth=0.6)
            panel.set_xticks(across, [str(int(n)) for n in held[:, 0]])
            panel.set_xlabel("latents taken out")
            panel.set_ylabel(plain(name))
        if drawn:
            handles, labels = panels[1].get_legend_handles_labels()
            made.legend(handles, labels, fontsize=7.5, loc="outside lower center", ncols=3)
        if title:
            made.suptitle(wrapped(title, int(11 * made.get_size_inches()[0])), fontsize=9)
    return made
