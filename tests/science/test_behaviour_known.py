"""Minimal pairs where the bias is planted: they find it, and nothing where there is none."""

from __future__ import annotations

import json
from functools import cache

import numpy as np
import torch
from scipy.stats import spearmanr

from interp.models import Model, ModelSpec, load_model
from interp.zoo import cards
from interp.zoo.bias_world.frames import START
from interp.zoo.bias_world.prompts import pairs
from interp.zoo.bias_world.world import world_of
from probes.behaviour import Pair, PairGaps, PairSet, pair_gaps

WORLD = world_of("bias-world")
BETA = dict(zip(WORLD.targets, WORLD.beta.tolist(), strict=True))


@cache
def trained() -> Model:
    return load_model("zoo:bias-world")


def ids(rows: torch.Tensor) -> list[tuple[int, ...]]:
    return [tuple(row) for row in rows.tolist()]


def with_references(target: str, *, n: int = 40, seed: int = 21) -> list[Pair]:
    """Pairs that differ in the reference's word, which the target makes likely or not."""
    rows = pairs(WORLD, target, n=n, seed=seed)
    told = zip(ids(rows.more.tokens), ids(rows.less.tokens), rows.more.groups, strict=True)
    return [Pair(more, less, target, group) for more, less, group in told]


def with_targets(target: str, other: str, *, n: int = 40, seed: int = 21) -> list[Pair]:
    """Pairs that differ in the target, before a word of the first reference."""
    tokens = pairs(WORLD, target, n=n, seed=seed).more.tokens
    changed = tokens.clone()
    changed[:, START] = WORLD.ids(other)
    groups = pairs(WORLD, target, n=n, seed=seed).more.groups
    return [
        Pair(more, less, target, group)
        for more, less, group in zip(ids(tokens), ids(changed), groups, strict=True)
    ]


def with_neutral_words(target: str, *, n: int = 40, seed: int = 21) -> list[Pair]:
    """Pairs that differ in a word about nothing, in the reference's place."""
    generator = torch.Generator().manual_seed(seed)
    tokens = pairs(WORLD, target, n=n, seed=seed).more.tokens
    words = WORLD.ids("neutral")
    more, less = tokens.clone(), tokens.clone()
    half = len(words) // 2
    which = torch.randint(half, (n,), generator=generator)
    more[:, START + 2], less[:, START + 2] = words[which], words[half + which]
    return [Pair(a, b, target) for a, b in zip(ids(more), ids(less), strict=True)]


def measured(model: Model, made: list[Pair]) -> PairGaps:
    return pair_gaps(model, PairSet(tuple(made), name="planted"), seed=0)


@cache
def planted() -> PairGaps:
    return measured(trained(), [p for t in WORLD.targets for p in with_references(t)])


def by_kind(found: PairGaps, name: str) -> tuple[float, np.ndarray]:
    """Spearman correlation with what is planted, and the values, over targets."""
    rows = [row for row in found.rows if row.kind in BETA]
    values = np.array([getattr(row, name).value for row in rows])
    return float(spearmanr(values, [BETA[row.kind] for row in rows]).statistic), values


def test_the_whole_text_gap_recovers_what_is_planted() -> None:
    found = planted()
    rho, values = by_kind(found, "gap")
    assert len(values) == 20
    assert rho >= 0.90
    told = 0
    sides = [row for row in found.rows if row.kind in BETA and abs(BETA[row.kind]) > 1]
    for row in sides:  # strong leanings are told from none, to the right side
        low, high = row.gap.interval
        told += low > 0 if BETA[row.kind] > 0 else high < 0
        assert (row.share_more.value > 0.5) == (BETA[row.kind] > 0)
    assert told >= len(sides) - 1


def test_the_conditional_gap_recovers_it_from_what_follows_the_target() -> None:
    other = "t0"
    made = [p for t in WORLD.targets if t != other for p in with_targets(t, other)]
    found = measured(trained(), made)
    rho, values = by_kind(found, "conditional")
    assert len(values) == 19
    assert rho >= 0.90
    assert found["all"].unequal == 0.0


def test_what_follows_a_reference_says_nothing_more() -> None:
    """Pairs that differ in the reference have no conditional gap: the bias is in that word."""
    found = planted()
    whole, rest = by_kind(found, "gap")[1], by_kind(found, "conditional")[1]
    assert np.abs(rest).mean() < np.abs(whole).mean() / 10


def test_pairs_of_neutral_words_are_null() -> None:
    """By size: where there is next to nothing, its order over targets means nothing either."""
    made = [p for t in WORLD.targets for p in with_neutral_words(t)]
    values = by_kind(measured(trained(), made), "gap")[1]
    assert np.abs(values).mean() < np.abs(by_kind(planted(), "gap")[1]).mean() / 20
    assert values.std() < by_kind(planted(), "gap")[1].std() / 20


def test_pairs_swapped_at_random_are_null() -> None:
    """In half of the pairs, by lot, more and less change places: nothing is left over all."""
    made = [p for t in WORLD.targets for p in with_references(t, n=16)]
    covered = 0
    for seed in range(10):
        swap = np.random.default_rng(seed).random(len(made)) < 0.5
        shuffled = [
            Pair(p.less, p.more, group=p.group) if s else Pair(p.more, p.less, group=p.group)
            for p, s in zip(made, swap, strict=True)
        ]
        row = measured(trained(), shuffled)["all"]
        low, high = row.gap.interval
        covered += low <= 0 <= high
    assert covered >= 8  # 9.5 expected; fewer than 8 has chance .01


def test_an_untrained_network_is_null() -> None:
    """It prefers one reference's words by chance, but after every target alike."""
    native = json.loads((cards.WEIGHTS / "bias-world" / "native.json").read_text())
    made = [p for t in WORLD.targets for p in with_references(t, n=16)]
    real = by_kind(planted(), "gap")[1].std()
    for seed in range(3):
        model = load_model(ModelSpec("untrained", native=native, seed=seed))
        _, values = by_kind(measured(model, made), "gap")
        assert values.std() < real / 10
