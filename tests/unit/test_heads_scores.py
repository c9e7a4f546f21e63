"""HeadScores: what it refuses, how it ranks, and how it shows itself."""

from __future__ import annotations

import pandas as pd
import pytest
import torch

from interp.heads import HeadScores, HeadsError


def scores(**changes: object) -> HeadScores:
    fields: dict[str, object] = {
        "name": "induction",
        "values": torch.tensor([[0.1, 0.9, 0.5], [0.5, 0.0, 0.9]]),
        "units": "attention",
        "null": 0.05,
        "description": "what it is",
        "about_null": "a uniform head",
    }
    return HeadScores(**(fields | changes))  # type: ignore[arg-type]


def test_top_is_highest_first_and_ties_go_by_layer_and_head() -> None:
    assert [head for head, _ in scores().top(4)] == [(0, 1), (1, 2), (0, 2), (1, 0)]
    assert scores().top(1)[0][1] == pytest.approx(0.9)
    assert len(scores().top(100)) == 6


def test_one_head_by_pair_or_by_name() -> None:
    assert scores().at((1, 2)) == scores().at("L1H2") == pytest.approx(0.9)
    with pytest.raises(HeadsError, match="no head L2H0; there are layers 0…1"):
        scores().at((2, 0))
    with pytest.raises(HeadsError, match="not a head"):
        scores().at("L1.resid_post")


def test_table_is_tidy_and_survives_parquet(tmp_path: object) -> None:
    table = scores(control=torch.zeros(2, 3)).table()
    assert list(table.columns) == ["score", "layer", "head", "name", "value", "null", "control"]
    assert table.loc[5, "name"] == "L1H2" and table.loc[5, "value"] == pytest.approx(0.9)
    unknown = scores(null=None, about_null="nobody knows").table()
    assert unknown["null"].isna().all() and str(unknown["null"].dtype) == "Float64"
    path = f"{tmp_path}/scores.parquet"
    unknown.to_parquet(path)
    pd.testing.assert_frame_equal(pd.read_parquet(path), unknown)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"values": torch.zeros(3)}, "must be \\[layer, head\\]"),
        ({"values": torch.full((2, 3), float("nan"))}, "not finite"),
        ({"null": None, "about_null": ""}, "needs its reason"),
        ({"control": torch.zeros(3, 2)}, "control must be"),
        ({"per_example": torch.zeros(4, 3, 2)}, "per_example must be"),
    ],
)
def test_it_refuses_what_it_cannot_be(changes: dict[str, object], match: str) -> None:
    with pytest.raises(HeadsError, match=match):
        scores(**changes)


def test_repr_is_one_short_line() -> None:
    assert repr(scores()) == ("HeadScores('induction', 2 × 3 heads, top L0H1 0.9000, null 0.0500)")
    assert "null unknown" in repr(scores(null=None, about_null="nobody knows"))


def test_notebook_shows_map_and_heads_and_escapes_text() -> None:
    shown = scores(
        name="<b>x</b>", units="a & b", description="<script>", control=torch.ones(2, 3)
    )._repr_html_()
    assert "data:image/png;base64," in shown and "L0H1" in shown and "<th>control</th>" in shown
    assert "<script>" not in shown and "&lt;script&gt;" in shown
    assert "<b>x</b>" not in shown and "a &amp; b" in shown


def test_plot_has_the_scores_name_and_both_axes() -> None:
    figure = scores().plot(marked=[(0, 1)])
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("head", "layer")
    assert axes.get_title(loc="left") == "induction" or axes.get_title() == "induction"


def test_intervals_are_of_the_examples_mean() -> None:
    generator = torch.Generator().manual_seed(0)
    each = torch.rand((40, 2, 3), generator=generator, dtype=torch.float64)
    made = scores(values=each.mean(0), per_example=each)
    low, high = made.interval("L0H1")
    assert low < made.at("L0H1") < high
    assert made.interval("L0H1") == (low, high)
    # Rows that are copies of one another are one observation when their group says so.
    grouped = scores(
        values=each.mean(0), per_example=each, groups=tuple(str(i // 10) for i in range(40))
    )
    assert grouped.interval("L0H1") != (low, high)
    with pytest.raises(HeadsError, match="read off the weights"):
        scores().interval((0, 0))
