"""Composition of circuits that were put there, against random rotations."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch

from interp.heads import composition_scores
from interp.models import Model, ModelSpec, load_model
from interp.models.native import native_parameters
from interp.zoo.induction_exact import ExactConfig

D_MODEL, D_HEAD, N_HEADS = 64, 8, 6
SOURCE, TARGET = (0, 2), (1, 4)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def planted(kind: Literal["Q", "K", "V"] | None, strength: float, seed: int = 0) -> Model:
    """Two layers of random weights in which one head reads, a little, what another writes."""
    fields = {
        "n_layers": 2,
        "d_model": D_MODEL,
        "d_head": D_HEAD,
        "n_heads": N_HEADS,
        "n_ctx": 16,
        "d_vocab": 12,
        "attn_only": True,
        "normalization_type": None,
    }
    model = load_model(ModelSpec("planted", native=fields))
    weights = dict(native_parameters(model.bridge))
    generator = seeded(seed)
    with torch.no_grad():
        for weight in weights.values():
            if weight.ndim > 1:
                weight.copy_(torch.randn(weight.shape, generator=generator) / math.sqrt(D_MODEL))
        if kind is not None:
            rows = slice(TARGET[1] * D_HEAD, (TARGET[1] + 1) * D_HEAD)
            columns = slice(SOURCE[1] * D_HEAD, (SOURCE[1] + 1) * D_HEAD)
            # nn.Linear keeps [out, in]: both are [d_head, d_model] seen from the stream.
            reader = weights[f"layers.{TARGET[0]}.attn.{kind.lower()}.weight"]
            written = weights[f"layers.{SOURCE[0]}.attn.o.weight"][:, columns].T
            reader[rows] += strength * written
    return model


@pytest.mark.parametrize("kind", ["Q", "K", "V"])
def test_a_planted_circuit_stands_out_from_random_weights(kind: Literal["Q", "K", "V"]) -> None:
    found = composition_scores(planted(kind, 1.0), n_rotations=60, generator=seeded())
    best, second = found[kind].top(2)
    assert (best.source, best.target) == (SOURCE, TARGET)
    assert best.z > 10 and second.z < 5
    for other in set(found) - {kind}:  # the other two inputs of the head read nothing of it
        assert float(found[other].z.abs().max()) < 5


def test_without_a_circuit_nothing_stands_out() -> None:
    z = torch.cat(
        [
            scores.z
            for seed in range(3)
            for scores in composition_scores(
                planted(None, 0.0, seed), n_rotations=60, generator=seeded(seed)
            ).values()
        ]
    )
    assert len(z) == 3 * 3 * N_HEADS**2
    assert abs(float(z.mean())) < 0.3 and 0.7 < float(z.std()) < 1.4
    assert float(z.abs().max()) < 5


def test_z_grows_with_the_circuit() -> None:
    zs = [
        composition_scores(planted("K", s), ("K",), n_rotations=60, generator=seeded())["K"]
        .at(SOURCE, TARGET)
        .z
        for s in (0.0, 0.3, 0.6, 1.2)
    ]
    assert zs == sorted(zs) and zs[0] < 4 < zs[-1]


def test_the_bundled_induction_circuit_is_one_k_composition() -> None:
    config = ExactConfig()
    model = load_model("zoo:induction-exact")
    found = composition_scores(model, generator=seeded())
    previous, induction = (0, config.previous_head), (1, config.induction_head)
    best, second = found["K"].top(2)
    assert (best.source, best.target) == (previous, induction)
    # ‖W_OV‖ = √27 (27 tokens), ‖W_QK‖ = √(27 + 1/4) (and BOS at half strength), product √27.
    assert best.value == pytest.approx(1 / math.sqrt(config.n_content + 0.25), abs=1e-5)
    assert best.z > 10 and second.z < 0
    for kind in "QV":
        assert all(pair.value == pytest.approx(0.0, abs=1e-6) for pair in found[kind].top(400))
    # Heads that look everywhere alike have no queries and keys to compose with, and are named.
    assert len(found["K"].undefined) == 20 * 19 and ((0, 0), (1, 0)) in found["K"].undefined
