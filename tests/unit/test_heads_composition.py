"""Composition scores against the full matrices, and the null against its exact moment."""

from __future__ import annotations

import functools

import pytest
import torch

from interp.heads import HeadsError, composition_scores
from interp.heads.composition import _rotation
from interp.heads.weights import reading_weights
from interp.models import Model, load_model


@functools.cache
def tiny(n_layers: int = 3) -> Model:
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=20,
        hidden_size=24,
        intermediate_size=32,
        num_hidden_layers=n_layers,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=8,
        bos_token_id=0,
        eos_token_id=0,
    )
    generator = torch.Generator().manual_seed(0)
    model = LlamaForCausalLM(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return load_model("tiny", hf_model=model)


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_pair_equals_the_formula_over_full_matrices() -> None:
    model = tiny()
    found = composition_scores(model, n_rotations=2, generator=seeded())
    weights = [reading_weights(model, layer) for layer in range(3)]
    for kind, scores in found.items():
        assert len(scores) == 3 * 16 and scores.undefined == ()
        for source, target in zip(scores.sources, scores.targets, strict=True):
            assert source[0] < target[0]
            a, b = weights[source[0]], weights[target[0]]
            i, j = source[1], target[1]
            w_ov = a.W_V[i] @ a.W_O[i]
            m = {
                "Q": b.W_Q[j] @ b.W_K[j].T,
                "K": b.W_K[j] @ b.W_Q[j].T,
                "V": b.W_V[j] @ b.W_O[j],
            }[kind]
            expected = (w_ov @ m).norm() / (w_ov.norm() * m.norm())
            assert scores.at(source, target).value == pytest.approx(float(expected), abs=1e-5)


def test_the_null_has_the_mean_square_that_rotations_must_have() -> None:
    """Over uniform rotations, E‖A R B‖² = ‖A‖² ‖B‖² / d, whatever A and B are."""
    model = tiny()
    for scores in composition_scores(model, n_rotations=200, generator=seeded()).values():
        square = scores.null_mean**2 + scores.null_sd**2
        torch.testing.assert_close(
            square * model.d_model, torch.ones_like(square), atol=0.1, rtol=0
        )


def test_rotations_are_orthogonal_and_uniform() -> None:
    generator = seeded()
    drawn = torch.stack([_rotation(6, generator) for _ in range(1500)])
    torch.testing.assert_close(drawn @ drawn.mT, torch.eye(6).double().expand_as(drawn))
    # Without the sign fix the diagonal would lean to one side.
    assert float(drawn.mean(0).abs().max()) < 0.05
    torch.testing.assert_close(
        drawn.square().mean(0), torch.full((6, 6), 1 / 6).double(), atol=0.03, rtol=0
    )


def test_random_weights_lie_within_their_null() -> None:
    for scores in composition_scores(tiny(), n_rotations=60, generator=seeded()).values():
        assert abs(float(scores.z.mean())) < 0.75
        assert float(scores.z.abs().max()) < 6


def test_the_generator_alone_decides() -> None:
    state = torch.random.get_rng_state()
    first, again, other = (
        composition_scores(tiny(), ("K",), n_rotations=3, generator=seeded(s))["K"]
        for s in (1, 1, 2)
    )
    assert torch.equal(first.z, again.z) and not torch.equal(first.z, other.z)
    assert torch.equal(first.values, other.values)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_how_it_shows_itself() -> None:
    scores = composition_scores(tiny(), ("V",), n_rotations=4, generator=seeded())["V"]
    best = scores.top(3)
    assert [pair.z for pair in best] == sorted((p.z for p in best), reverse=True)
    assert scores.at(best[0].source, best[0].target) == best[0]
    table = scores.table()
    assert len(table) == len(scores) == 48 and set(table["kind"]) == {"V"}
    assert table.loc[0, "source"] == "L0H0" and not table.isna().any().any()
    assert "V-composition" in scores._repr_html_() and "48 pairs" in repr(scores)


def test_errors_say_what_to_do() -> None:
    with pytest.raises(HeadsError, match="unknown composition 'k'; expected K"):
        composition_scores(tiny(), ("k",), generator=seeded())  # type: ignore[arg-type]
    with pytest.raises(HeadsError, match="at least 2"):
        composition_scores(tiny(), n_rotations=1, generator=seeded())
    with pytest.raises(HeadsError, match="has one layer"):
        composition_scores(tiny(1), generator=seeded())
    scores = composition_scores(tiny(), ("Q",), n_rotations=2, generator=seeded())["Q"]
    with pytest.raises(HeadsError, match="no pair L1H0 and L0H0"):
        scores.at((1, 0), (0, 0))
