"""``interp run token-spectra`` as a user types it."""

from __future__ import annotations

import json

import pytest

from interp.cli import main
from interp.runs import Run

QUICK = ["--preset", "smoke", "--rows", "8"]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "token-spectra", *QUICK, "--out", str(out)]) == 0
    return out


def test_it_leaves_tables_figures_and_words(finished):
    found = metrics_of(finished)
    digits = found["sets"]["digits"]
    assert digits["embedding"]["members"] == 10
    assert digits["embedding"]["trend_p"] < 0.05
    assert digits["embedding"]["frequencies_with_the_trend"] == [1]
    assert digits["embedding"]["frequencies"] == []
    assert set(digits["verdicts"]) == {"digits: trend", "digits: frequency 1"}
    assert "would have passed for periodic" in found["conclusion"]
    run = Run.open(finished)
    assert run.table("orders")["matrix"].tolist() == ["embedding", "unembedding"]
    assert len(run.table("spectra")) == 10 and len(run.table("evidence")) == 2
    assert (finished / "figures" / "order-0-embedding.png").is_file()


def test_own_words_and_text(tmp_path, capfd):
    words, text = tmp_path / "words.txt", tmp_path / "text.txt"
    words.write_text("\n".join("acegi"))
    text.write_text("x = a[c] + e - g * i\n" * 60)
    out = tmp_path / "run"
    given = ["--tokens", str(words), "--text", str(text), "--out", str(out)]
    assert main(["run", "token-spectra", *QUICK, *given]) == 0
    found = metrics_of(out)["sets"][str(words)]
    assert found["embedding"]["members"] == 5 and found["judged"] > 1
    assert "shuffled-orders" in capfd.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--tokens", "digit"], "expected digits, a range"),
        (["--tokens", "1..3"], "5 up"),
        (["--tokens", "a,b"], "too few"),
        (["--tokens", "1..99999999999"], "too long a range"),
        (["--tokens", "a,b,c,b,d,e"], "'b' twice"),
        (["--tokens", "digits,months"], "with spaces between them"),
        (["--tokens"], "tokens is empty"),
        (["--tokens", "digits", "digits"], "names one twice"),
        (["--text", "nowhere.txt"], "no file nowhere.txt"),
        (["--controls", "3"], "at least 19"),
        (["--alpha", "2"], "between 0 and 1"),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(tmp_path, capfd, arguments, said):
    out = tmp_path / "run"
    assert main(["run", "token-spectra", *arguments, "--out", str(out)]) == 2
    assert said in " ".join(capfd.readouterr().err.split())
    assert not out.exists()


def test_a_set_that_the_model_splits_is_refused_with_what_is_missing(tmp_path, capfd):
    given = ["--tokens", "months", "--out", str(tmp_path / "run")]
    assert main(["run", "token-spectra", *QUICK, *given]) != 0
    assert "are missing: January" in " ".join(capfd.readouterr().err.split())
