"""Sessions: every hook fires or is named, only its own are removed, nothing is left behind."""

from __future__ import annotations

import pytest
import torch

from interp.hooks import HookError, Site, SiteError, add, resample, session, set_to, zero
from interp.models import Examples


def hooks_on(model):
    return {
        name: (list(point.fwd_hooks), list(point._forward_hooks.values()), dict(point.ctx))
        for name, point in model.bridge.hook_dict.items()
        if point.fwd_hooks or point._forward_hooks or point.ctx
    }


@pytest.fixture(autouse=True)
def _nothing_left(request):
    """Whatever a test does, the model is as it was."""
    used = [request.getfixturevalue(n) for n in ("model", "gpt2") if n in request.fixturenames]
    yield
    assert not any(hooks_on(model) for model in used)


def test_captures_are_what_run_with_cache_gives(model, random_ids):
    ids = random_ids(3, 7)
    names = ["resid_pre", "resid_post", "attn_out", "attn.hook_z", "attn.hook_pattern"]
    _, cache = model.bridge.run_with_cache(ids)
    sites = [f"L{layer}.{name.removeprefix('attn.hook_')}" for layer in range(3) for name in names]
    hooks = [
        f"blocks.{layer}.{name if '.' in name else f'hook_{name}'}"
        for layer in range(3)
        for name in names
    ]
    with session(model, capture=sites) as s:
        logits = s.run(ids)
    assert torch.equal(logits, model.logits(ids))
    for site, hook in zip(sites, hooks, strict=True):
        torch.testing.assert_close(s[site], cache[hook], atol=1e-6, rtol=0)


def test_a_head_or_a_position_of_what_was_captured(gpt2, random_ids):
    with session(gpt2, capture=["L1H2", "L1.pattern", "L0.mlp_post"]) as s:
        s.run(random_ids(3, 7))
    z, pattern, mlp = s["L1.z"], s["L1.pattern"], s["L0.mlp_post"]
    assert torch.equal(s["L1H2"], z[:, :, 2])
    assert torch.equal(s["L1H2@-1"], z[:, -1, 2])
    assert torch.equal(s["L1.z@3"], z[:, 3])
    assert torch.equal(s["L1H3.pattern"], pattern[:, 3])
    assert torch.equal(s["L1H3.pattern@2"], pattern[:, 3, 2])  # position 2 as the query
    assert torch.equal(s["L0.mlp_post@0"], mlp[:, 0])
    for wrong, message in (
        ("L1H4", "heads 0…3"),
        ("L1.z@7", "no position 7 in rows of 7"),
        ("L1.z@-8", "no position -8"),
        ("L9.z", "no layer 9"),
    ):
        with pytest.raises(SiteError, match=message):
            s[wrong]
    with pytest.raises(
        HookError, match=r"L2\.z was not captured; captured: L0\.mlp_post, L1\.pattern, L1\.z"
    ):
        s["L2.z"]


def test_reading_before_running(gpt2, random_ids):
    with session(gpt2, capture="L0.z") as s:
        with pytest.raises(HookError, match="nothing yet: run the model first"):
            s["L0.z"]
        s.run(random_ids(1, 3))


def test_captures_are_of_the_latest_run_and_detached(gpt2, random_ids):
    with session(gpt2, capture="L0.z") as s:
        s.run(random_ids(2, 5), grad=True)
        first = s["L0.z"]
        assert not first.requires_grad
        s.run(random_ids(3, 4, seed=6))
        assert s["L0.z"].shape[:2] == (3, 4)
        assert first.shape[:2] == (2, 5)


def test_gradients_on_request(gpt2, random_ids):
    with session(gpt2, capture="L1.resid_post", keep_graph=True) as s:
        logits = s.run(random_ids(1, 4), grad=True)
        (gradient,) = torch.autograd.grad(logits.sum(), s["L1.resid_post"])
    assert gradient.shape == (1, 4, 20)
    assert gradient.abs().max() > 0
    with session(gpt2, capture="L1.resid_post") as s:
        assert not s.run(random_ids(1, 4)).requires_grad


def test_examples_with_their_mask(gpt2, random_ids, padded):
    tokens, mask = padded(random_ids(2, 7), [3, 7], "left")
    with session(gpt2, capture="L0.z") as s:
        logits = s.run(Examples(tokens, mask))
    assert torch.equal(logits, gpt2.logits(tokens, mask))


# -- every hook must fire -----------------------------------------------------------------------


def test_a_session_without_a_run_names_what_never_ran(model):
    with (
        pytest.raises(HookError, match=r"never ran: zero L0H1 .*, capture L2\.resid_post; "),
        session(model, capture=["L2.resid_post"], intervene=[zero("L0H1")]),
    ):
        pass


def test_one_silent_hook_among_others_is_named(gpt2, random_ids):
    with (
        pytest.raises(HookError, match=r"never ran: zero L2H0 \(intervention 1\);"),
        session(gpt2, capture="L0.z", intervene=[zero("L0H1"), zero("L2H0")]) as s,
    ):
        s.run_until_captured(random_ids(1, 4))


def test_an_error_inside_is_not_covered_by_a_silent_hook(gpt2):
    with pytest.raises(KeyError, match="mine"), session(gpt2, capture="L0.z"):
        raise KeyError("mine")


def test_a_misspelt_site_changes_nothing(gpt2):
    with (
        pytest.raises(SiteError, match="did you mean resid_post"),
        session(gpt2, capture=["L0.z", "L0.resid_pots"]),
    ):
        pass
    assert not hooks_on(gpt2)
    with (
        pytest.raises(SiteError, match="no layer 7"),
        session(gpt2, capture=["L0.z"], intervene=[zero("L0H0"), zero("L7H0")]),
    ):
        pass
    assert not hooks_on(gpt2)


def test_what_was_captured_survives_the_session(gpt2, random_ids):
    with session(gpt2, capture="L0.z") as s:
        s.run(random_ids(1, 3))
    assert s["L0.z"].shape == (1, 3, 4, 5)


# -- nothing left behind ------------------------------------------------------------------------


def test_an_exception_in_a_forward_pass_leaves_the_model_as_it_was(model, random_ids):
    ids = random_ids(2, 7)
    before = model.logits(ids)
    weights = {name: p.clone() for name, p in model.bridge.original_model.named_parameters()}

    def fail(tensor):
        raise RuntimeError("in the middle")

    for layer in range(3):
        for kind in ("q", "z", "pattern", "resid_post"):
            with (
                pytest.raises(RuntimeError, match="in the middle"),
                session(
                    model,
                    capture="L0.z",
                    intervene=[zero("L0H1")],
                    watch={f"L{layer}.{kind}": fail},
                ) as s,
            ):
                s.run(ids)
            assert not hooks_on(model)
            assert torch.equal(model.logits(ids), before)
    for name, parameter in model.bridge.original_model.named_parameters():
        assert torch.equal(parameter, weights[name])


def test_stopping_early_leaves_the_model_as_it_was(model, random_ids, padded):
    ids = random_ids(2, 7)
    tokens, mask = padded(ids, [4, 7], "left")
    before, before_padded = model.logits(ids), model.logits(tokens, mask)
    for layer in range(3):
        for kind in ("q", "k", "v", "z", "pattern", "attn_out", "resid_pre", "resid_post"):
            with session(model, capture=f"L{layer}.{kind}") as s:
                s.run_until_captured(ids)
                early = s[f"L{layer}.{kind}"]
                s.run(ids)
                assert torch.equal(early, s[f"L{layer}.{kind}"])
            assert torch.equal(model.logits(ids), before)
            assert torch.equal(model.logits(tokens, mask), before_padded)


def test_only_its_own_hooks_are_removed(gpt2, random_ids):
    ids = random_ids(2, 5)
    point = gpt2.bridge.hook_dict["blocks.1.attn.hook_z"]
    calls = []

    def same(tensor, hook):
        calls.append(hook.name)

    point.add_hook(same)
    point.add_hook(same)  # the very same function twice
    mine = list(point.fwd_hooks)
    try:
        with session(gpt2, capture="L1.z", intervene=[zero("L1H0")]) as s:
            s.run(ids)
            assert len(point.fwd_hooks) == 4
        assert [id(handle) for handle in point.fwd_hooks] == [id(handle) for handle in mine]
        calls.clear()
        gpt2.logits(ids)
        assert len(calls) == 2
        with pytest.raises(ValueError), session(gpt2, intervene=[zero("L1H0")]) as s:
            s.run(ids)
            raise ValueError
        calls.clear()
        gpt2.logits(ids)
        assert len(calls) == 2
    finally:
        point.remove_hooks()


def test_a_reset_inside_a_session_does_no_harm(gpt2, random_ids):
    with session(gpt2, capture="L0.z") as s:
        s.run(random_ids(1, 3))
        gpt2.bridge.reset_hooks()
    assert not hooks_on(gpt2)


# -- nesting ------------------------------------------------------------------------------------


def test_nested_sessions_survive(model, random_ids):
    ids = random_ids(2, 7)
    clean = model.logits(ids)
    with session(model, capture="L2.resid_post", intervene=[zero("L0H1")]) as outer:
        one = outer.run(ids)
        kept = outer["L2.resid_post"]
        with session(model, capture="L1.z", intervene=[zero("L0H2")]) as inner:
            both = inner.run(ids)
            assert inner["L1.z"].shape[1] == 7
        assert torch.equal(outer.run(ids), one)
        assert torch.equal(outer["L2.resid_post"], kept)
        with pytest.raises(ZeroDivisionError), session(model, intervene=[zero("L0H2")]) as inner:
            inner.run(ids)
            1 / 0  # noqa: B018
        assert torch.equal(outer.run(ids), one)
    with session(model, intervene=[zero("L0H1"), zero("L0H2")]) as s:
        torch.testing.assert_close(s.run(ids), both)
    assert not torch.equal(one, both)
    assert torch.equal(model.logits(ids), clean)


def test_the_same_site_twice(gpt2, random_ids):
    ids = random_ids(1, 5)
    with session(gpt2, capture=["L0.z", "L0H1", "L0.z@1"]) as s:
        s.run(ids)
        assert len(s.captured) == 1
    with session(gpt2, capture="L0.z") as outer, session(gpt2, capture="L0.z") as inner:
        inner.run(ids)
        assert torch.equal(outer["L0.z"], inner["L0.z"])


# -- order --------------------------------------------------------------------------------------


def test_interventions_run_in_order_and_captures_see_what_they_leave(gpt2, random_ids):
    ids = random_ids(2, 5)
    one, two = torch.ones(5), torch.full((5,), 2.0)
    with session(gpt2, capture="L1.z", intervene=[set_to("L1H0", one), add("L1H0", two)]) as s:
        s.run(ids)
        assert bool((s["L1H0"] == 3).all())
    with session(gpt2, capture="L1.z", intervene=[add("L1H0", two), set_to("L1H0", one)]) as s:
        s.run(ids)
        assert bool((s["L1H0"] == 1).all())


# -- stopping early -----------------------------------------------------------------------------


def ran(model):
    """Count which blocks and whether the unembedding ran, by hooks on the modules themselves."""
    counts = {"blocks": [0, 0, 0], "unembed": 0}
    handles = []
    for layer, block in enumerate(model.bridge.blocks):

        def count(module, inputs, layer=layer):
            counts["blocks"][layer] += 1

        handles.append(block.register_forward_pre_hook(count))

    def count_unembed(module, inputs):
        counts["unembed"] += 1

    handles.append(model.bridge.unembed.register_forward_pre_hook(count_unembed))
    return counts, handles


@pytest.mark.parametrize(
    ("sites", "blocks", "unembed"),
    [
        (["embed"], [0, 0, 0], 0),
        (["L0.z"], [1, 0, 0], 0),
        (["L1.resid_pre", "L0.pattern"], [1, 1, 0], 0),
        (["L0.z", "L1.resid_post"], [1, 1, 0], 0),
        (["L2.resid_post"], [1, 1, 1], 0),
        (["final_norm"], [1, 1, 1], 0),
        (["logits", "L0.z"], [1, 1, 1], 1),
    ],
)
def test_it_runs_no_further_than_needed(model, sites, blocks, unembed, random_ids):
    counts, handles = ran(model)
    try:
        with session(model, capture=sites) as s:
            s.run_until_captured(random_ids(2, 5))
            assert set(map(str, s.captured)) == set(sites)
    finally:
        for handle in handles:
            handle.remove()
    assert counts == {"blocks": blocks, "unembed": unembed}


def test_there_must_be_somewhere_to_stop(gpt2, random_ids):
    with session(gpt2) as s, pytest.raises(HookError, match="no site to stop at"):
        s.run_until_captured(random_ids(1, 3))


def test_a_run_after_an_early_one_goes_all_the_way(gpt2, random_ids):
    ids = random_ids(1, 4)
    with session(gpt2, capture="L0.z") as s:
        s.run_until_captured(ids)
        assert torch.equal(s.run(ids), gpt2.logits(ids))


# -- watching -----------------------------------------------------------------------------------


def test_watchers_see_each_run_and_keep_nothing(model, random_ids):
    ids = random_ids(2, 7)
    seen = []
    watch = {Site(layer, "pattern"): (lambda p: seen.append(p.sum())) for layer in range(3)}
    with session(model, watch=watch) as s:
        logits = s.run(ids)
        assert not s.captured
        assert len(seen) == 3
        s.run_until_captured(ids)
        assert len(seen) == 6
    assert torch.equal(logits, model.logits(ids))
    assert float(seen[0]) == pytest.approx(2 * 4 * 7, rel=1e-4)
    with (
        pytest.raises(SiteError, match="a watcher sees the whole activation"),
        session(model, watch={"L0H1": seen.append}),
    ):
        pass
    with (
        pytest.raises(HookError, match=r"never ran: watch L0\.z"),
        session(model, watch={"L0.z": seen.append}),
    ):
        pass


# -- padding and rows ---------------------------------------------------------------------------


def test_positions_that_are_padding_are_refused(gpt2, random_ids, padded):
    ids = random_ids(3, 7)
    right, left = padded(ids, [3, 7, 5], "right", 7), padded(ids, [3, 7, 5], "left", 7)
    value = torch.zeros(5)
    with session(gpt2, intervene=[set_to("L0H1@-1", value)]) as s:
        with pytest.raises(SiteError, match="position -1 is padding in row 0"):
            s.run(*right)
        s.run(*left)
        s.run(ids)
    with session(gpt2, intervene=[set_to("L0H1@0", value)]) as s:
        with pytest.raises(SiteError, match="position 0 is padding in row 0"):
            s.run(*left)
        s.run(*right)
        with pytest.raises(SiteError, match="position 0 is padding"):
            s.run(Examples(*left))
    with session(gpt2, intervene=[set_to("L0H1@7", value)]) as s:
        with pytest.raises(SiteError, match="no position 7 in rows of 7"):
            s.run(ids)
        s.run(random_ids(1, 8))


def test_rows_belong_to_one_run_only(gpt2, random_ids):
    ids = random_ids(4, 5)
    donors = torch.zeros(4, 5, 5)
    with session(gpt2, intervene=[resample("L0H1", donors, seed=0)]) as s:
        s.run(ids[:2], rows=slice(0, 2))
        with pytest.raises(SiteError, match="2 rows ran, the source was drawn for 4"):
            gpt2.logits(ids[:2])
        with pytest.raises(SiteError, match="2 rows ran, the source was drawn for 4"):
            s.run(ids[:2])
        with pytest.raises(SiteError, match="2 rows ran, the source was drawn for 1"):
            s.run(ids[:2], rows=slice(0, 1))
        s.run(ids)


def test_a_session_that_is_over_does_not_run(load_tiny):
    """It would run without its interventions, and look like a null result."""
    model = load_tiny("gpt2")
    tokens = torch.tensor([[1, 2, 3]])
    with session(model, intervene=zero("L0H1")) as s:
        s.run(tokens)
    with pytest.raises(HookError, match="this session is over"):
        s.run(tokens)


def test_text_is_no_intervention(load_tiny):
    with (
        pytest.raises(SiteError, match=r"zero\('L0H1'\)"),
        session(load_tiny("gpt2"), intervene=["L0H1"]),
    ):
        pass
