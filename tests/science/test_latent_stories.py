"""A language model trained elsewhere: an SAE on text of its own, and cards of its latents."""

from __future__ import annotations

import torch

from interp.evidence import loss
from interp.models import load_model
from interp.models.sampling import own_text
from interp.sae import (
    SaeSettings,
    attribute_latents,
    feature_cards,
    latent_statistics,
    train_sae,
    weigh_latents,
)
from interp.sae.stream import kept_positions

SITE = "L2.resid_post"


def test_latents_of_a_story_model(shared_models, tmp_path):
    model = load_model(str(shared_models / "stories260k"))
    text = own_text(model, n=120, length=40, generator=torch.Generator().manual_seed(0))
    train, held_out = text.split(0.7, seed=0)
    trained = train_sae(
        model,
        train,
        SITE,
        out=tmp_path / "sae",
        settings=SaeSettings(arch="topk", d_sae=128, k=8, samples=30_000, batch=512, lr=2e-3),
        held_out=held_out,
    )
    sae = trained.dictionary
    assert trained.evaluation.explained_variance > 0.5
    choose, judged = held_out.split(0.5, seed=0)

    def at(examples):
        return kept_positions(model, examples.tokens, examples.mask, skip_bos=True)

    statistics = latent_statistics(model, choose, sae, at=at(choose))
    attribution = attribute_latents(
        model, choose, loss, sae, reference=statistics.mean, at=at(choose), steps=2
    )
    latents = [latent for latent, _ in attribution.top(3, sign=1)]
    row, alone = weigh_latents(
        model,
        judged,
        loss,
        sae,
        latents,
        attribution=attribution,
        statistics=statistics,
        at=at(judged),
        n_controls=19,
        seed=0,
    )
    assert len(row.controls) == 19
    assert alone.shape == (3,)
    card = feature_cards(model, held_out, sae, latents, n_contexts=4, at=at(held_out))[0]
    assert len(card.promoted) == 8
    best = card.contexts[0]
    token = int(held_out.tokens[best.example, best.position])
    name = model.tokenizer.convert_ids_to_tokens(token)
    assert best.tokens[best.at] == name.replace("▁", " ")
    # With their spaces, tokens side by side are the text.
    assert "".join(best.tokens).strip() in model.tokenizer.decode(held_out.tokens[best.example])
    assert best.value == card.largest
    assert f"latent {latents[0]}" in card._repr_html_()
