"""The real Fourier basis over Z_n: orthonormal, for odd and even n, by matrix and by FFT."""

from __future__ import annotations

import math
from functools import cache

import torch
from jaxtyping import Float, Int
from torch import Tensor


class FourierError(ValueError):
    """A Fourier analysis cannot be done as asked; the message says what does not fit."""


@cache
def fourier_basis(n: int) -> Float[Tensor, "row n"]:
    """The orthonormal real Fourier basis over Z_n, in float64; do not write into it.

    Row 0 is 1/√n. For each frequency k from 1 to (n−1)//2 follow √(2/n)·cos(2πkx/n) and
    √(2/n)·sin(2πkx/n). Even n has one row more, (−1)^x/√n, at frequency n/2: its sine is zero
    everywhere (a basis that normalises that sine has noise for a row).

    Args:
        n: Size of the group, at least 2.

    Raises:
        FourierError: n below 2.
    """
    if n < 2:
        raise FourierError(f"n is {n}; a Fourier basis needs a group of at least 2")
    x = torch.arange(n, dtype=torch.float64)
    rows = [torch.full((n,), 1 / math.sqrt(n), dtype=torch.float64)]
    for k in range(1, (n - 1) // 2 + 1):
        angle = 2 * math.pi * k * x / n
        rows += [angle.cos() * math.sqrt(2 / n), angle.sin() * math.sqrt(2 / n)]
    if n % 2 == 0:
        rows.append((1 - 2 * (x % 2)) / math.sqrt(n))
    return torch.stack(rows)


def row_frequencies(n: int) -> Int[Tensor, " row"]:
    """The frequency of each row of :func:`fourier_basis`: 0, 1, 1, 2, 2, … up to n//2."""
    return (torch.arange(n) + 1) // 2


def transform(values: Float[Tensor, ...], *, dim: int = 0) -> Float[Tensor, ...]:
    """Coordinates in the Fourier basis along one axis, by the explicit matrix; float64."""
    wide = values.double().movedim(dim, 0)
    found = torch.tensordot(fourier_basis(wide.shape[0]), wide, dims=1)
    return found.movedim(0, dim)


def transform_fft(values: Float[Tensor, ...], *, dim: int = 0) -> Float[Tensor, ...]:
    """The same as :func:`transform`, by the fast Fourier transform."""
    wide = values.double().movedim(dim, 0)
    n = wide.shape[0]
    found = torch.fft.rfft(wide, dim=0)
    rows = wide.new_empty(wide.shape)
    rows[0] = found[0].real / math.sqrt(n)
    k = (n - 1) // 2
    rows[1 : 2 * k + 1 : 2] = found[1 : k + 1].real * math.sqrt(2 / n)
    rows[2 : 2 * k + 2 : 2] = -found[1 : k + 1].imag * math.sqrt(2 / n)
    if n % 2 == 0:
        rows[-1] = found[-1].real / math.sqrt(n)
    return rows.movedim(0, dim)


def by_frequency(energy: Float[Tensor, ...], *, dim: int = 0) -> Float[Tensor, ...]:
    """Add up what stands at the rows of each frequency: n rows become n//2 + 1 frequencies."""
    rows = energy.movedim(dim, 0)
    n = rows.shape[0]
    found = rows.new_zeros((n // 2 + 1, *rows.shape[1:]))
    return found.index_add_(0, row_frequencies(n), rows).movedim(0, dim)


def check_frequencies(frequencies: list[int] | tuple[int, ...], n: int) -> tuple[int, ...]:
    """The frequencies, each once and ascending.

    Raises:
        FourierError: none, or one outside 1 … n//2.
    """
    found = tuple(sorted({int(k) for k in frequencies}))
    if not found or found[0] < 1 or found[-1] > n // 2:
        raise FourierError(
            f"frequencies {list(frequencies)} over Z_{n}: expected some of 1…{n // 2}"
        )
    return found
