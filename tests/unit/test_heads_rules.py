import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.heads import HeadRule, RuleError, choose_heads

RISING = torch.arange(48.0).reshape(4, 12)


def chosen(rule: str, scores=RISING, **options):
    (found,) = choose_heads(rule, scores, **options)
    return found


def test_two_per_cent_of_twelve_heads_is_one_a_layer_and_says_so():
    found = chosen("top-per-layer:2%")
    assert found.heads == {(0, 11), (1, 11), (2, 11), (3, 11)}
    assert found.name == "top-per-layer:2%"
    assert found.statement == (
        "top 2 % a layer = 1 of 12 heads in each of 4 layers: 4 of 48 heads (8.3 %), "
        "0.24 rounded up."
    )


def test_two_per_cent_of_the_model():
    found = chosen("top:2%", torch.arange(144.0).reshape(12, 12))
    assert found.heads == {(11, 9), (11, 10), (11, 11)}
    assert found.statement == "top 2 % = 3 of 144 heads (2.1 %), 2.88 rounded up."


def test_a_share_that_comes_out_whole_is_not_rounded():
    # 0.1 * 30 and 0.07 * 100 exceed 3 and 7 in floating point.
    assert len(chosen("top:10%", torch.rand(3, 10)).heads) == 3
    found = chosen("top:7%", torch.rand(10, 10))
    assert len(found.heads) == 7
    assert "rounded" not in found.statement


def test_global_top_and_top_per_layer_differ():
    assert chosen("top:2").heads == {(3, 11), (3, 10)}
    assert chosen("top-per-layer:2").heads == {(i, j) for i in range(4) for j in (10, 11)}
    assert chosen("top:2").statement == "top 2 = 2 of 48 heads (4.2 %)."


def test_highest_is_signed():
    assert chosen("top:1", torch.tensor([[-5.0, 0.1]])).heads == {(0, 1)}


def test_equal_scores_go_by_layer_and_head_and_it_is_said():
    found = chosen("top:2", torch.tensor([[0.0, 1.0], [1.0, 1.0]]))
    assert found.heads == {(0, 1), (1, 0)}
    assert "equal scores at the cut" in found.statement
    # All ties inside the set, none at its edge.
    assert "equal" not in chosen("top:3", torch.tensor([[0.0, 1.0], [1.0, 1.0]])).statement


def test_names_layer_and_all():
    both = chosen("L3H7, l1h2")
    assert both.name == "L1H2+L3H7" and both.heads == {(1, 2), (3, 7)}
    assert both.statement == "L1H2+L3H7 = 2 of 48 heads (4.2 %)."
    assert chosen("L3H7+L1H2").name == both.name
    assert chosen("layer:3", None, shape=(4, 12)).heads == {(3, j) for j in range(12)}
    each = choose_heads("all", shape=(2, 3), exclude=[(1, 1)])
    assert [s.name for s in each] == ["L0H0", "L0H1", "L0H2", "L1H0", "L1H2"]
    assert all(len(s.heads) == 1 for s in each)


def test_excluded_heads_make_room_for_the_next():
    out = {(3, 11), (0, 11)}
    found = chosen("top-per-layer:2%", exclude=out)
    assert found.heads == {(0, 10), (1, 11), (2, 11), (3, 10)}
    assert "2 excluded heads passed over" in found.statement
    assert chosen("top:1", exclude=out).heads == {(3, 10)}
    assert chosen("layer:3", exclude=out).heads == {(3, j) for j in range(11)}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ("topp:5", "did you mean top:5?"),
        ("top_per_layer:2%", "did you mean top-per-layer:2%?"),
        ("top 5", "did you mean top:5?"),
        ("top 2 %", "did you mean top:2%?"),
        ("top5", "did you mean top:5?"),
        ("layer=3", "did you mean layer:3?"),
        ("something", "expected one of top:5"),
        ("", "expected one of top:5"),
        ("top:0%", "above 0 %"),
        ("top:101%", "at most 100 %"),
        ("top:-1", "1 or more"),
        ("top:0", "1 or more"),
        ("top:1.5", "1 or more"),
        ("top", "a number: top:1"),
        ("all:3", "nothing after it"),
        ("layer:x", "names no layer"),
        ("L3H7+4", "'4' is no head"),
        ("L3H7,", "'' is no head"),
        ("L3H7+L3H7", "twice"),
    ],
)
def test_rules_that_cannot_be_read(rule: str, said: str):
    with pytest.raises(RuleError, match=r".") as raised:
        HeadRule.parse(rule)
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("rule", "options", "said"),
    [
        ("top:49", {}, "takes 49 heads, but the model has 48"),
        ("top-per-layer:13", {}, "layer 0 has 12"),
        ("top-per-layer:12", {"exclude": [(2, 1)]}, "layer 2 has 11 that are not excluded"),
        ("L4H0", {}, "layers are 0 to 3"),
        ("L0H12", {}, "heads 0 to 11"),
        ("layer:4", {}, "layers are 0 to 3"),
        ("L0H1", {"exclude": [(0, 1)]}, "is excluded"),
        ("top:1", {"exclude": [(9, 1)]}, "L9H1 is not in the model"),
        ("all", {"shape": (2, 2)}, "but shape says"),
    ],
)
def test_rules_that_do_not_fit_the_model(rule: str, options: dict, said: str):
    with pytest.raises(RuleError) as raised:
        choose_heads(rule, RISING, **options)
    assert said in str(raised.value)


def test_scores_are_asked_for_where_they_are_needed():
    with pytest.raises(RuleError, match="give scores"):
        choose_heads("top:1", shape=(2, 2))
    with pytest.raises(RuleError, match="shape="):
        choose_heads("all")
    with pytest.raises(RuleError, match="not finite"):
        choose_heads("top:1", torch.tensor([[0.0, math.nan]]))
    with pytest.raises(RuleError, match=r"\[layer, head\]"):
        choose_heads("top:1", torch.zeros(3))


@settings(deadline=None)
@given(
    layers=st.integers(1, 5),
    heads=st.integers(1, 9),
    hundredths=st.integers(1, 10_000),
    per_layer=st.booleans(),
    seed=st.integers(0, 99),
)
def test_a_share_takes_at_least_itself_and_less_than_one_head_more(
    layers, heads, hundredths, per_layer, seed
):
    # Few distinct values, so that ties occur.
    scores = torch.randint(0, 4, (layers, heads), generator=torch.Generator().manual_seed(seed))
    word = "top-per-layer" if per_layer else "top"
    found = chosen(f"{word}:{hundredths / 100}%", scores.float())
    among, pools = (heads, layers) if per_layer else (layers * heads, 1)
    taken = len(found.heads) / pools
    assert taken >= 1
    assert 10_000 * taken >= hundredths * among
    assert 10_000 * (taken - 1) < hundredths * among
    rest = {(i, j) for i in range(layers) for j in range(heads)} - found.heads
    for layer in range(layers) if per_layer else [None]:
        inside = [float(scores[h]) for h in found.heads if layer in (None, h[0])]
        outside = [float(scores[h]) for h in rest if layer in (None, h[0])]
        assert not outside or min(inside) >= max(outside)


@settings(deadline=None)
@given(
    st.one_of(
        st.integers(1, 99).map(lambda k: f"top:{k}"),
        st.integers(1, 10_000).map(lambda k: f"top-per-layer:{k / 100}%"),
        st.integers(0, 99).map(lambda k: f"layer:{k}"),
        st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1).map(
            lambda heads: ",".join(f"L{i}H{j}" for i, j in heads)
        ),
    )
)
def test_a_rule_written_out_is_the_same_rule(text: str):
    rule = HeadRule.parse(text)
    assert HeadRule.parse(str(rule)) == rule
