"""The Fourier basis: orthonormal for odd and even n, and two implementations that agree."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from interp.fourier import (
    FourierError,
    by_frequency,
    fourier_basis,
    row_frequencies,
    transform,
    transform_fft,
)
from interp.fourier.basis import check_frequencies

SIZES = [2, 3, 4, 7, 10, 12, 59, 113]


@pytest.mark.parametrize("n", SIZES)
def test_rows_are_orthonormal_and_complete(n):
    basis = fourier_basis(n)
    assert basis.shape == (n, n)
    torch.testing.assert_close(basis @ basis.T, torch.eye(n, dtype=torch.float64))


@pytest.mark.parametrize("n", SIZES)
def test_every_frequency_has_its_rows(n):
    found = row_frequencies(n).tolist()
    assert found[0] == 0
    assert found[-1] == n // 2
    for k in range(1, (n + 1) // 2):
        assert found.count(k) == 2
    if n % 2 == 0:
        assert found.count(n // 2) == 1
        torch.testing.assert_close(
            fourier_basis(n)[-1] * math.sqrt(n), torch.tensor([1.0, -1.0] * (n // 2)).double()
        )


@settings(deadline=None, max_examples=40)
@given(n=st.integers(2, 40), width=st.integers(1, 5), seed=st.integers(0, 99))
def test_matrix_and_fft_agree_and_keep_the_energy(n, width, seed):
    values = torch.randn((width, n, 2), generator=torch.Generator().manual_seed(seed))
    one, other = transform(values, dim=1), transform_fft(values, dim=1)
    torch.testing.assert_close(one, other, atol=1e-12, rtol=1e-12)
    torch.testing.assert_close(one.square().sum(), values.double().square().sum())


def test_a_cosine_and_a_sine_stand_in_their_own_rows():
    x = torch.arange(11)
    rows = transform(torch.stack([(6 * math.pi * x / 11).cos(), (6 * math.pi * x / 11).sin()], 1))
    assert row_frequencies(11)[rows[:, 0].abs().argmax()] == 3
    assert row_frequencies(11)[rows[:, 1].abs().argmax()] == 3
    assert rows[:, 0].argmax() + 1 == rows[:, 1].argmax(), "cosine before sine, both positive"
    assert rows[:, 0].abs().sort().values[-2] < 1e-6


def test_energy_is_added_up_by_frequency():
    assert by_frequency(torch.ones(7)).tolist() == [1, 2, 2, 2]
    assert by_frequency(torch.ones(3, 6), dim=1).tolist() == [[1, 2, 2, 1]] * 3


def test_what_cannot_be_is_refused():
    with pytest.raises(FourierError, match="at least 2"):
        fourier_basis(1)
    assert check_frequencies([3, 1, 3], 7) == (1, 3)
    for wrong in ([], [0], [4], [-1]):
        with pytest.raises(FourierError, match=r"1…3"):
            check_frequencies(wrong, 7)
