"""Bias in concept space is found in made-up activations that hold it, and in no others.

For trained models see ``test_bias_worlds.py``.
"""

from __future__ import annotations

import pytest
import torch

from probes.concept_bias import BiasRows, ConceptRows, bias_of_rows

SITE = "L1.resid_post"


def mixed(seed: int, *, lean: float) -> BiasRows:
    """Activations in which each target leans on the axis by a known amount, times ``lean``.

    Each has a direction of its own besides, about as long, and by chance somewhat along it.
    """
    g = torch.Generator().manual_seed(seed)
    d, n = 32, 120
    axis = torch.randn(d, generator=g)
    axis = 2 * axis / axis.norm()

    def concept(name: str, mean: torch.Tensor) -> ConceptRows:
        noise = torch.randn(n, d, generator=g)
        return ConceptRows(name, mean + noise, tuple(f"frame {i}" for i in range(n)))

    targets = [
        concept(f"t{i}", lean * b * axis + 0.35 * torch.randn(d, generator=g))
        for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())
    ]
    ends = [concept(name, s * axis + 0.5) for name, s in (("r1", 1), ("r2", -1))]
    return BiasRows.build(targets, *ends, concept("neutral", torch.zeros(d)), seed=seed)


class TopLatents:
    """A random overcomplete dictionary of which the eight largest answers are kept."""

    def __init__(self, d: int, seed: int) -> None:
        g = torch.Generator().manual_seed(seed)
        self.rows = torch.randn(d, 4 * d, generator=g) / d**0.5

    def encode(self, x: torch.Tensor) -> torch.Tensor:
        z = torch.relu(x @ self.rows)
        kept = z.topk(8, dim=-1)
        return torch.zeros_like(z).scatter(-1, kept.indices, kept.values)


@pytest.mark.parametrize("seed", [0, 1])
def test_planted_leanings_are_found_by_every_method_the_sae_form_among_them(seed):
    planted = {f"t{i}": b for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())}
    found = bias_of_rows(
        {SITE: mixed(seed, lean=1.0)},
        saes={SITE: {"sae": TopLatents(32, seed)}},
        yardsticks={"planted": planted},
        n_shuffles=99,
        n_resamples=0,
        seed=seed,
    )
    assert {a.method for a in found.agreements} >= {"cav", "sae"}
    for one in found.agreements:
        assert one.rho >= 0.80 and one.slope_z is not None and one.slope_z > 4, one


def test_where_nothing_leans_rank_agreement_is_chance_though_the_references_are_apart():
    """The axis is real and targets differ, but not along it in any order."""
    planted = {f"t{i}": b for i, b in enumerate(torch.linspace(-1, 1, 12).tolist())}
    ps = []
    for seed in range(12):
        found = bias_of_rows(
            {SITE: mixed(seed, lean=0.0)},
            yardsticks={"planted": planted},
            n_shuffles=19,
            n_resamples=0,
            seed=seed,
        )
        assert found.amplitudes[0].references_apart
        ps.append(found.agreements[0].p)
    assert sum(p <= 0.05 for p in ps) <= 3
