"""Efficiency and critical sizes on models and tables whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import FourierError
from interp.fourier.dynamics import (
    centred_logit,
    compare_efficiency,
    critical_size,
    efficiency,
    seed_ratio,
    weight_norm,
)

ANSWERS = torch.tensor([0, 2, 1, 2])


def cubic(weights):
    """Logits ‖w‖² · w_answer-like scale: three factors, so they grow with the cube of the norm."""
    rows = weights["scale"].square().sum() * weights["table"]
    return rows.expand(4, 3, 3)[torch.arange(4), ANSWERS]


def weights(scale: float) -> dict[str, torch.Tensor]:
    return {"scale": torch.tensor([scale, 0.0]), "table": scale * torch.eye(3)}


def test_the_centred_logit_is_free_of_what_all_answers_share():
    logits = torch.tensor([[3.0, 0, 0], [0, 0, 6]])
    answers = torch.tensor([0, 2])
    assert centred_logit(logits, answers).tolist() == [2.0, 4.0]
    torch.testing.assert_close(centred_logit(logits + 17, answers), centred_logit(logits, answers))
    with pytest.raises(FourierError, match="shape"):
        centred_logit(logits, answers[:1])
    with pytest.raises(FourierError, match="finite"):
        centred_logit(logits * math.inf, answers)


def test_efficiency_of_a_network_of_three_factors():
    found = efficiency(cubic, weights(2.0), ANSWERS, norms=(4.0, 8.0))
    assert found.norm == pytest.approx(4)  # √(4 + 3·4)
    assert found.logit == pytest.approx(8 * 2 / 3)
    assert found.per_norm == pytest.approx(found.logit / 4)
    assert found.at_norm == pytest.approx({4.0: found.logit, 8.0: 8 * found.logit})
    assert found.interval == pytest.approx((found.logit, found.logit))


def test_two_sizes_of_one_model_are_equally_efficient():
    same = compare_efficiency(cubic, weights(1.0), weights(3.0), ANSWERS, norm=5.0)
    assert same.difference == pytest.approx(0, abs=1e-5)
    wasteful = {**weights(1.0), "scale": torch.tensor([1.0, 9.0])}  # the size is in the scale
    better = {"scale": torch.tensor([1.0, 0.0]), "table": 2 * torch.eye(3)}
    found = compare_efficiency(cubic, better, wasteful, ANSWERS, norm=3.0)
    assert found.first - found.second == pytest.approx(found.difference)
    assert weight_norm(wasteful) > weight_norm(better)


def test_sizes_that_cannot_be_had_are_refused():
    with pytest.raises(FourierError, match="cannot be brought"):
        efficiency(cubic, weights(2.0), ANSWERS, norms=(0.0,))


# -- critical size --------------------------------------------------------------------------------


def test_a_planted_crossing_is_found_halfway_in_the_log():
    table = torch.tensor([[0.0, 0.0, 1.0], [0.1, 0.2, 0.8], [0.0, 0.3, 0.7]])
    found = critical_size([10, 100, 1000], table)
    assert found.by_seed == pytest.approx((math.sqrt(1e5),) * 3)
    assert found.size == pytest.approx(math.sqrt(1e5))
    assert found.interval == pytest.approx((found.size, found.size))
    assert found.between == (100, 1000), "no finer than the sizes, however well seeds agree"
    assert found.reason is None


def test_the_interval_is_students_over_logs():
    table = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 1.0], [0.0, 0.5, 1.0]])
    found = critical_size([10, 100, 1000], table)
    logs = [math.log(x) for x in found.by_seed if x is not None]
    assert found.size == pytest.approx(100)
    assert found.interval is not None
    half = 4.303 * (logs[1] - logs[0]) / 2 / math.sqrt(3)  # logs are the mean and as far each way
    assert math.log(found.interval[1] / 100) == pytest.approx(half, rel=1e-3)
    two = critical_size([10, 100, 1000], table[:2])
    assert two.size == pytest.approx(100) and two.interval is None
    assert two.reason == "fewer than 3 seeds give no interval"


def test_no_crossing_gives_a_reason_and_no_number():
    low = critical_size([10, 100], torch.tensor([[0.0, 0.1], [0.0, 0.9]]))
    assert low.size is None and low.interval is None and low.between is None
    assert low.by_seed[0] is None and low.by_seed[1] is not None
    assert low.reason == "of 2 seeds 1 stay below 50% at the largest size"
    high = critical_size([10, 100], torch.tensor([[0.8, 0.9]]))
    assert high.size is None and high.reason == "of 1 seeds 1 are above it at every size"
    one = critical_size([10, 100], torch.tensor([[0.2, 0.9]]))
    assert one.size is not None and one.interval is None and one.reason is not None


@pytest.mark.parametrize(
    ("sizes", "table", "said"),
    [
        ([10, 10], [[0.0, 1.0]], "ascend"),
        ([10], [[0.5]], "two sizes"),
        ([10, 20], [[0.5]], "two sizes"),
        ([10, 20], [[0.5, 1.5]], "between 0 and 1"),
        ([10, 20], [[0.5, math.nan]], "between 0 and 1"),
    ],
)
def test_bad_tables_are_refused(sizes, table, said):
    with pytest.raises(FourierError, match=said):
        critical_size(sizes, torch.tensor(table))


def test_seeds_are_set_beside_themselves():
    found = seed_ratio([20, 40, None, 5], [10, 20, 30, None])
    assert found.n == 2 and found.ratio == pytest.approx(2)
    assert found.interval == pytest.approx((2, 2)), "both seeds double"
    wide = seed_ratio([10, 40], [10, 10])
    assert wide.ratio == pytest.approx(2) and wide.interval is not None
    half = 12.706 * math.log(2)
    assert math.log(wide.interval[1] / 2) == pytest.approx(half, rel=1e-3)
    # Two seeds that agree because looks are far apart show no change of one look.
    assert seed_ratio([225, 225], [200, 200]).interval == pytest.approx((1.125, 1.125))
    coarse = seed_ratio([225, 225], [200, 200], grain=25).interval
    assert coarse == pytest.approx((200 / 200, 225 / 175))
    sure = seed_ratio([10, 40], [10, 10], confidence=0.99).interval
    assert sure is not None and sure[0] < wide.interval[0] and sure[1] > wide.interval[1]
    assert seed_ratio([25, 225], [25, 25], grain=25).interval is None
    assert seed_ratio([3], [1]).interval is None
    assert seed_ratio([None], [1]).ratio is None
    for first, second in (([1], [1, 2]), ([0], [1]), ([math.inf], [1])):
        with pytest.raises(FourierError):
            seed_ratio(first, second)
    with pytest.raises(FourierError, match="grain"):
        seed_ratio([1, 2], [1, 2], grain=-1)
