"""``interp run heads`` as a user types it: files, words, resume, and one-line refusals."""

from __future__ import annotations

import json
import random

import pytest

from interp.cli import main
from interp.evidence import read_evidence
from interp.runs import Run

MODEL = "zoo:induction-exact"
QUICK = ["--model", MODEL, "--preset", "smoke", "--controls", "9"]


@pytest.fixture(scope="module")
def prompts(tmp_path_factory):
    """Copying by hand: A x … A, what comes next? In ids, since the model has no tokenizer."""
    rng = random.Random(0)
    rows = []
    for _ in range(24):
        ids = rng.sample(range(1, 28), 6)
        other = rng.choice(ids[2:])
        clean, corrupt = [0, *ids, ids[0]], [0, *ids, ids[2]]
        rows.append({"clean": clean, "answer": ids[1], "wrong": other, "corrupt": corrupt})
    path = tmp_path_factory.mktemp("prompts") / "copying.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return path


@pytest.fixture(scope="module")
def arguments(prompts):
    return [*QUICK, "--prompts", str(prompts), "--sets", "top:1,L0H0+L1H0"]


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "heads", *arguments, "--out", str(out)]) == 0
    return out


def test_the_head_that_copies_is_found_and_the_named_ones_are_not(finished):
    run = Run.open(finished)
    metrics = run.metrics
    assert metrics["able"] and metrics["metric"] == "logit_difference"
    chosen, named = metrics["sets"]
    assert chosen["heads"] == ["L1H7"] and chosen["has_signature"]
    assert named["heads"] == ["L0H0", "L1H0"]
    assert chosen["interval"][0] > 1
    assert abs(named["effect"]) < 1e-3
    assert chosen["verdicts"]["layer-matched"] == "underpowered", "nine controls are too few"
    assert set(named["verdicts"].values()) == {"not load-bearing"}
    assert "p 0.2" in metrics["conclusion"] and "L1H7" in metrics["headline"]
    assert len(read_evidence(run.table("evidence"))) == 4
    assert set(run.table("side_by_side")["metric"]) == {
        "logit_difference",
        "answer-nll",
        "log-odds",
        "hits@1",
    }
    items = run.table("items").set_index("set")
    assert items.loc["L1H7", "lost"] > items.loc["L0H0+L1H0", "lost"] == 0
    for name in ("head_scores", "signature_and_effect"):
        assert (finished / "figures" / f"{name}.png").is_file()


def test_interrupted_and_resumed_it_is_the_same(finished, arguments, tmp_path, monkeypatch):
    real, kept = Run.cached, []

    def interrupted(self, name, compute):
        if sum(name.startswith("sweep") for name in kept) == 2:
            raise KeyboardInterrupt
        kept.append(name)
        return real(self, name, compute)

    out = tmp_path / "interrupted"
    monkeypatch.setattr(Run, "cached", interrupted)
    assert main(["run", "heads", *arguments, "--out", str(out)]) != 0
    monkeypatch.setattr(Run, "cached", real)
    assert main(["run", "heads", "--resume", "--out", str(out)]) == 0
    for name in ["metrics.json", "evidence.parquet", "side_by_side.parquet", "tensors.safetensors"]:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


def test_corrupt_replacement_undoes_what_the_prompts_differ_in(arguments, tmp_path):
    out = tmp_path / "run"
    flags = ["--ablation", "corrupt", "--memory", "50", "--out", str(out)]
    assert main(["run", "heads", *arguments, *flags]) == 0
    chosen, named = Run.open(out).metrics["sets"]
    assert chosen["effect"] > 1 and abs(named["effect"]) < 1e-3


def test_a_model_that_cannot_do_the_task_gets_no_verdict(tmp_path, capfd):
    """Answers at random: every number is there, and nothing is concluded from it."""
    rng = random.Random(1)
    path = tmp_path / "noise.jsonl"
    rows = [{"clean": [0, *rng.sample(range(1, 28), 5)], "answer": i % 27 + 1} for i in range(32)]
    path.write_text("\n".join(map(json.dumps, rows)))
    out = tmp_path / "run"
    flags = ["--prompts", str(path), "--sets", "top:1", "--out", str(out)]
    assert main(["run", "heads", *QUICK, *flags]) == 0
    run = Run.open(out)
    assert not run.metrics["able"]
    assert "evidence" not in run.tables
    assert run.table("effects")["verdict"].isna().all()
    assert set(run.metrics["sets"][0]["verdicts"].values()) == {None}
    assert "load-bearing" not in run.metrics["conclusion"] + run.metrics["headline"]
    assert "no verdict" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--sets", "top"], "top:1"),
        (["--sets", ","], "sets is empty"),
        (["--signature", "inductoin"], "did you mean induction"),
        (["--signature", "function-vector"], "needs --function-vectors"),
        (["--function-vectors", "antonyms"], "antonym"),
        (["--metric", "acuracy"], "accuracy"),
        (["--prompts", "none.jsonl"], "no file none.jsonl"),
        (["--prompts", "icl:antonyms"], "antonym"),
        (["--text", "none.txt"], "no file none.txt"),
        (["--ablation", "corrupt"], "corrupt"),
        (["--memory", "-1"], "above 0"),
        (["--n", "2"], "at least 8"),
        (["--controls", "0"], "at least 1"),
        (["--alpha", "5"], "between 0 and 1"),
        (["--model", "zoo:code-ml"], "zoo:code-lm"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(flags, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "heads", *QUICK, *flags, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) <= 2, printed
    assert not out.exists()
