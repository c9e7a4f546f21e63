"""Statements from files: what is read, what is counted, and what is refused, with its row."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from probes import DataError, StatementSet, read_statements


def write(tmp_path: Path, text: str | bytes, name: str = "data.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_csv_is_read_whole(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        '\ufeffid,statement,label,group,domain\r\n1,"A, quoted ""claim"".",TRUE,7,ärzte\r\n\r\n'
        "2,Zoë is\u2028here. ,0,7,b\r\n",
    )
    data = read_statements(path)
    assert data.texts == ('A, quoted "claim".', "Zoë is\u2028here. ")
    assert data.labels == (True, False)
    assert data.groups == ("7", "7")
    assert data.domains == ("ärzte", "b")
    assert data.places == ("row 1 (line 2)", "row 2 (line 4)")
    assert data.name == str(path)
    assert data.grouped
    assert data.n_duplicates == 0


def test_jsonl_is_read_with_labels_of_every_kind(tmp_path: Path) -> None:
    labels: list[Any] = [True, False, 1, 0, "true", "False", "1", "0"]
    rows = [json.dumps({"text": f"t\u2028{i}", "label": y}) for i, y in enumerate(labels)]
    data = read_statements(write(tmp_path, "\n".join(rows) + "\n\n", "data.jsonl"))
    assert data.labels == (True, False) * 4
    assert data.texts[0] == "t\u20280"
    assert not data.grouped
    assert len(set(data.groups)) == 8
    assert data.domains is None


def test_the_group_column_can_have_any_name(tmp_path: Path) -> None:
    path = write(tmp_path, "text,label,city\na,0,Rome\nb,1,Rome\nc,1,Oslo\n")
    assert read_statements(path, group="city").groups == ("Rome", "Rome", "Oslo")
    assert not read_statements(path).grouped
    with pytest.raises(DataError, match=r"no column 'cty'; did you mean city"):
        read_statements(path, group="cty")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "has no rows"),
        ("statement,label\n", "has no rows"),
        ("claim,label\na,1\n", "expected one column called statement or text.*claim, label"),
        ("statement;label\na;1\n", "expected one column called statement or text"),
        ("statement,text,label\na,b,1\n", "expected one column called statement or text"),
        ("text,label,label\na,1,0\n", "two columns are called 'label'"),
        ("text,lable\na,1\n", "row 1 .line 2.: no column 'label'; did you mean lable"),
        ("text,label\na,1\nb,2\n", r"row 2 \(line 3\): the label is '2'; expected 0, 1, true or"),
        ("text,label\na,1\nb,\n", "row 2 .line 3.: the label is ''"),
        ("text,label\na,1\nb,nan\n", "the label is 'nan'"),
        ("text,label\na,1\nb,-1\n", "the label is '-1'"),
        ("text,label\na,1.0\nb,0\n", "the label is '1.0'"),
        ("text,label\na,1\n  ,0\n", "row 2 .line 3.: the statement is empty"),
        ("text,label\na,1\nb, c,0\n", "row 2 .line 3.: 3 cells under 2 columns"),
        ("text,label\na,1\nb\n", "row 2 .line 3.: 1 cells under 2 columns"),
        ('text,label\na,1\n"b,0\nc,1\n', "row 2 .line 3.: unexpected end of data"),
        ('text,label\na,1\n"b" c,0\n', "row 2 .line 3.:"),
        ("text,label,group\na,1,g\nb,0,\n", "row 2 .line 3.: the group is ''"),
        ("text,label\na,1\nb,1\n", "all 2 statements have label 1"),
        ("text,label\na,0\na,0\n", "all 1 statements have label 0"),
        ("text,label\na,1\nb,0\n a ,0\n", r"row 3 \(line 4\): the statement of row 1 \(line 2\)"),
        (b"text,label\na,1\n\xff\xfe,0\n", "line 3: not UTF-8"),
    ],
)
def test_a_malformed_csv_is_refused_with_its_row(
    tmp_path: Path, text: str | bytes, why: str
) -> None:
    with pytest.raises(DataError, match=why) as refused:
        read_statements(write(tmp_path, text))
    assert "data.csv" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        (['{"text": "a", "label": 1', '{"text": "b", "label": 0}'], "row 1: not JSON"),
        (['{"text": "a", "label": 1}', '["b", 0]'], "row 2: expected an object"),
        (['{"text": "a", "label": 1}', '{"text": "b"}'], "row 2: no column 'label'"),
        (['{"text": "a", "label": 1, "label": 0}'], "row 1: not JSON: a key is given twice"),
        (['{"text": "a", "label": 1}', '{"text": null, "label": 0}'], "row 2: the statement is No"),
        (['{"text": "a", "label": 1}', '{"text": 5, "label": 0}'], "row 2: the statement is 5"),
        (['{"text": "a", "label": 1}', '{"text": "b", "label": NaN}'], "row 2: the label is nan"),
        (['{"text": "a", "label": 1}', '{"text": "b", "label": null}'], "row 2: the label is None"),
        (['{"text": "a", "label": 1}', r'{"text": "\ud800", "label": 0}'], "row 2: .*surrogate"),
        (['{"text": "a", "label": 1, "group": true}'], "row 1: the group is True"),
        (["[" * 100_000], "row 1: not JSON"),
    ],
)
def test_malformed_jsonl_is_refused_with_its_row(
    tmp_path: Path, lines: list[str], why: str
) -> None:
    with pytest.raises(DataError, match=why) as refused:
        read_statements(write(tmp_path, "\n".join(lines), "data.jsonl"))
    assert "data.jsonl" in str(refused.value)


def test_other_files_and_missing_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected a file ending in \.csv, \.jsonl"):
        read_statements(write(tmp_path, "x", "data.txt"))
    with pytest.raises(DataError, match="no file"):
        read_statements(tmp_path / "absent.csv")
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(DataError, match="no file"):
        read_statements(tmp_path / "folder.csv")


def test_repeats_are_left_out_and_counted() -> None:
    data = StatementSet.build(["a  b", "c", "a b ", "Cafe\u0301", "Café"], [1, 0, 1, 0, 0])
    assert data.texts == ("a  b", "c", "Cafe\u0301")
    assert data.n_duplicates == 2


def test_columns_of_other_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 texts need as many labels"):
        StatementSet.build(["a", "b"], [1])
    with pytest.raises(DataError, match="2 texts need as many groups"):
        StatementSet.build(["a", "b"], [1, 0], groups=["g"])
    with pytest.raises(DataError, match="no rows"):
        StatementSet.build([], [])


def test_the_hash_follows_texts_labels_and_groups() -> None:
    def made(texts: list[str], labels: list[int], groups: list[str]) -> str:
        return StatementSet.build(texts, labels, groups=groups).hash

    base = made(["a", "b"], [1, 0], ["g", "h"])
    assert base == made(["a", "b"], [1, 0], ["g", "h"])
    assert base != made(["a", "c"], [1, 0], ["g", "h"])
    assert base != made(["a", "b"], [0, 1], ["g", "h"])
    assert base != made(["a", "b"], [1, 0], ["g", "g"])


def test_select_keeps_rows_together() -> None:
    data = StatementSet.build(
        ["a", "b", "c"], [1, 0, 1], groups=[1, 2, 3], domains=["x", "y", "z"], name="set"
    )
    chosen = data.select(np.array([2, 0]))
    assert chosen.texts == ("c", "a")
    assert chosen.labels == (True, True)
    assert chosen.groups == ("3", "1")
    assert chosen.domains == ("z", "x")
    assert chosen.row_hashes == (data.row_hashes[2], data.row_hashes[0])
    assert "3 statements, 2 of label 1, 3 groups" in repr(data)
