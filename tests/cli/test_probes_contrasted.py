"""Methods and framings of ``probes train`` beyond a plain statement and a labelled line."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from probes import Probe
from probes.cli import main
from probes.data import Framing


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def model(tiny_folder: Callable[[str], Path]) -> str:
    return str(tiny_folder("gpt2"))


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs whose last word tells the label, the statement of label 1 always first."""
    file = tmp_path_factory.mktemp("pairs") / "pairs.csv"
    rng = np.random.default_rng(0)
    with file.open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["statement", "label", "pair"])
        for pair in range(60):
            words = " ".join(f"w{w}" for w in rng.integers(7, 29, 4))
            writer.writerow([f"{words} w5", 1, pair])
            writer.writerow([f"{words} w6", 0, pair])
    return file


def trained(model: str, data: Path, out: Path, *options: str) -> Probe:
    args = ["--model", model, "--data", str(data), "--site", "L1.resid_post", *options]
    assert main(["train", *args, "--out", str(out)]) == 0
    return Probe.load(out)


@pytest.mark.parametrize("method", ["ccs", "mlp"])
def test_what_is_marked_is_found_and_shuffled_labels_are_not(
    model: str, pairs: Path, tmp_path: Path, method: str
) -> None:
    probe = trained(model, pairs, tmp_path / "p", "--method", method)
    assert probe.method == method
    assert probe.metrics["held_out"]["auroc"] >= 0.95
    assert probe.metrics["null"]["mean"] == pytest.approx(0.5, abs=0.1)


def test_ccs_needs_pairs(
    model: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pairs.open() as file:
        rows = [row[:2] for row in csv.reader(file)]
    alone = tmp_path / "alone.csv"
    with alone.open("w", newline="") as out:
        csv.writer(out).writerows(rows)
    args = ["--model", model, "--data", str(alone), "--site", "L1.resid_post", "--method", "ccs"]
    assert main(["train", *args, "--out", str(tmp_path / "p")]) == 1
    said = " ".join(capsys.readouterr().err.split())
    assert "ccs needs pairs of a statement and its negation" in said
    assert not (tmp_path / "p").exists()
    args = ["--model", model, "--data", str(pairs), "--site", "L1.resid_post", "--method", "ccs"]
    assert main(["train", *args, "--pooling", "every", "--out", str(tmp_path / "p")]) == 1
    assert "one row a statement" in capsys.readouterr().err


def test_a_framing_stands_before_the_statement_and_seen_ones_stay_out(
    model: str, pairs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "p"
    probe = trained(model, pairs, out, "--framing", "plain")
    assert probe.data.endswith("pairs.csv (plain)")
    n = probe.metrics["train"]["n"]
    for framing in ([], ["--framing", "plain"]):
        capsys.readouterr()
        assert main(["eval", str(out), "--data", str(pairs), *framing]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert f"{n} statements it was fitted to are left out" in said
    args = ["--model", model, "--data", str(pairs), "--framing", "plane"]
    assert main(["train", *args, "--out", str(tmp_path / "q")]) == 2
    assert "no framing 'plane'; did you mean plain" in capsys.readouterr().err


def test_what_was_seen_beside_a_belief_stays_out_without_its_pairs(
    model: str,
    pairs: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    short = {"sycophantic": Framing("a belief", user="{belief}")}
    monkeypatch.setattr("probes.data.framing.FRAMINGS", short)
    out = tmp_path / "p"
    probe = trained(model, pairs, out, "--framing", "sycophantic")
    with pairs.open() as file:
        rows = [row[:2] for row in csv.reader(file)]
    alone = tmp_path / "alone.csv"
    with alone.open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    capsys.readouterr()
    assert main(["eval", str(out), "--data", str(alone)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"{probe.metrics['train']['n']} statements it was fitted to are left out" in said
