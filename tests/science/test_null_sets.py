"""p for a target of several heads: calibrated with null sets that may share heads with it.

Effects are additive over heads and the target is drawn without looking at them, so p ≤ .05 may come
out 5 % of the time and no more. Sets that must avoid the target's heads are shown to fail this.
"""

from __future__ import annotations

import numpy as np
import pytest

from interp.evidence import layer_matched, rank_p_value

DRAWS = 400
SLACK = 3 * np.sqrt(0.05 * 0.95 / DRAWS)


def rejections(n_heads: int, size: int, kind: str) -> tuple[float, float]:
    """Share of p ≤ .05 from the null sets, and from sets that share no head with the target."""
    rng = np.random.default_rng(0)
    counts = np.zeros(2)
    for draw in range(DRAWS):
        if kind == "one dominant head":
            worth = rng.normal(0, 0.01, n_heads)
            worth[rng.integers(n_heads)] += 1
        else:
            worth = np.exp(rng.normal(0, 2, n_heads))
        target = {(0, int(head)) for head in rng.choice(n_heads, size, replace=False)}
        found = layer_matched(target, 1, n_heads, n=99, seed=draw)
        effect = sum(worth[head] for _, head in target)
        for i, sets in enumerate((found.null_sets, found.sets)):
            effects = [sum(worth[head] for _, head in heads) for heads in sets]
            counts[i] += rank_p_value(effect, effects) <= 0.05
    return counts[0] / DRAWS, counts[1] / DRAWS


@pytest.mark.parametrize("kind", ["one dominant head", "heavy tails"])
@pytest.mark.parametrize(("n_heads", "size"), [(12, 2), (24, 4)])
def test_a_target_that_means_nothing_is_rarely_significant(n_heads, size, kind):
    with_null_sets, with_disjoint_sets = rejections(n_heads, size, kind)
    assert with_null_sets <= 0.05 + SLACK
    assert with_disjoint_sets > 0.05 + SLACK, "so that the test above could have failed"


def test_a_single_head_needs_no_such_care():
    with_null_sets, with_disjoint_sets = rejections(40, 1, "one dominant head")
    assert with_null_sets == with_disjoint_sets <= 0.05 + SLACK
