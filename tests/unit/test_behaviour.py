"""Behavioural bias: log-probabilities by hand, pairs, published formats from files written here."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from interp.models import load_model
from probes.behaviour import (
    BehaviourError,
    Pair,
    PairSet,
    crows_pairs,
    pair_gaps,
    read_crows_pairs,
    read_pairs,
)
from probes.behaviour.estimates import AGREE, FEW, group_sums, mean_of, statistic_of
from probes.behaviour.gaps import shared_after
from probes.behaviour.likelihood import compare, continuation, encode, likelihoods


@pytest.fixture(scope="module")
def talker(make_hf, make_tokenizer):
    """A tiny GPT-2 of words ``w0 w1 …``, without a beginning-of-sequence token."""
    return load_model("talker", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer())


def by_hand(model, ids: list[int]) -> np.ndarray:
    """Log-probability of every token but the first, one unpadded forward pass, in float64."""
    with torch.no_grad():
        logits = model.logits(torch.tensor([ids]))[0].double()
    return logits.log_softmax(-1)[range(len(ids) - 1), ids[1:]].numpy()


# -- log-probabilities ------------------------------------------------------------------------


@pytest.mark.parametrize("tokens_per_forward", [1, 13, 1024])
def test_padded_batches_equal_single_rows(model, tokens_per_forward) -> None:
    rows = [[3, 4, 5, 6, 7, 8], [9, 2], [3, 4, 5], [9, 2], [11, 12, 13, 14, 15, 16, 17, 18]]
    found = likelihoods(model, rows, tokens_per_forward=tokens_per_forward)
    for row, one in zip(rows, found, strict=True):
        fed = row if model.bos_id is None else [model.bos_id, *row]
        np.testing.assert_allclose(one.log_probs, by_hand(model, fed), atol=2e-5)
        assert one.start == (1 if model.bos_id is None else 0)
        assert one.total == pytest.approx(one.log_probs.sum())


def test_a_beginning_token_predicts_the_first_and_is_not_doubled(make_hf, make_tokenizer) -> None:
    model = load_model("bos", hf_model=make_hf("gpt2"), tokenizer=make_tokenizer(bos=True))
    assert model.bos_id == 1
    without, with_it = likelihoods(model, [[5, 6, 7], [1, 5, 6, 7]])
    assert (without.start, with_it.start) == (0, 1)
    np.testing.assert_array_equal(without.log_probs, with_it.log_probs)
    np.testing.assert_array_equal(without.after(1), without.log_probs[1:])
    np.testing.assert_array_equal(with_it.after(2), with_it.log_probs[1:])
    assert with_it.at([1, 3]) == pytest.approx(with_it.log_probs[[0, 2]].sum())


def test_each_distinct_text_runs_once(talker, monkeypatch) -> None:
    seen = []
    forward = type(talker).logits

    def counted(self, tokens, mask=None):
        seen.append(len(tokens))
        return forward(self, tokens, mask)

    monkeypatch.setattr(type(talker), "logits", counted)
    likelihoods(talker, [[1, 2], [1, 2], [3, 4, 5], [1, 2]])
    assert sum(seen) == 2


def test_texts_that_cannot_be_scored_are_refused(talker, gpt2) -> None:
    with pytest.raises(BehaviourError, match="longer than the model's context of 24"):
        likelihoods(talker, [[2] * 25])
    with pytest.raises(BehaviourError, match="no beginning-of-sequence id"):
        likelihoods(talker, [[2]])
    with pytest.raises(BehaviourError, match="outside the vocabulary"):
        encode(talker, (1, 29))
    with pytest.raises(BehaviourError, match="gives no token"):
        encode(talker, ())
    with pytest.raises(BehaviourError, match="has no tokenizer"):
        encode(gpt2, "w1 w2")


def test_texts_with_unknown_words_are_left_out(make_hf, make_tokenizer) -> None:
    tokenizer = make_tokenizer()
    tokenizer.unk_token = "w0"
    model = load_model("unknowing", hf_model=make_hf("gpt2"), tokenizer=tokenizer)
    pairs = PairSet((Pair("w3 w4", "w3 w9"), Pair("w3 elephants", "w3 w9")))
    found = pair_gaps(model, pairs)
    assert [s.reason for s in found.skipped] == ["a word that is unknown to the model's tokenizer"]
    assert found["all"].n == 1


def test_rounding_is_a_tie() -> None:
    assert compare(-10.0, -10.0 + 5e-6, n_tokens=1) == 0
    assert compare(-10.0, -10.0 + 5e-5, n_tokens=1) == -1
    assert compare(-10.0, -10.0 - 5e-5, n_tokens=10) == 0
    assert compare(-10.0, -10.1, n_tokens=10) == 1


def test_where_continuations_begin() -> None:
    assert continuation([1, 2, 3], [[1, 2, 3, 4], [1, 2, 3, 5, 6]]) == 3
    assert continuation([1, 2, 3], [[1, 2, 9, 4], [1, 2, 3, 5]]) == 2  # the last token merged
    assert continuation([1, 2, 3], [[1, 2, 3], [1, 2, 3, 5]]) == 2  # something must be left


# -- estimates --------------------------------------------------------------------------------


def test_estimates_say_why_they_have_no_interval() -> None:
    rng = np.random.default_rng(0)
    groups = [str(i) for i in range(40)]
    found = mean_of(rng.normal(size=40), groups, none="nothing")
    assert found.interval is not None
    assert found.interval[0] < found.value < found.interval[1]
    assert mean_of([], [], none="nothing").reason == "nothing"
    assert mean_of([1.0, 2.0], ["a", "b"], none="").reason == FEW
    assert mean_of(np.ones(40), groups, none="").reason == AGREE
    sums = group_sums(np.stack([rng.random(40), np.ones(40)], axis=1), groups)
    ratio = statistic_of(lambda t: t[..., 0] / t[..., 1], sums, n=40, none="nothing")
    plain = mean_of(sums[:, 0], groups, none="")
    assert ratio.value == pytest.approx(plain.value)
    assert ratio.interval == pytest.approx(plain.interval, abs=0.03)

    def nowhere(totals: np.ndarray) -> np.ndarray:
        return totals[..., 0] * np.nan

    assert str(statistic_of(nowhere, sums, n=40, none="nothing")) == "none: nothing"


def test_groups_widen_intervals() -> None:
    values = np.repeat(np.random.default_rng(0).normal(size=20), 10)
    alone = mean_of(values, [str(i) for i in range(200)], none="")
    bound = mean_of(values, [str(i // 10) for i in range(200)], none="")
    assert bound.interval[1] - bound.interval[0] > 2 * (alone.interval[1] - alone.interval[0])


# -- minimal pairs ----------------------------------------------------------------------------


def test_shared_tokens_after_the_first_difference() -> None:
    assert shared_after([1, 2, 3, 4, 5], [1, 9, 3, 4, 5]) == ((2, 3, 4), (2, 3, 4))
    assert shared_after([1, 2, 3], [1, 7, 8, 2, 3]) == ((1, 2), (3, 4))  # one is longer
    assert shared_after([1, 2, 3], [1, 2, 4]) == ((), ())
    assert shared_after([5, 1, 2], [6, 1, 2]) == ((1, 2), (1, 2))


def test_pair_gaps_by_hand(talker) -> None:
    pairs = PairSet(
        (
            Pair("w3 w4 w5 w6", "w3 w9 w5 w6", kind="a"),
            Pair("w3 w4", "w3 w9 w9", kind="b"),
            Pair("w3 w4", "w3 w4", kind="b"),
            Pair("w7 w8 " * 13, "w3 w4", kind="b"),
        )
    )
    found = pair_gaps(talker, pairs)
    more, less = by_hand(talker, [3, 4, 5, 6]), by_hand(talker, [3, 9, 5, 6])
    first, second = found.items
    assert first.gap == pytest.approx(more.sum() - less.sum(), abs=1e-4)
    assert first.conditional == pytest.approx(more[1:].sum() - less[1:].sum(), abs=1e-4)
    assert (first.n_shared, first.sign) == (2, int(np.sign(first.gap)))
    assert second.conditional is None
    assert [row.kind for row in found.rows] == ["all", "a", "b"]
    whole = found["all"]
    assert (whole.n, whole.n_conditional, whole.unequal, whole.extra_tokens) == (2, 1, 0.5, -0.5)
    assert whole.size == pytest.approx((abs(first.gap) + abs(second.gap)) / 2)
    assert found["b"].conditional.value is None
    assert sorted(item.reason for item in found.skipped) == [
        "both texts are the same tokens",
        "longer than the model's context of 24 tokens",
    ]
    assert "1 left out: both texts are the same tokens" in str(found)
    assert list(found.table()["kind"]) == ["all", "a", "b"]
    assert len(found.items_table()) == 2
    with pytest.raises(KeyError, match="there are all, a, b"):
        found["c"]


def test_ties_are_counted_and_not_for_the_stereotype(talker) -> None:
    with torch.no_grad():
        flat = load_model("flat", hf_model=talker.bridge.original_model, tokenizer=talker.tokenizer)
        for parameter in flat.bridge.original_model.parameters():
            parameter.zero_()
    pairs = PairSet(tuple(Pair(f"w3 w{i} w5", f"w3 w{i + 1} w5") for i in range(4, 16)))
    found = pair_gaps(flat, pairs)["all"]
    assert (found.n, found.ties, found.share_more.value) == (12, 12, 0.0)
    assert found.gap.value == pytest.approx(0.0, abs=1e-6)
    longer = PairSet((Pair("w3 w4", "w3 w4 w5"),))
    assert pair_gaps(flat, longer)["all"].gap.value == pytest.approx(np.log(29), rel=1e-4)


def test_swapping_the_texts_flips_every_sign(talker) -> None:
    texts = [(f"w3 w{i} w5 w{i + 2}", f"w3 w{i + 1} w5 w{i + 2}") for i in range(4, 20)]
    one, other = (
        pair_gaps(talker, PairSet(tuple(Pair(*(t if keep else t[::-1])) for t in texts)))["all"]
        for keep in (True, False)
    )
    assert one.gap.value == pytest.approx(-other.gap.value)
    assert one.conditional.value == pytest.approx(-other.conditional.value)
    assert one.share_more.value == pytest.approx(1 - other.share_more.value)
    assert one.size == pytest.approx(other.size)


def test_results_show_text_from_data_escaped(talker) -> None:
    shown = pair_gaps(
        talker,
        PairSet(
            (Pair("w3 w4", "w3 w9", "<b>x</b>"), Pair("w3 w4", "w3 w8", "y")), name="<i>mine</i>"
        ),
    )
    html = shown._repr_html_()
    assert "<b>x</b>" not in html
    assert "<i>mine</i>" not in html
    assert "&lt;i&gt;mine" in html


def test_no_pairs_are_refused(talker) -> None:
    with pytest.raises(BehaviourError, match="holds no pairs"):
        PairSet(())
    with pytest.raises(BehaviourError, match="no pair can be measured; 1 left out: both texts"):
        pair_gaps(talker, PairSet((Pair("w1 w2", "w1 w2"),)))
    with pytest.raises(BehaviourError, match="at least 1 item"):
        PairSet((Pair("a b", "a c"),)).sample(0, seed=0)


# -- the user's own pairs ---------------------------------------------------------------------


def written(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_pairs_and_templates_are_read(tmp_path) -> None:
    file = written(
        tmp_path / "mine.csv",
        "template,more,less,job,kind,group\n"
        "The {job} said {} knew.,she,he,nurse|cook,gender,\n"
        ",My aunt left early.,My uncle left early.,,kin,visits\n",
    )
    read = read_pairs(file)
    assert read.name == "mine"
    assert [(p.more, p.less) for p in read.pairs] == [
        ("The nurse said she knew.", "The nurse said he knew."),
        ("The cook said she knew.", "The cook said he knew."),
        ("My aunt left early.", "My uncle left early."),
    ]
    assert [p.kind for p in read.pairs] == ["gender", "gender", "kin"]
    assert read.pairs[0].group == read.pairs[1].group != read.pairs[2].group == "visits"
    ids = written(
        tmp_path / "ids.jsonl",
        '{"more": [3, 4], "less": [3, 5]}\n'
        '{"template": "{who} sang {} {who}", "more": "a", "less": "b", "who": ["x", "y"]}\n',
    )
    assert [(p.more, p.less) for p in read_pairs(ids).pairs] == [
        ((3, 4), (3, 5)),
        ("x sang a x", "x sang b x"),
        ("y sang a y", "y sang b y"),
    ]
    assert len(read.sample(2, seed=0)) == 2


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"more": "a b"}, "no 'less'"),
        ({"more": "a", "less": "a"}, "are the same"),
        ({"more": "a", "less": "b", "knd": "x"}, "unknown column 'knd'; did you mean kind"),
        ({"more": [1, "2"], "less": [1, 3]}, "not of token ids"),
        ({"more": [1, 2], "less": "b"}, "both be texts"),
        ({"template": "no slot", "more": "a", "less": "b"}, "has no {}"),
        ({"template": "{} {job}", "more": "a", "less": "b"}, r"nothing fills the slot \{job\}"),
        ({"template": "{} x", "more": "a", "less": "b", "job": "c"}, r"no slot \{job\}"),
        ({"template": "{} {", "more": "a", "less": "b"}, "cannot be read"),
        ({"template": "{} {more}", "more": "a", "less": "b"}, "may not be called 'more'"),
    ],
)
def test_bad_pairs_are_refused_with_their_row(tmp_path, row, said) -> None:
    good = json.dumps({"more": "a b", "less": "a c"})
    file = written(tmp_path / "mine.jsonl", f"{good}\n{json.dumps(row)}\n")
    with pytest.raises(BehaviourError, match=f"mine.jsonl, row 2: .*{said}"):
        read_pairs(file)


def test_templates_do_not_reach_into_attributes(tmp_path) -> None:
    row = {"template": "{} {a.__class__}", "more": "x", "less": "y", "a": "z"}
    with pytest.raises(BehaviourError, match="nothing fills the slot"):
        read_pairs(written(tmp_path / "mine.jsonl", json.dumps(row)))


# -- CrowS-Pairs ------------------------------------------------------------------------------

CROWS = ["", "sent_more", "sent_less", "stereo_antistereo", "bias_type"]


def crows(path: Path, rows: list[list[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([CROWS, *rows])
    return path


def test_crows_pairs_are_read_and_measured(tmp_path, talker) -> None:
    file = crows(
        tmp_path / "crows.csv",
        [
            ["0", "w3 w4 w5", "w3 w6 w5", "stereo", "gender"],
            ["1", "w3 w7 w5", "w3 w8 w5", "antistereo", "gender"],
            ["2", "w3 w9 w2", "w3 w8 w2", "stereo", "age"],
        ],
    )
    pairs = read_crows_pairs(file)
    assert pairs.pairs[0].group == pairs.pairs[1].group != pairs.pairs[2].group
    found = crows_pairs(talker, pairs, seed=0)
    assert [(row.kind, row.n) for row in found.rows] == [("all", 3), ("age", 1), ("gender", 2)]
    expected = np.mean([item.gap > 0 for item in found.items])
    assert found["all"].share_more.value == pytest.approx(expected)
    assert found["all"].gap.reason == FEW


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (["1", "a b", "", "stereo", "age"], r"row 2 \(line 3\): the sent_less is empty"),
        (["1", "a b", "a c", "sterio", "age"], "stereo_antistereo is 'sterio'"),
        (["1", "a b", "a c"], "3 cells under 5 columns"),
    ],
)
def test_bad_crows_rows_are_refused(tmp_path, row, said) -> None:
    file = crows(tmp_path / "crows.csv", [["0", "a b", "a c", "stereo", "age"], row])
    with pytest.raises(BehaviourError, match=said):
        read_crows_pairs(file)
    with pytest.raises(BehaviourError, match="no file"):
        read_crows_pairs(tmp_path / "none.csv")
    other = written(tmp_path / "other.csv", "a,b\n1,2\n")
    with pytest.raises(BehaviourError, match="no column 'sent_more'"):
        read_crows_pairs(other)
