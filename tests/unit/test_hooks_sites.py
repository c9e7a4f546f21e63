"""Sites: what is written is what is meant, and what a model does not have is refused."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from interp.hooks import KINDS, Site, SiteError, available_kinds, session
from interp.hooks.sites import GLOBAL_KINDS

KIND = st.sampled_from(sorted(KINDS))


@st.composite
def sites(draw):
    kind = draw(KIND)
    index = st.integers(0, 200)
    heads = KINDS[kind].head_axis is not None
    return Site(
        None if kind in GLOBAL_KINDS else draw(index),
        kind,
        draw(st.none() | index) if heads else None,
        draw(st.none() | st.integers(-50, 50)),
    )


@given(sites())
def test_what_is_printed_is_read_again(site):
    assert Site.parse(str(site)) == site
    assert Site.parse(f" {site} ") == site
    assert Site.parse(site) is site


@given(st.lists(sites(), max_size=8))
def test_sites_can_be_sorted(many):
    ordered = sorted(many)
    backwards = list(reversed(many))
    assert sorted(backwards) == ordered
    layers = [site.layer for site in ordered if site.layer is not None]
    assert layers == sorted(layers)


@pytest.mark.parametrize(
    ("written", "site", "printed"),
    [
        ("L3H7", Site(3, "z", 7), "L3H7"),
        ("L3H7.z", Site(3, "z", 7), "L3H7"),
        ("L3.z", Site(3, "z"), "L3.z"),
        ("L3.resid_post", Site(3, "resid_post"), "L3.resid_post"),
        ("L3resid_post", Site(3, "resid_post"), "L3.resid_post"),
        ("L12H0.pattern", Site(12, "pattern", 0), "L12H0.pattern"),
        ("L0.mlp_post@-1", Site(0, "mlp_post", None, -1), "L0.mlp_post@-1"),
        ("L0H1@4", Site(0, "z", 1, 4), "L0H1@4"),
        ("embed", Site(None, "embed"), "embed"),
        ("final_norm@0", Site(None, "final_norm", None, 0), "final_norm@0"),
    ],
)
def test_the_ways_of_writing(written, site, printed):
    assert Site.parse(written) == site
    assert str(site) == printed


@pytest.mark.parametrize(
    ("written", "message"),
    [
        ("L3.resid_pots", "did you mean resid_post"),
        ("L3.patern", "did you mean pattern"),
        ("blocks.3.hook_resid_post", "cannot read"),
        ("L3.RESID_POST", "cannot read"),
        ("l3h7", "cannot read"),
        ("L-1.z", "cannot read"),
        ("L3H", "cannot read"),
        ("", "cannot read"),
        ("  ", "cannot read"),
        ("L3", "names a layer but no place in it"),
        ("@3", "no place"),
        ("z", "needs a layer, e.g. L0.z"),
        ("L3.embed", "embed has no layer"),
        ("L3H2.resid_post", "resid_post has no heads"),
        ("H2.z", "cannot read"),
    ],
)
def test_what_cannot_be_read(written, message):
    with pytest.raises(SiteError, match=message) as caught:
        Site.parse(written)
    assert "\n" not in str(caught.value)


def test_one_site_alone_is_as_good_as_a_list(gpt2, random_ids):
    assert Site.parse_all("L0H1") == [Site(0, "z", 1)]
    assert Site.parse_all(["L0H1", Site(0, "z", 1), "embed"]) == [
        Site(0, "z", 1),
        Site.parse("embed"),
    ]
    with session(gpt2, capture="L0.z") as s:
        s.run(random_ids(1, 4))
        assert s["L0H1"].shape == (1, 4, 5)


# -- in a model ---------------------------------------------------------------------------------

EXPECTED = {
    "gpt2": {"pos_embed", "resid_mid", "mlp", "scores"},
    "llama": {"resid_mid", "mlp", "scores"},
    "neox": {"mlp", "scores"},  # attention and MLP side by side: there is no middle
    "gemma2": {"resid_mid", "mlp", "scores"},
    "native": {"pos_embed", "resid_mid", "mlp"},  # its scores never leave its own code
    "native-gqa": {"resid_mid", "mlp"},
    "native-attn-only": {"pos_embed"},
}
ALWAYS = {"embed", "final_norm", "logits"} | {
    "resid_pre", "resid_post", "attn_out", "q", "k", "v", "z", "pattern",
}  # fmt: skip


@pytest.mark.parametrize("name", list(EXPECTED))
def test_the_kinds_each_architecture_has(name, load_tiny):
    model = load_tiny(name)
    extra = EXPECTED[name]
    mlp = {"mlp_pre", "mlp_post", "mlp_out"} if "mlp" in extra else set()
    expected = ALWAYS | mlp | (extra - {"mlp"})
    for layer in range(3):
        found = set(available_kinds(model, layer)) | set(available_kinds(model, None))
        assert found == expected


def test_every_kind_runs_with_its_axes_or_is_refused(model, random_ids):
    ids = random_ids(2, 7)
    sizes = {
        "batch": 2,
        "pos": 7,
        "query": 7,
        "key": 7,
        "head": 4,
        "kv_head": model.n_kv_heads,
        "d_head": model.d_head,
        "d_model": model.d_model,
        "vocab": 29,
    }
    for kind in KINDS:
        for layer in [None] if kind in GLOBAL_KINDS else range(3):
            site = Site(layer, kind)
            if kind not in available_kinds(model, layer):
                with pytest.raises(SiteError, match=f"has no {kind} .*near: "):
                    site.point(model)
                continue
            with session(model, capture=[site]) as s:
                s.run(ids)
                shape = s[site].shape
            sizes["neuron"] = shape[-1]
            assert tuple(shape) == tuple(sizes[axis] for axis in site.axes)


@pytest.mark.parametrize(
    ("site", "message"),
    [
        ("L3.z", "no layer 3 for L3.z; .* has layers 0…2"),
        ("L0H4", "no head 4 for L0H4; .* has heads 0…3"),
        (Site(0, "z", -1), "no head -1"),
        (Site(-1, "z"), "no layer -1"),
        (Site(0, "nowhere"), "cannot read"),
        (Site(0, "resid_post", 1), "resid_post has no heads"),
        (Site(None, "z"), "has no z"),
        (Site(0, "embed"), "has no embed"),
    ],
)
def test_places_a_model_does_not_have(model, site, message):
    with pytest.raises(SiteError, match=message):
        Site.parse(site).point(model)
    with pytest.raises(SiteError, match=message), session(model, capture=[site]):
        pass


@pytest.mark.parametrize("name", ["llama", "gemma2", "native-gqa"])
def test_keys_and_values_have_their_own_heads(name, load_tiny):
    model = load_tiny(name)
    Site.parse("L0H1.k").point(model)
    Site.parse("L0H3.q").point(model)
    with pytest.raises(SiteError, match="key/value heads 0…1"):
        Site.parse("L0H2.v").point(model)


def test_what_native_models_call_scores_is_refused(load_tiny, random_ids):
    # Transformer-lens hands their pattern out a second time under that name.
    model = load_tiny("native")
    with pytest.raises(SiteError, match="has no scores"):
        Site.parse("L0.scores").point(model)
    seen = []
    point = model.bridge.hook_dict["blocks.0.attn.hook_attn_scores"]
    point.add_hook(lambda tensor, hook: seen.append(tensor))
    try:
        with session(model, capture="L0.pattern") as s:
            s.run(random_ids(1, 5))
    finally:
        point.remove_hooks()
    assert torch.equal(seen[0], s["L0.pattern"])
