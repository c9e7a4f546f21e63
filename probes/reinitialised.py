"""A network that was never trained, to tell what training put into a model's activations."""

from __future__ import annotations

import copy
from dataclasses import replace

import torch

from interp.models import Model, ModelError, load_model
from interp.models.loading import resolve
from interp.models.native import read_native_config


def random_network(model: Model, *, seed: int) -> Model:
    """Return a model of the same architecture and tokenizer with weights drawn anew.

    What a probe reads off it is in the tokens and in the architecture, not in what was learnt.

    Args:
        model: The trained model; left as it is.
        seed: Seeds the weights.

    Raises:
        ModelError: it cannot be built again from its configuration, or these are the very
            weights it has: it was never trained, and was drawn with this seed.
    """
    fresh = _drawn(model, seed=seed)
    if fresh.fingerprint == model.fingerprint:
        raise ModelError(
            f"{model.spec.name} was never trained: seed {seed} gives the weights that it has, so "
            "the two cannot be told apart; give a trained model, or another seed"
        )
    return fresh


def _drawn(model: Model, *, seed: int) -> Model:
    from transformers import AutoModelForCausalLM, PretrainedConfig

    name = f"{model.spec.name} re-initialised with seed {seed}"
    config = getattr(model.bridge.original_model, "config", None)
    if not isinstance(config, PretrainedConfig):
        _, folder = resolve(model.spec)
        fields = dict(model.spec.native or {}) if folder is None else read_native_config(folder)
        fields.pop("seed", None)
        return load_model(replace(model.spec, name=name, source="native", native=fields, seed=seed))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # transformers draws weights from the global generator
        fresh = AutoModelForCausalLM.from_config(copy.deepcopy(config)).eval()
    return load_model(
        replace(model.spec, name=name, source="auto", revision=None),
        hf_model=fresh,
        tokenizer=model.tokenizer,
    )
