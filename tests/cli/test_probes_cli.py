"""The ``probes`` command, in process: what it does, what it says, and how it refuses."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from probes import Probe
from probes.cli import main
from probes.data import FORMATS, OWN_SETS
from probes.fit import METHODS
from probes.fitting import CONTRASTED
from probes.settings import METHOD_NAMES

CITIES = Path("data/truth/geometry_of_truth/cities.csv")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of statements whose last word tells the label, and a file where nothing does.

    Every statement has w5 four times and w6 four times, so that which words it has tells
    little; in ``worded`` one more word tells it all.
    """
    path = tmp_path_factory.mktemp("statements")
    rng = np.random.default_rng(0)

    def rows(marked: bool, worded: bool) -> list[dict[str, object]]:
        made: list[dict[str, object]] = []
        for i in range(160):
            mark = bool(i % 2) if marked else bool(rng.random() < 0.5)
            last, other = (5, 6) if mark else (6, 5)
            others = [*rng.integers(7, 29, rng.integers(2, 6)), *[last] * 3, *[other] * 4]
            words = [f"w{w}" for w in (*rng.permutation(others), last)]
            text = " ".join([*words, "w3" if mark else "w4"] if worded else words)
            made.append({"statement": text, "label": i % 2, "pair": i // 2})
        return made

    for name, marked in (("marked", True), ("fresh", True), ("unmarked", False), ("worded", True)):
        with (path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["statement", "label", "pair"])
            writer.writeheader()
            writer.writerows(rows(marked, name == "worded"))
    lines = (path / "marked.csv").read_text().splitlines()
    constant = [f"w{i} w{j} w4,{(i + j) % 2}" for i in range(7, 15) for j in range(7, 15)]
    (path / "constant.csv").write_text("\n".join(["text,label", *constant]))
    (path / "broken.csv").write_text("\n".join([*lines[:4], "w3 w4,maybe,9"]))
    return path


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A cache of the tests' own."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LOADBEARING_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tiny_folder: Callable[[str], Path]) -> str:
    return str(tiny_folder("gpt2"))


@pytest.fixture(scope="module")
def trained(folder: Path, model: str) -> Path:
    """A probe made by the command."""
    out = folder / "probe"
    options = ["--data", str(folder / "marked.csv"), "--site", "L1.resid_post", "--group", "pair"]
    assert main(["train", "--model", model, *options, "--out", str(out)]) == 0
    return out


def test_train_reports_and_saves(
    folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "probe"
    args = ["--model", model, "--data", str(folder / "marked.csv"), "--site", "L1.resid_post"]
    args += ["--method", "logistic", "--group", "pair", "--seed", "3", "--out", str(out)]
    code = main(["train", *args])
    said = capsys.readouterr()
    text = " ".join(said.out.split())
    assert code == 0
    assert said.err == ""
    for part in (
        "95% interval [",
        "at the training threshold",
        "shuffled labels mean AUROC",
        "by number of tokens",
        "160 of 160 statements (plain), 80 of label 1, 80 groups, 80 pairs",
        "words AUROC",
        "strongest baseline",
        "A signature: the direction separates label 1 from label 0",
        "above shuffled labels and above length and words",
        "nor whether the model uses the direction",
        "To see whether the model depends on it: probes steer",
        f"probe folder: {out}",
    ):
        assert part in text
    assert "truth" not in text.lower()
    probe = Probe.load(out)
    assert (probe.method, probe.seed, str(probe.site)) == ("logistic", 3, "L1.resid_post")
    assert json.loads((out / "probe.json").read_text())["metrics"]["held_out"]["n"] == 48


def test_eval_finds_the_model_by_itself(
    folder: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert main(["eval", str(trained), "--data", str(folder / "fresh.csv")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "held out 160 statements in 80 groups" in text
    assert "A signature" in text
    assert "probes steer, which pushes along the direction" in text
    assert main(["eval", str(trained), "--data", str(folder / "marked.csv")]) == 0
    assert "Note: 112 statements it was fitted to are left out." in capsys.readouterr().out
    assert main(["eval", str(trained), "--data", str(folder / "unmarked.csv")]) == 0
    assert "No evidence of a signature" in capsys.readouterr().out


def test_what_words_alone_tell_is_no_signature(
    folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["--model", model, "--data", str(folder / "worded.csv"), "--site", "L1.resid_post"]
    assert main(["train", *args, "--group", "pair", "--out", str(tmp_path / "probe")]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "No evidence of a signature beyond the strongest baseline: words alone" in text
    metrics = Probe.load(tmp_path / "probe").metrics
    assert metrics["held_out"]["auroc_low"] > 0.6
    assert metrics["baselines"]["strongest"] == "words"
    assert metrics["baselines"]["lead_low"] <= 0


def test_all_layers_and_several_methods_in_one_command(
    folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], cache: Path
) -> None:
    out = tmp_path / "probes"
    args = ["--model", model, "--data", str(folder / "marked.csv"), "--group", "pair"]
    args += ["--method", "mass-mean,lda", "--layers", "0-1", "--pooling", "char:-1"]
    kept = {file.name for file in cache.iterdir()}
    assert main(["train", *args, "--out", str(out)]) == 0
    made = {file.name for file in cache.iterdir()} - kept
    assert len(made) == 2  # one a site, not one a method
    said = capsys.readouterr().out
    names = [f"L{n}.resid_post-{method}" for n in (0, 1) for method in ("mass-mean", "lda")]
    assert all(name in said for name in names)
    assert sorted(p.name for p in out.iterdir()) == sorted([*names, "probes.json"])
    held = json.loads((out / "probes.json").read_text())
    inside = {n: Probe.load(out / n).metrics["selection"]["auroc"] for n in names}
    assert held["chosen"] == max(names, key=lambda name: inside[name])
    assert Probe.load(out / names[0]).position == "char:-1"
    assert main(["show", str(out)]) == 0
    assert capsys.readouterr().out in said
    assert main(["eval", str(out), "--data", str(folder / "fresh.csv")]) == 0
    assert "the folder holds 4 probes" in " ".join(capsys.readouterr().out.split())
    assert main(["show", str(out / names[1])]) == 0
    assert "method lda" in " ".join(capsys.readouterr().out.split())


def test_the_second_command_runs_no_model(
    folder: Path, model: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ["--model", model, "--data", str(folder / "marked.csv"), "--site", "L2.resid_post"]
    assert main(["train", *args, "--group", "pair", "--out", str(tmp_path / "first")]) == 0

    def fail(*_: object, **__: object) -> None:
        raise AssertionError("ran the model")

    monkeypatch.setattr("probes.extraction.capture", fail)
    assert main(["train", *args, "--group", "pair", "--out", str(tmp_path / "again")]) == 0
    one, two = (Probe.load(tmp_path / name) for name in ("first", "again"))
    assert one.metrics == two.metrics
    other = ["--pooling", "mean", "--out", str(tmp_path / "other")]
    assert main(["train", *args, "--group", "pair", *other]) == 1


def test_data_lists_sets_and_formats_and_looks_at_a_source(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data"]) == 0
    text = capsys.readouterr().out
    for name in (*OWN_SETS, *FORMATS):
        assert name in text
    assert main(["data", str(folder / "worded.csv"), "--group", "pair"]) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "160 of 160 statements" in text
    assert "words alone tells the labels with AUROC" in text
    assert main(["data", "set:empiricle"]) == 2
    assert "did you mean empirical" in capsys.readouterr().err


def test_own_sets_and_folders_are_trained_on(
    tmp_path: Path, folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "data").mkdir()
    for name in ("marked", "fresh"):
        (tmp_path / "data" / f"{name}.csv").write_text((folder / f"{name}.csv").read_text())
    args = ["--model", model, "--site", "L1.resid_post", "--group", "pair"]
    both = ["--data", str(tmp_path / "data"), "--out", str(tmp_path / "both")]
    assert main(["train", *args, *both]) == 0
    assert "320 of 320 statements" in capsys.readouterr().out
    several = [str(folder / f"{name}.csv") for name in ("marked", "fresh")]
    assert main(["train", *args, "--data", *several, "--out", str(tmp_path / "two")]) == 0
    assert "320 of 320 statements (joined)" in capsys.readouterr().out
    # To a tokenizer of few words the project's own statements are all alike.
    own = ["--data", "set:logical", "--out", str(tmp_path / "own")]
    assert main(["train", "--model", model, *own]) == 2
    assert "this is the same as" in capsys.readouterr().err


def test_show_says_what_train_said(trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["show", str(trained)]) == 0
    text = " ".join(capsys.readouterr().out.split())
    for part in ("site L1.resid_post, position last", "method mass-mean", "AUROC", "signature"):
        assert part in text


def test_another_models_probe_is_refused(
    folder: Path,
    trained: Path,
    tiny_folder: Callable[[str], Path],
    capsys: pytest.CaptureFixture[str],
) -> None:
    capsys.readouterr()
    other = str(tiny_folder("llama"))
    code = main(["eval", str(trained), "--data", str(folder / "fresh.csv"), "--model", other])
    said = capsys.readouterr()
    assert code == 2
    assert said.out == ""
    assert "means nothing in another model" in said.err
    assert len(said.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("changes", "code", "why"),
    [
        ({"--site": "L1.resid_pots"}, 2, "did you mean resid_post"),
        ({"--site": "L7.resid_post"}, 2, "no layer 7"),
        ({"--data": "absent.csv"}, 2, "no file absent.csv"),
        ({"--data": "broken"}, 2, "row 4 (line 5): the label is 'maybe'"),
        ({"--model": "./nowhere"}, 2, "no folder ./nowhere"),
        ({"--model": "zoo:nothing-like-it"}, 2, "no bundled model"),
        ({"--method": "lasso"}, 2, "ccs"),
        ({"--position": "end"}, 2, "position is 'end'"),
        ({"--position": "11"}, 2, "so there is none at position 11"),
        ({"--group": "pairs"}, 2, "did you mean pair"),
        ({"--seed": "-1"}, 2, "--seed is -1"),
        ({"--held-out": "1.5"}, 2, "--held-out is 1.5"),
        ({"--shuffles": "3"}, 2, "--shuffles is 3"),
        ({"--batch-size": "0"}, 2, "--batch-size is 0"),
        ({"--sede": "1"}, 2, "--seed"),
        ({"--layers": "all"}, 2, "give --site resid_post with --layers"),
        ({"--site": "resid_post", "--layers": "2-x"}, 2, "--layers is '2-x'; expected all"),
        ({"--site": "resid_post", "--layers": "1-9"}, 2, "the model has layers 0 to 2"),
        ({"--site": "resid_post", "--layers": "2-1"}, 2, "runs backwards"),
        ({"--site": "embed", "--layers": "1"}, 2, "stands in no layer"),
        ({"--site": "resid_pots", "--layers": "1"}, 2, "did you mean resid_post"),
        ({"--method": "lda,logistik"}, 2, "did you mean logistic"),
        ({"--pooling": "maximum"}, 2, "--pooling is 'maximum'; expected last, mean"),
        ({"--pooling": "char:99"}, 2, "characters, so there is none at 99"),
        ({"--pooling": "mean", "--position": "0"}, 2, "say the same; give one of them"),
        ({"--format": "claim"}, 2, "did you mean claims"),
        ({"--format": "claims"}, 2, "Claim"),
        ({"--data": "set:logic"}, 2, "did you mean logical"),
        ({"--data": "hf:"}, 2, "expected hf:NAME"),
        ({"--cache-gib": "-1"}, 2, "the cache's limit is -1"),
        ({"--site": "embed", "--data": "constant"}, 1, "the same activation here"),
    ],
)
def test_mistakes_are_one_line_and_leave_nothing(
    folder: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    *,
    changes: dict[str, str],
    code: int,
    why: str,
) -> None:
    options = {"--model": model, "--data": str(folder / "marked.csv"), "--site": "L1.resid_post"}
    options |= changes
    if (folder / f"{options['--data']}.csv").is_file():
        options["--data"] = str(folder / f"{options['--data']}.csv")
    out = tmp_path / "probe"
    args = [part for pair in options.items() for part in pair]
    assert main(["train", *args, "--out", str(out)]) == code
    said = capsys.readouterr()
    assert why in said.err
    assert said.err.startswith("probes: ")
    assert len(said.err.splitlines()) == 1
    assert said.out == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("args", "why"),
    [
        (["trian"], "unknown command 'trian': did you mean train or transfer?"),
        (["train"], "--model"),
        (["eval"], "expected a probe's folder first"),
        (["eval", "--data", "x.csv"], "expected a probe's folder first"),
        (["show"], "PROBE"),
        (["show", "nowhere"], "holds no probe"),
        (["--nonsense"], "--nonsense"),
    ],
)
def test_misused_commands_exit_with_two(
    args: list[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert why in capsys.readouterr().err


def test_an_existing_folder_is_kept(
    folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    args = ["--model", model, "--data", str(folder / "marked.csv"), "--site", "L1.resid_post"]
    assert main(["train", *args, "--out", str(tmp_path)]) == 2
    assert "exists already; give a new folder" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]


def test_a_probe_that_cannot_be_saved_is_still_reported(
    folder: Path,
    model: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("probes.probe.write_tensors", fail)
    args = ["--model", model, "--data", str(folder / "marked.csv"), "--site", "L1.resid_post"]
    assert main(["train", *args, "--out", str(tmp_path / "probe")]) == 1
    said = capsys.readouterr()
    assert "95% interval [" in said.out
    assert said.err == "probes: the probe could not be saved: No space left on device\n"
    assert list(tmp_path.iterdir()) == []


def test_what_was_not_foreseen_exits_with_one(
    trained: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("something broke")

    monkeypatch.setattr("probes.probe.Probe.load", fail)
    assert main(["show", str(trained)]) == 1
    assert "probes: failed: RuntimeError: something broke" in capsys.readouterr().err


@pytest.mark.parametrize(
    "args", [["--help"], ["train", "--help"], ["eval", "--help"], ["data", "--help"]]
)
def test_help_is_quick_and_loads_nothing_heavy(args: list[str]) -> None:
    code = (
        "import sys; from probes.cli import main; code = main(sys.argv[1:]);"
        "heavy = {'torch', 'transformer_lens', 'sklearn', 'scipy', 'pandas'} & set(sys.modules);"
        "sys.exit(f'loaded {heavy}' if heavy else code)"
    )
    # The best of three: other processes of the machine may slow one of them.
    times = []
    for _ in range(3):
        start = time.perf_counter()
        done = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
        )
        times.append(time.perf_counter() - start)
        assert done.returncode == 0, done.stderr
        assert "usage: probes" in done.stdout
    assert min(times) < 1


def test_the_help_names_every_method() -> None:
    assert (*METHODS, *CONTRASTED) == METHOD_NAMES


def test_a_real_small_model_gives_no_evidence_on_cities(
    shared_models: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cities = next((p / CITIES for p in shared_models.parents if (p / CITIES).is_file()), None)
    if cities is None:
        pytest.skip(f"no {CITIES} beside the real models")
    rows = cities.read_text(encoding="utf-8").splitlines()[:401]
    (tmp_path / "cities.csv").write_text("\n".join(rows), encoding="utf-8")
    args = ["--model", str(shared_models / "stories260k"), "--site", "L2.resid_post"]
    args += ["--data", str(tmp_path / "cities.csv"), "--group", "city"]
    assert main(["train", *args, "--out", str(tmp_path / "probe")]) == 0
    assert "No evidence of a signature" in capsys.readouterr().out
    held_out = Probe.load(tmp_path / "probe").metrics["held_out"]
    assert held_out["auroc_low"] <= 0.5 <= held_out["auroc_high"]
