"""Figures: what they show, and that the same numbers give the same picture."""

from __future__ import annotations

import io

import matplotlib
import numpy as np
import pytest

from interp.plots import Point, head_map, signature_and_effect


def svg(figure):
    out = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "x"}):
        figure.savefig(out, format="svg", metadata={"Date": None})
    return out.getvalue()


def texts(figure):
    return " ".join(t.get_text() for axes in figure.axes for t in axes.texts)


def test_head_map_writes_values_axes_and_null():
    figure = head_map([[0.0, 0.5], [0.25, 1.0]], label="score (share)", null=0.1, marked=[(1, 1)])
    axes, bar = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head", "layer")
    assert bar.get_ylabel() == "score (share)\norange: null 0.1"
    assert ".50" in texts(figure) and "1.00" in texts(figure)
    assert len(axes.patches) == 1


def test_head_map_of_signed_values_is_symmetric_about_zero():
    image = head_map([[-2.0, 1.0]], label="z").axes[0].images[0]
    assert image.get_clim() == (-2.0, 2.0)


def test_head_map_takes_a_large_model_and_refuses_a_list():
    head_map(np.random.default_rng(0).random((48, 64)), label="x")
    with pytest.raises(ValueError, match=r"shape \[layer, head\]"):
        head_map([1.0, 2.0], label="x")


def test_controls_are_drawn_beside_the_effect():
    points = [Point("L0H0", 0.1, 0.0, -0.1, 0.1), Point("L1H1", 0.9, 2.0, 1.5, 2.5, True)]
    figure = signature_and_effect(
        points,
        signature_label="a",
        effect_label="b",
        controls=[0.1, 0.2, 0.3],
        controls_label="3 random sets",
        together=Point("L1H1+L1H2", 0.9, 3.0, 2.5, 3.5),
    )
    axes = figure.axes[0]
    labels = [t.get_text() for t in axes.get_legend().get_texts()]
    assert "3 random sets" in labels and "L1H1+L1H2 removed" in labels
    drawn = [line.get_ydata() for line in axes.lines]
    assert any(np.array_equal(y, [0.1, 0.2, 0.3]) for y in drawn)
    assert svg(figure) == svg(figure)


def test_a_head_that_costs_as_much_without_the_signature_is_named():
    points = [
        Point("L1H1", 0.9, 2.0, 1.5, 2.5, True),
        Point("L0H0", 0.0, 8.0, 7.0, 9.0),
        Point("L0H1", 0.0, 0.1, 0.05, 0.2),
    ]
    figure = signature_and_effect(points, signature_label="a", effect_label="b")
    assert "L0H0" in texts(figure) and "L0H1" not in texts(figure)


def test_no_controls_and_dollar_signs_are_fine():
    figure = signature_and_effect(
        [Point("a$b$", 0.1, 0.2, 0.1, 0.3, True)], signature_label="$x", effect_label="y"
    )
    svg(figure)


def test_a_long_model_path_does_not_squeeze_a_small_map_to_nothing():
    figure = head_map([[0.1, 0.2]], label="score", title="/some/long/folder" * 12 + ": who?")
    figure.canvas.draw()  # constrained layout warns, and warnings are errors, where axes collapse
    assert figure.axes[0].get_title(loc="left").count("\n") == 2
    assert figure.axes[0].get_window_extent().height > 20
