"""The type itself, splits and folds, baselines, and the project's own sets."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes.data import (
    OWN_SETS,
    DataError,
    ReadReport,
    StatementSet,
    baselines,
    check_split,
    group_folds,
    joined,
    read_statements,
    set_table,
    split,
    statement_set,
)
from probes.data.own.facts import by_relation, facts, partners

PAIRED = StatementSet.build(
    [f"s{i} {w}" for i in range(30) for w in ("yes", "no")],
    [1, 0] * 30,
    pairs=[i // 2 for i in range(60)],
    domains=["x", "x", "y", "y"] * 15,
)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"spans": [(0, 9), None]}, r"row 1: the span \(0, 9\) does not lie"),
        ({"spans": [(1, 1), None]}, r"row 1: the span \(1, 1\) .* or is empty"),
        ({"spans": [[], None]}, "row 1: the span is empty"),
        ({"spans": [None]}, "2 texts need as many spans"),
        ({"pairs": ["p"] * 3, "labels": [1, 0, 1]}, "row 3: the pair 'p' has 3 statements, 2 of"),
        ({"pairs": [True, "p"]}, "row 1: the pair is True"),
        ({"texts": None}, "neither texts nor ids"),
        ({"ids": [[1], [2]]}, "both texts and ids"),
        ({"texts": None, "ids": [[], [2]]}, "row 1: expected token ids"),
        ({"texts": None, "ids": [[-1], [2]]}, "row 1: expected token ids"),
        ({"domains": ["a", ""]}, "row 2: the domain is ''"),
        ({"prompts": [()]}, "2 texts need as many prompts"),
    ],
)
def test_a_set_is_checked_when_it_is_made(changes: dict[str, Any], why: str) -> None:
    given: dict[str, Any] = {"texts": ["ab", "cd"], "labels": [1, 0]}
    given |= changes
    if given["texts"] is not None:
        given["texts"] = ["ab", "cd", "ef"][: len(given["labels"])]
    with pytest.raises(DataError, match=why):
        StatementSet.build(**given)


def test_a_pair_in_two_given_groups_makes_them_one() -> None:
    data = StatementSet.build(["a", "b", "c"], [1, 0, 1], groups=[1, 2, 2], pairs=["p", "p", None])
    assert set(data.groups) == {"1"}
    assert data.report is not None
    assert data.report.unpaired == ("row 3",)


def test_rows_without_a_group_are_groups_of_their_own() -> None:
    data = StatementSet.build(["a", "b", "c"], [1, 0, 1], groups=["g", None, None])
    assert data.grouped
    assert len(set(data.groups)) == 3


def test_filter_table_and_html() -> None:
    assert len(PAIRED.filter(domain="x")) == 30
    assert set(PAIRED.filter(domain="x", label=True).labels) == {True}
    assert len(PAIRED.filter(where=lambda text: text.startswith("s1 "))) == 2
    with pytest.raises(DataError, match="no domain 'xx'; did you mean x"):
        PAIRED.filter(domain="xx")
    with pytest.raises(DataError, match="no statement meets"):
        PAIRED.filter(where=lambda text: False)
    assert len(PAIRED.select(PAIRED.y)) == 30
    with pytest.raises(DataError, match="60 statements need as many booleans"):
        PAIRED.select(np.array([True]))
    table = PAIRED.table()
    assert list(table.columns) == ["text", "label", "group", "domain", "pair", "place"]
    assert table["label"].tolist() == [1, 0] * 30
    texts = ["<script>x</script>", "b"]
    risky = StatementSet.build(texts, [1, 0], name="<b>", spans=[(0, 1), None])
    page = risky._repr_html_()
    assert "<script>" not in page
    assert "&lt;script&gt;" in page
    assert "&lt;b&gt;" in page
    assert "… 52 more" in PAIRED._repr_html_()


def test_the_hash_follows_everything_a_model_sees() -> None:
    def made(**more: Any) -> str:
        return StatementSet.build(["ab", "cd"], [1, 0], groups=["g", "g"], **more).hash

    kinds = [{}, {"spans": [(0, 1), None]}, {"spans": [(1, 2), None]}, {"pairs": ["p", "p"]}]
    assert len({made(**kind) for kind in kinds}) == len(kinds)
    by_ids = [StatementSet.build(labels=[1, 0], ids=[[i], [5]]).hash for i in (1, 2, 1)]
    assert by_ids[0] == by_ids[2] != by_ids[1]


def test_joined_sets_share_groups_of_one_name_only_where_they_were_given() -> None:
    one = StatementSet.build(["a", "b"], [1, 0], groups=["g", "h"], name="one")
    two = StatementSet.build(["c", "d"], [1, 0], groups=["g", "k"], name="two")
    free = StatementSet.build(["e", "f"], [1, 0], name="free")
    data = joined([one, two, free])
    assert data.groups[0] == data.groups[2]
    assert len(set(data.groups)) == 5
    assert data.domains == ("one", "one", "two", "two", "free", "free")
    with pytest.raises(DataError, match="again, with label 0"):
        joined([one, StatementSet.build(["a", "z"], [0, 1], name="other")])
    with pytest.raises(DataError, match="no sets"):
        joined([])
    with pytest.raises(DataError, match="cannot be joined"):
        joined([one, StatementSet.build(labels=[1, 0], ids=[[1], [2]])])


def test_split_and_folds_keep_pairs_together() -> None:
    train, test = split(PAIRED, held_out=0.3, seed=0)
    assert not set(train.groups) & set(test.groups)
    assert len(test.pair_rows[0]) * 2 == len(test)
    folds = group_folds(PAIRED.y, PAIRED.groups, n_folds=5, seed=0)
    assert sorted(row for _, new in folds for row in new) == list(range(60))
    for known, new in folds:
        check_split(PAIRED, known, new)
        assert PAIRED.y[new].mean() == 0.5
    again = group_folds(PAIRED.y, PAIRED.groups, n_folds=5, seed=0)
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(folds, again, strict=True))
    other = group_folds(PAIRED.y, PAIRED.groups, n_folds=5, seed=1)
    assert not all(np.array_equal(a[1], b[1]) for a, b in zip(folds, other, strict=True))


def test_impossible_folds_are_refused() -> None:
    few = [str(i) for i in range(8)]
    with pytest.raises(DataError, match="1 groups with label 1 cannot be cut into 5 folds"):
        group_folds([False] * 7 + [True], few, seed=0)
    with pytest.raises(DataError, match="0 groups with label 1"):
        group_folds([False] * 8, few, seed=0)
    with pytest.raises(DataError, match="n_folds is 1"):
        group_folds([False, True] * 4, few, n_folds=1, seed=0)


def test_leaking_parts_are_refused() -> None:
    every_other = np.arange(0, 60, 2), np.arange(1, 60, 2)
    with pytest.raises(DataError, match="the split leaks: row 1 and row 2 are of one group"):
        check_split(PAIRED, *every_other)
    with pytest.raises(DataError, match="row 1: this row is in two parts"):
        check_split(PAIRED, [0, 1], [0, 3])
    check_split(PAIRED, [0, 1], [2, 3])
    negated = StatementSet.build(["A is b.", "C is d.", "A is not b.", "C is not d."], [1, 0, 0, 1])
    with pytest.raises(DataError, match="looks like the negation of row 1, in another part"):
        check_split(negated, [0, 1], [2, 3])
    check_split(negated, [0, 2], [1, 3])


def test_baselines_are_refused_or_folded_less_where_there_is_little() -> None:
    small = StatementSet.build(["a b", "c d", "e b", "f d", "g b", "h d"], [1, 0] * 3)
    found = baselines(small)
    assert found.n_folds == 3
    assert found["words"].auroc == 1.0
    assert found.to_dict()["rows"][0]["name"] == "length in characters"
    assert "length in words: AUROC" in str(found)
    with pytest.raises(DataError, match="did you mean words"):
        found["word"]
    with pytest.raises(DataError, match="at least two groups with each label"):
        baselines(StatementSet.build(["a", "b", "c"], [1, 0, 0]))
    with pytest.raises(DataError, match="at least two groups with each label"):
        baselines(small.select([0, 2, 4]))


@pytest.mark.parametrize("name", OWN_SETS)
def test_own_sets_are_whole_balanced_and_grouped(name: str) -> None:
    for negations in (True, False):
        data = statement_set(name, negations=negations)
        true, false = data.pair_rows
        assert len(true) == len(false) == len(data) / 2
        assert len(true) >= 200
        assert isinstance(data.report, ReadReport)
        assert data.report.clean, data.report
        assert set(data.domains or ()) == {name}
        ends = [text for text in data.texts if not text.endswith(".") or not text[0].isupper()]
        assert not ends
        lengths = np.array([len(text) for text in data.texts])
        assert abs(lengths[data.y].mean() - lengths[~data.y].mean()) < 0.5
    assert any(" not " in text for text in statement_set(name).texts)


def test_an_unknown_set_is_refused_with_near_ones() -> None:
    with pytest.raises(DataError, match="did you mean empirical"):
        statement_set("empiric")
    table = set_table()
    assert table["name"].tolist() == list(OWN_SETS)
    assert (table["pairs"] >= 200).all()


@pytest.mark.parametrize("name", ["definitional", "empirical", "fictional"])
def test_fact_tables_have_one_answer_a_subject_and_false_ones_are_false(name: str) -> None:
    for relation, known in by_relation(facts(name)).items():
        subjects = [fact.subject for fact in known]
        assert len(subjects) == len(set(subjects)), relation
        true = {(fact.subject, fact.answer) for fact in known}
        placed = [fact for members in partners(known) for fact in members]
        assert sorted(placed, key=known.index) == known
        for members in partners(known):
            assert 2 <= len(members) <= 3
            for fact, other in zip(members, [*members[1:], members[0]], strict=True):
                assert (fact.subject, other.answer) not in true


TRUTH = next(
    (p / "shared/data/truth" for p in Path(__file__).parents if (p / "shared/data/truth").is_dir()),
    None,
)


@pytest.mark.skipif(TRUTH is None, reason="no published files beside the repository")
@pytest.mark.parametrize(
    ("file", "format", "n", "repeats", "pairs"),
    [
        ("claims/definitional.csv", "claims", 1154, 32, 566),
        ("claims/fictional.csv", "claims", 1200, 0, 600),
        ("geometry_of_truth/cities.csv", "geometry_of_truth", 1496, 0, 0),
        ("geometry_of_truth/neg_sp_en_trans.csv", "geometry_of_truth", 351, 3, 0),
        ("internal_state/facts_true_false.csv", "internal_state", 611, 2, 0),
        (
            "sycophancy/same_conf_paired_mmlu_sycophancy_medical_genetics.json",
            "sycophancy",
            64,
            0,
            32,
        ),
    ],
)
def test_published_files(file: str, format: str, n: int, repeats: int, pairs: int) -> None:
    assert TRUTH is not None
    data = read_statements(TRUTH / file)
    assert data.report is not None
    assert data.report.format == format
    assert (len(data), data.n_duplicates, data.report.n_pairs) == (n, repeats, pairs)
