"""Figures of frequencies and of grokking: what is drawn is what was given."""

from __future__ import annotations

import numpy as np

from interp.plots.fourier import frequency_bars, grokking


def test_curves_and_phases_are_drawn():
    made = grokking(
        [0, 10, 20, 30],
        {"train": [4, 1, 0.1, 0.01], "test $x$": [4, 8, 6, 0.1]},
        gini={"W_E": [0.1, 0.2, 0.3, 0.4]},
        sum_of_squares=[5, 4, 3, 2],
        phases=(10, 20),
        n_answers=7,
        grokked_at=30,
        title="one",
    )
    top, middle, bottom = made.axes
    assert top.get_yscale() == "log"
    np.testing.assert_allclose(top.lines[1].get_ydata(), [4, 8, 6, 0.1])
    assert [t.get_text() for t in top.texts] == ["memorisation", "circuit\nformation", "cleanup"]
    np.testing.assert_allclose(top.lines[2].get_ydata(), np.log(7))
    assert list(top.lines[3].get_xdata()) == [30, 30]
    assert "99 % of held-out pairs right, step 30" in top.lines[3].get_label()
    assert middle.get_ylim() == (0, 1)
    assert bottom.get_xlabel() == "step"
    assert not grokking([0, 1], {"a": [1, 2]}, gini={}, sum_of_squares=[1, 1]).axes[0].texts


def test_bars_are_drawn_and_keys_marked():
    made = frequency_bars(
        {"logits": [0.1, 0.7, 0.2], "W_E": [0.3, 0.4, 0.3]},
        y_label="share",
        keys=[2],
        nulls={"logits": 0.05},
        title="two",
    )
    one, other = made.axes
    assert [bar.get_height() for bar in one.patches] == [0.1, 0.7, 0.2]
    colours = [bar.get_facecolor() for bar in one.patches]
    assert colours[0] == colours[2] != colours[1]
    assert [text.get_text() for text in other.texts] == ["2"]
    assert one.lines[0].get_ydata()[0] == 0.05
    assert not other.lines
