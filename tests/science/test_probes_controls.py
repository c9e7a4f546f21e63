"""Controls whose answer is known: nothing comes out as nothing, something as something."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from interp.models import Examples
from probes.controls import (
    ControlError,
    control_task,
    online_code_length,
    shuffled_label_null,
)
from probes.fit import METHODS, NoDirectionError, ccs
from probes.reinitialised import random_network


def pairs(n: int = 50, d: int = 12, gap: float = 2.0, seed: int = 0) -> tuple[Any, Any, Any]:
    """Claims and their negations: pairs share a place of their own; one axis tells the labels."""
    rng = np.random.default_rng(seed)
    first = rng.random(n) < 0.5
    y = np.stack([first, ~first], axis=1).ravel()
    x = np.repeat(rng.normal(size=(n, d)), 2, axis=0) + 0.5 * rng.normal(size=(2 * n, d))
    x[:, 0] += gap * y
    # A long axis and an offset, as residual streams have.
    x = x * np.geomspace(1, 20, d) + 5
    return torch.from_numpy(x).float(), y, [f"g{i // 2}" for i in range(2 * n)]


@pytest.mark.parametrize("method", METHODS)
def test_shuffled_labels_average_one_half(method: str) -> None:
    x, y, groups = pairs()
    null = shuffled_label_null(METHODS[method], x, y, groups, n=60, seed=1)
    # An AUROC of 15 against 15 varies by about .11, so the mean of 60 by .014.
    assert null.mean == pytest.approx(0.5, abs=4 * 0.014)
    assert 0.5 < null.percentile_95 < 0.9
    again = shuffled_label_null(METHODS[method], x, y, groups, n=3, seed=1)
    assert again.aurocs == null.aurocs[:3]


def test_shuffled_labels_average_one_half_for_pairs_too() -> None:
    x, y, groups = pairs()

    def by_pairs(rows: torch.Tensor, labels: np.ndarray) -> Any:
        names = np.arange(len(labels)) // 2  # splits keep pairs whole and in order
        return ccs(rows, labels, names.tolist(), n_starts=2)

    null = shuffled_label_null(by_pairs, x, y, groups, n=30, seed=2)
    assert null.mean == pytest.approx(0.5, abs=4 * 0.02)


def test_a_fit_that_peeks_is_seen_in_the_null() -> None:
    # Negative control of the control: scores that carry the shuffled labels are far from one half.
    x, y, groups = pairs()
    drawn: list[np.ndarray] = []

    def nothing(rows: torch.Tensor, labels: np.ndarray) -> Any:
        drawn.append(labels)
        raise NoDirectionError("nothing")

    null = shuffled_label_null(nothing, x, y, groups, n=5)
    assert null.aurocs == (0.5,) * 5
    # Labels are swapped within pairs, never given to whole pairs.
    assert all((labels[::2] != labels[1::2]).all() for labels in drawn)


def test_what_is_learnt_by_heart_is_not_selective() -> None:
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(40), 6)
    words = rng.normal(size=(40, 100))[types] + 0.1 * rng.normal(size=(240, 100))
    y = (rng.random(40) < 0.5)[types]
    fit = METHODS["logistic"]
    heart = control_task(fit, torch.from_numpy(words), y, types.tolist(), seed=0)
    assert heart.task > 0.95
    assert heart.control > 0.95
    assert abs(heart.selectivity) < 0.05
    # The same task where the label, and nothing of the type, is written.
    plain = rng.normal(size=(240, 5))
    plain[:, 0] += 5 * y
    selective = control_task(fit, torch.from_numpy(plain), y, types.tolist(), seed=0)
    assert selective.task > 0.95
    assert selective.control < 0.7
    assert selective.selectivity == selective.task - np.mean(selective.controls)


def test_rows_each_of_a_type_of_their_own_have_no_control_task() -> None:
    x, y, _ = pairs(n=10)
    with pytest.raises(ControlError, match="two types occur on two rows"):
        control_task(METHODS["mass-mean"], x, y, range(20))
    with pytest.raises(ControlError, match="20 labels need as many types"):
        control_task(METHODS["mass-mean"], x, y, range(19))


def test_codes_are_short_only_where_there_is_something_to_read() -> None:
    rng = np.random.default_rng(0)
    fit = METHODS["lda"]
    clear, y, groups = pairs(n=200, gap=5.0)
    short = online_code_length(fit, clear, y, groups)
    faint = online_code_length(fit, pairs(n=200, gap=1.5)[0], y, groups)
    nothing = online_code_length(fit, clear, rng.permutation(y), groups)
    assert short.uniform_bits == 400
    assert short.bits < faint.bits < nothing.bits
    assert short.compression > 2
    assert nothing.compression < 1.02
    assert online_code_length(fit, clear, y, groups, seed=3).bits != short.bits
    with pytest.raises(ControlError, match="four rows"):
        online_code_length(fit, clear[:3], y[:3], groups[:3])


def test_a_fit_that_never_finds_anything_costs_a_bit_a_label() -> None:
    x, y, groups = pairs(n=30)

    def nothing(rows: torch.Tensor, labels: np.ndarray) -> Any:
        raise NoDirectionError("nothing")

    assert online_code_length(nothing, x, y, groups).bits == 60


@pytest.mark.parametrize("name", ["gpt2", "native"])
def test_a_random_network_is_the_same_architecture_with_other_weights(
    load_tiny: Callable[[str], Any], name: str
) -> None:
    model = load_tiny(name)
    before = model.fingerprint
    ids = Examples(tokens=torch.arange(12).reshape(2, 6))
    fresh, again, other = (random_network(model, seed=s) for s in (1, 1, 2))
    assert fresh.fingerprint == again.fingerprint
    assert len({before, fresh.fingerprint, other.fingerprint}) == 3
    assert model.fingerprint == before
    for size in ("n_layers", "n_heads", "d_model", "d_vocab"):
        assert getattr(fresh, size) == getattr(model, size)
    assert fresh.logits(ids.tokens).shape == model.logits(ids.tokens).shape
    assert "re-initialised with seed 1" in fresh.spec.name


def test_a_rare_label_is_no_selectivity_where_there_is_nothing_to_read() -> None:
    """Control labels of another rate would let guessing the commoner label pass for reading."""
    rng = np.random.default_rng(0)
    types = np.repeat(np.arange(100), 4)
    y = (np.arange(100) < 10)[types]
    noise = torch.from_numpy(rng.normal(size=(400, 8)))
    found = control_task(METHODS["logistic"], noise, y, types.tolist(), n=10, seed=0)
    assert abs(found.selectivity) < 0.08
