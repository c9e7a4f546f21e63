"""Sets compared by rule and signature: a signature that means nothing comes out as nothing.

No model is run: what each head is worth is given, and effects are additive over heads.
"""

from __future__ import annotations

import numpy as np
import torch

from interp.evidence import loss
from interp.heads import Ablations, HeadRule, Signature
from interp.heads.comparing import choose_and_match, compare
from interp.heads.conditions import Condition, function_vector_conditions

SHAPE = (4, 24)
EXAMPLES = 20
RULES = [HeadRule.parse("top:3")]


def signature(values, name="induction"):
    values = torch.as_tensor(values)
    return Signature(name, values, torch.zeros_like(values), values > 1)


def study(worth, score, rng, *, condition=None, seed=0, rules=RULES, more=()):
    """Compare the heads a score chooses where each head is worth ``worth``."""
    condition = condition or Condition()
    comparison = choose_and_match(
        [signature(score), *more],
        rules,
        torch.ones(SHAPE),
        condition=condition,
        n_controls=59,
        seed=seed,
    )
    sets = tuple(dict.fromkeys(condition.needs(comparison.sets)))
    clean = torch.as_tensor(rng.random(EXAMPLES))
    jitter = torch.as_tensor(1 + 0.05 * rng.standard_normal(EXAMPLES))
    harm = torch.stack([sum((worth[h] for h in s), start=0.0) * jitter for s in sets])
    found = Ablations(loss, sets, clean, clean + harm)
    groups = [str(i) for i in range(EXAMPLES)]
    return compare(comparison, found, groups, seed=seed)


def worths(rng):
    return torch.as_tensor(np.exp(rng.normal(0, 1.5, SHAPE)))


def test_a_score_that_knows_nothing_is_rarely_load_bearing():
    found = []
    for draw in range(40):
        rng = np.random.default_rng(draw)
        rows = study(worths(rng), rng.random(SHAPE), rng, seed=draw)
        found += [row.verdict == "load-bearing" for row in rows]
    # 80 tests in dependent pairs at .05: 4 expected, more than 12 would be no chance.
    assert sum(found) <= 12


def test_a_score_that_knows_everything_is_load_bearing():
    rng = np.random.default_rng(0)
    worth = worths(rng)
    rows = study(worth, worth, rng)
    assert {row.verdict for row in rows} == {"load-bearing"}


def test_one_set_chosen_twice_is_one_test():
    rng = np.random.default_rng(1)
    worth = worths(rng)
    twice = study(worth, worth, rng, more=[signature(worth * 2, "attribution")])
    rng = np.random.default_rng(1)
    once = study(worths(rng), worth, rng)
    assert [row.signature_name for row in twice] == ["induction"] * 2 + ["attribution"] * 2
    assert [row.p_holm for row in twice[:2]] == [row.p_holm for row in once]
    assert [row.p_holm for row in twice[2:]] == [row.p_holm for row in once]


def test_what_is_left_out_is_neither_target_nor_control():
    rng = np.random.default_rng(2)
    worth = worths(rng)
    aside = frozenset(
        divmod(i, SHAPE[1]) for i in worth.flatten().argsort(descending=True)[:2].tolist()
    )
    for condition in function_vector_conditions(aside):
        comparison = choose_and_match(
            [signature(worth)], RULES, torch.ones(SHAPE), condition=condition, seed=0
        )
        for choice in comparison.choices:
            assert not choice.subject.heads & aside
            for family in choice.subject.controls:
                assert not any(heads & aside for heads in (*family.sets, *family.null_sets))


def test_removed_throughout_an_effect_is_beyond_what_was_removed():
    """Additive worths: the effect beside a model that lacks other heads is the set's own."""
    worth = torch.zeros(SHAPE, dtype=torch.float64)
    worth[0, 0], worth[1, 1] = 5.0, 1.0
    rng = np.random.default_rng(3)
    gone = Condition("gone", excluded=frozenset({(0, 0)}), removed=frozenset({(0, 0)}))
    rows = study(worth, worth, rng, condition=gone, rules=[HeadRule.parse("top:1")])
    assert all(row.subject == "L1H1, gone" for row in rows)
    assert all(abs(row.effect - 1) < 0.1 for row in rows), "5 of the 6 are in what it is beside"
    assert all(abs(row.clean - 5.5) < 0.5 for row in rows)


def test_a_named_head_that_is_left_out_is_said_to_be_untested():
    gone = Condition("gone", excluded=frozenset({(0, 0)}))
    comparison = choose_and_match(
        [signature(torch.rand(SHAPE))],
        [HeadRule.parse("L0H0"), HeadRule.parse("top:1")],
        torch.ones(SHAPE),
        condition=gone,
        seed=0,
    )
    assert len(comparison.choices) == 1
    assert "names L0H0, which is excluded" in comparison.untested[0]
