"""Which statements a probe was trained on: in any framing, or in none."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from interp.hooks import Site
from interp.models import ModelSpec, load_model
from probes import train
from probes.attack.parting import three_parts
from probes.data import StatementSet, framed, joined
from probes.data.statements import Turn
from probes.seen import trained_on, training_hashes


@pytest.fixture(scope="module")
def pairs() -> StatementSet:
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{w}" for w in rng.integers(7, 29, 4)) for _ in range(40)]
    return StatementSet.build(
        [f"{text} {end}" for text in words for end in ("w5", "w6")],
        [1, 0] * 40,
        pairs=[i // 2 for i in range(80)],
        name="pairs",
    )


@pytest.mark.parametrize("first", [None, "plain", "expectation-inverted", "sycophantic"])
@pytest.mark.parametrize("then", [None, "plain", "sycophantic"])
def test_a_statement_is_known_in_every_framing(pairs, first, then):
    def put(data: StatementSet, framing: str | None) -> StatementSet:
        return data if framing is None else framed(data, framing, seed=3 if data is pairs else 4)

    hashes = training_hashes(put(pairs.select(range(20)), first))
    assert trained_on(put(pairs, then), hashes).tolist() == [True] * 20 + [False] * 60
    alone = replace(pairs, pairs=None)
    assert trained_on(alone, hashes).tolist() == [True] * 20 + [False] * 60


def test_sets_in_two_framings_are_known_in_a_third(pairs):
    known = pairs.select(range(20))
    both = joined([framed(known, "plain"), framed(known, "sycophantic")])
    assert trained_on(pairs, training_hashes(both)).tolist() == [True] * 20 + [False] * 60


def test_the_letter_of_an_answer_is_no_statement(pairs):
    def asked(n: int) -> StatementSet:
        return StatementSet.build(
            ["(A", "(B"] * 10,
            [1, 0] * 10,
            prompts=[[Turn("user", f"question {n} {i}")] for i in range(20)],
        )

    hashes = training_hashes(asked(0))
    assert hashes == asked(0).row_hashes
    assert trained_on(asked(0), hashes).all()
    assert not trained_on(asked(1), hashes).any()
    bare = StatementSet.build(["(A", "(B"], [1, 0])
    assert not trained_on(bare, hashes).any()


@pytest.mark.parametrize("framing", ["plain", "sycophantic"])
def test_no_statement_trained_on_in_a_framing_serves_an_attack(tiny_folder, framing):
    model = load_model(ModelSpec(str(tiny_folder("gpt2"))))
    rng = np.random.default_rng(0)
    words = [" ".join(f"w{w}" for w in rng.integers(7, 29, 3)) for _ in range(60)]
    data = StatementSet.build(
        [f"{text} {end}" for text in words for end in ("w5", "w6")],
        [1, 0] * 60,
        pairs=[i // 2 for i in range(120)],
        name="pairs",
    )
    known = data.select(range(60))
    turns = framed(known, framing)
    short = [[Turn("user", t.content[:8], framing=t.framing) for t in one] for one in turns.prompts]
    turns = replace(turns, prompts=tuple(map(tuple, short)))
    probe = train(model, turns, site=Site.parse("L1.resid_post"), method="mass-mean")
    hashes = set(training_hashes(known)) & set(probe.training_rows)
    assert len(hashes) == probe.metrics["train"]["n"] > 0
    notes: list[str] = []
    for given in (data, replace(data, pairs=None), framed(data, "plain")):
        first, practice, judged = three_parts(given, probe, seed=0, notes=notes)
        bare = data.row_hashes
        assert {bare[i] for i in first} >= hashes
        assert not hashes & {bare[i] for i in (*practice, *judged)}
