"""Figures of groups and margins."""

from __future__ import annotations

import numpy as np
import pytest

from interp.plots.groups import margin_bars, representation_bars, two_readings


def drawn(figure, tmp_path):
    path = tmp_path / "figure.png"
    figure.savefig(path)
    assert path.stat().st_size > 2000
    return figure.axes[0]


def test_representations(tmp_path):
    axes = drawn(
        representation_bars(
            {"logits": [0.4, 0.1], "read from a $x$": [0.2, 0.3]},
            names=["(3,1)", "(2,2)"],
            chance=[0.5, 0.2],
            keys=["(2,2)"],
            title="S4",
        ),
        tmp_path,
    )
    assert len(axes.patches) == 4
    assert [t.get_fontweight() for t in axes.get_xticklabels()] == ["normal", "bold"]
    with pytest.raises(ValueError, match="2 representations"):
        representation_bars({"x": [1.0]}, names=["a", "b"], chance=[0.1, 0.2])


def test_two_readings(tmp_path):
    axes = drawn(
        two_readings([0.2, 0.9], [-0.1, 1.0], null_purity=0.6, null_concentration=0.7, title="S4"),
        tmp_path,
    )
    assert np.allclose(axes.collections[0].get_offsets(), [[0.2, -0.1], [0.9, 1.0]])
    assert axes.get_ylim()[0] <= -0.1


def test_margins(tmp_path):
    axes = drawn(
        margin_bars(
            {"C5": 0.99, "S3": -0.2},
            climbed={"C5": 1.0, "S3": 0.9},
            null={"C5": -1.0, "S3": 0.1},
            title="Margins",
        ),
        tmp_path,
    )
    assert [round(p.get_height(), 2) for p in axes.patches] == [0.99, 0.0, 1.0, 0.9]
    assert [t.get_text() for t in axes.texts] == ["0.990", "-0.200", "1.000", "0.900"]
