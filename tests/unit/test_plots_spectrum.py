"""Figures of layers draw what they are given, and refuse what does not fit."""

from __future__ import annotations

import numpy as np
import pytest

from interp.plots.spectrum import lines_by_layer


def test_a_line_a_domain_with_intervals_null_and_the_chosen_layer(tmp_path) -> None:
    values = {"a $x$": [0.5, 0.9, 0.8], "b": [0.4, 0.6, 0.7]}
    ends = {name: np.asarray(v) - 0.1 for name, v in values.items()}
    tops = {name: np.asarray(v) + 0.1 for name, v in values.items()}
    made = lines_by_layer(
        values,
        layers=["L0", "L1", "L2"],
        y_label="AUROC",
        low=ends,
        high=tops,
        null=([0.4] * 3, [0.6] * 3),
        null_label="shuffled",
        chosen=1,
        title="a title",
    )
    (axes,) = made.axes
    drawn = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert [list(line.get_ydata()) for line in drawn] == list(values.values())
    words = {text.get_text() for text in axes.get_legend().get_texts()}
    assert words == {r"a \$x\$", "b", "shuffled", "chosen"}
    made.savefig(tmp_path / "figure.svg")
    assert "shuffled" in (tmp_path / "figure.svg").read_text()


def test_one_layer_has_a_band_too_and_many_layers_are_not_all_named() -> None:
    one = lines_by_layer({"a": [0.7]}, layers=["L0"], y_label="AUROC", null=([0.4], [0.6]))
    assert len(one.axes[0].collections) == 1
    many = lines_by_layer({"a": [0.7] * 80}, layers=[f"L{i}" for i in range(80)], y_label="AUROC")
    assert len(many.axes[0].get_xticks()) == 16


def test_a_line_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="b: 2 layers need as many numbers, got 1"):
        lines_by_layer({"a": [0.5, 0.5], "b": [0.5]}, layers=["L0", "L1"], y_label="AUROC")
