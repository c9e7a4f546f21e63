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
    "sparse_probes.parquet",
    "differences.parquet",
    "scr.parquet",
    "tpp.parquet",
    "figures/concepts.svg",
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
    assert "verb." in page, "the world's tokens are shown in words"


def test_the_projects_own_labelled_texts_are_probed(finished):
    run = Run.open(finished)
    probes = run.table("sparse_probes")
    assert set(probes["of"]) == {"latents", "residual"}
    assert set(probes["texts"]) == {"concepts", "targets and references"}
    assert {"r1", "r2", "neutral"} < set(probes["class"])
    assert probes["accuracy"].between(0, 1).all()
    for name, other in (("scr", "clean"), ("tpp", "others_lose")):
        table = run.table(name)
        assert list(table["n"]) == [2, 5, 10, 20]
        assert {"score", "score_low", "random_mean", "p", "base", "accuracy", other} <= {*table}
        assert (table["score"].notna() | table["undefined"].notna()).all()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["sparse_probes"]["latents 1"] > 0.5
    assert [row["n"] for row in metrics["tpp"]] == [2, 5, 10, 20]
    assert "SCR" in metrics["conclusion"] and "TPP" in metrics["conclusion"]


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


NAMES = ["a", "b"]


def rows(n=80, **more):
    """Texts of two kinds, and beside them a label that goes with neither."""
    for i in range(n):
        kind, other = NAMES[i % 2], NAMES[i // 2 % 2]
        text = f"{'x = 1' if kind == 'a' else 'def f():'}\n# {'no' if other == 'a' else 'yes'} {i}"
        yield {"text": text, "label": kind, "spurious": other} | more


def written(path, found):
    path.write_text("\n".join(map(json.dumps, found)) + "\n")
    return str(path)


def test_the_users_labelled_texts_are_probed(tmp_path):
    out = tmp_path / "run"
    arguments = [*QUICK[2:], "--model", "zoo:code-lm", "--held-out", "1050", "--out", str(out)]
    texts = written(tmp_path / "mine.jsonl", rows())
    assert main(["run", "sae-features", *arguments, "--texts", texts]) == 0
    run = Run.open(out)
    probes = run.table("sparse_probes")
    assert set(probes["texts"]) == {"mine"}
    assert set(probes["class"]) == {"b"}
    assert len(run.table("scr")) == len(run.table("tpp")) == 4


@pytest.mark.parametrize(
    ("made", "said"),
    [
        ([*rows(4), {"text": "", "label": "a"}], "row 5: the text is empty"),
        ([*rows(4), {"text": "x"}], "row 5: the label is None"),
        ([*rows(4), {"text": "x", "label": "a"}], "row 5: no spurious label"),
        ([{"text": "x", "label": "a"}, *rows(4)], "row 2: a spurious label, but rows before"),
        ([*rows(4, lable="a")], "row 1: unknown column 'lable'; did you mean label"),
        ([*rows(4, label="a")], "1 classes; expected at least two"),
        ([*rows(4, spurious="a")], "2 labels and 1 spurious ones"),
    ],
)
def test_texts_that_cannot_be_read_are_refused_with_their_row(made, said, tmp_path, capfd):
    texts = written(tmp_path / "mine.jsonl", made)
    arguments = [*QUICK, "--texts", texts, "--out", str(tmp_path / "run")]
    assert main(["run", "sae-features", *arguments]) == 2
    printed = " ".join(capfd.readouterr().err.split())
    assert "mine.jsonl" in printed
    assert said in printed
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
