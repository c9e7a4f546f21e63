"""``interp run induction`` as a user types it: files, replay, resume, and one-line refusals."""

from __future__ import annotations

import json

import pytest
import yaml

from interp.cli import main
from interp.runs import Run

FILES = [
    "config.yaml",
    "provenance.json",
    "metrics.json",
    "evidence.parquet",
    "tensors.safetensors",
    "log.txt",
    "figures/head_scores.png",
    "figures/head_scores.svg",
    "figures/signature_and_effect.png",
    "figures/signature_and_effect.svg",
]
QUICK = ["--model", "zoo:induction-exact", "--preset", "smoke", "--n", "16", "--controls", "19"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "induction", *QUICK, "--out", str(out)]) == 0
    return out


def test_every_file_is_there_and_speaks(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    assert Run.open(finished).status == "done"
    provenance = json.loads((finished / "provenance.json").read_text())
    assert len(next(iter(_flat(provenance["model"])))) == 64
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["verdict"] == "load-bearing"
    # Both families, whatever each of them says.
    assert "0.05, layer-matched" in metrics["headline"]
    assert "underpowered (p 0.053, norm-matched)" in metrics["headline"]
    assert yaml.safe_load((finished / "config.yaml").read_text())["n"] == 16


def _flat(value):
    return value.values() if isinstance(value, dict) else [value]


def test_replaying_the_config_gives_the_same_bytes(finished, tmp_path):
    again = tmp_path / "again"
    config = str(finished / "config.yaml")
    assert main(["run", "induction", "--config", config, "--out", str(again)]) == 0
    for name in ["metrics.json", "tensors.safetensors", "figures/head_scores.svg"]:
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name
    assert Run.open(finished).table("evidence").equals(Run.open(again).table("evidence"))


def test_an_interrupted_run_resumes_to_the_same_numbers(finished, tmp_path, monkeypatch):
    real, kept = Run.cached, []

    def interrupted(self, name, compute):
        if len(kept) == 2:
            raise KeyboardInterrupt
        kept.append(name)
        return real(self, name, compute)

    out = tmp_path / "interrupted"
    monkeypatch.setattr(Run, "cached", interrupted)
    assert main(["run", "induction", *QUICK, "--out", str(out)]) != 0
    assert Run.open(out).status == "interrupted"
    assert any(name.startswith("sweep") for name in kept), "in the middle of the sweep"
    assert not (out / "metrics.json").exists()
    monkeypatch.setattr(Run, "cached", real)
    assert main(["run", "induction", "--resume", "--out", str(out)]) == 0
    for name in ["metrics.json", "evidence.parquet", "tensors.safetensors"]:
        assert (out / name).read_bytes() == (finished / name).read_bytes(), name


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "zoo:induction-exat"], "zoo:induction-exact"),
        (["--model", "./no-such-folder"], "no folder ./no-such-folder"),
        (["--device", "cuda:99"], "use cpu"),
        (["--n", "2"], "at least 8"),
        (["--alpha", "5"], "between 0 and 1"),
        (["--seed", "-1"], "from 0"),
        (["--threshold", "nan"], "between 0 and 1"),
        (["--memory", "0"], "above 0"),
        (["--resume"], "holds no run to finish"),
        (["--modle", "zoo:code-lm"], "--model"),
        (["--preset", "smokey"], "smoke"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "induction", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) <= 2, printed
    assert "Traceback" not in printed
    assert not out.exists()


def test_an_unknown_key_in_a_config_file_is_refused(tmp_path, capfd):
    file = tmp_path / "c.yaml"
    file.write_text("experiment: induction\nmodl: zoo:code-lm\n")
    out = tmp_path / "run"
    assert main(["run", "induction", "--config", str(file), "--out", str(out)]) == 2
    assert "did you mean model?" in capfd.readouterr().err
    assert not out.exists()


def test_a_run_that_fails_keeps_its_folder_and_says_so(tmp_path, capfd, monkeypatch):
    import interp.heads

    def broken(*args, **kwargs):
        raise RuntimeError("the reactor is <b>cold</b>")

    monkeypatch.setattr(interp.heads, "output_norms", broken)
    out = tmp_path / "run"
    assert main(["run", "induction", *QUICK, "--out", str(out)]) == 1
    assert Run.open(out).status == "failed"
    assert "reactor" in (out / "traceback.txt").read_text()
    assert not (out / "metrics.json").exists()
    assert "the reactor is <b>cold</b>" in capfd.readouterr().err
