"""Capture at few positions: the last block cut, nothing else held, and the same numbers."""

from __future__ import annotations

import pytest
import torch

from interp.hooks import Site, capture, session
from interp.hooks.cutting import layer_to_cut
from interp.hooks.packing import in_packs
from interp.models import Examples, Model, load_model

LENGTHS = [7, 2, 9, 4, 9, 1, 5]
CLOSE = {"atol": 1e-5, "rtol": 1e-5}


def mixed(random_ids, padded, side="right"):
    return Examples(*padded(random_ids(7, 9), LENGTHS, side, width=11))


def everywhere(model):
    return [Site(layer, "resid_post") for layer in range(model.n_layers)]


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("positions", ["last", [0, -1]], ids=str)
def test_equals_the_whole_pass(model, random_ids, padded, side, positions):
    examples, sites = mixed(random_ids, padded, side), everywhere(model)
    assert layer_to_cut(model, sites) == model.n_layers - 1, "every tiny architecture can be cut"
    whole = capture(model, examples, sites)  # all positions: nothing is cut
    for tokens in (1, 20, 1000):
        found = capture(model, examples, sites, positions=positions, tokens_per_forward=tokens)
        for row, length in enumerate(LENGTHS):
            at = torch.tensor([0, length - 1]) if positions != "last" else length - 1
            for site in sites:
                torch.testing.assert_close(found[site][row], whole[site][row, at], **CLOSE)


def test_equals_run_with_cache_row_by_row(model, random_ids, padded):
    examples, sites = mixed(random_ids, padded), everywhere(model)
    found = capture(model, examples, sites, positions="last")
    for row, length in enumerate(LENGTHS):
        _, cache = model.bridge.run_with_cache(examples.tokens[row : row + 1, :length])
        for layer, site in enumerate(sites):
            wanted = cache[f"blocks.{layer}.hook_resid_post"][0, -1]
            torch.testing.assert_close(found[site][row], wanted, **CLOSE)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_block_in_the_middle_is_cut_too_and_none_behind_it_runs(gpt2, random_ids, layer):
    sites = [Site(layer, "resid_post")]
    if layer:
        sites += [Site(0, "z"), Site(0, "resid_pre")]
    ids = random_ids(5, 9)
    layer_to_cut(gpt2, sites)  # tried before counting
    seen: dict[str, list[tuple[int, ...]]] = {"mlp": [], "behind": []}
    handles = [
        gpt2.bridge.blocks[layer].mlp.register_forward_hook(
            lambda module, args, output: seen["mlp"].append(tuple(output.shape[:2]))
        ),
        gpt2.bridge.blocks[layer + 1].register_forward_pre_hook(
            lambda module, args: seen["behind"].append(())
        ),
    ]
    try:
        found = capture(gpt2, Examples(ids), sites, positions=3)
    finally:
        for handle in handles:
            handle.remove()
    assert seen == {"mlp": [(5, 1)], "behind": []}
    whole = capture(gpt2, Examples(ids), sites)
    for site in sites:
        torch.testing.assert_close(found[site], whole[site][:, 3], **CLOSE)


@pytest.mark.parametrize(
    "sites",
    [
        ["L2.resid_post", "L2.z"],
        ["L1.resid_post", "L2.resid_pre"],
        ["L2.resid_post", "L1.mlp_post"],
        ["L2.resid_post", "L0.resid_mid"],
        ["L2.resid_post", "logits"],
        ["embed"],
    ],
    ids=str,
)
def test_what_cannot_be_cut_runs_whole(gpt2, random_ids, sites):
    examples = Examples(random_ids(5, 9))
    assert layer_to_cut(gpt2, [Site.parse(s) for s in sites]) is None
    found, whole = capture(gpt2, examples, sites, positions="last"), capture(gpt2, examples, sites)
    for site, values in found.items():
        torch.testing.assert_close(values, whole[site][:, -1], **CLOSE)


def test_an_architecture_that_does_not_fit_runs_whole(make_hf, random_ids, monkeypatch):
    model = load_model("tiny-gpt2", hf_model=make_hf("gpt2"))
    # Its last block needs its whole input behind the attention as well.
    last = model.bridge.blocks[2]
    run = last.forward

    def mixing(hidden, *args, **kwargs):
        return run(hidden + hidden.mean(1, keepdim=True), *args, **kwargs)

    monkeypatch.setitem(last.__dict__, "forward", mixing)
    sites, examples = everywhere(model), Examples(random_ids(5, 9))
    assert layer_to_cut(model, sites) is None
    assert layer_to_cut(model, sites[:2]) == 1
    found, whole = (
        capture(model, examples, sites, positions="last"),
        capture(model, examples, sites),
    )
    for site in sites:
        torch.testing.assert_close(found[site], whole[site][:, -1], **CLOSE)


def test_someone_elses_intervention_still_counts(gpt2, random_ids):
    from interp.hooks import zero

    examples, site = Examples(random_ids(5, 9)), Site(2, "resid_post")
    clean = capture(gpt2, examples, site, positions="last")[site]
    with session(gpt2, intervene=zero("L2H1")) as s:
        found = capture(gpt2, examples, site, positions="last")[site]
        s.run(examples)
    assert float((found - clean).abs().max()) > 1e-3
    with session(gpt2, intervene=zero("L2H1"), capture=site) as s:
        s.run(examples)
        torch.testing.assert_close(found, s[site][:, -1], **CLOSE)


def test_the_model_is_left_as_it_was(model, random_ids):
    ids = random_ids(5, 9)
    before = model.logits(ids)
    modules = {name: set(m.__dict__) for name, m in model.bridge.named_modules()}
    capture(model, Examples(ids), everywhere(model), positions="last")
    assert {name: set(m.__dict__) for name, m in model.bridge.named_modules()} == modules
    assert not any(p.fwd_hooks or p._forward_hooks for p in model.bridge.hook_dict.values())
    assert torch.equal(model.logits(ids), before)


# -- packing ------------------------------------------------------------------------------------


def test_packs_fit_the_budget_and_miss_nothing():
    lengths = [1, 2, 2, 5, 5, 5, 40]
    taken: list[tuple[int, int]] = []
    in_packs(lengths, 10, lambda rows: taken.append((rows.start, rows.stop)))
    assert taken == [(0, 3), (3, 5), (5, 6), (6, 7)]
    assert all((b - a) * lengths[b - 1] <= 10 for a, b in taken[:-1])


def test_out_of_memory_reduces_the_budget():
    taken = []

    def work(rows):
        if (rows.stop - rows.start) * 4 > 12:
            raise torch.OutOfMemoryError("out of memory")
        taken.append((rows.start, rows.stop))

    in_packs([4] * 20, 32, work)
    assert [row for a, b in taken for row in range(a, b)] == list(range(20))
    assert taken[-1] == (18, 20), "later packs begin at what fitted"


def test_mixed_lengths_run_in_fewer_tokens_than_in_the_order_given(
    gpt2, random_ids, padded, monkeypatch
):
    lengths = [2, 20, 3, 18, 1, 22, 4, 2] * 4
    examples = Examples(*padded(random_ids(32, 22), lengths, "right", width=22))
    ran = []
    forward = Model.forward

    def counting(self, tokens, mask=None):
        ran.append(tokens.numel())
        return forward(self, tokens, mask)

    site = Site(1, "resid_post")
    layer_to_cut(gpt2, [site])
    monkeypatch.setattr(Model, "forward", counting)
    found = capture(gpt2, examples, site, positions="last", tokens_per_forward=88)
    packed, ran[:] = list(ran), []
    for first in range(0, 32, 4):
        some = examples.select(range(first, first + 4))
        part = capture(gpt2, some, site, positions="last", batch_size=4)
        torch.testing.assert_close(found[site][first : first + 4], part[site], **CLOSE)
    assert max(packed) <= 88 and sum(packed) < 0.6 * sum(ran)
