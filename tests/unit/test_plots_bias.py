"""Figures of bias beside behaviour: what is drawn, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from interp.plots.bias import agreement_by_site, bias_and_behaviour
from interp.plots.removal import probes_and_removals


def test_agreement_has_a_point_where_a_method_was_measured_and_none_elsewhere():
    made = agreement_by_site(
        ["L0", "L1"],
        {"cav": {"L0": (0.5, 0.2, 0.7), "L1": (0.9, 0.8, 1.0)}, "sae": {"L1": (0.7, 0.1, 0.9)}},
        label="ρ",
    )
    (axes,) = made.axes
    assert [list(np.ravel(c.lines[0].get_ydata())) for c in axes.containers] == [[0.5, 0.9], [0.7]]
    with pytest.raises(ValueError, match="none of the sites"):
        agreement_by_site(["L0"], {"cav": {"L9": (0.5, 0.2, 0.7)}}, label="ρ")
    with pytest.raises(ValueError, match="nothing to draw"):
        agreement_by_site([], {}, label="ρ")


def test_bias_beside_behaviour_has_a_panel_a_method_and_a_point_a_target():
    x = [-1.0, 0.0, 2.0]
    biases = {name: np.array(x) * scale for name, scale in zip("abcd", range(4), strict=True)}
    made = bias_and_behaviour(x, biases, planted=[-2.0, 0.5, 2.0], title="four")
    assert [axes.get_title() or axes.get_title("left") for axes in made.axes] == list("abcd")
    assert all(len(axes.collections[0].get_offsets()) == 3 for axes in made.axes)
    with pytest.raises(ValueError, match="expected 3 values"):
        bias_and_behaviour(x, {"a": [1.0]})
    with pytest.raises(ValueError, match="nothing to draw"):
        bias_and_behaviour(x, {})


def test_removals_stand_beside_random_latents_and_undefined_scores_are_left_out():
    nan = float("nan")
    rows = [(2, 0.4, 0.3, 0.5, 0.1, 0.2), (5, 0.7, 0.6, 0.8, nan, nan)]
    made = probes_and_removals(
        {"latents": {1: 0.9, 2: 1.0}, "residual": {1: 0.6, 2: 0.8}},
        {"TPP": rows, "SCR": []},
        title="$x$: what a few latents tell",
    )
    left, right = made.axes
    assert [list(line.get_ydata()) for line in left.lines[:2]] == [[0.9, 1.0], [0.6, 0.8]]
    assert right.get_ylabel() == "TPP"
    assert list(right.containers[0].lines[0].get_ydata()) == [0.4, 0.7]
    assert [tick.get_text() for tick in right.get_xticklabels()] == ["2", "5"]
    with pytest.raises(ValueError, match="at least one accuracy"):
        probes_and_removals({"latents": {}}, {})
