"""The local interaction basis where it is known in closed form."""

from __future__ import annotations

import pytest
import torch

from interp.fourier import FourierError, interaction_basis, interactions, read_interactions
from interp.fourier.interaction_removal import accuracy_with, tail, weigh_directions
from interp.models import load_model
from interp.zoo.modular.tables import modular_addition

N, D = 400, 6


def activations(seed: int = 0) -> torch.Tensor:
    """Whitened exactly, so that sample moments are the true ones; then variances 1, 4, 9, …."""
    generator = torch.Generator().manual_seed(seed)
    rows = torch.randn(N, D, generator=generator, dtype=torch.float64)
    white = torch.linalg.qr(rows - rows.mean(0)).Q * N**0.5
    return white * torch.arange(1, D + 1) + 5


def test_a_diagonal_linear_network_has_its_own_axes():
    """Λ_i = variance_i · weight_i², and f̂_i is the activation times its weight."""
    gains = torch.tensor([3.0, 0.0, 1.5, 0.1, 2.0, 0.6]).double()
    f = activations()
    basis = interaction_basis(f, lambda x: x * gains)
    expected = (torch.arange(1, D + 1).double() * gains).square()
    torch.testing.assert_close(basis.relevance, expected[expected > 0].sort(descending=True)[0])
    order = expected.argsort(descending=True)[:5]
    found = basis.coordinates(f)
    torch.testing.assert_close(found.abs(), ((f - f.mean(0)) * gains)[:, order].abs())
    edges = interactions(f, lambda x: x * gains, basis)
    rows, columns = (edges > 1e-6 * edges.max()).nonzero().T
    assert sorted(zip(rows.tolist(), columns.tolist(), strict=True)) == sorted(
        (int(i), j) for j, i in enumerate(order)
    )


def test_any_linear_network_has_its_singular_directions():
    """Λ are the squared singular values of W Σ^½; each f̂ has variance Λ, and they do not mix."""
    generator = torch.Generator().manual_seed(1)
    f, W = activations(), torch.randn(D, 4, generator=generator, dtype=torch.float64)
    basis = interaction_basis(f, lambda x: x @ W + 7)
    centred = f - f.mean(0)
    values, vectors = torch.linalg.eigh(centred.T @ centred / N)
    root = vectors * values.sqrt() @ vectors.T
    torch.testing.assert_close(basis.relevance, torch.linalg.svdvals(root @ W).square())
    assert basis.effective() == 4
    at = basis.coordinates(f)
    torch.testing.assert_close(at.T @ at / N, torch.diag(basis.relevance), rtol=1e-6, atol=1e-8)
    # What follows has unit mean squared gradient along each, and the basis gives all it depends on.
    back = basis.from_basis @ W
    torch.testing.assert_close(back @ back.T, torch.eye(4).double(), atol=1e-8, rtol=0)
    torch.testing.assert_close(centred @ W, at @ back)


def test_directions_that_do_not_vary_or_are_not_read_are_left_out():
    f = activations()
    f[:, 2] = 1.0
    basis = interaction_basis(f, lambda x: x[:, :4])
    assert len(basis.variances) == 5
    assert len(basis.relevance) == 3
    assert basis.share(basis.rotation) == pytest.approx(1)


def test_an_output_basis_of_less_is_less():
    f = activations()
    only = torch.eye(D, dtype=torch.float64)[:, [5]]
    basis = interaction_basis(f, lambda x: x, outputs=only)
    assert basis.relevance.tolist() == pytest.approx([36])
    assert interactions(f, lambda x: x, basis, outputs=only).tolist()[0] == pytest.approx([36])


def test_removing_directions_leaves_the_mean_and_the_others():
    f = activations()
    basis = interaction_basis(f, lambda x: x * torch.arange(D))
    gone = basis.without(f, basis.rotation)
    kept = gone @ torch.eye(D, dtype=torch.float64)[:, 1:]
    torch.testing.assert_close(kept, f.mean(0)[1:].expand(N, -1))
    torch.testing.assert_close(gone[:, 0], f[:, 0])


def test_bad_input_is_refused():
    with pytest.raises(FourierError, match="same for all"):
        interaction_basis(torch.ones(5, 3), lambda x: x)
    with pytest.raises(FourierError, match="does not depend"):
        interaction_basis(activations(), lambda x: 0 * x)
    with pytest.raises(FourierError, match="two examples"):
        interaction_basis(torch.ones(3), lambda x: x)
    with pytest.raises(FourierError, match="finite"):
        interaction_basis(torch.full((4, 3), torch.nan), lambda x: x)
    with pytest.raises(FourierError, match="threshold"):
        interaction_basis(activations(), lambda x: x).effective(2.0)


# -- of a model -----------------------------------------------------------------------------------


def test_what_follows_a_site_is_what_the_model_computes():
    from interp.hooks import session

    model = load_model("zoo:modular-113")
    pairs = modular_addition(113).examples().select(torch.arange(0, 12769, 400))
    with session(model, capture=["L0.resid_mid@-1", "L0.resid_post@-1", "L0.mlp_post@-1"]) as s:
        logits = s.run(pairs)[:, -1].double()
        logits = logits - logits.mean(1, keepdim=True)
        for site in ("L0.resid_mid@-1", "L0.resid_post@-1"):
            f = s[site].flatten(1).double()
            torch.testing.assert_close(tail(model, site)(f), logits, atol=1e-3, rtol=1e-4)
        # Only differences are whole here: the stream round the MLP is the same but for itself.
        neurons, middle = (s[f"L0.{k}@-1"].flatten(1).double() for k in ("mlp_post", "resid_mid"))
        both = tail(model, "L0.mlp_post")(neurons) + tail(model, "L0.resid_post")(middle)
        torch.testing.assert_close(both, logits, atol=1e-3, rtol=1e-4)


def test_other_sites_and_counts_are_refused():
    model = load_model("zoo:modular-113")
    pairs = modular_addition(113).examples().select(torch.arange(0, 12769, 400))
    with pytest.raises(FourierError, match="no interaction basis at embed"):
        read_interactions(model, pairs, site="embed@-1")
    found = read_interactions(model, pairs, site="L0.resid_post@-1")
    with pytest.raises(FourierError, match="expected 1 to"):
        weigh_directions(found, pairs, 0)
    with pytest.raises(FourierError, match="expected 1 to"):
        accuracy_with(found, pairs, [1000])
