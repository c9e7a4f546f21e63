"""Copying and in-context-learning scores of the bundled circuits, whose answers are known."""

from __future__ import annotations

import math

import pytest
import torch

from interp.heads import (
    copying_scores,
    head_scores,
    in_context_learning_score,
    ov_eigenvalue_scores,
    ov_top1_scores,
)
from interp.models import load_model
from interp.zoo.induction_exact import ExactConfig, closed_form
from interp.zoo.tasks import repeated_tokens

BOS = 0


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_copying_of_the_bundled_circuit() -> None:
    model = load_model("zoo:induction-exact")
    induction = (1, ExactConfig().induction_head)
    examples = repeated_tokens(model.ordinary_ids, n=4, length=20, bos_id=BOS, generator=seeded())
    # The head writes exactly the token it looks at; no other head writes where logits are read.
    others = torch.ones(2, 20, dtype=torch.bool)
    others[induction] = False
    copying = copying_scores(model, examples)
    assert copying.at(induction) == pytest.approx(1.0, abs=1e-5)
    assert copying.values[others].unique().tolist() == [-1.0]
    assert copying.null == pytest.approx(4 / 22 - 1)  # 20 tokens and BOS
    eigenvalues = ov_eigenvalue_scores(model)
    assert eigenvalues.at(induction) == pytest.approx(1.0, abs=1e-6)
    assert eigenvalues.values[others].abs().max().item() == pytest.approx(0.0, abs=1e-6)
    # 27 of 28 tokens are copied; BOS raises nothing, and shares the tie among 28.
    top1 = ov_top1_scores(model)
    assert top1.at(induction) == pytest.approx((27 + 1 / 28) / 28)
    assert top1.values[others].flatten().tolist() == pytest.approx([1 / 28] * 39)


def test_the_decoy_has_the_pattern_and_does_not_copy() -> None:
    model = load_model("zoo:induction-decoy")
    examples = repeated_tokens(model.ordinary_ids, n=4, length=20, bos_id=BOS, generator=seeded())
    patterns = head_scores(model, examples, ("induction",))["induction"]
    assert [head for head, _ in patterns.top(2)] == [(1, 2), (1, 7)]
    assert [value for _, value in patterns.top(2)] == pytest.approx([1.0, 1.0], abs=1e-6)
    copying = copying_scores(model, examples)
    assert copying.at("L1H7") == pytest.approx(1.0, abs=1e-5) and copying.at("L1H2") == -1.0


def test_the_bundled_circuit_learns_all_there_is_in_its_context() -> None:
    model = load_model("zoo:induction-exact")
    answers = closed_form("induction-exact", length=20)
    examples = repeated_tokens(model.ordinary_ids, n=4, length=20, bos_id=BOS, generator=seeded())
    score = in_context_learning_score(model, examples, early=10, late=30, window=5)
    assert score.value == pytest.approx(answers["clean_nll"] - math.log(28), abs=1e-4)
