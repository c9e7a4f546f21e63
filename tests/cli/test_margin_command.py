"""``interp run margin`` as a user types it."""

from __future__ import annotations

import json

import pytest

from interp.cli import main
from interp.runs import Run

QUICK = [
    "--groups",
    "c5",
    "s3",
    "--steps",
    "400",
    "--climb",
    "300",
    "--parity-bits",
    "4",
    "--parity-k",
    "2",
]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "first"
    assert main(["run", "margin", *QUICK, "--out", str(out)]) == 0
    return out


def test_margins_stand_beside_the_largest(finished):
    found = metrics_of(finished)
    assert list(found["networks"]) == ["C5", "S3", "parity of 2 of 4"]
    for one in found["networks"].values():
        assert 0.3 < one["share"] <= 1 + 1e-9
        assert one["untrained_share"] < 0.3
        assert 0.9 < one["climbed_share"] <= 1 + 1e-9
    assert found["networks"]["C5"]["construction_share"] == pytest.approx(1, abs=1e-12)
    assert found["largest_share"] <= 1 + 1e-9
    assert "of γ*" in found["conclusion"]
    rows = Run.open(finished).table("margins")
    assert rows["neurons"].tolist() == [30, 36, 16]
    assert (finished / "figures" / "margins.png").is_file()


def test_an_interrupted_run_is_taken_up(finished, tmp_path, monkeypatch):
    from experiments import margin_measuring

    out, measure = tmp_path / "interrupted", margin_measuring.measure_parity

    def broken(config, run):
        raise KeyboardInterrupt

    monkeypatch.setattr(margin_measuring, "measure_parity", broken)
    assert main(["run", "margin", *QUICK, "--out", str(out)]) != 0
    monkeypatch.setattr(margin_measuring, "measure_parity", measure)
    assert main(["run", "margin", "--resume", "--out", str(out)]) == 0
    assert metrics_of(out) == metrics_of(finished)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--groups"], "groups is empty"),
        (["--groups", "c6"], "odd order only"),
        (["--groups", "x5"], "such as c12, d6 or s4"),
        (["--groups", "c5", "c5"], "names one twice"),
        (["--parity-k", "9"], "2 ≤ k ≤ n"),
        (["--width", "0"], "at least 1"),
        (["--lr", "0"], "above 0"),
        (["--climb", "0"], "at least 1 step"),
    ],
)
def test_what_cannot_run_is_refused_in_a_line(tmp_path, capfd, arguments, said):
    out = tmp_path / "run"
    assert main(["run", "margin", *arguments, "--out", str(out)]) == 2
    assert said in " ".join(capfd.readouterr().err.split())
    assert not out.exists()


def test_the_presets_are_configs():
    from experiments.margin import PRESETS, Config, check

    for preset in PRESETS.values():
        check(Config(**{k: tuple(v) if isinstance(v, list) else v for k, v in preset.items()}))


def test_a_network_too_narrow_is_told_its_width():
    from experiments.margin_report import _said

    row = {"network": "C5", "share": 0.5, "climbed share": 0.6, "untrained share": -0.1}
    assert "10 neurons are fewer than the 16" in _said({**row, "neurons": 10, "neurons needed": 16})
    wide = {**row, "neurons": 16, "neurons needed": 16}
    assert "nor by climbing" in _said(wide)
    assert "reached by climbing" in _said({**wide, "climbed share": 0.99})
    assert "do not belong together" in _said({**wide, "climbed share": 1.01})
