"""Spectra over pairs of residues: planted, shuffled, and by two implementations."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import (
    FourierError,
    by_frequency,
    gini,
    pair_energy,
    pair_spectrum,
    spectrum,
    transform,
)


def planted(n: int = 23, *, noise: float = 0.0, seed: int = 0) -> torch.Tensor:
    """cos of frequency 2 in a, twice sin of 5 in a + b, and a constant."""
    x = 2 * math.pi * torch.arange(n) / n
    generator = torch.Generator().manual_seed(seed)
    values = (2 * x).cos()[:, None] + 2 * (5 * (x[:, None] + x)).sin() + 3
    return values + noise * torch.randn((n, n), generator=generator)


def test_pair_energy_keeps_the_energy_and_finds_products():
    x = 2 * math.pi * torch.arange(9) / 9
    values = (2 * x).cos()[:, None] * (3 * x).sin()
    energy = pair_energy(values)
    assert float(energy.sum()) == pytest.approx(float(values.square().sum()), rel=1e-5)
    assert float(energy[2, 3]) == pytest.approx(float(energy.sum()), rel=1e-5)
    assert pair_energy(values[..., None].expand(9, 9, 4)).shape == (5, 5, 4)


@pytest.mark.parametrize("n", [8, 9])
def test_by_matrix_and_by_fft_it_is_the_same(n):
    values = torch.randn((n, n, 3), generator=torch.Generator().manual_seed(n))
    rows = transform(transform(values, dim=0), dim=1).square()
    by_matrix = by_frequency(by_frequency(rows, dim=0), dim=1)
    torch.testing.assert_close(pair_energy(values), by_matrix)
    found, energy = pair_spectrum(values), rows.sum(2)
    assert found.gini == pytest.approx(gini(energy.flatten()[1:].sqrt()))
    varying = by_matrix.sum(2)
    varying[0, 0] = 0
    torch.testing.assert_close(found.power, varying / varying.sum())


def test_planted_pairs_are_found_strongest_first_and_nothing_else():
    found = pair_spectrum(planted(noise=0.05), n_shuffles=39)
    assert found.keys() == ((5, 5), (2, 0))
    assert found.share([(5, 5), (2, 0)]) > 0.97
    assert float(found.power.sum()) == pytest.approx(1)
    assert found.constant == pytest.approx(9 / (9 + 0.5 + 2), abs=0.02)
    assert found.gini > float(found.null_gini.max()) + 0.1
    assert "(5, 5)" in repr(found)


def test_in_shuffled_order_and_of_noise_nothing_is_found():
    order = torch.randperm(23, generator=torch.Generator().manual_seed(1))
    assert pair_spectrum(planted()[order][:, order], n_shuffles=39).keys() == ()
    noise = [torch.randn((11, 11), generator=torch.Generator().manual_seed(i)) for i in range(60)]
    called = sum(bool(pair_spectrum(x, n_shuffles=19, seed=i).keys()) for i, x in enumerate(noise))
    assert called <= 8, "of 60 at .05"


def test_what_depends_on_one_residue_has_the_spectrum_of_it():
    rows = torch.randn((13, 4), generator=torch.Generator().manual_seed(0))
    found = pair_spectrum(rows[:, None].expand(13, 13, 4))
    torch.testing.assert_close(found.power[1:, 0], spectrum(rows).power)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (torch.ones(5, 5), "same values"),
        (torch.ones(5, 4), r"got \[5, 4\]"),
        (torch.ones(2, 2, 3), "all pairs"),
        (torch.full((5, 5), torch.nan), "finite"),
    ],
)
def test_what_has_no_spectrum_is_refused(values, said):
    with pytest.raises(FourierError, match=said):
        pair_spectrum(values)


def test_shuffles_and_pairs_that_there_are_not_are_refused():
    with pytest.raises(FourierError, match="n_shuffles is -1"):
        pair_spectrum(planted(), n_shuffles=-1)
    found = pair_spectrum(planted())
    with pytest.raises(FourierError, match="without shuffles"):
        found.keys()
    for pairs in ([], [(0, 0)], [(12, 1)]):
        with pytest.raises(FourierError, match=r"up to \(11, 11\)"):
            found.share(pairs)
