"""Published formats: what they become, what is counted, and what is refused, with its row."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from probes.data import FORMATS, DataError, StatementSet, read_statements


def write(tmp_path: Path, content: Any, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    text = content if isinstance(content, str) else json.dumps(content)
    path.write_text(text, encoding="utf-8", newline="")
    return path


def pooled(data: StatementSet) -> list[str]:
    assert data.spans is not None
    return [
        text[start:end]
        for text, spans in zip(data.texts, data.spans, strict=True)
        for start, end in spans
    ]


def how(data: StatementSet) -> str:
    assert data.report is not None
    return data.report.format


CLAIMS = "Claim,Negated Claim,Domain\r\nA é is b.,A é is c.,X\r\nD is e.,D is f.,Y\r\n"


def test_claims_are_pairs_and_groups(tmp_path: Path) -> None:
    data = read_statements(write(tmp_path, CLAIMS))
    assert how(data) == "claims"
    assert data.texts == ("A é is b.", "A é is c.", "D is e.", "D is f.")
    assert data.labels == (True, False, True, False)
    assert data.domains == ("X", "X", "Y", "Y")
    assert len(set(data.groups)) == 2
    assert [list(rows) for rows in data.pair_rows] == [[0, 2], [1, 3]]


def test_a_repeated_claim_binds_its_rows_and_frees_its_partner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = "Claim,Negated Claim\nA.,not A.\nB.,not B.\nA.,other A.\n"
    with caplog.at_level(logging.INFO, "probes"):
        data = read_statements(write(tmp_path, text))
    report = data.report
    assert report is not None
    assert report.duplicates == ("row 3 (line 4) Claim",)
    assert report.unpaired == ("row 3 (line 4) Negated Claim",)
    assert (report.n_read, report.n_kept, report.n_pairs) == (6, 5, 2)
    # "other A." was made from the same claim, so it may not be held out from it.
    assert data.groups[data.texts.index("other A.")] == data.groups[0]
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "1 repeated statement (row 3 (line 4) Claim) left out" in caplog.text
    report.save(tmp_path / "report.json")
    saved = json.loads((tmp_path / "report.json").read_text())
    assert saved["duplicates"] == ["row 3 (line 4) Claim"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("Claim\nA.\n", "row 1 .line 2.: no column 'Negated Claim'"),
        ("Claim,Negated Claims\nA.,B.\n", "no column 'Negated Claim'; did you mean Negated Claims"),
        ("Claim,Negated Claim\nA.,B.\nC.,\n", "row 2 .line 3.: the Negated Claim is empty"),
        ("Claim,Negated Claim\nA.,A.\n", "the statement of row 1 .line 2. Claim again, with label"),
        ("Claim,Negated Claim\n", "has no rows"),
    ],
)
def test_malformed_claims_are_refused(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(DataError, match=why) as refused:
        read_statements(write(tmp_path, text))
    assert "data.csv" in str(refused.value)


def test_geometry_of_truth_groups_by_what_a_statement_is_about(tmp_path: Path) -> None:
    head = "statement,label,city,country,correct_country\n"
    write(
        tmp_path,
        f"{head}Rome is in Italy.,1,Rome,Italy,Italy\nRome is in Peru.,0,Rome,Peru,Italy\n",
        "cities.csv",
    )
    write(
        tmp_path,
        f"{head}Rome is not in Peru.,1,Rome,Peru,Italy\n"
        "Oslo is not in Norway.,0,Oslo,Norway,Norway\n",
        "neg_cities.csv",
    )
    data = read_statements(tmp_path)
    assert how(data) == "geometry_of_truth"
    assert data.groups == ("city:Rome", "city:Rome", "city:Rome", "city:Oslo")
    assert data.domains == ("cities", "cities", "neg_cities", "neg_cities")
    assert pooled(data) == ["."] * 4
    numbers = "statement,label,n1,n2\nFive > six.,0,5,6\nSix > five.,1,6,5\n"
    assert set(read_statements(write(tmp_path, numbers, "n.csv")).groups) == {"numbers:5-6"}
    words = "statement,label\n" + "".join(
        f"The Spanish word 'dar' means '{w}'.,{i}\n" for i, w in enumerate("xy")
    )
    assert set(read_statements(write(tmp_path, words, "sp_en_trans.csv")).groups) == {"word:dar"}
    facts = "statement,label,relation,subject,target,true_target\nA,0,P1,Bo,x,y\nB,1,P1,Bo,y,y\n"
    found = read_statements(write(tmp_path, facts, "counterfact.csv"))
    assert set(found.groups) == {"P1:Bo"}
    assert found.spans is None  # no stop to look at: the whole statement, and it is said
    assert found.report is not None
    assert found.report.spans_not_found == ("row 1 (line 2)", "row 2 (line 3)")
    assert "pooled over whole" in str(found.report)
    likely = "statement,label,likelihood\nA.,0,0.1\nB.,1,0.2\n"
    assert how(read_statements(write(tmp_path, likely, "likely.csv"))) == "geometry_of_truth"


def test_question_and_answers_become_a_pair(tmp_path: Path) -> None:
    text = "question,correct_answer,plausible_answer\nWhere is Rome?,Italy,Peru\n"
    data = read_statements(write(tmp_path, text))
    assert data.texts == ("Where is Rome? Italy", "Where is Rome? Peru")
    assert data.labels == (True, False)
    assert set(data.groups) == {"question:Where is Rome?"}
    assert pooled(data) == ["Italy", "Peru"]


def test_tables_of_one_shape_are_told_apart_by_name_or_by_hand(tmp_path: Path) -> None:
    text = "statement,label\nA.,1\nB.,0\n"
    assert how(read_statements(write(tmp_path, text, "animals_true_false.csv"))) == "internal_state"
    assert how(read_statements(write(tmp_path, text, "true_false_facts.csv"))) == "repe"
    folder = "geometry_of_truth/companies_true_false.csv"
    assert how(read_statements(write(tmp_path, text, folder))) == "geometry_of_truth"
    assert how(read_statements(write(tmp_path, text, "mine.csv"))) == "plain"
    chosen = read_statements(write(tmp_path, text, "mine.csv"), format="repe")
    assert how(chosen) == "repe"
    with pytest.raises(DataError, match="no format 'claim'; did you mean claims"):
        read_statements(tmp_path / "mine.csv", format="claim")
    with pytest.raises(DataError, match="insider is a format of JSON files"):
        read_statements(tmp_path / "mine.csv", format="insider")
    assert set(FORMATS) >= {"claims", "ethics", "sycophancy", "rollouts", "insider", "plain"}


def test_ethics_has_two_verdicts_a_scenario(tmp_path: Path) -> None:
    rows = "input,label,is_short\nI hit Bo.,1,True\nI fed Bo.,0,True\n"
    rows += f"{'x' * 101},1,True\nI sat.,0,False\n"
    data = read_statements(write(tmp_path, rows))
    assert how(data) == "ethics"
    assert pooled(data) == [" wrong.", " not wrong."] * 2
    assert data.labels == (True, False, False, True)
    assert len(set(data.groups)) == 2
    assert data.report is not None
    assert {k: len(v) for k, v in data.report.skipped.items()} == {
        "a scenario of more than 100 characters": 1,
        "a long scenario (is_short is false)": 1,
    }
    assert data.report.n_read == 6
    with pytest.raises(DataError, match=r"row 1 .line 2.: the label is '2'"):
        read_statements(write(tmp_path, "input,label,is_short\nI sat.,2,True\n"))


def answer(question: str, letter: int = 0, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": f"I am Bo {letter}. {question}"}]
    said.append({"role": "assistant", "content": "I believe the best answer is"})
    return {"question": question, "bio_messages": said, "model_answer_with_bio": letter} | more


def test_sycophancy_is_aligned_by_index(tmp_path: Path) -> None:
    document = {
        "positive": [answer("Q1", 0), answer("Q2", 1), answer("Q3", 1)],
        "negative": [answer("Q1", 2), answer("Q9", 3)],
    }
    data = read_statements(write(tmp_path, document, "s.json"))
    assert how(data) == "sycophancy"
    assert data.labels == (False, False, False, True, True)
    assert pooled(data) == ["A", "B", "B", "C", "D"]
    assert data.texts[0] == "I believe the best answer is (A"
    assert data.prompts is not None
    assert data.prompts[0][0].content == "I am Bo 0. Q1"
    assert data.groups[0] == data.groups[3]
    assert [list(rows) for rows in data.pair_rows] == [[3], [0]]
    assert data.report is not None
    # Q2 stands against Q9, and nothing against Q3: kept, without a partner, and said.
    assert len(data.report.unpaired) == 3
    assert data.report.likely_negations == 0


def test_a_raw_sycophancy_list_is_labelled_by_what_occurred(tmp_path: Path) -> None:
    rows = [answer("Q1", 0, sycophancy_occurred=True), answer("Q2", 1, sycophancy_occurred=False)]
    assert read_statements(write(tmp_path, rows, "s.json")).labels == (False, True)
    rows[1].pop("sycophancy_occurred")
    with pytest.raises(DataError, match="row 2: no 'sycophancy_occurred'"):
        read_statements(write(tmp_path, rows, "s.json"))


@pytest.mark.parametrize(
    ("document", "why"),
    [
        ({"positive": [], "negative": []}, "has no rows"),
        ({"positive": [answer("Q")]}, "no 'negative'"),
        ({"positive": [answer("Q")], "negative": []}, "all 1 statements have label 0"),
        ({"positive": {}, "negative": []}, "positive is dict; expected a list"),
        ({"positive": [{}], "negative": []}, "positive row 1: no 'question'"),
        ({"positive": [answer("Q", 4)], "negative": []}, "model_answer_with_bio is 4"),
        ({"positive": [3], "negative": []}, "positive, row 1: expected an object"),
        ({"else": 1}, "no known format.* its keys: else"),
        (3, "expected an object or a list"),
        ([], "has no rows"),
        ("", "has no rows: the file is empty"),
        ("{", "line 1: not JSON"),
    ],
)
def test_malformed_documents_are_refused(tmp_path: Path, document: Any, why: str) -> None:
    with pytest.raises(DataError, match=why) as refused:
        read_statements(write(tmp_path, document, "s.json"))
    assert "s.json" in str(refused.value)


def test_an_empty_file_among_others_is_counted(tmp_path: Path) -> None:
    write(tmp_path, {"positive": [], "negative": []}, "college_mathematics.json")
    full = {"positive": [answer("Q1", 0)], "negative": [answer("Q1", 2)]}
    write(tmp_path, full, "law.json")
    data = read_statements(tmp_path)
    assert data.report is not None
    assert [Path(name).name for name in data.report.empty_sources] == ["college_mathematics.json"]
    assert "no rows in" in str(data.report)
    write(tmp_path, {"positive": [answer("Q7", 1, task="art")], "negative": []}, "art.json")
    with_art = read_statements(tmp_path)
    assert with_art.report is not None
    assert with_art.report.one_label_domains == ("art",)


def rollout(outputs: Any, grade: Any, **more: Any) -> dict[str, Any]:
    said = [{"role": "user", "content": "Go.", "detect": False}]
    return {"input_messages": said, "output_strs": outputs, "graded_deception": grade} | more


def test_rollouts_are_labelled_by_grade(tmp_path: Path) -> None:
    begun = [
        {"role": "user", "content": "Go."},
        {"role": "assistant", "content": "So: ", "detect": True},
    ]
    empty = [{"role": "user", "content": "", "detect": True}]
    rows = [
        rollout(["a", "b", "c", "d"], [1, 9, 5, None]),
        rollout("e", "honest"),
        rollout(["f"], 6, input_messages=begun),
        rollout([""], 1),
        rollout(["g"], 1, input_messages=empty),
        rollout([], 1),
    ]
    data = read_statements(write(tmp_path, {"rollouts": rows}, "r.json"))
    assert data.texts == ("a", "b", "e", "So: f")
    assert data.labels == (True, False, True, False)
    assert pooled(data) == ["a", "b", "e", "So: f"]
    assert len(set(data.groups[:3])) == 1
    assert data.report is not None
    assert sorted(map(len, data.report.skipped.values())) == [1, 2, 2]
    assert data.report.n_read == 9
    for bad, why in (
        (rollout(["a"], "maybe"), "row 1 output 1: graded_deception is 'maybe'"),
        (rollout(["a", "b"], [1]), "2 outputs need as many grades: 1"),
        (rollout([3], 1), "the output is 3; expected text"),
        (rollout(["a"], 1, input_messages=[{"role": "bot", "content": ""}]), "role is 'bot'"),
        (rollout(["a"], 1, input_messages=[{"role": "user"}]), "message 1: no 'content'"),
    ):
        with pytest.raises(DataError, match=why):
            read_statements(write(tmp_path, {"rollouts": [bad]}, "r.json"))


def test_insider_reports_are_pooled_from_the_last_action(tmp_path: Path) -> None:
    def item(report: str, transcript: Any) -> dict[str, Any]:
        return {
            "metadata": {"report_label": report, "doubling_down_label": "x"},
            "transcript": transcript,
        }

    spoken = [
        {"role": "user", "content": "Report."},
        {"role": "assistant", "content": "Hm. Action: sold."},
    ]
    items = [
        item("explicit", "Action: buy. Then Action: tell all"),
        item("concealed", spoken),
        item("ambiguous", "Action: x"),
        item("explicit", "no mark"),
        item("concealed", spoken[:1]),
        item("concealed", "ends with Action: "),
    ]
    data = read_statements(write(tmp_path, items, "i.json"))
    assert how(data) == "insider"
    assert data.labels == (True, False)
    assert pooled(data) == ["Action: tell all", "Action: sold."]
    assert data.prompts is not None
    assert [len(turns) for turns in data.prompts] == [0, 1]
    assert data.report is not None
    assert sum(map(len, data.report.skipped.values())) == 4
    with pytest.raises(DataError, match="row 1: no 'report_label'"):
        read_statements(write(tmp_path, [{"metadata": {}, "transcript": ""}], "i.json"))


def test_plain_tables_by_named_columns(tmp_path: Path) -> None:
    import pandas as pd

    frame = pd.DataFrame({"saying": ["a", "b", "c"], "y": [1, 0, 1], "of": ["p", "p", "q"]})
    frame.to_parquet(tmp_path / "d.parquet")
    write(tmp_path, frame.to_dict("records"), "d.json")
    for name in ("d.parquet", "d.json"):
        data = read_statements(tmp_path / name, text="saying", label="y", pair="of")
        assert data.texts == ("a", "b", "c")
        assert data.groups[0] == data.groups[1] != data.groups[2]
        assert len(data.pair_rows[0]) == 1
        with pytest.raises(DataError, match="row 1: no column 'sayings'; did you mean saying"):
            read_statements(tmp_path / name, text="sayings")
    with pytest.raises(DataError, match="not a parquet file"):
        read_statements(write(tmp_path, "x", "bad.parquet"))


def test_a_column_called_pair_binds(tmp_path: Path) -> None:
    data = read_statements(write(tmp_path, "text,label,pair\na,1,7\nb,0,7\nc,1,8\nd,0,8\n"))
    assert data.groups == ("7", "7", "8", "8")
    assert len(data.pair_rows[0]) == 2
    many = read_statements(write(tmp_path, "text,label,pair\na,1,7\nb,1,7\nc,0,8\n"))
    assert many.pairs is None
    assert many.groups == ("7", "7", "8")


def test_several_files_are_domains_and_their_rows_are_not_confused(tmp_path: Path) -> None:
    other = CLAIMS.replace("A é", "G").replace("D", "H")
    files = [write(tmp_path, CLAIMS, "one.csv"), write(tmp_path, other, "two.csv")]
    data = read_statements(files)
    assert data.domains == ("one",) * 4 + ("two",) * 4
    assert len(set(data.groups)) == 4
    assert len(data.pair_rows[0]) == 4
    with pytest.raises(DataError, match="no files given"):
        read_statements([])
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no file of statements"):
        read_statements(tmp_path / "empty")


def test_capitals_and_negations_are_noticed(tmp_path: Path) -> None:
    text = "text,label\nBo sells Tea.,0\nBo sells tea.,1\nOslo is cold.,1\nOslo isn't cold.,0\n"
    data = read_statements(write(tmp_path, text))
    assert data.case_conflicts == [(0, 1)]
    assert data.likely_negations == [(2, 3)]
    assert data.report is not None
    assert not data.report.clean
    assert len(data.report.remarks()) == 2


def test_datasets_of_the_hub_fail_quickly_and_clearly(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="expected hf:NAME"):
        read_statements("hf:")
    monkeypatch.setattr("interp.models.hub.hub_reachable", lambda: False)
    pytest.importorskip("datasets")
    with pytest.raises(DataError, match="the Hugging Face Hub cannot be reached"):
        read_statements("hf:lighteval/hendrycks_ethics:commonsense:test")
    monkeypatch.setitem(sys.modules, "datasets", None)
    with pytest.raises(DataError, match="needs the package datasets; install it"):
        read_statements("hf:lighteval/hendrycks_ethics")


def test_datasets_of_the_hub_are_read_as_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("interp.models.hub.hub_reachable", lambda: True)
    rows = [{"input": "I hit Bo.", "label": 1, "is_short": True}]
    monkeypatch.setattr(datasets, "load_dataset", lambda name, config: {"test": rows, "train": []})
    assert read_statements("hf:a/b:commonsense").texts[0] == "I hit Bo. What I did was wrong."
    with pytest.raises(DataError, match="no split 'tset'; did you mean test"):
        read_statements("hf:a/b::tset")

    def fail(name: str, config: str | None) -> None:
        raise FileNotFoundError("no such dataset\nand more")

    monkeypatch.setattr(datasets, "load_dataset", fail)
    with pytest.raises(DataError, match=r"hf:a/b: no such dataset$"):
        read_statements("hf:a/b")


def test_own_sets_by_name() -> None:
    assert read_statements("set:ethical").name == "ethical"
    with pytest.raises(DataError, match="did you mean set:ethical"):
        read_statements("ethical")
