"""The ablation study on models whose answer is known, and on one that has nothing to find."""

from __future__ import annotations

import pytest

from interp.evidence import read_evidence
from interp.heads import SIGNATURES
from interp.models import load_model
from interp.studies import run_study


@pytest.fixture(scope="module")
def stories(shared_models, tmp_path_factory):
    """Every signature's strongest head in stories260k, on text that the model wrote itself."""
    return run_study(
        "heads",
        preset="smoke",
        out=tmp_path_factory.mktemp("stories") / "run",
        model=str(shared_models / "stories260k"),
        prompts="own-text",
        signature="all",
        sets="top:1",
        n=16,
        controls=9,
    )


def test_every_signature_has_its_rows_and_none_is_claimed_too_much(stories):
    metrics = stories.metrics
    assert metrics["able"], "it can predict what it writes itself"
    chosen = {each["signature"]: each for each in metrics["sets"]}
    assert list(chosen) == [name for name in SIGNATURES if name != "function-vector"]
    for name in ("induction", "prefix-matching", "anti-induction"):
        assert not chosen[name]["has_signature"], "it has no strong induction head"
    rows = read_evidence(stories.table("evidence"))
    assert {row.signature_name for row in rows} == set(chosen)
    # Ten different tests and nine controls: nothing can pass, and nothing may be said to.
    assert all(row.verdict != "load-bearing" for row in rows)
    assert all(row.p_holm is not None and row.p_holm >= row.p_value >= 0.1 for row in rows)
    assert "Load-bearing: none" in metrics["conclusion"]
    assert len(stories.table("heads")) == 40


def test_on_random_repeats_it_is_at_chance_and_gets_no_verdict(shared_models, tmp_path):
    run = run_study(
        "heads",
        preset="smoke",
        out=tmp_path / "run",
        model=str(shared_models / "stories260k"),
        sets="top:1",
        n=16,
        controls=9,
    )
    assert not run.metrics["able"] and "evidence" not in run.tables
    assert "not below the 6.24 of guessing" in run.metrics["conclusion"]
    assert run.metrics["headline"].startswith("no verdict")


def test_a_set_that_one_family_clears_is_not_called_load_bearing_outright():
    from types import SimpleNamespace

    from experiments.heads_report import _bearing

    def row(subject, family, verdict):
        return SimpleNamespace(subject=subject, control_family=family, verdict=verdict)

    rows = [
        row("L1H0", "layer-matched", "load-bearing"),
        row("L1H0", "norm-matched", "underpowered"),
        row("L0H0", "layer-matched", "load-bearing"),
        row("L0H0", "norm-matched", "load-bearing"),
        row("L2H0", "layer-matched", "not load-bearing"),
        row("L2H0", "norm-matched", "not load-bearing"),
    ]
    assert _bearing(rows) == ["L0H0", "L1H0 (only beside layer-matched sets)"]


def test_function_vector_heads_are_set_aside_in_two_comparisons(tmp_path):
    run = run_study(
        "heads",
        preset="smoke",
        out=tmp_path / "run",
        model="zoo:code-lm",
        prompts="icl:copy",
        function_vectors="copy",
        signature="induction,function-vector",
        sets="top:1",
        shots=3,
        n=16,
        controls=5,
    )
    aside = run.metrics["function_vector_heads"]
    assert len(aside) == 1, "2 % of 48 heads is one"
    table = run.table("evidence" if run.metrics["able"] else "effects")
    for name in ("left out", "removed throughout"):
        rows = table[table["subject"].str.endswith(f"function-vector heads {name}")]
        assert len(rows) == 4
        assert not rows["subject"].str.startswith(f"{aside[0]},").any()
    assert run.metrics["perplexity"], "the guardrail: held-out source"
    assert all(ratio > 0.9 for ratio in run.metrics["perplexity"].values())


def test_no_judged_query_finds_the_function_vector_heads():
    from experiments.heads import Config
    from experiments.heads_prompts import function_prompts, make_prompts

    model = load_model("zoo:code-lm")
    config = Config(prompts="icl:singular-plural", function_vectors="singular-plural", n=60)
    _, judged = make_prompts(config, model).split(0.5, seed=0)
    (made,) = function_prompts(config, model, ("singular-plural",), judged=judged.clean)
    used = {*made.correct.groups, *made.permuted.groups}
    assert used and not used & set(judged.clean.groups)
