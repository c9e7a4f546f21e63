"""``interp run bi-induct``: the whole study in small, interrupted and not."""

import json

import pytest

from interp.cli import main
from interp.runs import Run

TINY = ["--preset", "smoke", "--steps", "6", "--every", "3", "--max-bytes", "200000"]


def test_smoke_runs_whole_and_claims_nothing(tmp_path, capsys):
    out = tmp_path / "run"
    assert main(["run", "bi-induct", "--preset", "smoke", "--out", str(out)]) == 0
    run = Run.open(out)
    assert run.status == "done"
    arms = run.table("arms")
    assert list(arms["arm"]) == ["natural", "forward", "backward", "balanced"] * 2
    assert set(arms["tokens"]) == {20 * 8 * 64}, "matched compute"
    assert (arms.loc[arms["arm"] == "natural", "snippets"] == 0).all()
    assert (arms.loc[arms["arm"] != "natural", "snippets"] > 0.1).all()
    claims = run.table("claims")
    # Twenty steps form no induction head: whatever the paper says, this cannot have shown it.
    assert set(claims["verdict"]) <= {"underpowered", "does not"}
    assert "no induction head formed" in run.metrics["conclusion"]
    assert not run.table("evidence")["has_signature"].any()
    assert not (run.table("evidence")["verdict"] == "load-bearing").any()
    shown = capsys.readouterr().out
    assert "anti-induction stays near zero" in shown and "backward" in shown
    assert {"induction_over_training", "activity"} <= set(run.figures)


def test_one_seed_permits_no_inference_between_arms(tmp_path):
    out = tmp_path / "run"
    arms = ["--arms", "natural,forward", "--seeds", "1"]
    assert main(["run", "bi-induct", *TINY, *arms, "--out", str(out)]) == 0
    run = Run.open(out)
    assert "One seed per arm: no inference between arms." in run.metrics["conclusion"]
    between = run.table("claims")
    between = between[between["about"].str.contains("−")]
    assert len(between) and set(between["verdict"]) == {"underpowered"}
    assert between["low"].isna().all()


def test_an_interrupted_study_goes_on_arm_by_arm(tmp_path, monkeypatch):
    from experiments import bi_induct_training

    args = ["run", "bi-induct", *TINY, "--arms", "natural,backward", "--seeds", "1", "--out"]
    assert main([*args, str(tmp_path / "whole")]) == 0
    train = bi_induct_training._train

    def stop(config, stream, folder, arm, seed):
        if arm == "backward":
            raise KeyboardInterrupt
        train(config, stream, folder, arm, seed)

    with monkeypatch.context() as patched:
        patched.setattr(bi_induct_training, "_train", stop)
        assert main([*args, str(tmp_path / "half")]) == 130
    half = tmp_path / "half"
    natural = (half / "arms" / "natural-seed0" / "model.safetensors").stat().st_mtime_ns
    assert main([*args, str(half), "--resume"]) == 0
    assert (half / "arms" / "natural-seed0" / "model.safetensors").stat().st_mtime_ns == natural
    for name in ("metrics.json", "claims.parquet", "arms.parquet", "evidence.parquet"):
        assert (half / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert json.loads((half / "metrics.json").read_text())["seeds"] == 1


@pytest.mark.parametrize(
    ("option", "said"),
    [
        (["--arms", "forwards"], "unknown arm 'forwards'"),
        (["--arms", ","], "arms is empty"),
        (["--data", "nowhere"], "expected renamed-code"),
        (["--length", "90"], "expected from 2 to half"),
        (["--sets", "best"], "unknown rule"),
        (["--seeds", "0"], "at least 1"),
    ],
)
def test_mistakes_are_refused_before_anything_is_made(tmp_path, capsys, option, said):
    out = tmp_path / "run"
    assert main(["run", "bi-induct", *TINY, *option, "--out", str(out)]) == 2
    assert said in capsys.readouterr().err and not out.exists()
