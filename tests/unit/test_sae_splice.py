"""Splicing: what it equals, what it leaves alone, and that nothing of it stays behind."""

from __future__ import annotations

import pytest
import torch

from interp.evidence import kl_from, loss
from interp.hooks import Site, SiteError, project_out, session
from interp.models import Examples
from interp.sae import splice_sweep
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.edits import clamp_latents, scale_latents, set_latents, zero_latents
from interp.sae.splice_sweep import sweep_changes
from interp.sae.splicing import splice

D_SAE = 24


def make(d_in, site, seed=0, fingerprint=None):
    """An untrained SAE; what it reconstructs badly shows in the error."""
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=D_SAE, device="cpu", dtype="float32"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
    return Dictionary(sae, "made", Site.parse(site), fingerprint)


@pytest.fixture
def sae(gpt2):
    return make(gpt2.d_model, "L1.resid_post", fingerprint=gpt2.fingerprint)


@pytest.fixture
def examples(random_ids, padded):
    tokens, mask = padded(random_ids(5, 12), [12, 7, 9, 4, 12], "right")
    return Examples(tokens, mask)


def by_hand(model, examples, sae, function, *, site="L1.resid_post"):
    """Logits with the site's real tokens replaced by what a function makes of them."""
    with session(model, capture=site) as s:
        s.run(examples)
        x = s[site].clone()
    x[examples.mask] = function(x[examples.mask])
    from interp.hooks import set_to

    with session(model, intervene=set_to(site, x)) as s:
        return s.run(examples)


def test_with_the_error_kept_no_edit_changes_nothing(gpt2, sae, examples):
    with session(gpt2, intervene=splice(sae, at=examples.mask)) as s:
        found = s.run(examples)
    assert torch.equal(found, gpt2.logits(examples.tokens, examples.mask))


def test_replacing_gives_what_the_reconstruction_gives(gpt2, sae, examples):
    wanted = by_hand(gpt2, examples, sae, lambda x: sae.decode(sae.encode(x)))
    clean = gpt2.logits(examples.tokens, examples.mask)
    with session(gpt2, intervene=splice(sae, keep_error=False, at=examples.mask)) as s:
        found = s.run(examples)
    torch.testing.assert_close(found[examples.mask], wanted[examples.mask])
    assert float((found - clean)[examples.mask].abs().max()) > 0.1


@pytest.mark.parametrize("keep_error", [True, False])
@pytest.mark.parametrize(
    "edit",
    [
        zero_latents([2, 5, 7]),
        set_latents([1, 4], torch.tensor([0.3, 1.2])),
        clamp_latents([0, 3, 6, 9], 0.1, 0.4),
        scale_latents([8, 2], 2.5),
    ],
    ids=str,
)
def test_an_edit_is_what_it_says(gpt2, sae, examples, edit, keep_error):
    def edited(x):
        latents = sae.encode(x)
        after = sae.decode(edit.apply(latents))
        return after + (x - sae.decode(latents)) if keep_error else after

    wanted = by_hand(gpt2, examples, sae, edited)
    with session(gpt2, intervene=splice(sae, edit, keep_error=keep_error, at=examples.mask)) as s:
        found = s.run(examples)
    torch.testing.assert_close(found[examples.mask], wanted[examples.mask], atol=2e-5, rtol=1e-4)


def test_edits_follow_each_other(sae):
    x = torch.randn(4, sae.d_in)
    both = splice(sae, [set_latents([1], 0.5), scale_latents([1, 2], 2.0)])
    f = sae.encode(x)
    g = f.clone()
    g[:, 1], g[:, 2] = 1.0, 2 * f[:, 2]
    wanted = x + sae.decode(g) - sae.decode(f)
    torch.testing.assert_close(both.replacement(x, f), wanted)


def test_only_chosen_tokens_are_touched(gpt2, sae, examples):
    at = torch.zeros_like(examples.mask)
    at[:, 2] = True
    change = splice(sae, zero_latents(range(D_SAE)), at=at)
    with session(gpt2, capture="L1.resid_post") as s:
        s.run(examples)
        clean = s["L1.resid_post"]
    with session(gpt2, intervene=change, capture="L1.resid_post") as s:
        s.run(examples)
        found = s["L1.resid_post"]
    assert torch.equal(found[~at], clean[~at])
    assert bool((found[:, 2] != clean[:, 2]).any(1).all())


def test_padding_is_never_touched(gpt2, sae, examples):
    edit = zero_latents([1])
    with (
        pytest.raises(SiteError, match="padded"),
        session(gpt2, intervene=splice(sae, edit)) as s,
    ):
        s.run(examples)
    everywhere = torch.ones_like(examples.mask)
    with (
        pytest.raises(SiteError, match="reaches into the padding"),
        session(gpt2, intervene=splice(sae, edit, at=everywhere)) as s,
    ):
        s.run(examples)
    with pytest.raises(SaeError, match="reaches into the padding"):
        sweep_changes(gpt2, examples, [splice(sae, edit)], loss, at=everywhere)
    # And what stands there does not matter, wherever it stands.
    at = examples.mask
    with session(gpt2, intervene=splice(sae, edit, at=at)) as s:
        found = s.run(examples)
    alone = examples.tokens[1:2, :7]
    with session(gpt2, intervene=splice(sae, edit)) as s:
        torch.testing.assert_close(s.run(alone)[0], found[1, :7], atol=1e-5, rtol=1e-4)


def test_hooks_at_the_site_work_when_the_splice_is_gone(gpt2, sae, examples):
    at = examples.mask
    seen = []
    with session(gpt2, capture="L1.resid_post") as s:
        before = s.run(examples)
        held = s["L1.resid_post"].clone()
    with session(gpt2, watch={"L1.resid_post": lambda x: seen.append(x.clone())}) as outer:
        with session(gpt2, intervene=splice(sae, zero_latents([0, 1, 2]), at=at)) as s:
            s.run(examples)  # a hook put on earlier still sees
        assert torch.equal(outer.run(examples), before)  # and goes on seeing
    assert len(seen) == 2
    assert torch.equal(seen[1], held)
    sweep_changes(gpt2, examples, [splice(sae, zero_latents([0]))], loss)
    with session(gpt2, capture="L1.resid_post") as s:
        assert torch.equal(s.run(examples), before)
        assert torch.equal(s["L1.resid_post"], held)
    from interp.hooks import zero

    with session(gpt2, intervene=zero("L1.resid_post")) as s:
        changed = s.run(examples)
    assert float((changed - before)[at].abs().max()) > 0.1
    with gpt2.bridge.hooks(fwd_hooks=[("blocks.1.hook_resid_post", lambda x, hook: x * 0)]):
        torch.testing.assert_close(gpt2.logits(examples.tokens, examples.mask), changed)


def hooks_left(model):
    return [name for name, point in model.bridge.hook_dict.items() if point.fwd_hooks]


def test_splices_inside_each_other_apply_from_the_outer_one_on(gpt2, sae, examples):
    at = examples.mask
    before = gpt2.logits(examples.tokens, at)
    one, other = zero_latents([0, 1, 2]), set_latents([3], 0.8)

    def edited(x, edit):
        f = sae.encode(x)
        return x + sae.decode(edit.apply(f)) - sae.decode(f)

    wanted = by_hand(gpt2, examples, sae, lambda x: edited(edited(x, one), other))
    with session(gpt2, intervene=splice(sae, one, at=at)) as outer:
        alone = outer.run(examples)
        with session(gpt2, intervene=splice(sae, other, at=at)) as inner:
            found = inner.run(examples)
        # The inner one is gone and the outer one is still there.
        assert torch.equal(outer.run(examples), alone)
    torch.testing.assert_close(found[at], wanted[at], atol=2e-5, rtol=1e-4)
    assert float((found - alone)[at].abs().max()) > 1e-3
    assert torch.equal(gpt2.logits(examples.tokens, at), before)
    assert hooks_left(gpt2) == []
    # At two sites at once.
    early = make(gpt2.d_model, "L0.resid_post", seed=1)
    with session(gpt2, intervene=[splice(early, one, at=at), splice(sae, other, at=at)]) as s:
        both = s.run(examples)
    with (
        session(gpt2, intervene=splice(early, one, at=at)),
        session(gpt2, intervene=splice(sae, other, at=at)) as s,
    ):
        assert torch.equal(s.run(examples), both)


@pytest.mark.parametrize("when", ["encoding", "after"])
def test_nothing_is_left_of_a_splice_that_failed(gpt2, sae, examples, when, monkeypatch):
    before = gpt2.logits(examples.tokens, examples.mask)

    def broken(x):
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):  # noqa: SIM117
        with session(gpt2, intervene=splice(sae, zero_latents([1]), at=examples.mask)) as s:
            if when == "encoding":
                monkeypatch.setattr(type(sae.sae), "encode", lambda self, x: broken(x))
                s.run(examples)
            s.run(examples)
            broken(None)
    monkeypatch.undo()
    assert hooks_left(gpt2) == []
    seen = []
    with session(gpt2, watch={"L1.resid_post": seen.append}) as s:
        assert torch.equal(s.run(examples), before)
    assert len(seen) == 1
    with session(gpt2, intervene=splice(sae, zero_latents([1]), at=examples.mask)) as s:
        assert float((s.run(examples) - before)[examples.mask].abs().max()) > 1e-4


@pytest.mark.parametrize("site", ["L1.resid_post", "L0.resid_pre", "L2.resid_post", "L1.mlp_out"])
def test_a_sweep_equals_one_session_for_each_change(model, site, random_ids, padded):
    if "mlp" in site and "attn-only" in model.spec.name:
        pytest.skip("there is no MLP")
    tokens, mask = padded(random_ids(5, 12), [12, 7, 9, 4, 12], "right")
    examples = Examples(tokens, mask)
    sae = make(model.d_model, site)
    at = mask.clone()
    at[:, 0] = False
    edits = [
        zero_latents([2, 5, 7]),
        set_latents([1, 4], 0.7),
        clamp_latents([0, 3], 0.0, 0.2),
        scale_latents([8], 3.0),
    ]
    changes = [splice(sae, edit) for edit in edits]
    changes += [splice(sae), splice(sae, edits[0], keep_error=False)]
    changes += [splice(sae, edits[:2]), project_out(site, torch.randn(model.d_model))]
    found = sweep_changes(model, examples, changes, [loss, kl_from], at=at, tokens_per_forward=100)
    clean = model.logits(tokens, mask)
    wanted_clean = loss.per_example(clean, examples)
    torch.testing.assert_close(found.clean[0].float(), wanted_clean, atol=1e-5, rtol=1e-5)
    for j, change in enumerate(changes):
        if change.kind == "project":
            with session(model, capture=site) as s:
                s.run(examples)
                x = s[site]
            from interp.hooks import set_to

            change = set_to(site, torch.where(at[:, :, None], change.apply(x), x))  # noqa: PLW2901
        else:
            change = splice(  # noqa: PLW2901
                sae, change.edits, keep_error=change.keep_error, at=at
            )
        with session(model, intervene=change) as s:
            logits = s.run(examples)
        for i, metric in enumerate([loss, kl_from(clean)]):
            torch.testing.assert_close(
                found.changed[i, j].float(),
                metric.per_example(logits, examples),
                atol=3e-5,
                rtol=1e-4,
            )
    assert float(found.harm("kl")[0].min()) > 0
    assert float(found.harm("kl")[4].abs().max()) < 1e-6


def test_many_latents_share_one_prefix_and_few_suffixes(gpt2, sae, random_ids, monkeypatch):
    calls = {"run_prefix": 0, "run_suffix": 0}

    def counting(name):
        run = getattr(splice_sweep, name)

        def counted(*args, **kwargs):
            calls[name] += 1
            return run(*args, **kwargs)

        return counted

    for name in calls:
        monkeypatch.setattr(splice_sweep, name, counting(name))
    changes = [splice(sae, set_latents([i % D_SAE], 0.1 * i)) for i in range(64)]
    found = sweep_changes(gpt2, Examples(random_ids(4, 12)), changes, loss)
    assert found.changed.shape == (1, 64, 4)
    # 64 changes of 48 tokens, some thousand tokens at a time.
    assert calls["run_prefix"] == 1
    assert calls["run_suffix"] <= 4


def test_heads_side_by_side_and_one_head_alone(gpt2, random_ids):
    tokens = random_ids(3, 8)
    whole = make(gpt2.n_heads * gpt2.d_head, "L1.z")
    one = make(gpt2.d_head, "L1H2")
    with session(gpt2, capture="L1.z") as s:
        s.run(tokens)
        z = s["L1.z"]
    x = z.flatten(-2)
    edit = zero_latents([0, 1, 2])
    wanted = x + whole.decode(edit.apply(whole.encode(x))) - whole.decode(whole.encode(x))
    torch.testing.assert_close(splice(whole, edit).apply(z).flatten(-2), wanted)
    found = splice(one, edit, keep_error=False).apply(z)
    others = [0, 1, 3]
    assert torch.equal(found[:, :, others], z[:, :, others])
    torch.testing.assert_close(found[:, :, 2], one.decode(edit.apply(one.encode(z[:, :, 2]))))
    kept = sweep_changes(gpt2, Examples(tokens), [splice(one, edit, keep_error=False)], loss)
    with session(gpt2, intervene=splice(one, edit, keep_error=False)) as s:
        logits = s.run(tokens)
    torch.testing.assert_close(
        kept.changed[0, 0].float(), loss.per_example(logits, Examples(tokens))
    )


def test_what_cannot_be_spliced_is_refused(gpt2, sae, examples, load_tiny):
    with pytest.raises(SaeError, match="has latents 0…23, no 24"):
        splice(sae, zero_latents([24]))
    with pytest.raises(SaeError, match=r"trained at L1\.resid_post, not at L0"):
        splice(sae, site="L0.resid_post")
    with pytest.raises(SaeError, match="no edit of latents"):
        splice(sae, [3])
    other = load_tiny("llama")
    with pytest.raises(SaeError, match="trained on another model"):
        sweep_changes(other, examples, [splice(sae)], loss)
    with pytest.raises(SaeError, match="changes at one site, got L0"):
        both = [splice(sae), project_out("L0.resid_post", torch.randn(gpt2.d_model))]
        sweep_changes(gpt2, examples, both, loss)
    with pytest.raises(SaeError, match="goes by row or position"):
        sweep_changes(gpt2, examples, [splice(sae, at=examples.mask)], loss)
    with (
        pytest.raises(SiteError, match="run the same examples"),
        session(gpt2, intervene=splice(sae, at=examples.mask)) as s,
    ):
        s.run(examples.tokens[:2, :4])


@pytest.mark.parametrize("name", ["gpt2", "llama", "native"])
def test_padding_on_the_left_changes_nothing(load_tiny, name, random_ids, padded):
    model = load_tiny(name)
    lengths, ids = [12, 7, 9], random_ids(3, 12)
    sae = make(model.d_model, "L0.resid_post")
    changes = [splice(sae, zero_latents([2, 5])), splice(sae, keep_error=False)]
    found = [
        sweep_changes(model, Examples(*padded(ids, lengths, side)), changes, loss)
        for side in ("right", "left")
    ]
    torch.testing.assert_close(found[0].changed, found[1].changed, atol=2e-5, rtol=1e-4)
    assert float(found[0].harm("loss")[1].abs().min()) > 0


def test_there_must_be_something_to_measure(gpt2, sae, examples):
    with pytest.raises(SaeError, match="nothing to measure"):
        sweep_changes(gpt2, examples, [splice(sae)], [])
    with pytest.raises(SaeError, match="'kl' was not measured; there are loss"):
        sweep_changes(gpt2, examples, [splice(sae)], loss).harm("kl")
