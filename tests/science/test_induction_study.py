"""The study end to end, on models whose answer is known and on models that have none.

Positive: the hand-built induction head costs the whole in-context gain. Negative: a decoy with the
very same signature costs nothing; a model with random weights has neither signature nor load.
"""

from __future__ import annotations

import math

import pytest
import torch

from interp.evidence import loss
from interp.heads import (
    ablate,
    find_targets,
    head_scores,
    iid_control,
    reduce_pattern,
    weigh_heads,
)
from interp.hooks import Site, ablate_heads, reference_mean, session
from interp.models import ModelSpec, load_model
from interp.studies import run_study
from interp.zoo.induction_exact import closed_form
from interp.zoo.tasks import repeated_tokens


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs")
    done = {}

    def run(model, **changes):
        key = (model, *sorted(changes.items()))
        if key not in done:
            out = folder / str(len(done))
            done[key] = run_study("induction", preset="smoke", out=out, model=model, **changes)
        return done[key]

    return run


def test_the_exact_head_is_found_and_carries_everything(runs):
    run = runs("zoo:induction-exact")
    metrics, known = run.metrics, closed_form("induction-exact", length=20)
    assert metrics["top_head"] == known["heads"]["induction"]
    assert metrics["top_score"] == pytest.approx(1.0, abs=1e-3)
    assert metrics["n_heads_with_signature"] == 1
    assert metrics["verdict"] == "load-bearing"
    assert metrics["p_value"] == pytest.approx(0.05), "19 other heads in the layer"
    # Mean ablation leaves the head's average output, which favours the 27 ordinary tokens a little.
    assert metrics["effect"] == pytest.approx(math.log(28), abs=0.02)
    assert metrics["share_of_gain"] == pytest.approx(1.0, abs=0.01)
    scores = run.tensors()["induction"]
    for layer in range(2):
        for head in range(20):
            name = f"L{layer}H{head}"
            expected = known["scores"]["induction"].get(
                name, known["scores"]["induction"]["uniform"]
            )
            assert float(scores[layer, head]) == pytest.approx(expected, abs=1e-3), name


def test_ablating_to_zero_costs_the_closed_form(runs):
    run = runs("zoo:induction-exact", ablation="zero")
    known = closed_form("induction-exact", length=20)
    induction = known["heads"]["induction"]
    heads = run.table("heads").set_index("head")
    for name in heads.index:
        expected = known["effect"].get(name, known["effect"]["uniform"])
        assert heads.loc[name, "effect"] == pytest.approx(expected, abs=1e-4), name
    assert run.metrics["effect"] == pytest.approx(known["effect"][induction], abs=1e-4)


def test_the_decoy_has_the_signature_and_not_the_load(runs):
    run = runs("zoo:induction-decoy")
    known = closed_form("induction-decoy", length=20)
    table = run.table("evidence")
    decoy = table[table["subject"] == known["heads"]["decoy"]]
    real = table[table["subject"] == known["heads"]["induction"]]
    assert len(decoy) == len(real) == 2
    assert (decoy["signature"] > 0.999).all() and decoy["has_signature"].all()
    assert (decoy["verdict"] == "not load-bearing").all()
    assert (decoy["effect"].abs() < 1e-6).all() and (decoy["p_value"] == 1).all()
    # 18 others in the layer, so p cannot pass Holm's correction: the effect is there all the same.
    assert (real["verdict"] == "underpowered").all()
    assert (real["effect"] > 3.3).all()
    # The pair costs no more than the real head with any other: it is that head, not the pair.
    both = table.iloc[0]
    assert both["verdict"] == "not load-bearing" and both["effect"] > 3.3
    # The two together bear the load; what is said of them must not hide that one does not.
    said = run.metrics["conclusion"]
    assert f"{known['heads']['decoy']} costs 0, {known['heads']['induction']} costs 3.3" in said


def test_random_weights_have_neither(tmp_path):
    """The negative control: no signature, and verdicts no more often than chance allows."""
    verdicts = []
    for seed in range(6):
        model = load_model(
            ModelSpec(
                "random",
                seed=seed,
                native={
                    "n_layers": 3,
                    "n_heads": 24,
                    "d_model": 48,
                    "d_head": 8,
                    "n_ctx": 41,
                    "d_vocab": 64,
                    "attn_only": True,
                    "normalization_type": "LN",
                    "positional_embedding_type": "rotary",
                    "initializer_range": 0.3,
                },
            )
        )
        rng = torch.Generator().manual_seed(seed)
        prompts = repeated_tokens(model.ordinary_ids, n=32, length=20, generator=rng)
        choose, judged = prompts.split(0.5, seed=seed)
        control = iid_control(choose, model.ordinary_ids, generator=rng)
        score = head_scores(model, choose, ["induction"], control=control)["induction"]
        assert float((score.values - score.control).max()) < 0.3
        table = weigh_heads(
            model, score, selected_on=choose, judged_on=judged, top=3, n_controls=39, seed=seed
        )
        assert not any(row.has_signature for row in table)
        verdicts += [row.verdict == "load-bearing" for row in table]
    # 36 dependent tests at .05 or stricter: more than 6 would be no chance.
    assert sum(verdicts) <= 6


def test_code_lm_depends_on_its_induction_heads(runs):
    """The bundled language model: plain signatures, and a verdict with p at or below .05."""
    run = runs("zoo:code-lm")
    metrics = run.metrics
    assert metrics["top_score"] >= 0.4
    assert metrics["top_score_iid"] < 0.05
    assert metrics["verdict"] == "load-bearing", metrics["conclusion"]
    assert metrics["p_value"] <= 0.05


def test_code_lm_induction_rests_on_its_previous_token_head():
    """As the README says: without L0H0 the two heads no longer look for what came before."""
    model = load_model("zoo:code-lm")
    rng = torch.Generator().manual_seed(0)
    prompts = repeated_tokens(
        model.ordinary_ids, n=16, length=25, bos_id=model.bos_id, generator=rng
    )
    means = reference_mean(model, prompts, "L0.z")[Site.parse("L0.z")]
    targets = find_targets(prompts, "after", special=model.special_ids, scored_only=True)
    left = {}
    for removed in (None, 0, 1):
        change = [] if removed is None else ablate_heads([(0, removed)], {0: means})
        with session(model, intervene=change, capture="L1.pattern") as s:
            s.run(prompts)
        left[removed] = reduce_pattern(s["L1.pattern"], targets).mean(0)[:2]
    assert bool((left[None] > 0.7).all()) and bool((left[1] > 0.7).all())
    assert bool((left[0] < 0.1).all())


def test_a_model_without_induction_heads_is_told_so(runs, shared_models):
    run = runs(str(shared_models / "stories260k"))
    assert run.metrics["n_heads_with_signature"] == 0
    assert "no head is called an induction head" in run.metrics["conclusion"]
    evidence = run.table("evidence")
    assert len(evidence) and not evidence["has_signature"].any()
    # It cannot do the task either, so nothing is judged; the costs stay to be read.
    assert not run.metrics["able"] and run.metrics["verdict"] is None
    assert set(run.metrics["verdicts"].values()) == {None}
    assert evidence["verdict"].isna().all() and evidence["effect"].notna().all()
    assert "not below the 6.24 of guessing" in run.metrics["conclusion"]
    assert "load-bearing" not in run.metrics["conclusion"] + run.metrics["headline"]
    # Its leading head is not the one with the highest score: no "strongest" is said.
    said = "The head that leads its i.i.d. control most is L4H0: 0.037, control 0.026"
    assert said in run.metrics["conclusion"] and "strongest" not in run.metrics["conclusion"]
    assert float(run.tensors()["induction"].max()) > run.metrics["top_score"]


def test_a_sorter_of_three_letters_runs_too(runs, shared_models):
    """Context 11, three ids, no special token: short blocks, few controls, and no crash."""
    run = runs(str(shared_models / "nano-gpt-sort"))
    assert run.status == "done"
    assert run.metrics["n_heads_with_signature"] == 0


def test_selection_and_judgement_share_no_prompt():
    model = load_model("zoo:induction-exact")
    rng = torch.Generator().manual_seed(0)
    prompts = repeated_tokens(range(1, 5), n=40, length=3, bos_id=0, generator=rng)
    choose, judged = prompts.split(0.5, seed=0)
    rows = [set(map(tuple, part.tokens.tolist())) for part in (choose, judged)]
    assert len(rows[0] | rows[1]) <= 24, "there are only 24 such prompts, so some stand twice"
    assert not rows[0] & rows[1]
    assert len(ablate(model, judged, loss, [], kind="zero").clean) == len(judged)
