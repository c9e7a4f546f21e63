"""``interp run bias-lens`` as a user types it: the planted bias found again, resume, refusals."""

from __future__ import annotations

import inspect
import json
from pathlib import Path

import pytest

from interp.cli import main
from interp.evidence import holm
from interp.runs import Run

TABLES = [
    "evidence",
    "saes",
    "behaviour",
    "targets",
    "intervals",
    "bias",
    "over_layers",
    "vectors",
    "sensitivity",
    "latents",
    "random",
]
FIGURES = ["bias_by_layer", "agreement", "bias_and_behaviour", "sensitivity", "reduction-0"]
RAW = ("cav", "mean difference", "reference probe")
PLACES = ("town", "lake", "hill", "farm", "port")


class Stopped(RuntimeError):
    """What ends the first attempt."""


def stopped(*_, **__):
    raise Stopped


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run that failed after all was measured, and was resumed: nothing is measured again."""
    from experiments import bias_lens_report
    from experiments.bias_lens_stages import Job
    from probes import concept_bias

    out = tmp_path_factory.mktemp("runs") / "first"
    asked = ["run", "bias-lens", "--preset", "smoke", "--out", str(out)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bias_lens_report, "save", stopped)
        assert main(asked) == 1
        assert Run.open(out).status == "failed"
    with pytest.MonkeyPatch.context() as patch:
        for stage in ("sensitivity", "axis", "latents"):
            patch.setattr(Job, stage, stopped)
        patch.setattr(concept_bias, "concept_bias", stopped)
        assert main([*asked, "--resume"]) == 0
    return out


@pytest.fixture(scope="module")
def world(finished):
    return json.loads((finished / "metrics.json").read_text())["triples"]["world"]


def test_every_file_is_there_and_speaks(finished):
    run = Run.open(finished)
    assert run.status == "done"
    assert set(TABLES) <= set(run.tables)
    for name in FIGURES:
        assert (finished / "figures" / f"{name}.png").is_file(), name
    assert (finished / "sae-0" / "sae_weights.safetensors").is_file()
    metrics = json.loads((finished / "metrics.json").read_text())
    assert metrics["site"] == "L2.resid_post"
    assert "load-bearing" in metrics["headline"]
    assert "SAE 0 less raw vectors" in metrics["conclusion"]
    assert len(run.table("behaviour")) == 20
    evidence = run.table("evidence")
    assert list(evidence["verdict"]) == ["load-bearing"] * 3
    assert (evidence["p_value"] < 0.05).all()
    axes, latents = evidence["p_holm"][:2], evidence["p_holm"][2:]
    assert list(axes) == list(holm(evidence["p_value"][:2])) and list(latents) == [1 / 50]
    behaviour = run.table("behaviour")
    assert behaviour[["low", "high"]].isna().all(axis=None)
    assert behaviour["no_interval"].str.contains("fewer than 8").all()


def test_every_method_finds_the_planted_order(world):
    assert world["behaviour_rho_planted"] >= 0.90
    for yardstick in ("planted", "behaviour"):
        found = world["agreement"][yardstick]
        assert set(found) == {*RAW, "sae 0"}
        for method, one in found.items():
            assert one["rho"] >= 0.80 and one["low"] > 0.5, (yardstick, method)
            assert one["p_holm"] < 0.05
            assert one["slope_z"] >= (5 if method == "mean difference" else 10), method
    for method, one in world["size"].items():
        assert one["size"] > one["null_high"], method
    assert world["references_apart"]
    difference = world["sae_less_cav"]["0"]
    raw, form = (world["agreement"]["planted"][name]["rho"] for name in ("cav", "sae 0"))
    assert difference["difference"] == pytest.approx(form - raw)
    assert difference["low"] <= difference["difference"] <= difference["high"]


def test_sensitivity_is_found_for_references_and_not_for_nothing(finished, world):
    assert {row["concept"] for row in world["sensitive"]} == {"r1", "r2"}
    tests = Run.open(finished).table("sensitivity")
    nothing = tests[tests["concept"] == "nothing"]
    assert len(nothing) == 2 and not (nothing["verdict"] == "sensitive").any()


def test_axis_and_latents_carry_it_at_little_cost(finished, world):
    assert world["axis"]["L2.resid_post"]["share"] >= 0.80
    edited = world["latents"]["0"]
    five = edited["curve"]["5"]
    assert five["slope_gone"] >= 0.50 and five["ce"] <= 0.03
    assert edited["verdict"] == "load-bearing" and edited["low"] > 0.2
    assert edited["random_most"] < 0.5 * edited["slope_gone"]
    assert edited["recognition"] > edited["recognition_before"] - 0.05
    beside = edited["baselines"]
    assert set(beside) == {"direction projected out", "reconstruction"}
    said = json.loads((finished / "metrics.json").read_text())["conclusion"]
    for called, name in (
        ("The axis projected out there takes", "direction projected out"),
        ("The SAE's reconstruction in place of the activations takes", "reconstruction"),
    ):
        (told,) = (part for part in said.split(". ") if called in part)
        assert f"{beside[name]['slope_gone']:.0%} of the slope [" in told
        assert f"{beside[name]['ce']:+.3f} nats" in told
        seen = f"{edited['recognition_before']:.0%} of prompts before and "
        assert f"{seen}{beside[name]['recognition']:.0%} after" in said
    draws = Run.open(finished).table("random")
    assert (draws["drawn"] == "latents").sum() == 49
    assert draws.loc[draws["drawn"] == "latents", "slope"].mean() <= 0.10


def test_a_triple_of_ones_own_runs_on_a_model_that_reads_text(tmp_path):
    (tmp_path / "sailor.json").write_text(
        json.dumps({"name": "sailor", "positive": ["sailor"], "templates": _templates()})
    )
    (tmp_path / "text.txt").write_text(Path(inspect.__file__).read_text())
    (tmp_path / "mine.json").write_text(
        json.dumps(
            {
                "first": "women",
                "second": "men",
                "targets": ["sailor.json", "nurse", "pilot", "judge"],
                "words": [["self"], ["None"]],
                "frames": [f"The {{}} {verb}" for verb in ("is", "was", "has", "in", "of", "to")],
            }
        )
    )
    (tmp_path / "other.json").write_text((tmp_path / "mine.json").read_text())
    out = tmp_path / "run"
    sizes = {"d-sae": 64, "k": 4, "samples": 4096, "tokens": 3000, "randoms": 19, "controls": 19}
    sizes |= {"sae-seeds": 1, "shuffles": 19, "resamples": 0, "counts": "1,2", "alpha": 0.2}
    arguments = [part for name, value in sizes.items() for part in (f"--{name}", str(value))]
    both = ",".join(str(tmp_path / name) for name in ("mine.json", "other.json"))
    arguments += ["--triples", both, "--data", str(tmp_path / "text.txt")]
    arguments += ["--sites", "L0.resid_post", "--site", "L0.resid_post"]
    assert main(["run", "bias-lens", "--model", "zoo:code-lm", *arguments, "--out", str(out)]) == 0
    told = json.loads((out / "metrics.json").read_text())["triples"]
    found = told["mine"]
    assert told["other"] == found and set(told) == {"mine", "other"}
    assert (out / "figures" / "agreement-other.svg").is_file()
    evidence = Run.open(out).table("evidence")
    assert evidence["subject"][0] == "mine: women − men at L0.resid_post"
    assert set(evidence["alpha"]) == {0.2}
    axes = evidence[~evidence["subject"].str.contains("SAE")]
    assert len(axes) == 2 and list(axes["p_holm"]) == list(holm(axes["p_value"]))
    assert found["yardstick"] == "behaviour" and found["behaviour_rho_planted"] is None
    assert set(Run.open(out).table("behaviour")["target"]) == {"sailor", "nurse", "pilot", "judge"}
    assert set(found["agreement"]) == {"behaviour"}


def _templates():
    return [f"The {{word}} went to the {place}." for place in PLACES]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--sae", "no-such-folder"], "no folder no-such-folder"),
        (["--sae-id", "x"], "give the release as sae"),
        (["--site", "L1.resid_pots"], "resid_post"),
        (["--counts", "0,5"], "numbers from 1 on"),
        (["--shuffles", "1"], "at least 2"),
        (["--triples", "gender"], "is a bias world"),
        (["--model", "zoo:code-lm", "--triples", "gendr"], "gender"),
        (["--model", "zoo:code-lm", "--triples", "none.json"], "none.json"),
        (["--model", "zoo:code-lm", "--crows-pairs", "none.csv"], "no file none.csv"),
        (["--model", "zoo:bias-wrld"], "zoo:bias-world"),
    ],
)
def test_a_mistake_is_one_line_and_leaves_no_folder(arguments, said, tmp_path, capfd):
    out = tmp_path / "run"
    assert main(["run", "bias-lens", *arguments, "--out", str(out)]) == 2
    printed = capfd.readouterr().err.strip()
    assert said in printed
    assert "Traceback" not in printed
    assert not out.exists()


def test_a_model_that_can_be_asked_for_no_triple_says_why(tmp_path, capfd):
    out = tmp_path / "run"
    arguments = ["--model", "zoo:truth-world", "--triples", "gender", "--out", str(out)]
    assert main(["run", "bias-lens", *arguments]) == 1
    assert "no tokenizer" in capfd.readouterr().err
