"""Sparse autoencoders: training, loading, evaluation, splicing, features, superposition.

Names are looked up when they are first used: sae-lens takes seconds to import.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any

_WHERE = {
    "BiasSplit": "interp.sae.carrying_measures",
    "Carrying": "interp.sae.carrying_result",
    "Changes": "interp.sae.splice_sweep",
    "Dictionary": "interp.sae.dictionary",
    "EditError": "interp.sae.edits",
    "Evaluation": "interp.sae.evaluation",
    "FeatureCard": "interp.sae.contexts",
    "LatentAttribution": "interp.sae.attribution",
    "LatentEdit": "interp.sae.edits",
    "NoBiasError": "interp.sae.carrying_measures",
    "NoLatentError": "interp.sae.carrying_measures",
    "SaeError": "interp.sae.dictionary",
    "SaeSettings": "interp.sae.settings",
    "Superposition": "interp.sae.superposition",
    "SuperpositionError": "interp.sae.superposition",
    "TiedSae": "interp.sae.tied",
    "TrainedSae": "interp.sae.train",
    "attribute_latents": "interp.sae.attribution",
    "carrying": "interp.sae.carrying_splits",
    "clamp_latents": "interp.sae.edits",
    "count_features": "interp.sae.superposition",
    "differential": "interp.sae.probing",
    "evaluate_sae": "interp.sae.evaluate",
    "feature_cards": "interp.sae.contexts",
    "fit_tied": "interp.sae.tied",
    "latent_statistics": "interp.sae.features",
    "load_sae": "interp.sae.load",
    "logit_effects": "interp.sae.features_logits",
    "pool_latents": "interp.sae.features",
    "rank_latents": "interp.sae.carrying_load",
    "read_trained": "interp.sae.train",
    "scale_latents": "interp.sae.edits",
    "set_latents": "interp.sae.edits",
    "sparse_probes": "interp.sae.probing",
    "splice": "interp.sae.splicing",
    "spurious_correlation_removal": "interp.sae.probing_removal",
    "stream_latents": "interp.sae.features",
    "sweep_changes": "interp.sae.splice_sweep",
    "targeted_probe_perturbation": "interp.sae.probing_perturbation",
    "train_on_array": "interp.sae.arrays",
    "train_sae": "interp.sae.train",
    "weigh_latents": "interp.sae.carrying_load",
    "zero_latents": "interp.sae.edits",
}

__all__ = list(_WHERE)


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_WHERE[name]), name)
