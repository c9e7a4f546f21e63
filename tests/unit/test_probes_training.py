"""Training and evaluating: what is measured on what, and that nothing leaks between."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from interp.hooks import Site
from interp.models import Model, load_model
from probes import (
    Activations,
    DataError,
    ProbeError,
    StatementSet,
    conclusion,
    evaluate,
    extract,
    train,
)
from probes.data.split import group_split
from probes.fit import FitError, mass_mean
from probes.measures import auroc
from probes.training import fit_probe


@pytest.fixture(scope="module")
def worded(tiny_folder: Callable[[str], Path]) -> Model:
    """A tiny GPT-2 with a word tokenizer."""
    return load_model(str(tiny_folder("gpt2")))


def claims(n: int = 80, *, marked: bool = True, seed: int = 0, name: str = "claims") -> Any:
    """Random words; the last is w5 or w6, by the label where it is marked."""
    rng = np.random.default_rng(seed)
    texts, labels = [], []
    for i in range(n):
        words = [f"w{w}" for w in rng.integers(7, 29, rng.integers(3, 9))]
        mark = bool(i % 2) if marked else bool(rng.random() < 0.5)
        texts.append(" ".join([*words, "w5" if mark else "w6"]))
        labels.append(i % 2)
    return StatementSet.build(texts, labels, name=name)


def built(values: torch.Tensor, lengths: torch.Tensor | None = None) -> Activations:
    return Activations(
        values=values,
        lengths=torch.ones(len(values), dtype=torch.int64) if lengths is None else lengths,
        fingerprint="f",
        model="m",
        site=Site.parse("L0.resid_post"),
        position="last",
    )


@pytest.mark.parametrize("method", ["mass-mean", "logistic"])
def test_the_numbers_are_those_of_the_held_out_rows(worded: Model, method: Any) -> None:
    data = claims()
    probe = train(worded, data, site="L1.resid_post", method=method, seed=2)
    known, new = group_split(data.y, data.groups, held_out=0.3, seed=2)
    activations = extract(worded, data, site="L1.resid_post")
    scores = probe.scores(activations.select(new)).numpy()
    held_out, null = probe.metrics["held_out"], probe.metrics["null"]
    assert held_out["auroc"] == auroc(scores, data.y[new])
    assert held_out["accuracy"] == float(((scores > 0) == data.y[new]).mean())
    assert held_out["auroc"] > 0.9
    assert held_out["auroc_low"] <= held_out["auroc"] <= held_out["auroc_high"]
    assert (held_out["n"], probe.metrics["train"]["n"]) == (len(new), len(known))
    assert probe.training_rows == data.select(known).row_hashes
    assert len(null["aurocs"]) == 20
    assert null["percentile_95"] < held_out["auroc"]
    assert null["p_value"] == 1 / 21
    assert probe.fingerprint == worded.fingerprint
    assert probe.data_hash == data.hash
    if method == "mass-mean":
        expected = mass_mean(activations.values[known], data.y[known])
        assert torch.equal(probe.direction, expected.direction)


def test_the_same_seed_gives_the_same_probe(worded: Model) -> None:
    first, again, other = (
        train(worded, claims(), site="L0.resid_post", seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first.direction, again.direction)
    assert first.metrics == again.metrics
    assert first.metrics != other.metrics


def test_evaluating_leaves_out_what_was_trained_on(worded: Model) -> None:
    data = claims()
    probe = train(worded, data, site="L1.resid_post")
    again = evaluate(probe, worded, data)
    assert again["held_out"] == pytest.approx(probe.metrics["held_out"])
    assert again["n_trained_on"] == probe.metrics["train"]["n"]
    fresh = evaluate(probe, worded, claims(seed=1))
    assert fresh["n_trained_on"] == 0
    assert fresh["held_out"]["n"] == 80
    assert fresh["held_out"]["auroc_low"] > 0.6
    unmarked = evaluate(probe, worded, claims(seed=3, marked=False))["held_out"]
    assert unmarked["auroc_low"] < 0.5 < unmarked["auroc_high"]


def test_nothing_left_to_evaluate_on_is_refused(worded: Model) -> None:
    data = claims()
    probe = train(worded, data, site="L1.resid_post")
    known, _ = group_split(data.y, data.groups, held_out=0.3, seed=0)
    with pytest.raises(DataError, match="fitted to 56 of its 56 statements, and the 0 others"):
        evaluate(probe, worded, data.select(known))


def test_another_models_probe_is_refused(worded: Model, tiny_folder: Callable[[str], Path]) -> None:
    probe = train(worded, claims(), site="L1.resid_post")
    with pytest.raises(ProbeError, match="a direction means nothing in another model"):
        evaluate(probe, load_model(str(tiny_folder("llama"))), claims(seed=1))


def test_a_probe_without_its_training_is_not_evaluated(worded: Model) -> None:
    probe = dataclasses.replace(train(worded, claims(), site="L1.resid_post"), metrics={})
    with pytest.raises(ProbeError, match="train it anew"):
        evaluate(probe, worded, claims(seed=1))


def test_length_is_a_baseline_and_not_a_signature() -> None:
    rng = np.random.default_rng(0)
    labels = np.arange(200) % 2 == 0
    lengths = torch.from_numpy(rng.integers(5, 15, 200) - 3 * labels)
    # The activations hold the length and noise, and nothing of the label beside.
    values = torch.randn((200, 8), generator=torch.Generator().manual_seed(0))
    values[:, 0] += lengths
    data = StatementSet.build([f"t{i}" for i in range(200)], labels.tolist())
    probe = fit_probe(built(values, lengths), data, method="logistic")
    assert probe.metrics["train"]["length_sign"] == -1
    held_out = probe.metrics["held_out"]
    assert held_out["auroc_low"] > 0.5
    assert held_out["length_auroc"] > 0.6
    assert held_out["lead_over_length_low"] <= 0


def test_notes_say_what_a_reader_should_know() -> None:
    rows = [f"t{i}" for i in range(40)]
    values = torch.randn((40, 3), generator=torch.Generator().manual_seed(0))
    data = StatementSet.build([*rows, "t0"], [*([0, 1] * 20), 0])
    ungrouped, repeated = fit_probe(built(values), data).metrics["notes"]
    assert "no groups were given" in ungrouped
    assert repeated == "1 repeated statements left out"
    grouped = StatementSet.build(rows, [0, 1] * 20, groups=[i // 2 for i in range(40)])
    assert fit_probe(built(values), grouped).metrics["notes"] == []


def test_bad_settings_and_data_are_refused(worded: Model) -> None:
    data = claims()
    with pytest.raises(FitError, match="unknown method 'mass-meen'; did you mean mass-mean"):
        train(worded, data, site="L0.resid_post", method="mass-meen")  # type: ignore[arg-type]
    with pytest.raises(FitError, match="at least 19"):
        train(worded, data, site="L0.resid_post", n_shuffles=5)
    with pytest.raises(DataError, match="cannot be split"):
        train(worded, claims(4), site="L0.resid_post")
    with pytest.raises(DataError, match="80 statements need as many activations, got 3"):
        fit_probe(built(torch.zeros(3, 4)), data)
    same_end = [f"{text} w4" for text in data.texts]
    with pytest.raises(FitError, match="the same activation here"):
        train(worded, StatementSet.build(same_end, data.labels), site="embed")


def test_a_signal_that_is_all_there_is_stands_above_the_null() -> None:
    # One axis holds nearly all variance and the label: shuffled fits lean along it as well, and
    # must not be credited with the true labels of the held-out rows.
    labels = np.arange(80) % 2 == 0
    values = 0.01 * torch.randn((80, 4), generator=torch.Generator().manual_seed(0))
    values[:, 1] += torch.from_numpy(labels)
    data = StatementSet.build([f"t{i}" for i in range(80)], labels.tolist())
    for method in ("mass-mean", "logistic"):
        metrics = fit_probe(built(values), data, method=method).metrics  # type: ignore[arg-type]
        assert metrics["held_out"]["auroc"] == 1.0
        assert metrics["null"]["percentile_95"] < 0.9
        assert metrics["null"]["mean"] == pytest.approx(0.5, abs=0.1)
        assert conclusion(metrics["held_out"], metrics["null"]).startswith("A signature")
