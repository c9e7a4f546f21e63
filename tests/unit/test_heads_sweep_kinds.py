"""Kept patterns, knock-out and steering, each against hooks written by hand."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import loss
from interp.heads import AblationError, knock_out, random_pairs, steer, sweep
from interp.hooks import Site, SiteError, capture
from interp.models import Examples

SETS = [[], [(0, 1)], [(2, 3), (1, 0)], [(0, 0), (0, 2), (2, 1)], [(2, 2)], [(0, 0), (0, 1)]]
EDITABLE = ("gpt2", "llama", "gemma2")  # where transformer-lens honours an edited pattern


def draw(rows, width, seed):
    return torch.randint(0, 29, (rows, width), generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def examples():
    return Examples(draw(5, 9, seed=3))


def hooked(model, examples, hooks):
    """The loss under raw hooks: (site, function) pairs."""
    points = []
    for site, function in hooks:
        point = Site.parse(site).point(model)
        point.add_hook(lambda tensor, hook, function=function: function(tensor))
        points.append(point)
    try:
        return loss.per_example(model.logits(examples.tokens, examples.mask), examples)
    finally:
        for point in points:
            point.remove_hooks()


def put(heads, layer, value):
    def edit(z):
        z = z.clone()
        for at, head in heads:
            if at == layer:
                z[:, :, head] = value(z, head)
        return z

    return edit


def by_pattern(model, examples, heads):
    """Patterns frozen by editing them, where that can be done."""
    sites = [Site(layer, "pattern") for layer in range(model.n_layers)]
    clean = capture(model, examples, sites)
    hooks = [(site, lambda _, site=site: clean[site].clone()) for site in sites]
    hooks += [
        (Site(layer, "z"), put(heads, layer, lambda z, head: 0.0))
        for layer in range(model.n_layers)
    ]
    return hooked(model, examples, hooks)


def by_values(model, examples, heads):
    """Patterns frozen by working z out again from the live values."""
    clean = capture(model, examples, [Site(layer, "pattern") for layer in range(model.n_layers)])
    values, hooks = {}, []
    for layer in range(model.n_layers):

        def keep(v, layer=layer):
            values[layer] = v

        def mix(z, layer=layer):
            v = values[layer].repeat_interleave(z.shape[2] // values[layer].shape[2], dim=2)
            z = (clean[Site(layer, "pattern")] @ v.transpose(1, 2)).transpose(1, 2)
            return put(heads, layer, lambda z, head: 0.0)(z)

        hooks += [(Site(layer, "v"), keep), (Site(layer, "z"), mix)]
    return hooked(model, examples, hooks)


def test_pattern_preserving_equals_frozen_patterns(model, examples, request):
    name = request.node.callspec.params["model"]
    found = sweep(model, examples, loss, SETS, kind="pattern-preserving", tokens_per_forward=40)
    for heads, row in zip(SETS, found.ablated, strict=True):
        wanted = (by_pattern if name in EDITABLE else by_values)(model, examples, heads)
        torch.testing.assert_close(row, wanted, rtol=0, atol=1e-5)
    assert torch.equal(found.ablated[0], found.clean)
    live = sweep(model, examples, loss, SETS, kind="zero")
    assert not torch.allclose(found.ablated[1], live.ablated[1], atol=1e-4), "patterns must matter"


def test_after_the_last_layer_there_is_no_pattern_to_keep(model, examples):
    last = [[(model.n_layers - 1, 1)]]
    kept = sweep(model, examples, loss, last, kind="pattern-preserving")
    live = sweep(model, examples, loss, last, kind="zero")
    torch.testing.assert_close(kept.ablated, live.ablated, rtol=0, atol=1e-5)


def some_pairs(n=5, width=9):
    pairs = torch.zeros((n, width, width), dtype=torch.bool)
    pairs[:, 6, 2] = pairs[:, 6, 4] = pairs[:, 8, 7] = pairs[1:, 5, 1] = True
    return pairs


def by_softmax(model, examples, heads, pairs):
    """Keys forbidden by setting their scores to −∞."""
    patterns, values, hooks = {}, {}, []
    for layer in sorted({layer for layer, _ in heads}):

        def keep_v(v, layer=layer):
            values[layer] = v

        def keep_p(pattern, layer=layer):
            patterns[layer] = pattern

        def mix(z, layer=layer):
            v = values[layer].repeat_interleave(z.shape[2] // values[layer].shape[2], dim=2)
            scores = patterns[layer].log().masked_fill(pairs[:, None], -torch.inf)
            new = (scores.softmax(-1) @ v.transpose(1, 2)).transpose(1, 2)
            return put(heads, layer, lambda z, head: new[:, :, head])(z)

        hooks += [
            (Site(layer, "v"), keep_v),
            (Site(layer, "pattern"), keep_p),
            (Site(layer, "z"), mix),
        ]
    return hooked(model, examples, hooks)


def test_knock_out_equals_a_softmax_without_the_keys(hf_name, load_tiny, examples):
    model, pairs = load_tiny(hf_name), some_pairs()
    found = knock_out(model, examples, loss, SETS, pairs, tokens_per_forward=40)
    for heads, row in zip(SETS, found.ablated, strict=True):
        wanted = by_softmax(model, examples, heads, pairs)
        torch.testing.assert_close(row, wanted, rtol=0, atol=1e-5)
    assert torch.equal(found.ablated[0], found.clean)
    assert float(found.effects[1:].abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["native", "native-gqa", "native-attn-only"])
def test_knock_out_where_patterns_show_late(name, load_tiny, examples):
    model, pairs, layer = load_tiny(name), some_pairs(), 1
    heads = [(layer, 0), (layer, 3)]
    clean = capture(model, examples, [Site(layer, "pattern"), Site(layer, "v")])
    pattern, v = clean[Site(layer, "pattern")], clean[Site(layer, "v")]
    v = v.repeat_interleave(model.n_heads // v.shape[2], dim=2)
    left = pattern.masked_fill(pairs[:, None], 0)
    new = ((left / left.sum(-1, keepdim=True)) @ v.transpose(1, 2)).transpose(1, 2)
    wanted = hooked(
        model, examples, [(Site(layer, "z"), put(heads, layer, lambda z, h: new[:, :, h]))]
    )
    found = knock_out(model, examples, loss, [heads], pairs)
    torch.testing.assert_close(found.ablated[0], wanted, rtol=0, atol=1e-5)
    with pytest.raises(AblationError, match="in heads of one layer at a time"):
        knock_out(model, examples, loss, [[(0, 0), (1, 0)]], pairs)


def test_knock_out_of_nothing_is_clean(model, examples):
    none = torch.zeros((5, 9, 9), dtype=torch.bool)
    found = knock_out(model, examples, loss, [[(0, 1)], [(1, 0), (1, 2)]], none)
    torch.testing.assert_close(found.ablated[1], found.clean, rtol=0, atol=1e-5)


def test_knock_out_with_padding(model, padded):
    tokens, mask = padded(draw(3, 9, seed=6), [9, 7, 8], "left")
    examples = Examples(tokens, mask)
    pairs = torch.zeros((3, tokens.shape[1], tokens.shape[1]), dtype=torch.bool)
    pairs[:, 9, 6] = True
    found = knock_out(model, examples, loss, [[(1, 1), (1, 2)]], pairs)
    # Each row alone, without its padding, gives the same.
    for i, length in enumerate([9, 7, 8]):
        off = tokens.shape[1] - length
        alone = knock_out(
            model, Examples(tokens[i : i + 1, off:]), loss, [[(1, 1), (1, 2)]],
            pairs[i : i + 1, off:, off:],
        )  # fmt: skip
        torch.testing.assert_close(found.ablated[:, i], alone.ablated[:, 0], rtol=0, atol=1e-5)


def test_random_pairs_are_as_many_others(padded):
    tokens, mask = padded(draw(3, 9, seed=6), [9, 7, 8], "right")
    examples = Examples(tokens, mask)
    pairs = torch.zeros((3, tokens.shape[1], tokens.shape[1]), dtype=torch.bool)
    pairs[:, 6, 2] = pairs[:, 6, 4] = pairs[:, 5, 0] = True
    control = random_pairs(pairs, examples, seed=1)
    assert torch.equal(control.sum(-1), pairs.sum(-1))
    assert not bool((control & pairs).any())
    assert not bool((control & ~torch.ones_like(pairs).tril()).any())
    assert not bool((control & ~mask[:, None, :]).any())
    assert torch.equal(control, random_pairs(pairs, examples, seed=1))
    draws = torch.stack([random_pairs(pairs, examples, seed=s) for s in range(400)]).float()
    free = draws.mean(0)[0, 6, [0, 1, 3, 5, 6]]
    torch.testing.assert_close(free, torch.full((5,), 2 / 5), atol=0.08, rtol=0)
    pairs[:, 1, :2] = True
    with pytest.raises(AblationError, match="query 1 of example 0 sees only 0 other keys"):
        random_pairs(pairs, examples, seed=1)


def test_steering_adds_a_vector(model, examples):
    generator = torch.Generator().manual_seed(2)
    vectors = {
        layer: torch.randn((model.n_heads, model.d_head), generator=generator)
        for layer in range(model.n_layers)
    }
    found = steer(model, examples, loss, SETS, vectors, scale=2.0, tokens_per_forward=40)
    for heads, row in zip(SETS, found.ablated, strict=True):
        hooks = [
            (
                Site(layer, "z"),
                put(heads, layer, lambda z, h, layer=layer: z[:, :, h] + 2 * vectors[layer][h]),
            )
            for layer in range(model.n_layers)
        ]
        torch.testing.assert_close(row, hooked(model, examples, hooks), rtol=1e-6, atol=1e-5)


def test_refusals_say_what_to_do(gpt2, examples):
    with pytest.raises(AblationError, match=r"pairs must be booleans of shape \[5, 9, 9\]"):
        knock_out(gpt2, examples, loss, SETS, torch.zeros((5, 9), dtype=torch.bool))
    pairs = torch.zeros((5, 9, 9), dtype=torch.bool)
    pairs[2, 1, :2] = True
    with pytest.raises(AblationError, match="every key of query 1 in example 2 is forbidden"):
        knock_out(gpt2, examples, loss, SETS, pairs)
    with pytest.raises(AblationError, match=r"layer 1 needs vectors of shape \[4, 5\]"):
        steer(gpt2, examples, loss, [[(1, 0)]], {0: torch.zeros(4, 5)})
    with pytest.raises(SiteError, match="no layer 5"):
        steer(gpt2, examples, loss, [[(5, 0)]], {5: torch.zeros(4, 5)})
    one = gpt2.bridge.blocks[0].attn.hook_z
    one.add_hook(lambda z, hook: None)
    try:
        with pytest.raises(AblationError, match="cannot be begun in the middle: there are hooks"):
            steer(gpt2, examples, loss, [[(0, 0)]], {0: torch.zeros(4, 5)})
    finally:
        one.remove_hooks()
