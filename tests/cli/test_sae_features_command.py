"""``interp run sae-features`` as a user types it: files, replay, a loaded SAE, and refusals."""

from __future__ import annotations

import json

import pytest

from interp.cli import main
from interp.runs import Run

FILES = [
    "config.yaml",
    "metrics.json",
    "evidence.parquet",
    "evaluation.parquet",
    "attribution.parquet",
    "cards.parquet",
    "cards.html",
    "figures/density.png",
    "figures/training.svg",
    "figures/chosen_and_judged.svg",
    "sae/cfg.json",
    "sae/sae_weights.safetensors",
]
SIZES = {
    "d-sae": 64,
    "k": 4,
    "samples": 8192,
    "tokens": 4096,
    "context": 21,
    "held-out": 1050,
    "controls": 19,
    "cards": 3,
    "shortlist": 8,
    "top": 2,
}
QUICK = [
    *("--model", "zoo:bias-world", "--preset", "smoke", "--data", "own"),
    *(part for name, value in SIZES.items() for part in (f"--{name}", str(value))),
]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "sae-features", *QUICK, "--out", str(out)]) == 0
    return out


def test_every_file_is_there_and_speaks(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    run = Run.open(finished)
    assert run.status == "done"
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["site"] == "L1.resid_post"
    assert metrics["d_sae"] == 64
    assert metrics["verdict"] in metrics["headline"]
    assert len(run.table("cards")) == 3
    assert len(run.table("evidence")) == 1
    page = (finished / "cards.html").read_text()
    assert page.count("<h4>latent") == 3
    assert "http" not in page, "nothing is fetched from elsewhere"


def test_replaying_the_config_gives_the_same_numbers(finished, tmp_path):
    again = tmp_path / "again"
    config = str(finished / "config.yaml")
    assert main(["run", "sae-features", "--config", config, "--out", str(again)]) == 0
    for name in ("metrics.json", "cards.html", "sae/sae_weights.safetensors"):
        assert (finished / name).read_bytes() == (again / name).read_bytes(), name


def test_a_trained_sae_is_loaded(finished, tmp_path):
    out = tmp_path / "loaded"
    arguments = [*QUICK, "--sae", str(finished / "sae"), "--out", str(out)]
    assert main(["run", "sae-features", *arguments]) == 0
    assert not (out / "sae").exists()
    ours = json.loads((out / "metrics.json").read_text())
    theirs = json.loads((finished / "metrics.json").read_text())
    assert ours["explained_variance"] == pytest.approx(theirs["explained_variance"])
    assert ours["latents"] == theirs["latents"]


def test_more_latents_than_a_trained_sae_can_give_are_refused(finished, tmp_path, capfd):
    arguments = [*QUICK, "--sae", str(finished / "sae"), "--top", "33"]
    assert main(["run", "sae-features", *arguments, "--out", str(tmp_path / "run")]) == 2
    assert "top=33 of the 64 latents of" in capfd.readouterr().err
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sae", "no-such-folder"], "no folder no-such-folder"),
        (["--sae-id", "x"], "give the release as sae"),
        (["--site", "L1.resid_pots"], "resid_post"),
        (["--top", "0"], "at least 1"),
        (["--alpha", "2"], "between 0 and 1"),
        (["--shortlist", "-3"], "shortlist is -3; expected at least 1"),
        (["--top", "64", "--d-sae", "64"], "top=64 of d_sae=64: expected half of them at most"),
        (["--d-sae", "8", "--top", "20"], "a smaller --top or a larger --d-sae"),
        (["--k", "100", "--d-sae", "64"], "k=100 active latents of d_sae=64"),
        (["--arch", "gated", "--k", "3"], "gated takes no k"),
        (["--arch", "topc"], "did you mean topk"),
        (["--model", "zoo:bias-wrld"], "zoo:bias-world"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "sae-features", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert "Traceback" not in printed
    assert not out.exists()
