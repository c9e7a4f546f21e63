"""On zoo:truth-world: the model depends on truth where it reads it, and nowhere else.

After block 0 truth is read at the object. At the full stop after block 1, and at the object after
the last block, the labels separate as perfectly, and nothing follows from it.
"""

from __future__ import annotations

from functools import cache

import pytest

from interp.hooks import capture
from interp.models import Model, load_model
from interp.zoo.truth_world.statements import prompts, statements
from interp.zoo.truth_world.world import World, world_of
from probes.causal.continuations import Continuations
from probes.causal.cross_effects import CrossEffects, cross_effects
from probes.causal.directions import Direction
from probes.causal.evidence import DirectionEvidence, direction_evidence
from probes.domains import Domain

SITE = "L0.resid_post"
TRIED = ("D0", "ANTI", "D3")


@cache
def zoo() -> tuple[World, Model]:
    return world_of("truth-world"), load_model("zoo:truth-world")


def domain(name: str, part: str, *, seed: int, site: str = SITE, at: str = "object_at") -> Domain:
    world, model = zoo()
    rows = statements(world, name, n=72, part=part, seed=seed)  # type: ignore[arg-type]
    vectors = capture(model, rows.examples, site, positions=getattr(rows, at))
    values = next(iter(vectors.values()))
    return Domain.build(f"{name} {part}", values, rows.true.numpy(), groups=rows.examples.groups)


@cache
def direction(name: str, *, seed: int, site: str = SITE, at: str = "object_at") -> Direction:
    known = domain(name, "train", seed=seed, site=site, at=at)
    new = domain(name, "test", seed=seed, site=site, at=at)
    return Direction.fit(known, test=new, name=name, site=site, seed=seed, model=zoo()[1])


def asked(source: str, target: str, *, seed: int, at: str = "object_at") -> Continuations:
    rows = prompts(zoo()[0], source, target, n=8, part="test", seed=seed)
    return Continuations.of(
        rows.examples, wrong=rows.false_objects, labels=rows.true, at=getattr(rows, at)
    )


@cache
def weighed(seed: int) -> DirectionEvidence:
    return direction_evidence(
        zoo()[1],
        [direction(name, seed=seed) for name in TRIED],
        {name: asked(name, name, seed=seed) for name in TRIED},
        training={"D0": domain("D0", "train", seed=seed)},
        n_random=99,
        seed=seed,
    )


@cache
def crossed(seed: int) -> CrossEffects:
    targets = {"D0": ("D0", "D1", "ANTI", "D3"), "D3": ("D3", "D4", "D0")}
    return cross_effects(
        zoo()[1],
        [direction(name, seed=seed) for name in targets],
        {(a, b): asked(a, b, seed=seed) for a, others in targets.items() for b in others},
        seed=seed,
    )


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_pushing_along_truth_moves_as_far_as_truth_does(seed: int) -> None:
    found = weighed(seed)
    for name in TRIED:
        row, effect = found.of(name)
        assert row.has_signature and row.signature >= 0.95 and abs(row.signature_null - 0.5) < 0.1
        assert row.verdict == "load-bearing", row.reason
        assert effect.share is not None and 0.5 <= effect.share <= 1.2
        assert effect.effect >= 2 * effect.largest_random
        row, effect = found.of(name, "erasure")
        assert row.verdict == "load-bearing", row.reason
        assert effect.share is not None and 0.5 <= effect.share <= 1.2
    row, effect = found.of("D0", "leace")
    assert row.verdict == "load-bearing" and (effect.share or 0) >= 0.5


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_a_push_crosses_to_what_shares_its_bit_and_to_nothing_else(seed: int) -> None:
    found = crossed(seed)
    assert (found.share("D0", "D1") or 0) >= 0.5
    assert (found.share("D3", "D4") or 0) >= 0.5
    assert (found.share("D0", "ANTI") or 0) <= -0.5, "an inverted domain goes the other way"
    assert found.effects["D0", "ANTI"].gap.value < 0  # type: ignore[union-attr]
    for cell in (("D0", "D3"), ("D3", "D0")):
        share = found.share(*cell)
        assert share is not None and abs(share) <= 0.05


@pytest.mark.parametrize(
    ("site", "at", "most"), [("L1.resid_post", "stop_at", 0.02), ("L2.resid_post", "object_at", 0)]
)
def test_a_signature_that_nothing_reads_is_not_load_bearing(
    site: str, at: str, most: float
) -> None:
    for seed in (0, 2):
        one = direction("D0", seed=seed, site=site, at=at)
        found = direction_evidence(
            zoo()[1], one, asked("D0", "D0", seed=seed, at=at), n_random=99, seed=seed
        )
        for row, effect in zip(found.rows, found.effects, strict=True):
            assert row.has_signature and row.signature >= 0.95
            assert row.verdict == "not load-bearing", row.reason
            assert effect.gap is not None and effect.gap.value > 8
            assert abs(effect.share or 0) <= most


def test_a_direction_is_used_for_its_own_bit_only() -> None:
    found = direction_evidence(
        zoo()[1], direction("D0", seed=0), asked("D0", "D3", seed=0), n_random=99, seed=0
    )
    assert all(row.has_signature and row.verdict == "not load-bearing" for row in found.rows)
    assert found.effects[0].gap is not None and abs(found.effects[0].gap.value) < 0.5
