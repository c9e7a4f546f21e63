"""``interp run truth-spectrum`` as a user types it: files, resume, and one-line refusals."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from interp.cli import main
from interp.runs import Run

QUICK = ["--preset", "smoke", "--resamples", "100", "--framings", "none", "--layers", "0-1"]
QUICK += ["--prompts", "8", "--random", "19", "--shuffles", "19", "--specific", "0"]


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOADBEARING_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> tuple[Path, ...]:
    """Statements whose last word tells the label, in two files of other words."""
    folder = tmp_path_factory.mktemp("statements")
    rng = np.random.default_rng(0)
    made = []
    for name in ("one", "other"):
        made.append(folder / f"{name}.csv")
        with made[-1].open("w", newline="") as file:
            writer = csv.DictWriter(file, ["statement", "label", "group"])
            writer.writeheader()
            for i in range(80):
                words = [f"w{w}" for w in rng.integers(7, 20, 5)]
                text = " ".join([*words, "w5" if i % 2 else "w6"])
                writer.writerow({"statement": text, "label": i % 2, "group": f"{name}{i // 2}"})
    return tuple(made)


@pytest.fixture(scope="module")
def arguments(files, tiny_folder) -> list[str]:
    data = ",".join(map(str, files))
    return ["--model", str(tiny_folder("gpt2")), "--data", data, *QUICK]


@pytest.fixture(scope="module")
def finished(arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "truth-spectrum", *arguments, "--out", str(out)]) == 0
    return out


def test_tables_figures_and_the_conclusion_are_there(finished):
    run = Run.open(finished)
    names = {"transfer", "layers", "own", "likeness", "erasure", "directions", "specificity"}
    assert names <= set(run.tables)
    figures = {path.stem for path in (finished / "figures").glob("*.png")}
    assert {"auroc_by_layer", "transfer", "erasure", "directions"} <= figures
    assert run.metrics["domains"] == ["one", "other"]
    assert run.metrics["auroc"]["one"]["one"] > 0.9
    assert run.metrics["no_regression"].startswith("two domains are two pairs")
    # This tokenizer knows neither answer: no steering, and that is said.
    assert "true and false begin alike" in run.metrics["missing"]["steering"]
    assert "No steering: to the tokenizer" in run.metrics["conclusion"]
    # One word gives the label away, and that takes no model.
    assert run.metrics["headline"] == "no evidence of a truth direction"
    assert "(words alone 1.000)" in run.metrics["conclusion"]


def test_resumed_it_is_the_same_and_takes_finished_parts(
    finished, arguments, tmp_path, monkeypatch
):
    from experiments import truth_spectrum_report

    def broken(*_):
        raise KeyboardInterrupt

    out = str(tmp_path / "again")
    with monkeypatch.context() as patch:
        patch.setattr(truth_spectrum_report, "save", broken)
        assert main(["run", "truth-spectrum", *arguments, "--out", out]) == 130
    parts = {p: p.stat().st_mtime_ns for p in (tmp_path / "again" / "parts").rglob("*.*")}
    assert {p.stem for p in parts} == {"L0-resid-post", "L1-resid-post"}
    assert main(["run", "truth-spectrum", "--resume", "--out", out]) == 0
    assert all(p.stat().st_mtime_ns == when for p, when in parts.items())
    assert Run.open(out).metrics == Run.open(finished).metrics


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--method", "logistics"], "did you mean logistic"),
        (["--layers", "two"], "layers is 'two'"),
        (["--framings", "sycophant"], "did you mean sycophantic"),
        (["--position", "every"], "a statement counts once"),
        (["--shuffles", "5"], "shuffles is 5; expected at least 19"),
        (["--n", "3"], "n is 3; expected at least 20"),
        (["--model", "zoo:truth-wrld"], "truth-world"),
    ],
)
def test_every_mistake_is_one_line_before_anything_is_made(flags, said, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["run", "truth-spectrum", "--preset", "smoke", *flags, "--out", str(out)]) == 2
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1
    assert not out.exists()


def test_help_is_quick_and_names_the_presets():
    code = "import sys; from interp.cli import main; main(['run', 'truth-spectrum', '--help']);"
    code += "sys.exit(any(m in sys.modules for m in ('torch', 'pandas', 'matplotlib', 'sklearn')))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for preset in ("smoke", "small-hub", "paper"):
        assert preset in done.stdout
