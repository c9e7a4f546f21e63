"""Figures about the training of sparse autoencoders, from plain arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREY, ORANGE, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def density_histogram(density: ArrayLike, *, resolution: float, title: str | None = None) -> Figure:
    """Draw how often latents fire: log densities, those that never fired in a bar of their own.

    Args:
        density: Share of activations on which each latent fired, from 0 to 1.
        resolution: The smallest share that can be told from none: one in so many activations.
        title: Shown above; none when omitted.
    """
    shares = np.asarray(density, dtype=float)
    alive = shares[shares > 0]
    low = np.floor(np.log10(resolution))
    with figure(4.8, 3.0) as (made, axes):
        edges = np.linspace(low, 0, 31)
        axes.hist(np.log10(alive), bins=edges, color=BLUE, label="fired")
        if len(alive) < len(shares):
            axes.bar(
                [low - 0.3],
                [len(shares) - len(alive)],
                width=0.3,
                color=ORANGE,
                label="never fired",
            )
        axes.axvline(
            np.log10(resolution), color=GREY, linestyle=":", label="one activation of the data"
        )
        axes.set_xlabel("log10 of the share of activations on which a latent fires")
        axes.set_ylabel("latents")
        made.legend(fontsize=7.5, loc="outside lower center", ncols=3)
        if title:
            set_title(axes, title)
    return made


def loss_curve(mse: ArrayLike, l0: ArrayLike, *, title: str | None = None) -> Figure:
    """Draw reconstruction error and latents active over training.

    Args:
        mse: At each step, of the scaled activations, summed over dimensions.
        l0: At each step, latents that are not zero.
        title: Shown above; none when omitted.
    """
    from matplotlib.ticker import LogLocator

    error, active = np.asarray(mse, dtype=float), np.asarray(l0, dtype=float)
    steps = np.arange(1, len(error) + 1)
    with figure(4.8, 3.0) as (made, axes):
        axes.plot(steps, error, color=BLUE, linewidth=1)
        axes.set_yscale("log")
        # 5, not 5 × 10⁰: an error hardly spans two decades.
        axes.yaxis.set_minor_locator(LogLocator(subs=(2, 3, 5)))
        for form in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
            form("{x:g}")
        axes.set_xlabel("step")
        axes.set_ylabel("squared error of scaled activations", color=BLUE)
        other = axes.twinx()
        other.spines["right"].set_visible(True)
        other.plot(steps, active, color=ORANGE, linewidth=1)
        other.set_ylim(bottom=0)
        other.set_ylabel(plain("latents active (L0)"), color=ORANGE)
        if title:
            set_title(axes, title)
    return made
