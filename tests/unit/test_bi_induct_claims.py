"""The Bi-Induct study's verdicts on arms whose answer is planted."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from experiments.bi_induct_claims import claims, mean_hits, relative_loss

ARMS = ("natural", "forward", "backward", "balanced")


def made(arm, seed, *, activity, anti=0.0, strongest=0.8, perplexity=100.0, hits=0.5):
    able = SimpleNamespace(task="a", shots=1, permuted=False, mean=lambda metric: hits)
    chance = SimpleNamespace(task="list", shots=1, permuted=False, mean=lambda metric: 0.0)
    return SimpleNamespace(
        arm=arm,
        seed=seed,
        activity=activity,
        anti=anti,
        strongest=strongest,
        perplexity=(perplexity, perplexity),
        icl=SimpleNamespace(scores=[able, chance]),
    )


def harms(rng, excess, *, seeds=6, tasks=("copy", "a, 1 shots"), n=12):
    rows = [
        {
            "arm": arm,
            "seed": seed,
            "task": task,
            "prompt": f"{task} {i}",
            "clean": 1.0,
            "chance": 5.0,
            "harm": 0.5 + excess[arm] + rng.normal(0, 0.05),
            "harm_of_controls": 0.5 + rng.normal(0, 0.05),
        }
        for arm in ARMS
        for seed in range(seeds)
        for task in tasks
        for i in range(n)
    ]
    return pd.DataFrame(rows)


def verdicts(found):
    return {
        (f.result.claim.says.split(",")[0].split(":")[0], f.about): f.result.verdict for f in found
    }


def test_what_is_planted_replicates_and_its_opposite_does_not():
    rng = np.random.default_rng(0)
    activity = {"natural": 1.0, "forward": 2.0, "backward": 1.0, "balanced": 0.5}
    found = [
        made(
            arm,
            seed,
            activity=activity[arm] + rng.normal(0, 0.02),
            anti=(0.5 if arm == "backward" else 0.0) + rng.normal(0, 0.002),
            perplexity=100 * (1.1 if arm == "forward" else 1.0) + rng.normal(0, 0.5),
            hits=0.5,
        )
        for arm in ARMS
        for seed in range(6)
    ]
    excess = {"natural": 1.0, "forward": 0.2, "backward": 1.5, "balanced": -0.3}
    said = verdicts(claims(found, harms(rng, excess), seed=0))
    assert said["copies raise induction activity", "forward − natural"] == "replicates"
    assert said["copies raise induction activity", "balanced − natural"] == "does not"
    assert said["anti-induction stays near zero", "natural"] == "replicates"
    assert said["anti-induction stays near zero", "backward"] == "does not"
    more = "removing induction heads harms more than matched random"
    assert [said[more, arm] for arm in ARMS] == [*["replicates"] * 3, "does not"]
    central = "natural training centralises"
    assert said[central, "natural − forward"] == "replicates"
    assert said[central, "natural − backward"] == "does not"
    assert said["copies cost held-out perplexity", "forward − natural"] == "replicates"


def test_nothing_planted_is_mostly_underpowered():
    """Claims of a sign are wrongly found in 2.5 % of differences, whatever the verdict's word."""
    rng = np.random.default_rng(1)
    wrong = total = 0
    for _ in range(25):
        found = [
            made(arm, seed, activity=rng.normal(1, 0.1), perplexity=rng.normal(100, 2))
            for arm in ARMS
            for seed in range(4)
        ]
        said = verdicts(claims(found, pd.DataFrame(columns=["arm", "seed"]), seed=0))
        signs = [v for (says, _), v in said.items() if says.startswith("copies")]
        wrong += sum(v == "replicates" for v in signs)
        total += len(signs)
    assert wrong <= 0.1 * total, f"{wrong} of {total}"


def test_no_induction_makes_a_missing_anti_induction_vacuous():
    found = [made(arm, seed, activity=0.0, strongest=0.02) for arm in ARMS for seed in range(4)]
    result = claims(found, pd.DataFrame(columns=["arm", "seed"]), seed=0)
    anti = [f.result for f in result if f.result.claim.says.startswith("anti")]
    assert {r.verdict for r in anti} == {"underpowered"} and "vacuous" in anti[0].reason


def test_a_task_at_chance_does_not_thin_the_others_difference():
    arms = {"natural": 0.9, "forward": 0.5}
    found = [made(arm, seed, activity=1.0, hits=h) for arm, h in arms.items() for seed in range(4)]
    table = harms(np.random.default_rng(0), dict.fromkeys(ARMS, 0.0), seeds=4)
    said = claims(found, table[table["arm"].isin(arms)], seed=0)
    (best,) = [f for f in said if "function-style" in f.result.claim.says]
    assert best.result.estimate == pytest.approx(0.4)
    assert mean_hits(found[0], {"copy"}) is None


def test_relative_loss_is_a_share_of_what_can_be_lost():
    table = harms(np.random.default_rng(0), dict.fromkeys(ARMS, 2.0), seeds=1)
    table["harm"], table["harm_of_controls"] = 2.5, 0.5
    assert relative_loss(table)["natural"] == {0: pytest.approx(2.0 / 4.0)}
