"""Attacks that are stopped, or fail, in the middle: what is kept, and what is counted."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch

import probes.attack.attacking
import probes.attack.rounds
from interp.hooks import Site
from probes.attack.attacking import Budget, attack_monitors
from probes.attack.prompts import attack_prompts
from probes.attack.training import LossError, train_suffix
from probes.data import StatementSet

SITE = Site.parse("L1.resid_post")
SMALL = Budget(steps=2, suffix_length=2, batch=8)


@pytest.fixture(scope="module")
def data() -> StatementSet:
    """Rows of ids of several lengths; the last tells the label."""
    rng = np.random.default_rng(0)
    ids = [
        (*rng.integers(7, 29, rng.integers(3, 9)).tolist(), 5 if i % 2 else 6) for i in range(120)
    ]
    return StatementSet.build(ids=ids, labels=[i % 2 for i in range(120)], name="told")


def test_interrupted_it_keeps_what_is_done_and_goes_on_from_there(load_tiny, data, monkeypatch):
    options = {"sites": [SITE], "against": ["logistic", "mean-difference"], "budget": SMALL}
    whole = attack_monitors(load_tiny("gpt2"), data, n_random=1, **options)
    trained: list[int] = []

    def stop_at(number: int):
        def go(*args, **kwargs):
            trained.append(1)
            if len(trained) > number:
                raise KeyboardInterrupt
            return train_suffix(*args, **kwargs)

        monkeypatch.setattr(probes.attack.rounds, "train_suffix", go)

    stop_at(2)
    part = attack_monitors(load_tiny("gpt2"), data, n_random=1, **options)
    assert part.interrupted == "interrupted with 2 of 3 suffixes trained"
    assert part.verdict("mean-difference") in ("not reached", "nothing to attack")
    assert part.conclusion().endswith(f"Incomplete: {part.interrupted}.")
    assert part.metrics()["status"] == "interrupted"
    assert len(part.figure().axes) == 1
    trained.clear()
    asked: list[Mapping[str, Any]] = []

    def resume(settings: Mapping[str, Any]) -> Mapping[str, torch.Tensor]:
        asked.append(settings)
        return part.suffixes

    rest = attack_monitors(load_tiny("gpt2"), data, n_random=1, resume=resume, **options)
    assert asked == [whole.settings()]
    assert len(trained) == 1
    assert rest.rows == whole.rows
    trained.clear()
    stop_at(0)
    none = attack_monitors(load_tiny("gpt2"), data, n_random=1, **options)
    assert {row.condition for row in none.rows} == {"clean"}


def counted(monkeypatch) -> dict[str, int]:
    """What the progress bar is told: its total, and how much was done."""
    told: dict[str, int] = {"done": 0}

    @contextmanager
    def counting(what: str, *, total: int) -> Iterator[Any]:
        told["total"] = total
        yield lambda n: told.update(done=told["done"] + n)

    monkeypatch.setattr(probes.attack.attacking, "progress", counting)
    return told


def test_a_loss_that_is_not_finite_costs_one_monitor(load_tiny, data, monkeypatch):
    def failing(*names: str):
        def go(*args, monitor, **kwargs):
            if monitor is not None and monitor.name in names:
                raise LossError("the loss is not finite")
            return train_suffix(*args, monitor=monitor, **kwargs)

        monkeypatch.setattr(probes.attack.rounds, "train_suffix", go)

    told = counted(monkeypatch)
    options = {"sites": [SITE], "budget": SMALL, "n_random": 1, "rounds": 2}
    both = ["logistic", "mean-difference"]
    failing("mean-difference")
    found = attack_monitors(load_tiny("gpt2"), data, against=both, **options)
    assert set(found.suffixes) == {"behaviour", "0-logistic", "1-logistic"}
    assert found.attack("logistic") is not None and found.attack("logistic", round=1) is not None
    assert found.verdict("mean-difference") == "not reached"
    assert "mean-difference: not attacked." in found.conclusion()
    assert "mean-difference monitor could not be attacked (the loss" in " ".join(found.notes)
    assert found.metrics()["status"] == "done"
    assert told["done"] == told["total"] == 5 * SMALL.steps
    failing(*both)
    with pytest.raises(LossError, match="not finite"):
        attack_monitors(load_tiny("gpt2"), data, against=both, **options)


def test_progress_counts_no_attack_that_never_comes(load_tiny, data, monkeypatch):
    told = counted(monkeypatch)
    attack_monitors(
        load_tiny("gpt2"),
        data,
        sites=[SITE],
        against=["mean-difference", "mahalanobis"],
        rounds=2,
        budget=SMALL,
        n_random=1,
    )
    # For behaviour alone; of both monitors; of the one that has a refit.
    assert told["total"] == told["done"] == (1 + 2 + 1) * SMALL.steps


def test_a_loss_that_is_not_finite_says_what_to_change(gpt2, data):
    prompts = attack_prompts(gpt2, data, suffix_length=2)
    clean = torch.full((4, 1, gpt2.d_vocab), torch.nan)
    options = {"clean": clean, "monitor": None, "budget": SMALL, "seed": 0}
    with pytest.raises(LossError, match=r"at step 0 of 2; lower .*lr, now 1.*another seed"):
        train_suffix(gpt2, prompts, np.arange(4), **options)
