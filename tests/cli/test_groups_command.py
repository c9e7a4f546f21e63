"""``interp run groups`` and the bundled networks, as a user types it."""

from __future__ import annotations

import json

import pytest

from interp.cli import main
from interp.runs import Run

QUICK = ["--groups", "d5", "--steps", "600", "--hidden", "48", "--d-embed", "32"]
QUICK += ["--train-fraction", "0.8", "--judged", "16", "--controls", "39", "--relabellings", "9"]
FILES = [
    "config.yaml",
    "metrics.json",
    "comparison.parquet",
    "evidence.parquet",
    "representations.parquet",
    "tensors.safetensors",
    "models/d5/native.json",
    "models/d5/model.safetensors",
    "figures/representations-d5.png",
    "figures/cosets-d5.svg",
]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "groups", *QUICK, "--out", str(out)]) == 0
    return out


def test_it_leaves_tables_figures_and_words(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    found = metrics_of(finished)
    one = found["groups"]["d5"]
    assert one["order"] == 10 and one["steps"] == 600
    assert one["train_accuracy"] == 1
    assert found["conclusion"].startswith("D5: ")
    rows = Run.open(finished).table("comparison")
    assert rows["group"].tolist() == ["D5", "D59"]
    assert rows["source"].tolist() == ["here", "published mean"]
    names = Run.open(finished).table("representations")["representation"].tolist()
    assert names == ["trivial", "sign", "k=1", "k=2"]
    assert not list(finished.glob("*checkpoint*"))


def test_an_interrupted_training_is_taken_up(finished, tmp_path, monkeypatch):
    from interp.zoo.modular.training import Training

    out, advance = tmp_path / "interrupted", Training.advance

    def broken(self):
        if self.step == 350:
            raise KeyboardInterrupt
        advance(self)

    monkeypatch.setattr(Training, "advance", broken)
    assert main(["run", "groups", *QUICK, "--out", str(out)]) != 0
    assert (out / "d5-checkpoint.safetensors").is_file()
    monkeypatch.setattr(Training, "advance", advance)
    assert main(["run", "groups", "--resume", "--out", str(out)]) == 0
    assert metrics_of(out) == metrics_of(finished)


def test_one_that_has_not_learnt_is_reported_as_such(tmp_path, capfd):
    out = tmp_path / "run"
    arguments = [*QUICK, "--steps", "3", "--no-cosets", "--out", str(out)]
    assert main(["run", "groups", *arguments]) == 0
    one = metrics_of(out)["groups"]["d5"]
    assert one["learnt"] is False
    assert [one[name] for name in ("key_representations", "restricted", "W_a")] == [None] * 3
    assert "no representation is called key" in " ".join(capfd.readouterr().out.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups", "q8"], "such as c12, d6 or s4"),
        (["--groups", "s7"], "expected s3 to s5"),
        (["--groups", "s4", "s4"], "names one twice"),
        (["--judged", "2"], "at least 8"),
        (["--alpha", "2"], "between 0 and 1"),
        (["--hidden", "0"], "at least 1"),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(tmp_path, capfd, arguments, said):
    out = tmp_path / "run"
    assert main(["run", "groups", *arguments, "--out", str(out)]) == 2
    assert said in " ".join(capfd.readouterr().err.split())
    assert not out.exists()


def test_the_presets_are_configs():
    from experiments.groups import PRESETS, Config, check

    for preset in PRESETS.values():
        check(Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in preset.items()}))


def test_the_bundled_networks_are_listed(capfd):
    assert main(["models"]) == 0
    shown = capfd.readouterr().out
    assert "zoo:s4" in shown and "zoo:s5" in shown
