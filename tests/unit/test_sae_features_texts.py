"""What the study of latents evaluates on is not what it trains on."""

from __future__ import annotations

from experiments.sae_features import PRESETS, Config
from experiments.sae_features_texts import plain_texts
from interp.models import ModelSpec, load_model


def stretches(tokens):
    return {tuple(row[i : i + 16]) for row in tokens for i in range(len(row) - 15)}


def test_source_code_that_is_also_trained_on_is_not_held_out():
    model = load_model(ModelSpec("zoo:code-lm"))
    config = Config(**{**PRESETS["smoke"], "held_out": 4096})
    train, held_out = plain_texts(config, model)
    known = stretches(train.tokens[:, 1:].tolist())
    for row in held_out.tokens[:, 1:].tolist():
        of_row = [tuple(row[i : i + 16]) for i in range(len(row) - 15)]
        assert sum(one in known for one in of_row) <= len(of_row) / 2
