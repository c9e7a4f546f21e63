"""``interp run dynamics`` as typed: followed to the end, without grokking, and refused."""

from __future__ import annotations

import json

import pytest

from interp.cli import main
from interp.runs import Run

TINY = [
    *("--preset", "smoke", "--p", "13", "--train-fraction", "0.6", "--steps", "40"),
    *("--look-every", "5", "--d-model", "16", "--d-mlp", "32", "--sizes", "20", "60"),
    *("--continued-steps", "10", "--moments", "2", "--batch", "16", "--judged", "16"),
    *("--controls", "19", "--seeds", "1"),
]
FILES = [
    *("config.yaml", "metrics.json", "evidence.parquet", "trajectories.parquet"),
    *("moments.parquet", "directions.parquet", "sizes.parquet", "efficiency.parquet"),
    *("figures/trajectories.png", "figures/paths.svg", "figures/sizes.png"),
    *("figures/commutators.png", "figures/efficiency.png", "figures/directions-L0-mlp_post.png"),
]


def metrics_of(folder):
    return json.loads((folder / "metrics.json").read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The smoke preset with one seed; some 15 CPU-seconds."""
    out = tmp_path_factory.mktemp("runs") / "smoke"
    assert main(["run", "dynamics", "--preset", "smoke", "--seeds", "1", "--out", str(out)]) == 0
    return out


def test_what_is_left_behind(finished):
    assert [name for name in FILES if not (finished / name).is_file()] == []
    assert not (finished / "checkpoints").exists()
    frame = Run.open(finished).table("trajectories")
    assert len(frame) == 20 and set(frame["training"]) == {"decayed", "memoriser"}


def test_the_decayed_model_groks_and_is_the_more_efficient(finished):
    found = metrics_of(finished)
    accuracy = found["unmirrored_accuracy"]
    assert accuracy["decayed"] > 0.95 and accuracy["memoriser"] < 0.5
    assert found["logit_per_norm"]["decayed"] > found["logit_per_norm"]["memoriser"]
    assert all(one["interval"][0] > 0 for one in found["more_efficient"])
    same = found["logit_at_same_norm"]
    assert same["decayed"] > 2 * same["memoriser"]
    moments = Run.open(finished).table("moments")
    for column in ("norm", "logit", "inside_ratio", "attention_entropy", "effective_directions"):
        assert moments[column].notna().all(), "read at every moment"
    directions = found["effective_directions"]
    assert directions["decayed"] < directions["memoriser"]


def test_the_memorisers_path_is_as_low_dimensional(finished):
    """So that nobody takes a low r90 for a mark of grokking."""
    found = metrics_of(finished)
    assert found["r90"]["memoriser"] <= found["r90"]["decayed"] <= 4
    assert "no mark of having grokked" in found["conclusion"]


def test_less_data_is_too_little(finished):
    found = metrics_of(finished)
    for way in ("from scratch", "from a grokked model"):
        assert 80 < found["critical_size"][way] < 500
        assert found["critical_interval"][way] is None, "fewer than three seeds give none"
    assert found["steps_to_grok"][0] <= 250 and found["weight_decays"] == {}
    rows = Run.open(finished).table("sizes")
    assert rows["never_trained_accuracy"].between(0, 1).all()


def test_the_last_directions_are_no_load(finished):
    verdicts = metrics_of(finished)["verdicts"]
    last = {verdict for subject, verdict in verdicts.items() if " last " in subject}
    assert last == {"not load-bearing"}
    assert any(verdict == "load-bearing" for verdict in verdicts.values())


def test_without_grokking_nothing_is_gone_on_with(tmp_path):
    out = tmp_path / "tiny"
    assert main(["run", "dynamics", *TINY, "--decays", "2", "--out", str(out)]) == 0
    found = metrics_of(out)
    assert set(found["weight_decays"]) == {"2"}
    nothing = {"ratio": None, "interval": None, "seeds": 0}
    assert all(one == nothing for one in found["weight_decays"]["2"].values())
    assert "No change of the time to grok is shown" in found["conclusion"]
    rows = Run.open(out).table("sizes")
    assert set(rows["weight_decay"]) == {1.0, 2.0} and not rows["settled_between"].any()
    assert (out / "figures" / "decays.png").is_file()
    assert found["critical_size"] == {"from scratch": None, "from a grokked model": None}
    assert "no model had grokked" in found["conclusion"]
    assert "at the largest size" in found["conclusion"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--p", "4"], "at least 11"),
        (["--p", "251"], "at most 113"),
        (["--sizes", "300", "200"], "ascending"),
        (["--sizes", "100", "9000"], "training pairs"),
        (["--components", "40"], "lower look_every"),
        (["--batch", "900"], "two do not fit"),
        (["--train-fraction", "0.97"], "hardly a pair"),
        (["--controls", "3"], "at least 19"),
        (["--weight-decay", "-1"], "at least 0"),
        (["--decays", "1"], "different ones"),
        (["--decays", "0"], "above 0"),
        (["--decays", "nan"], "above 0"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "dynamics", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert len(printed.splitlines()) <= 2, printed
    assert "Traceback" not in printed
    assert not out.exists()
