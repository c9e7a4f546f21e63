"""The probe instruments recover what zoo:truth-world plants: transfer, likeness, erasure."""

from __future__ import annotations

from functools import cache

import pytest

from interp.hooks import capture
from interp.models import load_model
from interp.zoo.truth_world.statements import statements
from interp.zoo.truth_world.world import world_of
from probes import Domain, erasure_matrix, similarities, transfer_matrix

SITE = "L0.resid_post"
FIRST, SECOND = ("D0", "D1", "ANTI"), ("D3", "D4")  # what shares a bit


@cache
def domains(seed: int) -> tuple[Domain, ...]:
    world, model = world_of("truth-world"), load_model("zoo:truth-world")
    made = []
    for domain in world.domains:
        rows = statements(world, domain.name, n=360, seed=seed)
        vectors = capture(model, rows.examples, SITE, positions=rows.object_at)[SITE]
        groups = rows.examples.groups
        made.append(Domain.build(domain.name, vectors, rows.true.numpy(), groups=groups))
    return tuple(made)


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_mahalanobis_cosine_foretells_transfer_and_plain_cosine_less(seed):
    matrix = transfer_matrix(domains(seed), n_resamples=50, seed=seed)
    table = matrix.table().set_index(["train", "test"])["auroc"]
    names = [d.name for d in domains(seed)]
    assert all(table[name, name] >= 0.95 for name in names)
    assert min(table["D0", "D1"], table["D1", "D0"], table["D3", "D4"], table["D4", "D3"]) >= 0.85
    assert max(table[a, b] for a in ("D0", "D1") for b in ("ANTI",)) <= 0.15
    likeness = similarities(matrix, domains(seed))
    r2 = {
        name: likeness.regression(name, with_combined=False).r2
        for name in ("mahalanobis", "mahalanobis_held_out", "cosine", "loudness")
    }
    assert r2["mahalanobis"] >= 0.95 and r2["mahalanobis_held_out"] >= 0.95
    assert r2["mahalanobis"] >= r2["cosine"] + 0.05
    assert r2["loudness"] < 0.2, "how loud a direction is says nothing of what it carries"


@pytest.mark.parametrize("seed", [0, 1])
def test_erasing_one_bit_leaves_the_other(seed):
    matrix = erasure_matrix(domains(seed), n_resamples=50, seed=seed)
    table = matrix.table().set_index(["erased", "train", "test"])
    for name in (*FIRST, *SECOND):
        assert table.loc[(name, name, name), "before"] >= 0.95
        assert table.loc[(name, name, name), "retrained"] <= 0.6
    for erased in FIRST:
        for other in SECOND:
            assert table.loc[(erased, other, other), "original"] >= 0.85
            assert table.loc[(erased, other, other), "retrained"] >= 0.85
