"""``probes transfer`` as a user types it: the tables, the files, the sentence, the refusals."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from probes.cli import main
from probes.commands.transfer import DIRECTION_METHODS
from probes.fit import METHODS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two files in which the last word tells the label, the other way round in the second.

    ``alike`` says the same as ``first`` of other statements; in ``nothing`` no word tells.
    """
    path = tmp_path_factory.mktemp("statements")
    rng = np.random.default_rng(0)
    for name, sign in (("first", 1), ("alike", 1), ("turned", -1), ("nothing", 0), ("void", 0)):
        with (path / f"{name}.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, ["statement", "label", "pair", "kind"])
            writer.writeheader()
            for i in range(120):
                label = i % 2
                mark = rng.random() < 0.5 if sign == 0 else (label if sign == 1 else 1 - label)
                last, other = (5, 6) if mark else (6, 5)
                words = [*rng.integers(7, 29, 3), *[last] * 3, *[other] * 4]
                text = " ".join([f"w{w}" for w in rng.permutation(words)] + [f"w{last}"])
                kind = "even" if i % 4 < 2 else "odd"
                writer.writerow(
                    {"statement": text, "label": label, "pair": f"{name}{i // 2}", "kind": kind}
                )
    return path


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("cache")
        patch.setenv("LOADBEARING_CACHE", str(folder))
        yield folder


@pytest.fixture(scope="module")
def model(tiny_folder: Callable[[str], Path]) -> str:
    return str(tiny_folder("gpt2"))


def arguments(model: str, *files: Path, layers: str = "1") -> list[str]:
    quick = ["--layers", layers, "--group", "pair", "--resamples", "100"]
    return ["transfer", "--model", model, *(a for f in files for a in ("--data", str(f))), *quick]


@pytest.fixture(scope="module")
def read(folder: Path, model: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("results") / "new"
    files = [folder / f"{name}.csv" for name in ("first", "alike", "turned")]
    assert main([*arguments(model, *files, layers="all"), "--out", str(out)]) == 0
    return out


def test_what_reads_alike_and_what_is_turned_round_are_told_apart(read: Path) -> None:
    metrics = json.loads((read / "metrics.json").read_text())
    at = metrics["auroc"]
    assert metrics["domains"] == ["first", "alike", "turned"]
    assert min(at["first"]["alike"], at["alike"]["first"], at["first"]["first"]) > 0.9
    assert max(at["first"]["turned"], at["turned"]["first"]) < 0.1
    assert set(metrics["verdicts"].values()) == {"signature"}
    assert "points the other way" in metrics["conclusion"]
    assert metrics["r2"]["mahalanobis"]["r2"] > 0.9
    assert any("was chosen of 3 sites" in note for note in metrics["notes"])


def test_tables_and_figures_are_written(read: Path) -> None:
    for name in ("transfer", "layers", "own", "likeness", "regressions"):
        table = pd.read_parquet(read / f"{name}.parquet")
        assert len(pd.read_csv(read / f"{name}.csv")) == len(table) > 0
    transfer = pd.read_parquet(read / "transfer.parquet")
    assert len(transfer) == 3 * (3 + 2) and (transfer["low"] <= transfer["auroc"]).all()
    for name in ("auroc_by_layer", "transfer", "transfer_against_likeness"):
        assert (read / f"{name}.png").stat().st_size > 0
        assert "<svg" in (read / f"{name}.svg").read_text()


def test_the_terminal_shows_all_of_it_in_a_hundred_columns(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str], cache: Path, read: Path
) -> None:
    assert read.is_dir(), "these activations were taken before"
    kept = {file: file.stat().st_mtime_ns for file in cache.iterdir()}
    files = [folder / f"{name}.csv" for name in ("first", "alike", "turned")]
    assert main(arguments(model, *files)) == 0
    text = capsys.readouterr().out
    assert max(map(len, text.splitlines())) <= 100
    assert "Mahalanobis" in text and "R²" in text and "all but the tested" in text
    assert kept and set(kept) == set(cache.iterdir()), "nothing is extracted again"


def test_where_nothing_is_to_be_read_it_says_so(
    folder: Path, model: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments(model, folder / "nothing.csv", folder / "void.csv")) == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "No evidence of a signature in any domain" in text
    assert "nothing 0." in text and "are no evidence either" in text
    assert "Spearman" not in text, "no regression of two domains"


def test_one_source_is_cut_into_the_domains_it_names(
    folder: Path, model: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = list(csv.DictReader((folder / "first.csv").open()))
    own = tmp_path / "both.jsonl"
    lines = [{**r, "label": int(r["label"]), "domain": r["kind"]} for r in rows]
    own.write_text("\n".join(json.dumps(line) for line in lines))
    assert main(arguments(model, own)) == 0
    assert "even" in capsys.readouterr().out


@pytest.mark.parametrize(
    "mistake",
    [
        ([], "is one domain; a comparison needs two"),
        (["--data", "{first}"], "two sets are called"),
        (["--data", "{alike}", "--pooling", "every"], "counts a statement once"),
        (["--data", "{alike}", "--method", "lda,pca"], "one method at a time"),
        (["--data", "{alike}", "--method", "logistics"], "did you mean logistic"),
        (["--data", "{alike}", "--method", "mlp"], "transfer compares directions"),
        (["--data", "{alike}", "--folds", "1"], "--folds is 1; expected at least 2"),
        (["--data", "{alike}", "--layers", "7"], "the model has layers 0 to 2"),
        (["--data", "set:empirial"], "did you mean"),
    ],
)
def test_every_mistake_is_one_line(
    mistake: tuple[list[str], str],
    folder: Path,
    model: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    more, said = mistake
    filled = [a.format(first=folder / "first.csv", alike=folder / "alike.csv") for a in more]
    args = ["transfer", "--model", model, "--data", str(folder / "first.csv"), *filled]
    assert main([*args, "--group", "pair", "--out", str(tmp_path / "out")]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1 and not (tmp_path / "out").exists()


def test_its_methods_are_those_that_end_in_a_direction() -> None:
    assert set(DIRECTION_METHODS) == set(METHODS)


def test_a_folder_with_something_in_it_is_left_alone(
    folder: Path, model: str, read: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = (read / "metrics.json").read_bytes()
    files = [folder / "first.csv", folder / "alike.csv"]
    assert main([*arguments(model, *files), "--out", str(read)]) == 2
    assert "exists already" in capsys.readouterr().err
    assert (read / "metrics.json").read_bytes() == before
