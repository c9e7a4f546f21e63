"""Baselines find what is planted and nothing where nothing is; own sets give nothing away."""

from __future__ import annotations

import numpy as np
import pytest

from probes.data import OWN_SETS, DataError, StatementSet, baselines, check_split, statement_set
from probes.data.baselines import lexical_scores
from probes.measures import auroc


def words(rng: np.random.Generator, size: int) -> str:
    return " ".join(f"w{i}" for i in rng.integers(0, 200, size))


def test_planted_length_and_planted_words_are_found() -> None:
    rng = np.random.default_rng(0)
    labels = [i % 2 for i in range(200)]
    longer = StatementSet.build([words(rng, 6 + 3 * y) for y in labels], labels)
    found = baselines(longer)
    assert found["length in words"].auroc == 1.0
    assert any("length in words alone tells" in said for said in found.remarks())
    marked = StatementSet.build(
        [f"{words(rng, 6)} {'yes' if y else 'nay'}" for y in labels], labels
    )
    found = baselines(marked)
    assert found["words"].low > 0.95
    assert found["length in words"].near_chance
    assert found.strongest.name in ("words", "characters")


def test_nothing_is_found_where_nothing_is() -> None:
    for seed in range(3):
        rng = np.random.default_rng(seed)
        labels = [i % 2 for i in range(200)]
        data = StatementSet.build([words(rng, int(rng.integers(5, 12))) for _ in labels], labels)
        for row in baselines(data, seed=seed).rows:
            assert abs(row.auroc - 0.5) < 0.15
            assert row.low < 0.55
            assert row.high > 0.45


def test_a_leak_planted_by_an_ungrouped_split_is_caught() -> None:
    """Four paraphrases a question, labelled at random: only rows of the same question tell."""
    rng = np.random.default_rng(0)
    questions = np.repeat(np.arange(60), 4)
    truth = rng.random(60) < 0.5
    about = [words(rng, 5) for _ in range(60)]
    texts = [f"{about[q]} {words(rng, 2)}" for q in questions]
    groups = [f"q{q}" for q in questions]
    y = truth[questions]
    data = StatementSet.build(texts, y.tolist(), groups=groups)
    alone = [str(i) for i in range(len(texts))]
    leaking = auroc(lexical_scores(texts, y, alone, kind="words"), y)
    grouped = auroc(lexical_scores(texts, y, groups, kind="words"), y)
    assert leaking > 0.9  # the leak is there to be caught
    assert abs(grouped - 0.5) < 0.2
    order = rng.permutation(len(texts))
    with pytest.raises(DataError, match="the split leaks"):
        check_split(data, order[:160], order[160:])


@pytest.mark.parametrize("name", OWN_SETS)
def test_own_sets_are_near_chance_for_words_and_length(name: str) -> None:
    for row in baselines(statement_set(name)).rows:
        assert abs(row.auroc - 0.5) < 0.03, row
