"""Ordered tokens whose order is known: a line, circles, an arc, and none."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import FourierError, TokenForms, read_order, read_rows
from interp.fourier.tokens_order import part_functions

N = 12


def forms(n: int = N) -> TokenForms:
    return TokenForms("places", tuple(map(str, range(n))), tuple(range(n)), "as written")


def rows_of(functions, *, noise: float = 0.15, seed: int = 0):
    """Some functions of the place, each in a direction of its own."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.stack([torch.as_tensor(f, dtype=torch.float64) for f in functions], 1)
    directions = torch.linalg.qr(torch.randn(16, 16, generator=generator).double()).Q
    return (
        values @ directions[: values.shape[1]]
        + noise * torch.randn(len(values), 16, generator=generator).double()
    )


def read(rows):
    return read_rows(rows, forms(len(rows)), matrix="embedding", n_shuffles=199)


X = torch.arange(N).double()


def test_a_line_is_a_trend_and_no_period():
    found = read(rows_of([X / 3], noise=0.05))
    strongest, share = found.spectrum.top(1)[0]
    assert strongest == 1 and share > 0.5, "the spectrum alone takes a line for a period"
    assert found.trend > 0.7 and found.trend_p == pytest.approx(1 / 200)
    assert found.detrended.keys() == ()
    assert found.gap_longest and found.gap > 3
    assert "a trend" in found.said() and "frequency" not in found.said()
    assert "a trend" in repr(found)


@pytest.mark.parametrize("k", [1, 2, 5])
def test_a_circle_is_a_period_beyond_any_trend(k):
    turn = 2 * math.pi * k * X / N
    found = read(rows_of([turn.cos(), turn.sin()]))
    assert found.detrended.keys() == (k,)
    assert f"frequency {k} beyond the trend" in found.said()
    if k == 1:
        assert not found.gap_longest and found.gap == pytest.approx(1, abs=0.5)
        assert "circle or an open arc" in found.said()


def test_an_open_arc_is_told_from_a_circle():
    turn = math.pi * X / (N - 1)
    found = read(rows_of([2 * turn.cos(), 2 * turn.sin()], noise=0.05))
    assert found.trend_p < 0.05 and found.detrended.keys() == (1,)
    assert found.gap_longest and "an open arc" in found.said()


def test_of_noise_about_one_in_twenty_has_an_order():
    trends = periods = 0
    for seed in range(60):
        rows = torch.randn(10, 6, generator=torch.Generator().manual_seed(seed))
        found = read_rows(rows, forms(10), matrix="embedding", n_shuffles=39, seed=seed)
        trends += found.trend_p <= 0.05
        periods += bool(found.detrended.keys())
    assert trends <= 8 and periods <= 8  # 3 expected; 9 or more happen less than once in 250


def test_nulls_are_those_of_shuffled_rows():
    rows = rows_of([X / 3])
    found = read_rows(rows, forms(), matrix="embedding", n_shuffles=1, seed=4)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(4))
    again = read(rows[order])
    assert float(found.detrended.null_max[0]) == pytest.approx(float(again.detrended.power.max()))
    assert float(found.detrended.null_gini[0]) == pytest.approx(again.detrended.gini)


def test_parts_are_at_right_angles_to_the_trend():
    line = part_functions(10, "trend")
    for k, rank in ((1, 2), (4, 2), (5, 1)):
        functions = part_functions(10, k)
        assert functions.shape == (10, rank)
        assert torch.allclose(functions.T @ functions, torch.eye(rank).double(), atol=1e-12)
        assert float((functions.T @ line).abs().max()) < 1e-12
        assert float(functions.sum(0).abs().max()) < 1e-12
    with pytest.raises(FourierError, match="1…5"):
        part_functions(10, 6)


def test_what_has_no_order_is_refused(gpt2):
    with pytest.raises(FourierError, match="5 up"):
        read_rows(torch.eye(4), forms(4), matrix="embedding", n_shuffles=9)
    with pytest.raises(FourierError, match="same values"):
        read_rows(torch.ones(6, 3), forms(6), matrix="embedding", n_shuffles=9)
    with pytest.raises(FourierError, match="at least 1"):
        read_rows(torch.eye(6), forms(6), matrix="embedding", n_shuffles=0)
    with pytest.raises(FourierError, match="expected embedding or unembedding"):
        read_order(gpt2, "digits", matrix="W_E")
    with pytest.raises(FourierError, match="no tokenizer"):
        read_order(gpt2, "digits")
