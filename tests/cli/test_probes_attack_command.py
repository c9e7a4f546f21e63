"""``probes attack``, in process: what it says, what it leaves, and how it refuses."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import probes.attack.rounds
from probes.attack.monitors import MONITORS, PROBE
from probes.attack.training import train_suffix
from probes.cli import main
from probes.commands.attack import MONITOR_NAMES
from probes.data import Framing
from probes.selection import Trained


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Statements whose last word tells the label."""
    path = tmp_path_factory.mktemp("statements")
    rng = np.random.default_rng(0)
    with (path / "marked.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["statement", "label", "pair"])
        for i in range(200):
            words = rng.integers(7, 29, rng.integers(3, 8))
            text = " ".join(f"w{w}" for w in (*words, 5 if i % 2 else 6))
            writer.writerow([text, i % 2, i // 2])
    return path


@pytest.fixture(scope="module")
def probe(folder: Path, tiny_folder: Callable[[str], Path]) -> Path:
    out = folder / "probe"
    args = ["--model", str(tiny_folder("gpt2")), "--data", str(folder / "marked.csv")]
    args += ["--site", "L1.resid_post", "--method", "logistic", "--group", "pair"]
    assert main(["train", *args, "--out", str(out)]) == 0
    return out


def attack(probe: Path, folder: Path, out: Path, *more: str) -> int:
    args = ["--data", str(folder / "marked.csv"), "--group", "pair", "--out", str(out)]
    args += ["--suffix-length", "2", "--random", "2"]
    return main(["attack", str(probe), *args, *more])


def test_it_reports_and_saves(
    probe: Path, folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    capsys.readouterr()
    against = "probe,logistic,mean-difference,mahalanobis"
    options = ["--steps", "3", "--rounds", "2", "--against", against, "--continuation", "2"]
    assert attack(probe, folder, out, *options) == 0
    said = capsys.readouterr()
    text = " ".join(said.out.split())
    assert said.err == ""
    for part in (
        "recall before random suffixes under attack",
        "probe, refit 1",
        "Recall of each monitor (across) under a suffix trained against (down)",
        "random, lowest",
        "behaviour only",
        "held-out prompts of label 1",
        "next 2 most probable tokens",
        "that the probe knows",
        "too few to tell 1%",
        "knows benign prompts only",
        f"results: {out}",
    ):
        assert part in text, part
    assert {p.name for p in out.iterdir()} == {
        "metrics.json",
        "attacks.parquet",
        "attacks.png",
        "suffixes.safetensors",
    }
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["status"] == "done"
    assert set(metrics["monitors"]) == set(against.split(","))
    assert set(metrics["monitors"]["probe"]) >= {"verdict", "round_0", "round_1"}
    table = pd.read_parquet(out / "attacks.parquet")
    assert set(table["condition"]) == {
        "clean",
        "random",
        "behaviour only",
        "attack",
        "past attack",
    }


def test_interrupted_it_says_so_and_goes_on(
    probe: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, trained = tmp_path / "out", []

    def once(*args, **kwargs):
        trained.append(1)
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train_suffix(*args, **kwargs)

    monkeypatch.setattr(probes.attack.rounds, "train_suffix", once)
    options = ["--steps", "2", "--against", "probe"]
    assert attack(probe, folder, out, *options) == 130
    assert "the same command goes on from there" in capsys.readouterr().err
    assert attack(probe, folder, out, "--steps", "5", "--against", "probe") == 2
    said = capsys.readouterr().err
    assert "other settings" in said and "steps (stored 2, asked 5)" in said
    assert attack(probe, folder, out, *options) == 0
    assert "the model's most probable next token" in " ".join(capsys.readouterr().out.split())
    assert len(trained) == 3, "the first suffix is not trained again"
    assert json.loads((out / "metrics.json").read_text())["status"] == "done"
    # Refused before the model is looked for.
    assert attack(probe, folder, out, *options, "--model", "nowhere") == 2
    assert "exists already" in capsys.readouterr().err


def test_a_probe_trained_in_a_framing_is_attacked_on_other_statements(
    folder: Path,
    tmp_path: Path,
    tiny_folder: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = {"plain": Framing("an open request", user="w1")}
    monkeypatch.setattr("probes.data.framing.FRAMINGS", short)
    probe = tmp_path / "probe"
    args = ["--model", str(tiny_folder("gpt2")), "--data", str(folder / "marked.csv")]
    args += ["--site", "L1.resid_post", "--method", "mass-mean", "--group", "pair"]
    assert main(["train", *args, "--framing", "plain", "--out", str(probe)]) == 0
    n = Trained.load(probe).best.metrics["train"]["n"]
    for number, framing in enumerate([[], ["--framing", "plain"]]):
        out = tmp_path / str(number)
        capsys.readouterr()
        options = ["--steps", "0", "--lr", "0.5", "--against", "probe", *framing]
        assert attack(probe, folder, out, *options) == 0
        metrics = json.loads((out / "metrics.json").read_text())
        assert metrics["n_known"] == n
        assert metrics["settings"]["lr"] == 0.5
        assert metrics["settings"]["data"].endswith("(plain)") == bool(framing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--against", "probe,logstic"], "did you mean logistic"),
        (["--steps", "-1"], "--steps is -1; expected at least 0"),
        (["--rounds", "0"], "--rounds is 0"),
        (["--label", "2"], "--label is 2; expected 1 or 0"),
        (["--weight", "3"], "--weight is 3.0; expected 0 to 1"),
        (["--lr", "0"], "--lr is 0.0; expected a positive number"),
        (["--framing", "plane"], "no framing 'plane'; did you mean plain"),
        (["--suffix-length", "30"], "use shorter statements or a shorter suffix"),
        (["--stepps", "3"], "unknown option --stepps"),
    ],
)
def test_bad_settings_are_refused_in_a_line(
    probe: Path,
    folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    options: list[str],
    message: str,
) -> None:
    capsys.readouterr()
    assert attack(probe, folder, tmp_path / "out", *options) == 2
    said = capsys.readouterr()
    assert said.out == "" and len(said.err.splitlines()) == 1
    assert message in said.err
    assert not (tmp_path / "out").exists()


def test_another_model_and_no_probe_are_refused(
    probe: Path,
    folder: Path,
    tmp_path: Path,
    tiny_folder: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "out"
    assert attack(probe, folder, out, "--model", str(tiny_folder("llama"))) == 2
    assert "belongs to" in capsys.readouterr().err
    assert attack(tmp_path, folder, out) == 2
    assert "holds no probe" in capsys.readouterr().err
    assert main(["attack", "--data", "x.csv"]) == 2
    assert "expected a probe's folder first" in capsys.readouterr().err


def test_the_names_of_the_help_are_those_of_the_library(capsys: pytest.CaptureFixture[str]) -> None:
    assert set(MONITOR_NAMES) == {PROBE, *MONITORS}
    assert main(["attack", "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "--suffix-length" in said
    assert "Attack a probe with soft suffixes under which the model goes on as before." in said
