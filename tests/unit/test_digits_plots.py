"""Figures of digits draw what they are given, a panel a model."""

from __future__ import annotations

import numpy as np

from interp.plots import digits

RNG = np.random.default_rng(0)


def panels(figure):
    return [axes for axes in figure.axes if axes.get_label() != "<colorbar>"]


def test_attribution_maps_have_one_scale_and_mark_what_cannot_be():
    maps = {"one": np.full((4, 3), 2.0), "two": np.full((4, 3), -1.0)}
    impossible = np.zeros((4, 3), dtype=bool)
    impossible[1, 0] = True
    made = digits.attribution_maps(maps, operands=["a0", "a1", "b0", "b1"], impossible=impossible)
    first, second = panels(made)
    for axes in (first, second):
        assert axes.images[0].get_clim() == (-2.0, 2.0)
        assert [text.get_text() for text in axes.texts] == ["×"]
        assert axes.texts[0].get_position() == (0, 1)
    np.testing.assert_array_equal(second.images[0].get_array(), maps["two"])


def test_sum_errors_draw_every_site_and_null():
    made = digits.sum_errors(
        {"m": {"L0.attn_out": [1.0, 2.0], "L1.attn_out": [0.5, 1.0]}},
        nulls={"saying the mean": {"m": [4.0, 4.0]}, "off the tokens": {"m": [3.0, 2.5]}},
    )
    (axes,) = panels(made)
    drawn = {line.get_label(): list(line.get_ydata()) for line in axes.lines}
    assert drawn["off the tokens"] == [3.0, 2.5]
    assert drawn["L1.attn_out"] == [0.5, 1.0]
    assert len(drawn) == 4


def test_scores_stand_beside_the_range_of_their_nulls():
    null = np.linspace(0.2, 0.4, 41)
    made = digits.scores_with_nulls(
        {"m": {"prism": 0.9}}, nulls={"m": {"prism": null}}, label="share"
    )
    bar, dot = panels(made)[0].lines
    np.testing.assert_allclose(bar.get_xdata(), np.quantile(null, [0.025, 0.975]))
    assert list(np.atleast_1d(dot.get_xdata())) == [0.9]


def test_a_planted_pentagon_is_drawn_as_one():
    turn = 2 * np.pi * 2 * np.arange(10) / 10
    means = np.stack([np.cos(turn), np.sin(turn)], 1) @ RNG.normal(size=(2, 6))
    made = digits.prisms({"m": means @ np.linalg.qr(RNG.normal(size=(6, 6)))[0]})
    even, odd = (np.asarray(points.get_offsets()) for points in panels(made)[0].collections)
    np.testing.assert_allclose(even, odd[[2, 3, 4, 0, 1]], atol=1e-9)  # n and n + 5 coincide


def test_attention_and_clusters_have_a_panel_each():
    tokens = ["a0", "×", "b0", "=", "c0"]
    made = digits.attention_maps(RNG.random((2, 3, 5, 5)), tokens=tokens, first=2)
    assert len(panels(made)) == 6
    assert panels(made)[0].images[0].get_array().shape == (3, 5)
    made = digits.minkowski_clusters({"m": RNG.random((10, 10, 4))}, first="a0")
    assert len(panels(made)[0].collections[0].get_offsets()) == 100
