"""Transfer between simulated domains whose answer follows from Gaussians, and from nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from probes.domains import Domain
from probes.geometry import gaussian_curve, mahalanobis_cosine, snr_from_auroc
from probes.similarity import similarities
from probes.transfer import held_out_scores, transfer_matrix
from probes.transferred import ALL, ALL_BUT

D = 20
# Half of the features hardly vary: raw weights there are large and mean nothing.
SCALE = np.concatenate([np.full(D // 2, 1.0), np.full(D // 2, 0.02)])


def gaussian(name: str, delta: Any, *, n: int = 300, seed: int, scale: Any = SCALE) -> Domain:
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 0
    values = rng.normal(size=(n, D)) * scale + np.outer(labels - 0.5, delta) + 2
    return Domain.build(name, values, labels)


def axis(*parts: float) -> Any:
    return np.array([*parts, *[0.0] * (D - len(parts))])


def test_planted_structure_is_recovered_and_only_the_mahalanobis_cosine_foretells_it() -> None:
    angles = {"D0": 0, "D1": 0, "ANTI": 180, "H": 90, "half": 45}
    domains = [
        gaussian(name, 4 * axis(np.cos(np.radians(a)), np.sin(np.radians(a))), seed=i)
        for i, (name, a) in enumerate(angles.items())
    ]
    found = transfer_matrix(domains, method="lda", n_resamples=100)
    for name in angles:
        assert found[name, name].auroc >= 0.95
        assert found[name, name].n_folds == 5
    assert found["D0", "D1"].auroc >= 0.95
    assert found["D0", "ANTI"].auroc <= 0.05
    assert found["D0", "H"].auroc == pytest.approx(0.5, abs=0.15)
    # Two unit Gaussians 4·cos 45° apart on a direction of length one.
    assert found["D0", "half"].auroc == pytest.approx(stats.norm.cdf(2), abs=0.03)
    # The other domains outvote the inverted one, even where it is trained on itself.
    assert found[ALL_BUT, "ANTI"].auroc < 0.1
    assert found[ALL, "ANTI"].auroc < 0.1

    alike = similarities(found, domains)
    by = {p: alike.regression(p) for p in ("mahalanobis", "mahalanobis_held_out", "cosine")}
    assert by["mahalanobis"].n_pairs == 20
    for predictor in ("mahalanobis", "mahalanobis_held_out"):
        assert by[predictor].r2 >= 0.95
        assert by[predictor].r2_pair_out >= 0.95
        assert by[predictor].r2_domain_out is not None
        assert by[predictor].r2_domain_out >= 0.9
    assert by["cosine"].r2 <= by["mahalanobis"].r2 - 0.05
    assert by["cosine"].r2_pair_out <= by["mahalanobis"].r2_pair_out - 0.05
    assert alike.regression("mahalanobis", with_combined=True).n_pairs == 25


def test_the_gaussian_curve_is_where_gaussians_lie() -> None:
    snr = 2.5
    best = axis(1.0)
    target = gaussian("target", snr * best, n=20_000, seed=0, scale=np.ones(D))
    for angle in (0, 40, 75, 90, 130, 180):
        turned = axis(np.cos(np.radians(angle)), np.sin(np.radians(angle)))
        cosine = mahalanobis_cosine(_t(turned), _t(best), target.values)
        curve = float(gaussian_curve(cosine, reference_snr=snr))
        exact = stats.norm.cdf(snr * np.cos(np.radians(angle)) / np.sqrt(2))
        assert curve == pytest.approx(exact, abs=0.01)
    assert snr_from_auroc(stats.norm.cdf(snr / np.sqrt(2))) == pytest.approx(snr)


@pytest.mark.parametrize("method", ["mass-mean", "lda"])
def test_labels_without_meaning_transfer_at_one_half(method: Any) -> None:
    off, own, covered, n = [], [], 0, 8
    for seed in range(n):
        rng = np.random.default_rng(100 + seed)
        domains = [
            Domain.build(
                name,
                rng.normal(size=(80, D)) * np.geomspace(5, 0.1, D) + 3,
                rng.permutation(80) < 40,
            )
            for name in ("a", "b")
        ]
        found = transfer_matrix(domains, method=method, n_resamples=100, seed=seed)
        off += [found["a", "b"].auroc, found["b", "a"].auroc]
        own += [found["a", "a"].auroc, found["b", "b"].auroc, found[ALL, "a"].auroc]
        cell = found["a", "b"]
        covered += cell.low <= 0.5 <= cell.high
        assert cell.brier > 0.2  # 1/4 is what knowing nothing costs
    # One AUROC of 40 against 40 has a standard deviation of .065.
    assert np.mean(off) == pytest.approx(0.5, abs=4 * 0.065 / np.sqrt(2 * n))
    assert np.mean(own) == pytest.approx(0.5, abs=4 * 0.065 / np.sqrt(2 * n))
    assert covered >= stats.binom.ppf(0.001, n, 0.95)


def test_a_group_that_two_domains_share_does_not_leak() -> None:
    """Forty facts by heart, no general direction: both framings carry each fact's own vector."""
    rng = np.random.default_rng(0)
    n, d = 40, 400
    labels = np.arange(n) % 2 == 0
    facts = rng.normal(size=(n, d))
    names = [f"fact {i}" for i in range(n)]
    plain = Domain.build("plain", facts, labels, groups=names)
    framed = Domain.build("framed", facts + 0.1 * rng.normal(size=(n, d)), labels, groups=names)
    apart = Domain.build("apart", framed.values, labels)
    leaky = held_out_scores([plain], apart, method="mass-mean")
    kept = held_out_scores([plain], framed, method="mass-mean")
    assert (leaky.n_folds, kept.n_folds) == (1, 5)
    assert kept.n_bound == n
    assert ((leaky.scores > 0) == labels).mean() == 1.0  # what the leak would have claimed
    assert ((kept.scores > 0) == labels).mean() <= 0.75


def _t(vector: Any) -> Any:
    import torch

    return torch.from_numpy(np.asarray(vector, dtype=np.float64))
