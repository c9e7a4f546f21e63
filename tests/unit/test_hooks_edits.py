"""An edit does exactly what its place says, on every architecture, or it is refused.

Each test edits one place and computes by hand what must follow from it: the strictest reading of
"takes hold", which catches edits that reach one branch of the model and not the other.
"""

from __future__ import annotations

import pytest
import torch

from interp.hooks import Site, SiteError, ablate_heads, add, session, set_to
from interp.hooks.sites import available_kinds

CLOSE = {"atol": 2e-5, "rtol": 1e-5}
OURS = ("gpt2", "llama", "neox", "gemma2")  # whose attention the bridge computes itself
WITH_MLP = (*OURS, "native", "native-gqa")


def only(*names):
    return pytest.mark.parametrize("model", names, indirect=True)


def noise_like(tensor, seed=3):
    return torch.randn(tensor.shape, generator=torch.Generator().manual_seed(seed))


def captured(model, ids, sites, interventions=()):
    with session(model, capture=sites, intervene=interventions) as s:
        logits = s.run(ids)
        return {site: s[site] for site in sites}, logits


def has(model, *kinds):
    return all(kind in available_kinds(model, 1) for kind in kinds)


def expand(model, tensor):
    """Key/value heads to query heads."""
    return tensor.repeat_interleave(model.n_heads // tensor.shape[2], dim=2)


# -- what may be edited ---------------------------------------------------------------------------

REFUSED = {
    "gpt2": {"resid_mid"},
    "llama": {"resid_mid"},
    "neox": set(),
    "gemma2": {"resid_mid"},
    "native": {"resid_mid", "pattern"},
    "native-gqa": {"resid_mid", "pattern"},
    "native-attn-only": {"pattern"},
}


@pytest.mark.parametrize("name", list(REFUSED))
def test_places_where_edits_are_ignored_are_refused(name, load_tiny):
    model = load_tiny(name)
    refused = set()
    for kind in available_kinds(model, 1):
        try:
            Site(1, kind).require_editable(model)
        except SiteError as error:
            refused.add(kind)
            assert "cannot be edited" in str(error)
            assert "instead" in str(error)
    assert refused == REFUSED[name]


def test_attention_inside_transformers_own_code(make_hf, random_ids):
    """GPT-Neo, the architecture of the TinyStories models: its pattern can be read, not edited."""
    from interp.models import load_model

    model = load_model("neo", hf_model=make_hf("gpt_neo"))
    clean, _ = captured(model, random_ids(2, 7), ["L1.pattern", "L1.v", "L1.z"])
    made = torch.einsum("bhqk,bkhd->bqhd", clean["L1.pattern"], clean["L1.v"])
    torch.testing.assert_close(clean["L1.z"], made, **CLOSE)
    assert bool((clean["L1.pattern"][:, :, 6, :3] == 0).all())  # a local layer of window 4
    with pytest.raises(SiteError, match="cannot be edited"):
        Site.parse("L1.pattern").require_editable(model)
    with pytest.raises(SiteError, match="has no scores"):
        Site.parse("L1.scores").point(model)


def test_refused_before_anything_is_hooked(load_tiny):
    model = load_tiny("native")
    with (
        pytest.raises(SiteError, match=r"L1H2\.pattern cannot be edited in native.*e\.g\. L1H2"),
        session(model, capture="L0.z", intervene=[set_to("L1H2.pattern", torch.zeros(1))]),
    ):
        pass
    assert not any(point.fwd_hooks for point in model.bridge.hook_dict.values())


def test_the_trial_is_blind_to_other_hooks_and_leaves_them(make_hf, random_ids):
    from interp.models import load_model

    model = load_model("fresh", hf_model=make_hf("llama"))
    calls = []
    point = model.bridge.hook_dict["blocks.0.attn.hook_z"]

    def zero(tensor, hook):
        calls.append(len(tensor))
        return torch.zeros_like(tensor)

    point.add_hook(zero)
    handle = point.fwd_hooks[0]
    try:
        with session(model, capture="L2.resid_post") as outer:
            before = outer.run(random_ids(3, 5))
            kept = outer["L2.resid_post"]
            calls.clear()
            # With z zeroed by another's hook, no edit of q would reach it: it must not be asked so.
            Site.parse("L0.q").require_editable(model)
            Site.parse("L0.pattern").require_editable(model)
            assert not calls
            assert outer["L2.resid_post"] is kept
            assert torch.equal(outer.run(random_ids(3, 5)), before)
        assert point.fwd_hooks == [handle]
        assert calls == [3]
    finally:
        point.remove_hooks()


# -- what follows from each ---------------------------------------------------------------------


def test_resid_pre(model, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.resid_pre", "L1.resid_post", "L1.attn_out"]
    sites += ["L1.mlp_out"] if has(model, "mlp_out") else []
    clean, _ = captured(model, ids, sites)
    noise = noise_like(clean["L1.resid_pre"])
    edited, logits = captured(model, ids, sites, [add("L1.resid_pre", noise)])
    torch.testing.assert_close(edited["L1.resid_pre"], clean["L1.resid_pre"] + noise, **CLOSE)
    parts = sum(edited[site] for site in sites if site != "L1.resid_post")
    torch.testing.assert_close(edited["L1.resid_post"], parts, **CLOSE)
    assert (logits - model.logits(ids)).abs().max() > 0.01


@pytest.mark.parametrize("kind", ["attn_out", "mlp_out"])
@only(*WITH_MLP)
def test_what_is_added_to_the_stream(model, kind, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.resid_pre", "L1.attn_out", "L1.resid_post"]
    sites += ["L1.mlp_out"] if has(model, "mlp_out") else []
    noise = noise_like(captured(model, ids, sites)[0][f"L1.{kind}"])
    edited, _ = captured(model, ids, sites, [set_to(f"L1.{kind}", noise)])
    torch.testing.assert_close(edited[f"L1.{kind}"], noise)
    parts = sum(edited[site] for site in sites if site != "L1.resid_post")
    torch.testing.assert_close(edited["L1.resid_post"], parts, **CLOSE)


def test_resid_post_is_the_next_layers_resid_pre(model, random_ids):
    ids = random_ids(2, 7)
    noise = noise_like(captured(model, ids, ["L1.resid_post"])[0]["L1.resid_post"])
    after, logits = captured(
        model, ids, ["L1.resid_post", "L2.resid_pre"], [set_to("L1.resid_post", noise)]
    )
    torch.testing.assert_close(after["L1.resid_post"], noise)
    torch.testing.assert_close(after["L2.resid_pre"], noise)
    by_next = captured(model, ids, ["L2.resid_pre"], [set_to("L2.resid_pre", noise)])[1]
    torch.testing.assert_close(logits, by_next, **CLOSE)


def test_embeddings_add_up(model, random_ids):
    ids = random_ids(2, 7)
    kinds = [kind for kind in ("embed", "pos_embed") if kind in available_kinds(model, None)]
    clean, _ = captured(model, ids, [*kinds, "L0.resid_pre"])
    for kind in kinds:
        noise = noise_like(clean["L0.resid_pre"])
        edited, _ = captured(model, ids, [*kinds, "L0.resid_pre"], [add(kind, noise)])
        moved = edited["L0.resid_pre"] - clean["L0.resid_pre"]
        torch.testing.assert_close(moved, noise, **CLOSE)


def test_q_and_k_give_the_pattern(model, random_ids):
    """Attention from edited queries and keys; with no rotation at position 0, by hand there."""
    ids = random_ids(2, 7)
    sites = ["L1.q", "L1.k", "L1.pattern", "L1.v", "L1.z"]
    clean, base = captured(model, ids, sites)
    for kind in ("L1.q", "L1.k"):
        edited, logits = captured(model, ids, sites, [add(kind, 2 * noise_like(clean[kind]))])
        assert (edited["L1.pattern"] - clean["L1.pattern"]).abs().max() > 0.05
        made = torch.einsum("bhqk,bkhd->bqhd", edited["L1.pattern"], expand(model, edited["L1.v"]))
        torch.testing.assert_close(edited["L1.z"], made, **CLOSE)
        assert (logits - base).abs().max() > 1e-3
    # All keys alike: every query attends evenly, whatever the rotation does to a zero.
    even, _ = captured(model, ids, sites, [set_to("L1.k", torch.zeros(1))])
    counts = torch.arange(1, 8.0)
    expected = torch.ones(7, 7).tril() / counts[:, None]
    torch.testing.assert_close(even["L1.pattern"], expected.expand(2, 4, 7, 7), **CLOSE)


def test_v_gives_z(model, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.pattern", "L1.v", "L1.z"]
    noise = noise_like(captured(model, ids, sites)[0]["L1.v"])
    edited, _ = captured(model, ids, sites, [set_to("L1.v", noise)])
    made = torch.einsum("bhqk,bkhd->bqhd", edited["L1.pattern"], expand(model, noise))
    torch.testing.assert_close(edited["L1.z"], made, **CLOSE)


@only(*OURS)
def test_pattern_gives_z(model, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.pattern", "L1.v", "L1.z"]
    clean, base = captured(model, ids, sites)
    pattern = noise_like(clean["L1.pattern"]).exp().tril()
    edited, logits = captured(model, ids, sites, [set_to("L1.pattern", pattern)])
    made = torch.einsum("bhqk,bkhd->bqhd", pattern, expand(model, clean["L1.v"]))
    torch.testing.assert_close(edited["L1.z"], made, **CLOSE)
    assert (logits - base).abs().max() > 1e-3


@only(*OURS)
def test_scores_give_the_pattern(model, random_ids):
    ids = random_ids(2, 7)
    clean, _ = captured(model, ids, ["L1.scores", "L1.pattern"])
    torch.testing.assert_close(clean["L1.scores"].softmax(-1), clean["L1.pattern"], **CLOSE)
    scores = clean["L1.scores"] + 2 * noise_like(clean["L1.scores"])
    edited, _ = captured(model, ids, ["L1.scores", "L1.pattern"], [set_to("L1.scores", scores)])
    torch.testing.assert_close(edited["L1.pattern"], scores.softmax(-1), **CLOSE)


@only(*WITH_MLP)
def test_mlp_post_gives_mlp_out(model, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.mlp_pre", "L1.mlp_post", "L1.mlp_out"]
    clean, base = captured(model, ids, sites)
    point = model.bridge.blocks[1].mlp.hook_out  # before any norm after it
    seen = []
    point.add_hook(lambda tensor, hook: seen.append(tensor.clone()))
    try:
        noise = noise_like(clean["L1.mlp_post"])
        _, logits = captured(model, ids, sites, [add("L1.mlp_post", noise)])
        captured(model, ids, sites)
    finally:
        point.remove_hooks()
    weight = model.bridge.blocks[1].mlp.out.original_component.weight
    down = weight if model.spec.name == "tiny-gpt2" else weight.T  # Conv1D keeps it transposed
    torch.testing.assert_close(seen[0] - seen[1], noise @ down, **CLOSE)
    assert (logits - base).abs().max() > 1e-3


@only(*WITH_MLP)
def test_mlp_pre_gives_mlp_post(model, random_ids):
    ids = random_ids(2, 7)
    sites = ["L1.mlp_pre", "L1.mlp_post"]
    clean, _ = captured(model, ids, sites)
    # All three activations are zero at zero, whether or not a gate multiplies them.
    edited, _ = captured(model, ids, sites, [set_to("L1.mlp_pre", torch.zeros(1))])
    torch.testing.assert_close(edited["L1.mlp_post"], torch.zeros_like(clean["L1.mlp_post"]))
    assert clean["L1.mlp_post"].abs().max() > 0.1


def test_final_norm_and_logits(model, random_ids):
    ids = random_ids(2, 7)
    clean, base = captured(model, ids, ["final_norm", "logits"])
    cap = getattr(model.bridge.cfg, "output_logits_soft_cap", None)

    def capped(logits):
        return cap * torch.tanh(logits / cap) if cap and cap > 0 else logits

    assert (model.spec.name == "tiny-gemma2") == bool(cap and cap > 0)
    torch.testing.assert_close(capped(clean["logits"]), base, **CLOSE)
    noise = noise_like(clean["final_norm"])
    edited, logits = captured(model, ids, ["logits"], [add("final_norm", noise)])
    moved = edited["logits"] - clean["logits"]
    torch.testing.assert_close(moved, noise @ model.W_U, **CLOSE)
    torch.testing.assert_close(capped(edited["logits"]), logits, **CLOSE)
    shift = noise_like(clean["logits"])
    _, shifted = captured(model, ids, ["logits"], [add("logits", shift)])
    torch.testing.assert_close(shifted, capped(clean["logits"] + shift), **CLOSE)


# -- heads --------------------------------------------------------------------------------------


def output_projection(theirs, name, layer):
    if name == "gpt2":
        return theirs.transformer.h[layer].attn.c_proj
    if name == "neox":
        return theirs.gpt_neox.layers[layer].attention.dense
    return theirs.model.layers[layer].self_attn.o_proj


@pytest.mark.parametrize("heads", [[(1, 3)], [(0, 0), (1, 2), (2, 1)], [(2, h) for h in range(4)]])
def test_ablation_equals_zeroing_the_slice_in_plain_pytorch(
    hf_name, heads, make_hf, load_tiny, random_ids
):
    """Under grouped-query attention too: the query head's own output, never a key/value head."""
    ids = random_ids(3, 7)
    model, theirs = load_tiny(hf_name), make_hf(hf_name)
    width = model.d_head
    with session(model, intervene=ablate_heads(heads)) as s:
        found = s.run(ids)

    for layer, head in heads:

        def cut(module, inputs, head=head):
            changed = inputs[0].clone()
            changed[..., head * width : (head + 1) * width] = 0
            return (changed, *inputs[1:])

        output_projection(theirs, hf_name, layer).register_forward_pre_hook(cut)
    with torch.no_grad():
        expected = theirs(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (found - model.logits(ids)).abs().max() > 0.01


@only("gpt2", "llama", "neox", *WITH_MLP[4:], "native-attn-only")  # Gemma 2 norms the sum of heads
def test_ablation_takes_away_exactly_what_the_head_wrote(model, random_ids):
    ids = random_ids(2, 7)
    clean, _ = captured(model, ids, ["L1.z", "L1.attn_out"])
    edited, _ = captured(model, ids, ["L1.attn_out"], ablate_heads([(1, 2)]))
    written = clean["L1.z"][:, :, 2] @ model.head_weights(1).W_O[2]
    torch.testing.assert_close(clean["L1.attn_out"] - edited["L1.attn_out"], written, **CLOSE)


def test_means_for_heads(model, random_ids):
    ids = random_ids(2, 7)
    one = noise_like(torch.zeros(4, model.d_head))
    each = noise_like(torch.zeros(7, 4, model.d_head))
    for values in (one, each):
        edited, _ = captured(model, ids, ["L1.z"], ablate_heads([(1, 0), (1, 3)], {1: values}))
        clean, _ = captured(model, ids, ["L1.z"])
        for head in range(4):
            want = (
                values[..., head, :].expand(2, 7, -1)
                if head in (0, 3)
                else clean["L1.z"][:, :, head]
            )
            torch.testing.assert_close(edited["L1.z"][:, :, head], want)
    with pytest.raises(SiteError, match=r"no value for L0H1: values are given for layers \[1\]"):
        ablate_heads([(0, 1)], {1: one})
