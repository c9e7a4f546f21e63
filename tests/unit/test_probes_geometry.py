"""Similarities against their formulas, written out on small matrices, and what has none."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from probes.geometry import (
    GeometryError,
    gaussian_curve,
    loudness,
    mahalanobis_cosine,
    participation_ratio,
    plain_cosine,
    score_correlation,
    snr_from_auroc,
)
from probes.similarity import regress


def drawn(*shape: int, seed: int = 0) -> Any:
    return torch.from_numpy(np.random.default_rng(seed).normal(size=shape))


def test_the_mahalanobis_cosine_is_the_published_form() -> None:
    x = drawn(60, 7) * torch.linspace(0.1, 5, 7) + 10
    a, b = drawn(7, seed=1), drawn(7, seed=2)
    s = torch.cov(x.T)  # total, divisor n − 1
    published = (a @ s @ b) / torch.sqrt((a @ s @ a) * (b @ s @ b))
    assert mahalanobis_cosine(a, b, x) == pytest.approx(float(published), abs=1e-12)
    assert mahalanobis_cosine(-3 * a, b, x) == pytest.approx(-float(published), abs=1e-12)
    assert mahalanobis_cosine(a, a, x) == pytest.approx(1)
    assert score_correlation((x @ a).numpy(), (x @ b).numpy()) == pytest.approx(float(published))
    white = torch.linalg.qr(drawn(60, 7) - drawn(60, 7).mean(0))[0]
    assert mahalanobis_cosine(a, b, white) == pytest.approx(plain_cosine(a, b), abs=1e-9)


def test_it_needs_no_square_matrix() -> None:
    d = 50_000  # squared, twenty gigabytes
    a, x = drawn(d), drawn(8, d, seed=1).float()
    assert -1 <= mahalanobis_cosine(a, drawn(d, seed=2), x) <= 1
    assert participation_ratio(x).value <= 7


def test_loudness_is_the_ratio_of_variances() -> None:
    source, w = drawn(50, 4), drawn(4, seed=1)
    other = drawn(80, 4, seed=2) * 3
    by_hand = float((w @ torch.cov(other.T) @ w) / (w @ torch.cov(source.T) @ w))
    assert loudness(w, source, other) == pytest.approx(by_hand)
    assert loudness(w, source, 2 * source) == pytest.approx(4)


def test_the_participation_ratio_is_the_formula() -> None:
    x = drawn(40, 6) @ drawn(6, 6, seed=1)
    values = torch.linalg.eigvalsh(torch.corrcoef(x.T))
    assert participation_ratio(x).value == pytest.approx(
        float(values.sum() ** 2 / (values**2).sum())
    )
    one_axis = drawn(40, 1) @ torch.ones(1, 6, dtype=torch.float64)
    assert participation_ratio(one_axis).value == pytest.approx(1)
    # Features that never vary count for nothing.
    padded = torch.cat([x, torch.full((40, 3), 5.0, dtype=torch.float64)], dim=1)
    assert participation_ratio(padded).value == pytest.approx(participation_ratio(x).value)
    assert participation_ratio(padded).d == 6


@pytest.mark.parametrize("n", [20, 60, 400])
def test_the_participation_ratio_of_noise_is_what_its_rows_allow(n: int) -> None:
    d = 60
    found = [participation_ratio(drawn(n, d, seed=s)) for s in range(20)]
    assert np.mean([f.value for f in found]) == pytest.approx(found[0].of_noise, rel=0.01)
    assert found[0].of_noise < min(n - 1, d) + 1
    # Corrected, it is near the truth of sixty however few the rows; the published form is not.
    assert np.mean([f.corrected for f in found]) == pytest.approx(d, rel=0.1)


def test_directions_and_rows_without_a_similarity_are_refused() -> None:
    x, w = drawn(10, 3), drawn(3, seed=1)
    flat = x.clone()
    flat[:, 0] = 4.0
    first = torch.tensor([1.0, 0, 0], dtype=torch.float64)
    holed = x.clone()
    holed[2, 1] = float("nan")
    cases: list[tuple[Any, Any, Any, str]] = [
        (torch.zeros(3), w, x, "the direction is zero"),
        (w, w * float("nan"), x, "the reference is not finite"),
        (w, w, holed, "row 2 is not finite"),
        (first, w, flat, "same score by the direction"),
        (w, w, x[:1], "2 rows or more"),
        (drawn(4), w, x, "4 numbers, the activations 3"),
        (x, w, x, r"expected \[d\]"),
    ]
    for a, b, target, message in cases:
        with pytest.raises(GeometryError, match=message):
            mahalanobis_cosine(a, b, target)
    with pytest.raises(GeometryError, match="same score"):
        loudness(first, flat, x)
    with pytest.raises(GeometryError, match="is zero"):
        plain_cosine(w, torch.zeros(3))
    with pytest.raises(GeometryError, match="3 and 4 numbers"):
        plain_cosine(w, drawn(4))
    with pytest.raises(GeometryError, match="same activation"):
        participation_ratio(torch.ones(5, 3))
    with pytest.raises(GeometryError, match="4 rows or more"):
        participation_ratio(x[:3])
    with pytest.raises(GeometryError, match="same score by the reference"):
        score_correlation(np.arange(4.0), np.ones(4))
    with pytest.raises(GeometryError, match="one length"):
        score_correlation(np.arange(4.0), np.arange(3.0))


def test_the_theory_curve_at_its_ends_and_outside() -> None:
    d = snr_from_auroc(0.95)
    ends = gaussian_curve(np.array([-1.0, 0.0, 1.0]), reference_snr=d)
    np.testing.assert_allclose(ends, [0.05, 0.5, 0.95])
    with pytest.raises(GeometryError, match="between −1 and 1"):
        gaussian_curve(1.2, reference_snr=d)
    with pytest.raises(GeometryError, match="more than 0"):
        gaussian_curve(0.5, reference_snr=0)
    with pytest.raises(GeometryError, match="no finite distance"):
        snr_from_auroc(1.0)


PAIRS = [(a, b) for a in "ABCDE" for b in "ABCDE" if a != b]


def test_a_regression_in_and_out_of_sample() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, size=20)
    exact = regress(list(x), list(0.5 + 0.4 * x), PAIRS)
    assert (exact.slope, exact.intercept) == (pytest.approx(0.4), pytest.approx(0.5))
    assert exact.r2 == pytest.approx(1)
    assert exact.spearman2 == pytest.approx(1)
    assert exact.r2_pair_out == pytest.approx(1)
    assert exact.r2_domain_out == pytest.approx(1)
    inside, outside, by_domain = [], [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        noise = regress(list(rng.normal(size=20)), list(rng.normal(size=20)), PAIRS)
        assert noise.r2_domain_out is not None
        inside.append(noise.r2)
        outside.append(noise.r2_pair_out)
        by_domain.append(noise.r2_domain_out)
    assert min(inside) >= 0  # in sample nothing still explains something
    assert np.mean(inside) == pytest.approx(1 / 19, abs=0.05)
    assert np.mean(outside) < 0
    assert np.mean(by_domain) < 0
    few = regress([0.1, 0.2, 0.4], [0.5, 0.6, 0.6], PAIRS[:3])
    assert few.r2_domain_out is None


def test_regressions_that_mean_nothing_are_refused() -> None:
    with pytest.raises(GeometryError, match="at least 3 pairs, got 2"):
        regress([0.1, 0.2], [0.5, 0.6], PAIRS[:2])
    with pytest.raises(GeometryError, match="mahalanobis is the same for all 3"):
        regress([1, 1, 1], [0.5, 0.6, 0.7], PAIRS[:3])
    with pytest.raises(GeometryError, match="transfer is the same"):
        regress([1, 2, 3], [0.5, 0.5, 0.5], PAIRS[:3])
    with pytest.raises(GeometryError, match="all pairs but one"):
        regress([1, 1, 3], [0.5, 0.4, 0.5], PAIRS[:3])
    with pytest.raises(GeometryError, match="not finite"):
        regress([1, 2, float("nan")], [0.5, 0.4, 0.5], PAIRS[:3])
    with pytest.raises(GeometryError, match="as many numbers"):
        regress([1, 2, 3], [0.5, 0.4], PAIRS[:3])
