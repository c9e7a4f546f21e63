"""Statistics, pooling, probes and cards of latents: by hand, padded, and with nothing to find."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from interp.hooks import Site, session
from interp.models import Examples
from interp.sae.contexts import cards_frame, cards_page, feature_cards
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import latent_statistics, pool_latents, stream_latents
from interp.sae.features_logits import logit_effects
from interp.sae.probing import differential, sparse_probes

D_SAE = 12


def make(d_in, site, seed=0, name="made"):
    from sae_lens import StandardSAE, StandardSAEConfig

    sae = StandardSAE(StandardSAEConfig(d_in=d_in, d_sae=D_SAE, device="cpu", dtype="float32"))
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in sae.parameters():
            parameter.copy_(0.4 * torch.randn(parameter.shape, generator=generator))
        sae.b_enc[0] = -100.0  # never fires
    return Dictionary(sae, name, Site.parse(site))


@pytest.fixture
def sae(gpt2):
    return make(gpt2.d_model, "L1.resid_post")


@pytest.fixture(params=["right", "left"])
def examples(request, random_ids, padded):
    tokens, mask = padded(random_ids(7, 12), [12, 7, 9, 4, 12, 3, 8], request.param)
    return Examples(tokens, mask)


@pytest.fixture
def held(gpt2, sae, examples):
    """Activations and latents of every token, in one go."""
    with session(gpt2, capture="L1.resid_post") as s:
        s.run(examples)
        x = s["L1.resid_post"]
    return x, sae.encode(x)


def test_statistics_are_over_real_tokens(gpt2, sae, examples, held):
    real = held[1][examples.mask]
    found = latent_statistics(gpt2, examples, sae)
    torch.testing.assert_close(found.mean, real.mean(0), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found.rate, (real != 0).float().mean(0))
    torch.testing.assert_close(found.largest, real.amax(0), atol=1e-5, rtol=1e-4)
    mass = real.abs().mean(0) * sae.decoder.norm(dim=1)
    torch.testing.assert_close(found.mass, mass, atol=1e-5, rtol=1e-4)
    assert found.n_tokens == int(examples.mask.sum())
    assert bool(found.dead[0])


def test_batches_change_nothing_and_hold_little(gpt2, sae, examples, held):
    sizes, parts = [], []
    for seen in stream_latents(gpt2, examples, sae, tokens=2 * examples.tokens.shape[1]):
        sizes.append(len(seen.latents))
        parts.append(seen.latents)
    assert max(sizes) <= 2 * examples.tokens.shape[1]
    torch.testing.assert_close(torch.cat(parts), held[1][examples.mask], atol=1e-5, rtol=1e-4)


def test_pooling_is_a_mean_over_chosen_tokens(gpt2, sae, examples, held):
    at = examples.mask.clone()
    at[0, examples.mask[0].nonzero()[0, 0]] = False
    found = pool_latents(gpt2, examples, sae, at=at)
    for values, source in ((found.latents.toarray(), held[1]), (found.vectors, held[0])):
        for row in range(len(examples)):
            wanted = source[row][at[row]].mean(0).numpy()
            np.testing.assert_allclose(values[row], wanted, atol=1e-5, rtol=1e-4)
    at[2] = False
    with pytest.raises(SaeError, match="example 2 has no token"):
        pool_latents(gpt2, examples, sae, at=at)


def test_differences_and_aurocs_are_scikit_learns():
    rng = np.random.default_rng(0)
    latents = np.maximum(rng.normal(size=(40, 9)), 0)
    latents[:, 4] = 0
    labels = rng.random(40) < 0.4
    found = differential(latents, labels)
    for i in range(9):
        assert found.auroc[i] == pytest.approx(roc_auc_score(labels, latents[:, i]))
    np.testing.assert_allclose(found.delta, latents[labels].mean(0) - latents[~labels].mean(0))
    assert found.auroc[4] == 0.5
    assert found.top(1)[0][0] == int(np.abs(found.delta).argmax())
    assert found.table()["latent"].iloc[0] == found.top(1)[0][0]
    with pytest.raises(SaeError, match="same label"):
        differential(latents, np.ones(40, dtype=bool))
    with pytest.raises(SaeError, match="as many booleans"):
        differential(latents, labels.astype(int))


def pooled(n, *, planted, seed):
    """One latent that knows the label, spread over all the activation's dimensions."""
    from interp.sae.features import Pooled

    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 2 == 0
    latents = np.maximum(rng.normal(size=(n, 30)), 0)
    latents[:, 7] = np.where(labels, 2.0, 0.0) if planted else latents[:, 7]
    mix = rng.normal(size=(30, 30)) / np.sqrt(30)
    from scipy import sparse

    return Pooled(
        sparse.csr_array(latents), latents @ mix, tuple(str(i // 2) for i in range(n))
    ), labels


def test_one_latent_suffices_where_one_is_planted_and_one_dimension_does_not():
    one, labels = pooled(300, planted=True, seed=1)
    found = {(p.k, p.of): p for p in sparse_probes(one, labels, seed=0)}
    assert found[1, "latents"].chosen == (7,)
    assert found[1, "latents"].accuracy == 1.0
    assert found[1, "residual"].accuracy < 0.95
    assert set(found) == {(k, of) for k in (1, 2, 5) for of in ("latents", "residual")}


def test_probes_of_nothing_stay_at_chance():
    scores = []
    for seed in range(12):
        null, labels = pooled(200, planted=False, seed=seed)
        scores += [p.accuracy for p in sparse_probes(null, labels, ks=(1, 5), seed=seed)]
    assert abs(np.mean(scores) - 0.5) < 0.05


def test_a_card_shows_the_largest_values_and_where(gpt2, sae, examples, held):
    cards = feature_cards(gpt2, examples, sae, [3, 0, 5], n_contexts=4)
    assert [card.latent for card in cards] == [3, 0, 5]
    for card in cards[::2]:
        values = held[1][..., card.latent].masked_fill(~examples.mask, -1)
        best = values.amax(1)
        wanted = best[best > 0].sort(descending=True).values[:4]
        found = torch.tensor([context.value for context in card.contexts])
        torch.testing.assert_close(found, wanted, atol=1e-5, rtol=1e-4)
        for context in card.contexts:
            assert bool(examples.mask[context.example, context.position])
            token = int(examples.tokens[context.example, context.position])
            assert context.tokens[context.at] == f"#{token}"
            assert context.values[context.at] == pytest.approx(context.value, rel=1e-4)
            assert len(context.tokens) <= 19
            real = [
                f"#{int(t)}"
                for t in examples.tokens[context.example][examples.mask[context.example]]
            ]
            assert "".join(context.tokens) in "".join(real)
        assert len({context.example for context in card.contexts}) == len(card.contexts)
        assert card.rate == pytest.approx(
            float((held[1][examples.mask][:, card.latent] != 0).float().mean())
        )
    assert cards[1].contexts == ()
    assert "never fires" in cards[1]._repr_html_()
    frame = cards_frame(cards)
    assert list(frame["latent"]) == [3, 0, 5]
    assert "«" in frame["contexts"][0]


def test_logit_effects_are_the_direction_through_the_unembedding(load_tiny):
    model = load_tiny("native-attn-only")  # no norm
    sae = make(model.d_model, "L2.resid_post")
    logits = (sae.decoder @ model.W_U)[4]
    (high, low) = logit_effects(model, sae, [4], k=3)[0]
    order = logits.argsort(descending=True)
    assert [token for token, _ in high] == [f"#{int(i)}" for i in order[:3]]
    assert low[0][0] == f"#{int(order[-1])}"
    assert high[0][1] == pytest.approx(float(logits.max() - logits.mean()), rel=1e-4)
    heads = make(model.n_heads * model.d_head, "L1.z")
    assert logit_effects(model, heads, [0]) == [((), ())]


def test_what_a_card_shows_is_escaped(gpt2, examples, monkeypatch):
    from interp.sae import contexts, features_logits

    nasty = "<script>alert('x')</script>&"
    monkeypatch.setattr(contexts, "token_text", lambda *_: nasty)
    monkeypatch.setattr(features_logits, "token_text", lambda *_: nasty)
    sae = make(gpt2.d_model, "L1.resid_post", name="<b>bold</b>")
    shown = feature_cards(gpt2, examples, sae, [3])[0]._repr_html_()
    assert "<script" not in shown
    assert "<b>" not in shown
    assert "&lt;script&gt;" in shown
    page = cards_page(feature_cards(gpt2, examples, sae, [3]), title=nasty, about=nasty)
    assert "<script" not in page


def test_tokens_without_a_tokenizer_are_told_apart_and_may_have_names(gpt2, sae, examples):
    plain = feature_cards(gpt2, examples, sae, [3])[0]
    words = [f"word{i}" for i in range(gpt2.d_vocab)]
    named = feature_cards(gpt2, examples, sae, [3], words=words)[0]
    assert "</span> <span" in plain._repr_html_()
    for one, other in zip(plain.contexts, named.contexts, strict=True):
        assert other.tokens == tuple(f"word{token[1:]}" for token in one.tokens)
    assert [f"word{token[1:]}" for token, _ in plain.promoted] == [t for t, _ in named.promoted]
    assert " «word" in cards_frame([named])["contexts"][0] or named.contexts[0].at == 0
    with pytest.raises(SaeError, match="2 words for 29 tokens"):
        feature_cards(gpt2, examples, sae, [3], words=["a", "b"])


def test_cards_of_no_such_latent(gpt2, sae, examples):
    for latents, said in (([], "at least one"), ([1, 1], "each once"), ([12], "0…11")):
        with pytest.raises(SaeError, match=said):
            feature_cards(gpt2, examples, sae, latents)
