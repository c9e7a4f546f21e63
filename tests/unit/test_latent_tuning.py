"""Which edit is kept while tuning: the one that leaves least slope among those that cost little."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import Metric
from interp.models import Examples
from interp.sae import carrying_stages
from interp.sae.carrying_measures import BiasSplit, slopes_over
from interp.sae.carrying_stages import Stages
from interp.sae.splice_sweep import Changes

TARGETS = ("a", "b", "c")
SCORES = {"a": -1.0, "b": 0.0, "c": 1.0}
BIAS = Metric("log-odds", "nats", True, lambda logits, examples: logits[:, 0, 0])
SEEN = Metric("recognition", "fraction", True, lambda logits, examples: logits[:, 0, 0])
EDITS = {("zero", 1): None, ("zero", 2): None, ("zero", 3): None}
# What is left of the slope, what neutral text costs, and what is still recognised, edit by edit.
LEFT, CE, KEPT = (0.4, 0.1, 0.0), (0.01, 0.02, 0.2), (1.0, 0.5, 1.0)


class Told(Stages):
    """Sweeps that say what they are told."""

    def sweep(self, examples, changes, metrics):
        assert len(changes) == len(EDITS)
        name = metrics.name
        clean = {"log-odds": torch.tensor([-1.0, 0.0, 1.0]), "recognition": torch.ones(3)}
        before = clean.get(name, torch.full((3,), 2.0)).double()
        after = {
            "log-odds": torch.tensor(LEFT)[:, None] * before,
            "recognition": torch.tensor(KEPT)[:, None] * before,
        }.get(name, before + torch.tensor(CE)[:, None])
        return Changes((metrics,), before[None], after[None].double(), ("0", "1", "2"))


@pytest.fixture
def tuned(monkeypatch):
    monkeypatch.setattr(carrying_stages, "splice", lambda *_: object())
    three = Examples(torch.zeros((3, 2), dtype=torch.int64))
    stages = Told(None, None, BIAS, None)

    def choose(recognition):
        split = BiasSplit(three, TARGETS, three, recognition=recognition)
        _, n, rows = stages.tune(
            split,
            slopes_over(TARGETS, SCORES),
            EDITS,
            most_ce=0.03,
            recognised=SEEN,
            most_lost=0.05,
        )
        return n, rows

    return choose, three


def test_an_edit_that_costs_too_much_is_not_kept(tuned):
    choose, _ = tuned
    n, rows = choose(None)
    assert n == 2  # the third leaves no slope, and costs .2 nats
    assert [row["recognition_lost"] for row in rows] == [0, 0, 0]


def test_an_edit_that_erases_the_concept_is_not_kept(tuned):
    choose, three = tuned
    n, rows = choose(three)
    assert n == 1
    assert [row["recognition_lost"] for row in rows] == pytest.approx([0, 0.5, 0])
