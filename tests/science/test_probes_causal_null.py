"""Directions fitted to shuffled labels come out as meaning nothing, as often as the level says.

Isotropic random directions are too weak a control for that: they rarely point where activations
vary, and directions fitted to anything do.
"""

from __future__ import annotations

from functools import cache

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import rank_p_value
from interp.hooks import capture
from interp.models import load_model
from interp.zoo.truth_world.statements import prompts, statements
from interp.zoo.truth_world.world import world_of
from probes.causal.continuations import Continuations
from probes.causal.directions import Direction
from probes.causal.edited import EditedRuns, Erasures, Pushes
from probes.causal.evidence import direction_evidence
from probes.causal.random_directions import random_units, shuffled_units
from probes.domains import Domain

SITE = "L0.resid_post"
N, CONTROLS, ISOTROPIC = 200, 399, 99


@cache
def setup() -> tuple[Domain, Continuations]:
    world, model = world_of("truth-world"), load_model("zoo:truth-world")
    rows = statements(world, "D0", n=72, part="train", seed=0)
    vectors = capture(model, rows.examples, SITE, positions=rows.object_at)[SITE]
    known = Domain.build("D0", vectors, rows.true.numpy(), groups=rows.examples.groups)
    held = prompts(world, "D0", "D0", n=6, part="test", seed=0)
    asked = Continuations.of(
        held.examples, wrong=held.false_objects, labels=held.true, at=held.object_at
    )
    return known, asked


@cache
def effects(kind: str) -> tuple[Float[Tensor, " null"], Float[Tensor, " c"], Float[Tensor, " i"]]:
    """Of directions fitted to shuffled labels, of controls, and of isotropic directions."""
    known, asked = setup()
    runs = EditedRuns(load_model("zoo:truth-world"), asked, SITE)
    units = torch.cat(
        [
            shuffled_units(known, N, seed=1),
            shuffled_units(known, CONTROLS, seed=2),
            random_units(ISOTROPIC, runs.d, seed=3),
        ]
    )
    assert asked.labels is not None
    if kind == "push":
        towards = torch.where(asked.labels, -1.0, 1.0).double()
        found = towards * (runs.read(Pushes(35 * units, towards)) - runs.clean)
    else:
        changed = runs.read(Erasures.along(units, known.values.double().mean(0)))
        found = asked.contrast(runs.clean) - asked.contrast(changed)
    null, controls, isotropic = found.mean(1).split([N, CONTROLS, ISOTROPIC])
    return null, controls, isotropic


def rejected(kind: str, against: int) -> float:
    null, *controls = effects(kind)
    chosen = controls[against].numpy()
    return sum(rank_p_value(float(e), chosen) <= 0.05 for e in null) / N


def test_shuffled_labels_pass_at_the_level_against_controls_of_their_kind() -> None:
    assert rejected("push", 0) <= 0.12
    assert rejected("erasure", 0) <= 0.12


def test_isotropic_directions_would_pass_most_of_them() -> None:
    assert rejected("push", 1) >= 0.25
    assert rejected("erasure", 1) >= 0.5


def test_one_shuffled_direction_from_end_to_end() -> None:
    known, asked = setup()
    verdicts = []
    for unit in shuffled_units(known, 4, seed=9):
        one = Direction(
            "shuffled",
            unit,
            Direction.fit(known, site=SITE, seed=0).site,
            gap=35.0,
            auroc=0.5,
            auroc_null=0.5,
            separates=False,
            training=known,
        )
        found = direction_evidence(load_model("zoo:truth-world"), one, asked, n_random=39, seed=0)
        verdicts += [row.verdict for row in found.rows]
        assert not any(row.has_signature for row in found.rows)
    assert verdicts.count("not load-bearing") == len(verdicts)
