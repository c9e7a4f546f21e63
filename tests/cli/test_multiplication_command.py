"""``interp run multiplication`` as a user types it: trained, taken up again, and refused."""

from __future__ import annotations

import json

import pytest

from experiments.multiplication import PRESETS, Config, check
from interp.cli import main
from interp.runs import Run

QUICK = [
    *("--preset", "smoke", "--steps", "20", "--look-every", "10", "--rows", "1200"),
    *("--judged", "64", "--controls", "19", "--shuffles", "19"),
]
FILES = [
    "metrics.json",
    "evidence.parquet",
    "probes.parquet",
    "scores.parquet",
    "edges.parquet",
    "history.parquet",
    "tensors.safetensors",
    "models/auxiliary/model.safetensors",
    "models/plain/native.json",
    "figures/attribution.png",
    "figures/running-sums.svg",
    "figures/fourier.png",
    "figures/prism.png",
    "figures/minkowski.png",
    "figures/attention-plain.png",
]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "multiplication", *QUICK, "--out", str(out)]) == 0
    return out


def test_the_smoke_runs_and_says_that_nothing_was_learnt(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    found = metrics_of(finished)
    assert found["n"] == 2
    assert set(found["models"]) == {"auxiliary", "plain"}
    for model in found["models"].values():
        assert model["learnt"] is False and model["exact"] < 0.2
        assert len(model["right_by_digit"]) == 4
        assert {row["controls"] for row in model["verdicts"]} >= {"random-direction"}
    assert "has not learnt to multiply" in found["conclusion"]
    assert "no claim about either recipe" in found["conclusion"]
    assert Run.open(finished).table("history")["step"].tolist() == [10, 20, 10, 20]
    assert not list(finished.glob("models/*/checkpoint.safetensors"))


def test_every_score_stands_beside_its_null(finished):
    run = Run.open(finished)
    probes, scores = run.table("probes"), run.table("scores")
    assert len(probes) == 2 * 6 * 4
    assert probes[["mean_mae", "tokens_mae", "shuffled_mae"]].notna().all().all()
    assert set(scores["measure"]) == {"Fourier R²", "prism", "Minkowski"}
    assert scores["shuffled"].notna().all()


def test_an_interrupted_training_is_taken_up(finished, tmp_path, monkeypatch):
    from interp.zoo.multiply.training import Training

    out, advance = tmp_path / "interrupted", Training.advance

    def broken(self):
        if self.step == 15:
            raise KeyboardInterrupt
        return advance(self)

    monkeypatch.setattr(Training, "advance", broken)
    assert main(["run", "multiplication", *QUICK, "--out", str(out)]) != 0
    monkeypatch.setattr(Training, "advance", advance)
    assert main(["run", "multiplication", "--resume", "--out", str(out)]) == 0
    assert metrics_of(out) == metrics_of(finished)


@pytest.mark.parametrize("preset", list(PRESETS))
def test_the_presets_are_configs(preset):
    fields = {k: v for k, v in PRESETS[preset].items() if k != "device"}
    check(Config(**fields))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--weights", "zoo:modular-113"], "no multiplication model"),
        (["--weights", "zoo:multiply-3x3"], "did you mean multiply-2x2"),
        (["--weights", "nowhere"], "nowhere"),
        (["--n", "0"], "1 to 9"),
        (["--n", "1"], "at least 2"),
        (["--auxiliary", "0"], "more than 0"),
        (["--d-model", "30"], "multiple"),
        (["--rows", "100"], "at least 1200"),
        (["--alpha", "2"], "between 0 and 1"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "multiplication", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed.replace("\n", " ")
    assert "Traceback" not in printed
    assert not out.exists()
