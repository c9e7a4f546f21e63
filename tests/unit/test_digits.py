"""Digit measures on made-up activations whose answer is known."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import (
    FourierError,
    digit_attribution,
    digit_means,
    fit_sum,
    fourier_fit,
    minkowski_score,
    pair_means,
    prism_score,
)

DIGITS = torch.arange(10).double()


def draw(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def wave(k: int) -> torch.Tensor:
    """The functions of a digit at one frequency."""
    turn = 2 * math.pi * k * DIGITS / 10
    return turn.cos()[:, None] if k == 5 else torch.stack([turn.cos(), turn.sin()], 1)


# -- Fourier regression ---------------------------------------------------------------------------


def test_rows_made_of_its_functions_fit_exactly():
    rows = (torch.cat([wave(1), wave(2), wave(5)], 1) @ draw(5, 30)).T + 3
    found = fourier_fit(rows, n_shuffles=99)
    assert found.score == pytest.approx(1)
    assert found.excess > 0.3
    assert found.p_value == 0.01


def test_rows_of_the_missing_frequencies_do_not_fit():
    rows = (torch.cat([wave(3), wave(4)], 1) @ draw(4, 30)).T
    found = fourier_fit(rows, n_shuffles=99)
    assert found.score == pytest.approx(0, abs=1e-12)
    assert found.excess < 0


def test_unstructured_rows_fit_by_five_ninths_and_have_no_excess():
    found = fourier_fit(draw(2000, 10), n_shuffles=99)
    assert found.expected == pytest.approx(5 / 9)
    assert float(found.each.mean()) == pytest.approx(5 / 9, abs=0.02)
    assert abs(found.excess) < 0.03


def test_over_many_draws_of_nothing_p_is_even():
    ps = [fourier_fit(draw(20, 10, seed=i), n_shuffles=39, seed=i).p_value for i in range(200)]
    assert sum(p <= 0.05 for p in ps) <= 20
    assert 0.4 < sum(ps) / len(ps) < 0.6


def test_r2_is_that_of_least_squares():
    rows = draw(4, 10)
    design = torch.cat([torch.ones(10, 1).double(), wave(1), wave(2), wave(5)], 1)
    fitted = design @ torch.linalg.lstsq(design, rows.T).solution
    left = (rows.T - fitted).square().sum(0)
    r2 = 1 - left / (rows - rows.mean(1, keepdim=True)).square().sum(1)
    torch.testing.assert_close(fourier_fit(rows, n_shuffles=1).each, r2)


def test_rows_that_do_not_vary_are_left_out():
    rows = torch.cat([wave(2).T, torch.full((3, 10), 2.0, dtype=torch.float64)])
    assert len(fourier_fit(rows, n_shuffles=1).each) == 2


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (draw(4, 9), "10 digits"),
        (torch.full((2, 10), float("nan")), "finite"),
        (torch.ones(2, 10), "same values"),
    ],
)
def test_what_cannot_be_fitted_is_refused(rows, said):
    with pytest.raises(FourierError, match=said):
        fourier_fit(rows)


# -- prism ----------------------------------------------------------------------------------------


def test_a_planted_prism_scores_one():
    prism = torch.cat([wave(2), 0.7 * wave(5)], 1) @ draw(3, 12) + draw(12)
    found = prism_score(prism, n_shuffles=199)
    assert found.score == pytest.approx(1)
    assert found.p_value < 0.02


def test_a_circle_is_no_prism_and_random_points_score_a_third():
    assert prism_score(wave(1), n_shuffles=9).score == pytest.approx(0, abs=1e-12)
    scores = [prism_score(draw(10, 8, seed=i), n_shuffles=39) for i in range(100)]
    assert sum(s.score for s in scores) / 100 == pytest.approx(1 / 3, abs=0.03)
    assert sum(s.p_value <= 0.05 for s in scores) <= 12
    assert abs(sum(s.excess for s in scores)) / 100 < 0.03


def test_digit_means_are_means():
    digits = torch.arange(10).repeat(3)
    values = draw(30, 4)
    torch.testing.assert_close(digit_means(values, digits), values.reshape(3, 10, 4).mean(0))
    with pytest.raises(FourierError, match="no row has digit 9"):
        digit_means(values[:9], digits[:9])
    with pytest.raises(FourierError, match="0…9"):
        digit_means(values, digits + 1)


# -- Minkowski sums -------------------------------------------------------------------------------


def grid(copies: int = 4) -> tuple[torch.Tensor, torch.Tensor]:
    pairs = torch.cartesian_prod(torch.arange(10), torch.arange(10)).repeat(copies, 1)
    return pairs[:, 0], pairs[:, 1]


def test_an_additive_output_scores_one_and_its_clusters_are_copies():
    first, second = grid()
    points_a, points_b = draw(10, 6), draw(10, 6, seed=1)
    found = minkowski_score(0.75 * points_a[first] + 0.25 * points_b[second], first, second)
    assert found.score == pytest.approx(1)
    assert found.between == pytest.approx(1)
    assert found.first > 0.8
    assert found.likeness == pytest.approx(1)
    assert found.p_value == found.p_between == 0.01


def test_pure_interaction_scores_nothing():
    first, second = grid()
    cells = draw(10, 10, 6)
    cells = cells - cells.mean(0) - cells.mean(1, keepdim=True) + cells.mean((0, 1))
    found = minkowski_score(cells[first, second], first, second)
    assert found.score == pytest.approx(0, abs=1e-12)
    assert found.between == pytest.approx(1)
    assert found.excess < -0.1
    assert found.likeness is not None and found.likeness < 0.6


def test_unstructured_outputs_score_eighteen_of_ninety_nine():
    first, second = grid(10)
    found = [
        minkowski_score(draw(1000, 8, seed=i), first, second, n_shuffles=39, seed=i)
        for i in range(40)
    ]
    assert sum(f.score for f in found) / 40 == pytest.approx(18 / 99, abs=0.01)
    assert abs(sum(f.excess for f in found)) / 40 < 0.01
    assert sum(f.p_value <= 0.05 for f in found) <= 7
    assert sum(f.p_between <= 0.05 for f in found) <= 7


def test_unequal_cells_weigh_the_same():
    first, second = grid(1)
    more = torch.cat([torch.arange(100), torch.zeros(50, dtype=torch.int64)])
    cells = draw(10, 10, 3)
    uneven = minkowski_score(cells[first, second][more], first[more], second[more], n_shuffles=1)
    even = minkowski_score(cells[first, second], first, second, n_shuffles=1)
    assert uneven.score == pytest.approx(even.score)
    torch.testing.assert_close(
        pair_means(cells[first, second][more], first[more], second[more]).diff(dim=0),
        cells.diff(dim=0),
    )


def test_a_pair_that_never_occurs_is_refused():
    first, second = grid(1)
    with pytest.raises(FourierError, match="no row has digits 9 and 9"):
        minkowski_score(draw(99, 2), first[:-1], second[:-1])
    with pytest.raises(FourierError, match="alike"):
        minkowski_score(torch.ones(100, 2), first, second)
    with pytest.raises(FourierError, match="finite"):
        minkowski_score(torch.full((100, 2), math.inf), first, second)
    with pytest.raises(FourierError, match="one first and one second"):
        minkowski_score(draw(50, 2), first, second)


# -- attribution ----------------------------------------------------------------------------------

# Rows "a0 a1 × b0 b1 = …": what is predicted at position 5 depends on a0 and b0 alone.
OPERANDS, PREDICTS = (0, 1, 3, 4), (5, 6)


def by_hand(tokens: torch.Tensor) -> torch.Tensor:
    """c_0 = a0 + b0 mod 10 with logit 3; c_1 = b1 with logit 1, whatever stands elsewhere."""
    logits = torch.zeros(*tokens.shape, 12)
    rows = torch.arange(len(tokens))
    logits[rows, 5, (tokens[:, 0] + tokens[:, 3]) % 10] = 3.0
    logits[rows, 6, tokens[:, 4]] = 1.0
    return logits


def rows_of_digits(n: int = 700) -> torch.Tensor:
    return torch.randint(0, 10, (n, 10), generator=torch.Generator().manual_seed(0))


def test_attribution_of_a_function_made_by_hand():
    found = digit_attribution(by_hand, rows_of_digits(), operands=OPERANDS, predicts=PREDICTS)
    expected = torch.tensor([[3.0, 0], [0, 0], [3, 0], [0, 1]]).double()
    torch.testing.assert_close(found.drops, expected)
    assert not bool(found.errors.any())
    assert found.places == (0, 1, 0, 1)
    assert found.stray == 0


def test_attribution_where_it_cannot_be_is_stray():
    def wrong(tokens):
        logits = torch.zeros(*tokens.shape, 12)
        logits[torch.arange(len(tokens)), 5, tokens[:, 1]] = 1.0
        return logits

    found = digit_attribution(wrong, rows_of_digits(), operands=OPERANDS, predicts=PREDICTS)
    assert found.stray == 1


def test_a_function_of_nothing_has_no_attribution():
    def nothing(tokens):
        return torch.zeros(*tokens.shape, 12)

    found = digit_attribution(nothing, rows_of_digits(), operands=OPERANDS, predicts=PREDICTS)
    assert not bool(found.drops.any())
    assert found.stray == 0


def test_positions_without_digits_are_refused():
    rows = rows_of_digits()
    rows[:, 2] = 10
    with pytest.raises(FourierError, match="must hold digits"):
        digit_attribution(by_hand, rows, operands=(0, 2, 3, 4), predicts=PREDICTS)


# -- running sums ---------------------------------------------------------------------------------


def sums_and_streams(signal: float, n: int = 400):
    sums = torch.randint(0, 82, (2 * n,), generator=torch.Generator().manual_seed(3)).double()
    stream = draw(2 * n, 12)
    stream[:, 0] += signal * sums
    stream[:, 1] = 1.0  # the stream has a constant, as a bias gives it
    return stream[:n], sums[:n], stream[n:], sums[n:]


WHERE = {"site": "L1.resid_mid", "k": 1, "position": 6}


def test_a_planted_sum_is_read_off():
    found = fit_sum(*sums_and_streams(100.0), **WHERE)
    assert found.mae < 0.1
    assert found.skill > 0.99
    assert found.readable and found.p_value == 0.05
    direction = found.direction / found.direction.norm()
    assert float(direction[0].abs()) * 100 == pytest.approx(1, abs=0.5) or found.mae < 0.1


def test_where_there_is_no_sum_the_map_is_no_better_than_the_mean():
    found = fit_sum(*sums_and_streams(0.0), **WHERE)
    assert found.skill < 0.02
    assert found.mae == pytest.approx(float(found.shuffled_mae.mean()), rel=0.05)


def test_too_few_rows_are_refused():
    train, sums, test, held = sums_and_streams(1.0, n=20)
    with pytest.raises(FourierError, match="too few"):
        fit_sum(train, sums, test, held, **WHERE)
