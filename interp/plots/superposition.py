"""Figures of effective features, from plain arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from interp.plots.arms import COLOURS
from interp.plots.style import BLUE, GREY, ORANGE, RED, figure, plain, set_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Curve = tuple[Mapping[int, Sequence[float]], Mapping[int, tuple[float, float] | None]]


@dataclass(frozen=True)
class Followed:
    """A training: features and losses along it.

    Attributes:
        name: What it is called.
        steps: At which features were counted.
        features: At each of these, F of every seed's SAE.
        noise: F of noise of the mean and covariance that activations have at the end.
        loss_steps: At which losses were measured.
        train_loss: In nats, on what was trained on.
        test_loss: In nats, on what was not.
    """

    name: str
    steps: Sequence[int]
    features: Sequence[Sequence[float]]
    noise: float
    loss_steps: Sequence[int]
    train_loss: Sequence[float]
    test_loss: Sequence[float]


def sample_curves(curves: Mapping[str, Curve], *, title: str | None = None) -> Figure:
    """Draw F against the number of activations: means with their intervals, and a point a seed.

    Args:
        curves: For each thing counted, number of activations → F of every seed, and → the interval
            of their mean, or None.
        title: Shown above; none when omitted.
    """
    with figure(5.6, 3.4) as (made, axes):
        for i, (name, (by_size, intervals)) in enumerate(curves.items()):
            colour = COLOURS[i % len(COLOURS)]
            sizes = sorted(by_size)
            means = np.array([np.mean(by_size[n]) for n in sizes])
            ends = [intervals[n] or (m, m) for n, m in zip(sizes, means, strict=True)]
            axes.fill_between(sizes, *np.array(ends).T, color=colour, alpha=0.2, linewidth=0)
            axes.plot(sizes, means, "-", color=colour, linewidth=1.3, label=plain(name))
            for n in sizes:
                axes.plot([n] * len(by_size[n]), by_size[n], ".", color=colour, markersize=5)
        axes.set_xlabel("activations")
        axes.set_ylabel("effective features F")
        axes.set_xlim(left=0)
        axes.set_ylim(0, 1.1 * axes.get_ylim()[1])
        axes.legend(fontsize=7.5, title="mean, bootstrap interval, seeds", title_fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def seed_curves(
    curves: Mapping[str, Sequence[tuple[float, float, float]]], *, title: str | None = None
) -> Figure:
    """Draw the mean of F over more and more SAEs that differ in their seed alone.

    Args:
        curves: For each thing counted, (mean, low, high) over the first two seeds, three, ….
        title: Shown above; none when omitted.
    """
    with figure(5.6, 3.4) as (made, axes):
        shift = np.linspace(-0.08, 0.08, len(curves)) if len(curves) > 1 else [0.0]
        longest = max(len(found) for found in curves.values())
        for i, (name, found) in enumerate(curves.items()):
            mean, low, high = np.array(found, dtype=float).T
            axes.errorbar(
                np.arange(2, 2 + len(found)) + shift[i],
                mean,
                yerr=[mean - low, high - mean],
                fmt="o-",
                markersize=4.5,
                linewidth=1.2,
                color=COLOURS[i % len(COLOURS)],
                label=plain(name),
            )
        axes.set_xticks(range(2, 2 + longest))
        axes.set_xlabel("SAEs, each of a seed of its own")
        axes.set_ylabel("effective features F\n(mean, 95% t interval)")
        made.legend(fontsize=7.5, loc="outside lower center", ncols=2)
        if title:
            set_title(axes, title)
    return made


def features_over_training(trainings: Sequence[Followed], *, title: str | None = None) -> Figure:
    """Draw F against the step, a panel a training, with its losses below.

    Args:
        trainings: Drawn side by side, on the same scales.
        title: Shown above; none when omitted.
    """
    with figure(2.0 + 2.6 * len(trainings), 4.4) as (made, whole):
        whole.remove()
        panels = made.subplots(2, len(trainings), sharey="row", sharex="col", squeeze=False)
        for i, training in enumerate(trainings):
            top, bottom = panels[:, i]
            for step, values in zip(training.steps, training.features, strict=True):
                top.plot([step] * len(values), values, ".", color=BLUE, markersize=4)
            means = [float(np.mean(values)) for values in training.features]
            top.plot(training.steps, means, "-", color=BLUE, linewidth=1.3, label="a point a seed")
            label = "noise like the activations at the end"
            top.axhline(training.noise, color=RED, linestyle="--", linewidth=1, label=label)
            top.set_ylim(bottom=0)
            _losses(bottom, training)
            top.set_title(plain(training.name), fontsize=9)
        panels[0, 0].set_ylabel("effective features F")
        panels[0, 0].legend(fontsize=7.5)
        panels[1, 0].set_ylabel("loss (nats)")
        panels[1, 0].legend(fontsize=7.5)
        if title:
            made.suptitle(plain(title), fontsize=10, fontweight="bold", x=0.02, ha="left")
    return made


def _losses(axes: Any, training: Followed) -> None:
    axes.plot(training.loss_steps, training.train_loss, color=GREY, linewidth=1.3, label="train")
    axes.plot(training.loss_steps, training.test_loss, color=ORANGE, linewidth=1.3, label="test")
    axes.set_yscale("log")
    axes.set_xlabel("step")
