"""Paths through weight space, commutators and attention entropy, with answers known beforehand."""

from __future__ import annotations

import math

import pytest
import torch

from interp.fourier import FourierError
from interp.fourier.dynamics import (
    attention_entropy,
    sgd_commutator,
    share_inside,
    trajectory_basis,
    trajectory_pca,
    walk_shares,
    weight_norm,
)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(variances: list[float], n: int = 12) -> list[dict[str, torch.Tensor]]:
    """A path of given principal variances, spread over two matrices of different shapes."""
    k = len(variances)
    inner = torch.randn(n, k, generator=generator(), dtype=torch.float64)
    scores = (
        torch.linalg.qr(inner - inner.mean(0)).Q
        * torch.tensor(variances, dtype=torch.float64).sqrt()
    )
    axes = torch.linalg.qr(torch.randn(40, k, generator=generator(1), dtype=torch.float64)).Q
    flat = 3 + scores @ axes.T
    return [{"W": row[:30].reshape(5, 6), "b": row[30:]} for row in flat]


@pytest.mark.parametrize(
    ("variances", "r90"),
    [([1.0], 1), ([0.89, 0.11], 2), ([0.9, 0.1], 1), ([0.5, 0.3, 0.15, 0.05], 3)],
)
def test_a_planted_paths_components_are_found(variances, r90):
    found = trajectory_pca(planted(variances), n_walks=3)["all weights"]
    assert found.needed() == r90
    expected = torch.tensor(variances, dtype=torch.float64)
    torch.testing.assert_close(found.shares[: len(variances)], expected, atol=1e-6, rtol=0)
    assert float(found.shares[len(variances) :].sum()) < 1e-9
    assert found.n_weights == 40


def test_each_matrix_has_its_own_and_one_that_stands_still_is_left_out():
    path = [{**w, "still": torch.ones(3)} for w in planted([0.7, 0.3])]
    found = trajectory_pca(path, n_walks=3)
    assert list(found) == ["W", "b", "all weights"]
    rows = torch.stack([w["W"].flatten() for w in path])
    values = torch.linalg.svdvals(rows - rows.mean(0)).square()
    torch.testing.assert_close(found["W"].shares[:2], (values / values.sum())[:2])


def test_distances_in_the_plane_are_those_in_weight_space():
    path = planted([0.6, 0.4])
    at = trajectory_pca(path, n_walks=1)["all weights"].coordinates
    apart = weight_norm({name: path[0][name] - path[7][name] for name in path[0]})
    assert float((at[0] - at[7]).norm()) == pytest.approx(apart)


def test_a_long_random_walk_has_61_percent_on_its_first_component():
    """6/π² for many steps in many dimensions (Antognini & Sohl-Dickstein 2018); r90 is 6."""
    found = walk_shares(torch.ones(400), 10**6, n=3, seed=0)
    assert found[:, 0].tolist() == pytest.approx([6 / math.pi**2] * 3, abs=0.01)
    assert ((found.cumsum(1) < 0.9).sum(1) + 1).tolist() == [6, 6, 6]


@pytest.mark.parametrize("dimensions", [4, 60])
def test_walks_drawn_by_their_gram_matrix_are_those_drawn_in_full(dimensions):
    lengths = torch.linspace(0.5, 2, 10)
    quick = walk_shares(lengths, dimensions, n=400, seed=0)[:, 0]
    steps = torch.randn(400, 10, dimensions, generator=generator(), dtype=torch.float64)
    steps *= (lengths / steps.norm(dim=2)).unsqueeze(2)
    path = torch.cat([torch.zeros(400, 1, dimensions), steps.cumsum(1)], 1)
    values = torch.linalg.svdvals(path - path.mean(1, keepdim=True)).square()
    slow = values[:, 0] / values.sum(1)
    error = float(slow.std()) / math.sqrt(200)
    assert float(quick.mean()) == pytest.approx(float(slow.mean()), abs=4 * error)
    assert float(quick.std()) == pytest.approx(float(slow.std()), rel=0.25)


def test_bad_paths_are_refused():
    path = planted([1.0])
    with pytest.raises(FourierError, match="at least 3"):
        trajectory_pca(path[:2])
    with pytest.raises(FourierError, match="checkpoint 1"):
        trajectory_pca([path[0], {"W": path[0]["W"]}, path[1]])
    with pytest.raises(FourierError, match="not finite"):
        trajectory_pca([path[0], path[1], {**path[2], "b": torch.full((10,), math.nan)}])
    with pytest.raises(FourierError, match="no path"):
        trajectory_pca([path[0]] * 4)
    with pytest.raises(FourierError, match="components"):
        trajectory_basis(path, 2)
    with pytest.raises(FourierError, match="all zero"):
        walk_shares(torch.zeros(4), 10, n=1, seed=0)


# -- commutators ----------------------------------------------------------------------------------


def quadratic(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    root = torch.randn(7, 7, generator=generator(seed), dtype=torch.float64)
    return root @ root.T, torch.randn(7, generator=generator(seed + 1), dtype=torch.float64)


def quadratic_loss(weights, batch):
    hessian, centre = batch
    off = torch.cat([weights["x"], weights["y"]]) - centre
    return off @ hessian @ off / 2


def test_the_commutator_of_quadratics_is_in_closed_form():
    """δ = η² (H_B g_A − H_A g_B) exactly, and D does not depend on η."""
    a, b = quadratic(0), quadratic(2)
    theta = torch.randn(7, generator=generator(9), dtype=torch.float64)
    start = {"x": theta[:3], "y": theta[3:]}
    g_a, g_b = a[0] @ (theta - a[1]), b[0] @ (theta - b[1])
    expected = b[0] @ g_a - a[0] @ g_b
    sizes = []
    for lr in (1e-3, 1e-2):
        found = sgd_commutator(quadratic_loss, start, a, b, lr=lr)
        delta = torch.cat([found.delta["x"], found.delta["y"]])
        torch.testing.assert_close(delta, lr**2 * expected, rtol=1e-6, atol=1e-12)
        sizes.append(found.relative)
    whole = float(expected.norm() / (g_a.norm() * g_b.norm()))
    assert sizes == pytest.approx([whole, whole], rel=1e-6)
    cosine = float(g_a @ g_b / (g_a.norm() * g_b.norm()))
    assert found.gradient_cosine == pytest.approx(cosine)


def test_the_order_of_one_batch_twice_does_not_matter():
    found = sgd_commutator(
        quadratic_loss, {"x": torch.ones(3), "y": torch.ones(4)}, quadratic(0), quadratic(0), lr=0.1
    )
    assert found.relative < 1e-12


def test_a_batch_without_gradient_is_refused():
    hessian, centre = quadratic(0)
    at = {"x": centre[:3], "y": centre[3:]}
    with pytest.raises(FourierError, match="not zero"):
        sgd_commutator(quadratic_loss, at, (hessian, centre), quadratic(2), lr=0.1)
    with pytest.raises(FourierError, match="above 0"):
        sgd_commutator(quadratic_loss, at, quadratic(2), quadratic(4), lr=0.0)


def test_a_direction_within_the_path_lies_inside_and_one_across_does_not():
    path = planted([0.5, 0.3, 0.2])
    basis = trajectory_basis(path, 3)
    torch.testing.assert_close(
        basis.directions @ basis.directions.T, torch.eye(3, dtype=torch.float64)
    )
    within = {name: path[4][name] - path[1][name] for name in path[0]}
    flat = torch.randn(40, generator=generator(3), dtype=torch.float64)
    flat -= basis.directions.T @ (basis.directions @ flat)
    across = {"W": flat[:30].reshape(5, 6), "b": flat[30:]}
    inside, outside = share_inside([within, across], basis)
    assert inside.share == pytest.approx(1, abs=1e-9)
    assert inside.p_value < 1e-6 and inside.matched_p == 0.01
    assert outside.share < 1e-9
    assert outside.p_value == pytest.approx(1) and outside.matched_p == 1
    assert inside.expected == pytest.approx(math.sqrt(3 / 40))


def test_p_against_random_subspaces_is_exact():
    """Against subspaces that are in fact drawn."""
    basis = trajectory_basis(planted([0.5, 0.3, 0.2]), 3)
    flat = torch.randn(40, generator=generator(5), dtype=torch.float64)
    found = share_inside([{"W": flat[:30].reshape(5, 6), "b": flat[30:]}], basis)[0]
    drawn = torch.randn(4000, 40, 3, generator=generator(6), dtype=torch.float64)
    shares = torch.einsum("nwk,w->nk", torch.linalg.qr(drawn).Q, flat).norm(dim=1) / flat.norm()
    assert found.p_value == pytest.approx(float((shares >= found.share).double().mean()), abs=0.03)
    assert found.expected == pytest.approx(float(shares.square().mean().sqrt()), rel=0.03)


def test_changes_of_other_weights_are_refused():
    basis = trajectory_basis(planted([0.5, 0.5]), 2)
    with pytest.raises(FourierError, match="names or shapes"):
        share_inside([{"W": torch.ones(5, 6)}], basis)
    with pytest.raises(FourierError, match="length zero"):
        share_inside([{"W": torch.zeros(5, 6), "b": torch.zeros(10)}], basis)


# -- attention ------------------------------------------------------------------------------------


def test_attention_entropy_of_even_and_of_single_attention():
    even = torch.full((2, 3, 5), 0.2)
    torch.testing.assert_close(
        attention_entropy(even), torch.full((2, 3), math.log(5)).double(), atol=1e-6, rtol=0
    )
    assert float(attention_entropy(torch.tensor([0.0, 1.0, 0.0]))) == 0
    with pytest.raises(FourierError, match="add up to 1"):
        attention_entropy(torch.tensor([0.5, 0.2]))
