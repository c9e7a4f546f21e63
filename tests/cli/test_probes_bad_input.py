"""Statements that cannot be used: one line that says why, before any model is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from probes import Probe
from probes.cli import main

BOTH = "statement,label\nw3 w4,1\nw5 w6,0\n"
ANSWER = {
    "question": "q",
    "biography_name": "n",
    "bio_messages": [{"content": "c"}],
    "model_answer_with_bio": 0,
}


@pytest.fixture(autouse=True)
def no_model(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: Any
) -> None:
    monkeypatch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
    if "tiny_folder" in request.fixturenames:
        return

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded before the data was looked at")

    monkeypatch.setattr("probes.commands.train.load_named", fail)


@pytest.mark.parametrize("command", ["train", "data"])
@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("empty.csv", "", "no rows"),
        ("header.csv", "statement,label\n", "no rows"),
        ("empty.jsonl", "", "no rows"),
        ("empty.json", "", "the file is empty"),
        ("missing.csv", "statement,truth\nw3,1\n", "label"),
        ("columns.csv", "words,label\nw3,1\n", "statement"),
        ("labels.csv", "statement,label\nw3,1\nw4,2\n", "row 2 (line 3): the label is '2'"),
        ("blank.csv", "statement,label\nw3,1\n ,0\n", "row 2 (line 3)"),
        ("one.csv", "statement,label\nw3,1\nw4,1\n", "all 2 statements have label 1"),
        ("torn.csv", "statement,label\nw3,1\nw4, w5,0\n", "3 cells under 2 columns"),
        ("twice.csv", BOTH + "w3 w4,0\n", "with label 0 instead of 1"),
        ("broken.jsonl", '{"text": "w3", "label": 1}\n{"text": ', "row 2: not JSON"),
        ("broken.json", '{"positive": [', "not JSON"),
        ("latin.csv", b"statement,label\nw3 caf\xe9,1\n", "line 2: not UTF-8"),
        ("none.json", json.dumps({"positive": [], "negative": []}), "none.json"),
        ("uneven.json", json.dumps({"positive": [ANSWER], "negative": []}), "uneven.json"),
        ("fake.parquet", "not parquet", "not a parquet file"),
        ("notes.txt", "w3", "expected a file ending in"),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_row(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    command: str,
    name: str,
    content: str | bytes,
    why: str,
) -> None:
    file = tmp_path / name
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    out = tmp_path / "probe"
    train = ["train", "--model", "gpt2", "--data", str(file), "--out", str(out)]
    assert main(train if command == "train" else ["data", str(file)]) == 2
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.startswith("probes: ")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert not out.exists()


def test_nothing_named_and_an_empty_folder_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = ["--out", str(tmp_path / "probe")]
    assert main(["train", "--model", "gpt2", *out]) == 2
    assert "--data" in capsys.readouterr().err
    (tmp_path / "data").mkdir()
    assert main(["train", "--model", "gpt2", "--data", str(tmp_path / "data"), *out]) == 2
    assert "holds no file of statements" in capsys.readouterr().err
    for setting in (["--cache-gib", "nan"], ["--cache", str(tmp_path / "file")]):
        (tmp_path / "file").write_text("")
        (tmp_path / "good.csv").write_text(BOTH)
        args = ["--data", str(tmp_path / "good.csv"), *setting, *out]
        assert main(["train", "--model", "gpt2", *args]) == 2
        assert "the cache" in capsys.readouterr().err


def test_what_is_odd_but_usable_is_used_and_said(
    tmp_path: Path, tiny_folder: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    # Windows line ends, a byte-order mark, letters beyond ASCII, a repeat, one row too long.
    rows = [f"w{3 + i % 25} w{3 + i // 25} w{5 + i % 2} w{3 + i % 7},{i % 2}" for i in range(60)]
    rows += [rows[0], f"{'w4 ' * 30},1", "w8 w9 w10 été — ∀x,0"]
    text = "\r\n".join(["statement,label", *rows])
    (tmp_path / "odd.csv").write_bytes(b"\xef\xbb\xbf" + text.encode())
    out = tmp_path / "probe"
    args = ["--model", str(tiny_folder("gpt2")), "--data", str(tmp_path / "odd.csv")]
    assert main(["train", *args, "--site", "L1.resid_post", "--out", str(out)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "62 of 63 statements" in said
    assert "1 repeated statements left out" in said
    assert "1 statements skipped (row 62 (line 63)): the span is cut off at 24 tokens" in said
    metrics = Probe.load(out).metrics
    assert metrics["train"]["n"] + metrics["held_out"]["n"] == 61
    few = tmp_path / "few.csv"
    few.write_text(BOTH)
    assert main(["eval", str(out), "--data", str(few)]) == 2
    assert "at least two groups with each label" in capsys.readouterr().err
    one = tmp_path / "one.csv"
    one.write_text("statement,label\nw3 w4 w20,1\nw5 w6 w20,1\n")
    assert main(["eval", str(out), "--data", str(one)]) == 2
    assert "all 2 statements have label 1" in capsys.readouterr().err
    # A probe says in JSON what reading left out.
    held = json.loads((out / "probe.json").read_text(encoding="utf-8"))["metrics"]["data"]
    assert held["read"]["duplicates"] == ["row 61 (line 62)"]
    assert held["skipped"] == {"the span is cut off at 24 tokens": ["row 62 (line 63)"]}
