"""CrowS-Pairs and WinoBias on a real model and the published files; skips where there are none."""

from __future__ import annotations

from pathlib import Path

import pytest

from interp.models import Model, load_model
from probes.behaviour import crows_pairs, read_crows_pairs, read_winobias, winobias


@pytest.fixture(scope="module")
def stories(shared_models: Path) -> Model:
    return load_model(str(shared_models / "stories260k"))


@pytest.fixture(scope="module")
def published(shared_models: Path) -> Path:
    folder = shared_models.parent / "data" / "bias"
    if not folder.is_dir():
        pytest.skip(f"no published bias data in {folder}")
    return folder


def test_crows_pairs_runs_with_intervals(stories, published) -> None:
    pairs = read_crows_pairs(published / "crows_pairs" / "crows_pairs_anonymized.csv")
    assert len(pairs) == 1508
    assert len({pair.kind for pair in pairs.pairs}) == 9
    found = crows_pairs(stories, pairs.sample(100, seed=0), seed=0)
    row = found["all"]
    assert (row.n, row.ties, len(found.skipped)) == (100, 0, 0)
    for estimate in (row.share_more, row.gap, row.conditional):
        low, high = estimate.interval
        assert low < estimate.value < high
    assert sum(r.n for r in found.rows[1:]) == 100
    again = crows_pairs(stories, pairs.sample(100, seed=0), seed=0)
    assert again.table().equals(found.table())


def test_winobias_runs_with_intervals(stories, published) -> None:
    sentences = read_winobias(published / "winobias")
    assert len(sentences) + len(sentences.skipped) == 2 * 396
    assert len(sentences.skipped) == 10
    males = [item.pro_gender for item in sentences.items].count("male")
    assert 0.45 < males / len(sentences) < 0.55
    found = winobias(stories, sentences.sample(100, seed=0), seed=0)
    assert [row.type for row in found.rows] == ["all", "type 1", "type 2"]
    row = found["all"]
    assert row.n == 100
    low, high = row.log_prob_gap.interval
    assert low < row.log_prob_gap.value < high
    assert row.log_prob_gap.value == pytest.approx((row.male.value + row.female.value) / 2)
    assert 0.3 < row.pro.value < 0.7  # so small a model resolves no pronoun
