"""Training dynamics, calibrated: walks that are walks, and a grokked model beside a memoriser."""

from __future__ import annotations

import dataclasses
from functools import cache

import pytest
import torch
from torch.func import functional_call

from interp.fourier import (
    SiteInteractions,
    accuracy_with,
    read_interactions,
    weigh_directions,
)
from interp.fourier.dynamics import (
    compare_efficiency,
    efficiency,
    share_inside,
    trajectory_basis,
    trajectory_pca,
)
from interp.models import Examples, load_model
from interp.models.native import native_parameters
from interp.zoo import cards
from interp.zoo.modular.making import ModularConfig, new_network, training_pairs
from interp.zoo.modular.snapshots import put
from interp.zoo.modular.tables import Table, modular_addition
from interp.zoo.modular.training import Training

GROKKED, MEMORISER = "modular-113", "modular-113-memoriser"


@cache
def weights_of(name: str) -> dict[str, torch.Tensor]:
    model = load_model(f"zoo:{name}")
    network = new_network(ModularConfig(), modular_addition(113))
    learnt = {n for n, w in network.named_parameters() if w.requires_grad}
    held = native_parameters(model.bridge)
    return {n: w.detach().double() for n, w in held if n in learnt}


def some(name: str, n: int, *, held_out: bool = False) -> Examples:
    train = training_pairs(cards.get_card(name).recipe)
    pairs = modular_addition(113).examples(~train if held_out else train)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(0))
    return pairs.select(order[:n])


# -- paths ----------------------------------------------------------------------------------------


def test_a_random_walk_is_not_taken_for_a_manifold():
    """p is even over walks: of 40 some tenth are below .1, not most."""
    generator = torch.Generator().manual_seed(0)
    found = []
    for seed in range(40):
        steps = torch.randn(15, 300, generator=generator).cumsum(0)
        path = [{"w": row} for row in steps]
        found.append(trajectory_pca(path, n_walks=39, seed=seed)["all weights"].p_value)
    assert sum(p <= 0.1 for p in found) <= 10
    assert 0.3 < sum(found) / 40 < 0.7


def test_a_drift_with_little_noise_is_low_dimensional_beyond_a_walk():
    generator = torch.Generator().manual_seed(0)
    along = torch.randn(300, generator=generator)
    path = [{"w": i * along + torch.randn(300, generator=generator)} for i in range(15)]
    found = trajectory_pca(path)["all weights"]
    assert found.needed() == 1 < found.walk_needed()
    assert found.p_value == 0.01


def test_a_random_direction_lies_in_a_path_as_much_as_in_any_subspace():
    generator = torch.Generator().manual_seed(0)
    path = [
        {"a": torch.randn(50, generator=generator), "b": 3 * torch.randn(90, generator=generator)}
        for _ in range(9)
    ]
    basis = trajectory_basis(path, 4)
    changes = [
        {"a": torch.randn(50, generator=generator), "b": torch.randn(90, generator=generator)}
        for _ in range(60)
    ]
    found = share_inside(changes, basis)
    assert 0.35 < sum(one.matched_p for one in found) / 60 < 0.65


def test_more_in_the_matrix_that_moves_is_told_from_lying_along_the_path():
    """All of a change in the matrix that moves: beyond random subspaces, not beyond the matched."""
    generator = torch.Generator().manual_seed(0)
    path = [{"a": torch.randn(50, generator=generator), "b": torch.zeros(5000)} for _ in range(9)]
    basis = trajectory_basis(path, 4)
    changes = [
        {"a": torch.randn(50, generator=generator), "b": torch.zeros(5000)} for _ in range(20)
    ]
    found = share_inside(changes, basis)
    assert max(one.p_value for one in found) < 1e-3
    assert 0.25 < sum(one.matched_p for one in found) / 20 < 0.75


# -- efficiency -----------------------------------------------------------------------------------


def test_the_grokked_model_gets_more_out_of_the_same_weights():
    """Each on pairs that it was trained on, as it is; then both at either's size."""
    network = new_network(ModularConfig(), modular_addition(113)).double()
    known = some(GROKKED, 1024)
    train = training_pairs(cards.get_card(MEMORISER).recipe)
    assert bool(train[known.tokens[:, 0], known.tokens[:, 1]].all()), "both know these pairs"
    assert known.answer is not None

    @torch.no_grad()
    def logits_of(weights):
        return functional_call(network, dict(weights), (known.tokens[:, :2],))

    grokked = efficiency(logits_of, weights_of(GROKKED), known.answer)
    memoriser = efficiency(logits_of, weights_of(MEMORISER), known.answer)
    assert grokked.norm < memoriser.norm
    assert grokked.per_norm > 1.5 * memoriser.per_norm
    assert grokked.interval[0] > memoriser.interval[1]
    for norm in (grokked.norm, memoriser.norm):
        found = compare_efficiency(
            logits_of,
            weights_of(GROKKED),
            weights_of(MEMORISER),
            known.answer,
            norm=norm,
            groups=known.groups,
        )
        assert found.interval[0] > 0 and found.p_value < 0.01
    null = compare_efficiency(
        logits_of,
        weights_of(MEMORISER),
        {n: 1.7 * w for n, w in weights_of(MEMORISER).items()},
        known.answer,
        norm=20.0,
    )
    assert abs(null.difference) < 1e-6


# -- directions -----------------------------------------------------------------------------------


@cache
def directions(name: str, site: str) -> SiteInteractions:
    return read_interactions(load_model(f"zoo:{name}"), some(name, 768), site=site)


def test_the_grokked_model_has_four_directions_a_frequency_before_its_mlp():
    """cos and sin of w·a and of w·b; the memoriser has many more."""
    assert directions(GROKKED, "L0.resid_mid@-1").basis.effective() in range(10, 14)
    assert directions(MEMORISER, "L0.resid_mid@-1").basis.effective() > 40


def test_after_the_mlp_it_has_two_a_frequency():
    assert directions(GROKKED, "L0.mlp_post@-1").basis.effective() == 6


@pytest.mark.parametrize("site", ["L0.resid_mid@-1", "L0.mlp_post@-1"])
def test_few_directions_are_enough_and_principal_ones_no_better(site):
    found = directions(GROKKED, site)
    n = found.basis.effective()
    kept = accuracy_with(found, some(GROKKED, 256, held_out=True), [n], n_random=3)
    assert kept["interaction"][0] > 0.98
    assert kept["interaction"][0] >= kept["principal"][0] - 0.01
    assert kept["random"][0] < 0.3


@pytest.mark.parametrize("site", ["L0.resid_mid@-1", "L0.mlp_post@-1"])
def test_the_first_directions_are_load_bearing_and_the_last_are_not(site):
    rows = weigh_directions(directions(GROKKED, site), some(GROKKED, 256, held_out=True), 3)
    first, _, last = rows
    assert first.verdict == "load-bearing" and first.has_signature
    assert last.verdict == "not load-bearing" and not last.has_signature
    assert last.effect < 1e-4


def test_at_the_neurons_variance_is_no_load():
    """The first principal directions hold most of the variance, and the logits do not read them."""
    found = directions(GROKKED, "L0.mlp_post@-1")
    assert float(found.basis.variances[:3].sum() / found.basis.variances.sum()) > 0.25
    rows = {row.subject: row for row in weigh_directions(found, some(GROKKED, 256), 3)}
    assert rows["principal first 3 at L0.mlp_post"].verdict == "not load-bearing"
    assert not rows["principal first 3 at L0.mlp_post"].has_signature


# -- less data ------------------------------------------------------------------------------------


class Chosen(Table):
    chosen: torch.Tensor

    def split(self, train_fraction: float, *, seed: int) -> torch.Tensor:
        return self.chosen


def accuracy_on(training: Training, which: torch.Tensor) -> float:
    with torch.no_grad():
        said = training.network(which.nonzero()).argmax(1)
    return float((said == training.table.answers[which]).double().mean())


def test_a_grokked_model_forgets_on_few_pairs_and_not_on_many():
    """Ungrokking (Varma et al. 2023) at p = 31, some 6 CPU-seconds."""
    how = ModularConfig(p=31, train_fraction=0.7, steps=250, look_every=250, seed=1)
    table = modular_addition(31)
    first = Training(new_network(how, table), table, how)
    first.run()
    never = ~(first.train | first.train.T)
    assert accuracy_on(first, never) > 0.95
    weights = {n: w.detach().clone() for n, w in first.network.named_parameters()}
    order = torch.randperm(int(first.train.sum()), generator=torch.Generator().manual_seed(0))
    after = {}
    for size in (60, 600):
        chosen = torch.zeros_like(first.train)
        chosen[tuple(first.train.nonzero()[order[:size]].T)] = True
        less = Chosen(table.answers, table.name)
        object.__setattr__(less, "chosen", chosen)
        on = Training(
            new_network(how, table), less, dataclasses.replace(how, steps=120, look_every=120)
        )
        put(on.network, weights)
        on.run()
        assert on.history[-1].train_accuracy > 0.95
        after[size] = accuracy_on(on, never)
    assert after[60] < 0.4
    assert after[600] > 0.9
