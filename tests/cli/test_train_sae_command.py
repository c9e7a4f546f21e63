"""``interp train-sae`` as a user types it: files, resume, and one-line refusals."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from interp.cli import main
from interp.sae import load_sae

SMALL = ["--samples", "2000", "--batch", "50", "--d-sae", "32", "--k", "3", "--buffer", "400"]
SMALL += ["--context", "16", "--held-out", "100"]


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A folder of two texts in the tiny tokenizer's words, and a file that is no text."""
    folder = tmp_path_factory.mktemp("texts")
    rng = np.random.default_rng(0)
    for name in ("a.txt", "b.txt"):
        words = [f"w{i}" for i in rng.integers(0, 29, 900)]
        (folder / name).write_text(" ".join(words))
    (folder / "c.bin").write_bytes(b"\xff\xfe\x00")
    return folder


@pytest.fixture(scope="module")
def asked(tiny_folder, text):
    model = str(tiny_folder("gpt2"))
    return ["train-sae", "--model", model, "--site", "L1.resid_post", "--data", str(text), *SMALL]


@pytest.fixture(scope="module")
def finished(asked, tmp_path_factory):
    out = tmp_path_factory.mktemp("saes") / "first"
    assert main([*asked, "--out", str(out)]) == 0
    return out


def test_every_file_is_there(finished):
    names = {p.name for p in finished.iterdir()}
    assert names == {
        "sae_weights.safetensors",
        "cfg.json",
        "card.json",
        "curve.safetensors",
        "evaluation.safetensors",
        "training.png",
        "density.png",
    }
    card = json.loads((finished / "card.json").read_text())
    assert card["settings"]["k"] == 3 and card["measured"]["l0"] <= 3
    assert load_sae(finished).d_sae == 32


def test_resume_of_what_is_done_shows_it_again(asked, finished, capsys):
    assert main([*asked, "--out", str(finished), "--resume"]) == 0
    shown = capsys.readouterr().out
    assert "explained_variance" in shown and "load_sae(" in shown


def test_ctrl_c_says_how_to_go_on(asked, tmp_path, monkeypatch, capsys):
    def press(*_):
        raise KeyboardInterrupt

    out = tmp_path / "sae"
    with monkeypatch.context() as patch:
        patch.setattr("interp.sae.train.step", press)
        assert main([*asked, "--out", str(out)]) == 130
    assert "--resume" in capsys.readouterr().err
    assert main([*asked, "--out", str(out), "--resume"]) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (["--sight", "L1.resid_post"], "did you mean --site"),
        (["--arch", "topc"], "invalid choice 'topc'"),
        (["--site", "L1.resid_pots"], "resid_post"),
        (["--site", "L9.resid_post"], "layers 0…2"),
        (["--data", "no/such/place.txt"], "no file or folder 'no/such/place.txt'"),
        (["--k", "33"], "k=33 active latents of d_sae=32"),
        (["--arch", "gated"], "gated takes no k"),
        (["--model", "zoo:code-ml"], "code-lm"),
        (["--options", "aux_loss_coef", "1"], "aux_loss_coefficient"),
        (["--options", "k", "3"], "k is no option: give k itself"),
        (["--options", "d_in", "3"], "d_in is no option: the site decides it"),
        (["--options", "use_sparse_activations", "2"], "expected 1 for yes or 0 for no"),
        (["--held-out", "0"], "expected at least 1, the number of tokens to evaluate on"),
        (["--held-out", "-5"], "held_out=-5"),
        (["--buffer", "0"], "buffer=0 and batch=50: expected a buffer of a batch and a row"),
        (["--lr", "nan"], "expected a positive rate"),
        (["--arch", "standard", "--k", "None", "--lr", "1e30"], "with a smaller lr than 1e+30"),
        (["--device", "cuda:99"], "cuda"),
    ],
)
def test_mistakes_are_one_line(changes, message, asked, tmp_path, capsys):
    out = tmp_path / "sae"
    assert main([*asked, "--out", str(out), *changes]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    said = [line for line in said if not line.startswith("WARNING: 1 of 3 files")]
    assert len(said) == 1 and message in said[0]
    assert not out.exists()


def test_a_folder_is_needed_and_must_be_free(asked, tmp_path, capsys):
    assert main(asked) == 2
    assert "--out DIR is needed" in capsys.readouterr().err
    (tmp_path / "mine.txt").write_text("x")
    assert main([*asked, "--out", str(tmp_path)]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_a_file_cannot_be_the_folder(asked, tmp_path, capsys):
    (tmp_path / "afile").write_text("x")
    for out in (tmp_path / "afile", tmp_path / "afile" / "sae"):
        assert main([*asked, "--out", str(out)]) == 2
        assert "afile is a file: give --out a folder" in capsys.readouterr().err


def test_text_that_repeats_itself_is_refused(asked, tmp_path, capsys):
    (tmp_path / "same.txt").write_text("w3 w4 w5 w6 w7 " * 400)
    changes = ["--data", str(tmp_path / "same.txt"), "--out", str(tmp_path / "sae")]
    assert main([*asked, *changes]) == 2
    said = capsys.readouterr().err
    assert "same.txt repeats itself: all 7 held-out rows are also trained on" in said
    assert not (tmp_path / "sae").exists()


def test_one_held_out_row_gives_no_interval_and_says_so(asked, tmp_path, capsys):
    assert main([*asked, "--held-out", "1", "--out", str(tmp_path / "sae")]) == 0
    assert "no interval: there is one held-out row" in " ".join(capsys.readouterr().out.split())


def test_help_is_quick_and_loads_nothing_heavy():
    code = (
        "import sys; from interp.cli import main; main(['train-sae', '--help']);"
        "print(sorted({'torch', 'sae_lens', 'pandas', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip().endswith("[]")
    assert "--site" in done.stdout + done.stderr
