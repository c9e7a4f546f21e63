"""What a trained SAE says of itself: in sae-lens' metadata, on its card, and what decided it."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from interp.hooks import KINDS, Site
from interp.models import Examples, Model
from interp.sae.dictionary import Dictionary
from interp.sae.evaluation import Evaluation
from interp.sae.settings import SaeSettings
from interp.sae.stream import ActivationStream


def metadata_of(stream: ActivationStream, settings: SaeSettings) -> dict[str, Any]:
    """What the SAE says of itself, in sae-lens' words and in ours."""
    model, examples, site = stream.model, stream.examples, stream.site
    said = {
        "model_name": model.spec.name,
        "hook_name": KINDS[site.kind].hook.format(layer=site.layer),
        "context_size": int(examples.lengths.max()),
        "prepend_bos": model.bos_id is not None,
        "dataset_path": examples.name,
        "model_fingerprint": model.fingerprint,
        "data_hash": examples.hash,
        "site": str(site),
        "skip_bos": settings.skip_bos,
        "seed": settings.seed,
    }
    return said if site.head is None else {**said, "hook_head_index": site.head}


def made_by(
    model: Model, examples: Examples, held_out: Examples, site: Site, settings: SaeSettings
) -> str:
    """What decides a training and its evaluation, as JSON."""
    told = {
        "model": model.fingerprint,
        "data": examples.hash,
        "held out": held_out.hash,
        "site": str(site),
        **{k: v for k, v in asdict(settings).items() if k != "checkpoint_every"},
        "options": dict(settings.options),
    }
    return json.dumps(told, sort_keys=True)


def card_of(
    sae: Dictionary, evaluation: Evaluation, settings: SaeSettings, *, decided_by: str
) -> dict[str, Any]:
    """The fields of ``card.json``."""
    import sae_lens

    return {
        "summary": f"{settings.arch} SAE of {sae.metadata.get('model_name')} at {sae.site}",
        "site": str(sae.site),
        "d_in": sae.d_in,
        "d_sae": sae.d_sae,
        "trained_as": settings.arch,
        "saved_as": sae.architecture,
        "model": sae.metadata.get("model_name"),
        "model_fingerprint": sae.fingerprint,
        "data": sae.metadata.get("dataset_path"),
        "data_hash": sae.metadata.get("data_hash"),
        "settings": asdict(settings),
        "steps": settings.n_steps,
        "measured": evaluation.metrics(),
        "sae_lens": sae_lens.__version__,
        "made_by": json.loads(decided_by),
    }
