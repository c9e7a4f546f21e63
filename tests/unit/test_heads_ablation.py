"""Removing heads: exact against a hand-made hook, on every architecture."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import loss
from interp.heads import AblationError, ablate, output_norms
from interp.hooks import Site, SiteError, capture, derangement, reference_mean
from interp.models import Examples


@pytest.fixture
def examples(model):
    tokens = torch.randint(0, model.d_vocab, (6, 9), generator=torch.Generator().manual_seed(3))
    scored = torch.ones_like(tokens, dtype=torch.bool)
    scored[:, -1] = False
    return Examples(tokens=tokens, scored=scored)


def by_hand(model, examples, heads, replacement):
    """The same thing with raw hooks on the bridge: ``replacement(layer, head)`` goes into z."""
    points = []
    for layer, head in heads:

        def put(z, hook, layer=layer, head=head):
            z = z.clone()
            z[:, :, head] = replacement(layer, head)
            return z

        point = Site(layer, "z").point(model)
        point.add_hook(put)
        points.append(point)
    try:
        return loss.per_example(model.logits(examples.tokens), examples)
    finally:
        for point in points:
            point.remove_hooks()


def test_values_keep_the_type_they_were_computed_in(model, examples):
    """So that ``weigh`` takes differences of float32 rounding for what they are."""
    found = ablate(model, examples, loss, [[(0, 1)]], kind="zero")
    assert found.clean.dtype == found.ablated.dtype == torch.float32


SETS = [[], [(0, 1)], [(2, 3), (1, 0)], [(0, 0), (0, 2), (2, 1)]]


@pytest.mark.parametrize("kind", ["zero", "mean", "mean-by-position", "resample"])
def test_equals_a_hand_made_hook(model, examples, kind):
    reference = Examples(
        torch.randint(0, model.d_vocab, (5, 9), generator=torch.Generator().manual_seed(4))
    )
    found = ablate(
        model, examples, loss, SETS, kind=kind, reference=reference, batch_size=4, seed=7
    )
    sites = [Site(layer, "z") for layer in range(model.n_layers)]
    means = reference_mean(model, reference, sites, by_position=kind == "mean-by-position")
    z = capture(model, examples, sites)
    order = derangement(len(examples), seed=7)

    def replacement(layer, head):
        if kind == "zero":
            return 0.0
        if kind == "resample":
            return z[Site(layer, "z")][order][:, :, head]
        return means[Site(layer, "z")][..., head, :]

    for row, heads in zip(found.ablated, SETS, strict=True):
        torch.testing.assert_close(
            row, by_hand(model, examples, heads, replacement), rtol=0, atol=1e-5
        )
    assert torch.equal(found.ablated[0], found.clean), "the empty set must be the clean run"
    assert torch.equal(found.effects[0], torch.zeros(len(examples)))
    assert float(found.effects[1:].abs().max()) > 1e-3, "removing heads must matter here"


def test_the_answer_does_not_depend_on_the_batch(model, examples):
    whole = ablate(model, examples, loss, SETS, kind="resample", batch_size=64, seed=1)
    split = ablate(model, examples, loss, SETS, kind="resample", batch_size=1, seed=1)
    torch.testing.assert_close(whole.ablated, split.ablated, rtol=0, atol=1e-5)


def test_a_repeated_set_is_one_measurement(load_tiny, examples_llama):
    found = ablate(
        load_tiny("llama"), examples_llama, loss, [[(0, 1)], [(0, 1), (0, 1)]], kind="zero"
    )
    assert torch.equal(found.ablated[0], found.ablated[1])


def test_output_norms_are_those_of_what_each_head_writes(model, examples):
    norms = output_norms(model, examples, batch_size=4)
    for layer in range(model.n_layers):
        z = capture(model, examples, [Site(layer, "z")])[Site(layer, "z")]
        written = torch.einsum("bphd,hdm->bphm", z, model.head_weights(layer).W_O)
        torch.testing.assert_close(norms[layer], written.norm(dim=-1).mean((0, 1)))


@pytest.fixture
def examples_llama(load_tiny):
    tokens = torch.randint(
        0, load_tiny("llama").d_vocab, (4, 7), generator=torch.Generator().manual_seed(5)
    )
    scored = torch.ones_like(tokens, dtype=torch.bool)
    scored[:, -1] = False
    return Examples(tokens=tokens, scored=scored)


def test_refusals_say_what_to_do(load_tiny, examples_llama):
    model = load_tiny("llama")
    with pytest.raises(AblationError, match="unknown ablation 'median'; expected one of mean"):
        ablate(model, examples_llama, loss, [[(0, 0)]], kind="median")  # type: ignore[arg-type]
    with pytest.raises(AblationError, match="needs reference="):
        ablate(model, examples_llama, loss, [[(0, 0)]], kind="mean")
    with pytest.raises(SiteError, match="no head 9"):
        ablate(model, examples_llama, loss, [[(0, 9)]], kind="zero")
    with pytest.raises(SiteError, match="no layer 7"):
        ablate(model, examples_llama, loss, [[(7, 0)]], kind="zero")
