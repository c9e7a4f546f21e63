"""What removing latents costs the model, beside latents that fire as often: signature and load."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Evidence, Metric, damage, weigh
from interp.models import Examples, Model
from interp.sae.attribution import LatentAttribution
from interp.sae.carrying_controls import matched_latents
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.edits import set_latents
from interp.sae.features import LatentStatistics
from interp.sae.splice_sweep import sweep_changes
from interp.sae.splicing import splice


@torch.no_grad()
def rank_latents(
    model: Model,
    examples: Examples,
    metric: Metric,
    dictionary: Dictionary,
    *,
    attribution: LatentAttribution,
    statistics: LatentStatistics,
    at: Bool[Tensor, "example pos"] | None = None,
    shortlist: int = 64,
) -> list[tuple[int, float]]:
    """Set the latents that gradients point at to their means, each alone, and rank by the damage.

    Gradients only make the list (``attribute_latents`` with ``steps=0`` for what latents do alone).

    Args:
        model: The model.
        examples: What the damage is measured on.
        metric: The metric.
        dictionary: The autoencoder.
        attribution: What gradients say, on these examples or others.
        statistics: Means to set latents to.
        at: Which tokens are touched; the real ones where None.
        shortlist: How many latents are tried.

    Returns:
        Latents and their mean damage, most first.
    """
    tried = [latent for latent, _ in attribution.top(shortlist)]
    changes = [splice(dictionary, set_latents([i], statistics.mean)) for i in tried]
    harm = sweep_changes(model, examples, changes, metric, at=at).harm(metric.name).mean(1)
    order = torch.argsort(harm, descending=True, stable=True).tolist()
    return [(tried[i], float(harm[i])) for i in order]


def weigh_latents(
    model: Model,
    examples: Examples,
    metric: Metric,
    dictionary: Dictionary,
    latents: Sequence[int],
    *,
    attribution: LatentAttribution,
    statistics: LatentStatistics,
    at: Bool[Tensor, "example pos"] | None = None,
    n_controls: int = 99,
    alpha: float = 0.05,
    seed: int,
) -> tuple[Evidence, Float[Tensor, " latent"]]:
    """Set latents to their means, error kept, and weigh the damage against random ones.

    Args:
        model: The model.
        examples: What the damage is measured on; they must not have chosen the latents.
        metric: The metric.
        dictionary: The autoencoder.
        latents: Those in question.
        attribution: The signature: what gradients say of each, on other examples.
        statistics: Means to set latents to and rates to match by, from other examples.
        at: Which tokens are touched; the real ones where None.
        n_controls: Random sets.
        alpha: Level of the verdict.
        seed: Draws the sets, and seeds the intervals.

    Returns:
        The evidence, and the mean damage of each latent removed alone.

    Raises:
        SaeError: the attribution is of another metric, or of several weightings.
        NoControlsError: too few other latents.
    """
    if attribution.metric != metric.name or len(attribution.values) != 1:
        raise SaeError(
            f"the attribution is of {attribution.metric} and {len(attribution.values)} weightings; "
            f"expected {metric.name}, and one"
        )
    sets = matched_latents(latents, statistics, n=n_controls, seed=seed)
    chosen = [list(latents), *([i] for i in latents)]
    others = [sorted(i for _, i in one) for one in (*sets.sets, *sets.null_sets)]
    changes = [splice(dictionary, set_latents(one, statistics.mean)) for one in (*chosen, *others)]
    found = sweep_changes(model, examples, changes, metric, at=at)
    harm = damage(metric, found.clean[0], found.changed[0])
    controls, null = harm[len(chosen) :][: len(sets)], harm[len(chosen) + len(sets) :]
    sign = -1.0 if metric.higher_is_better else 1.0
    worth = sign * attribution.values[0]
    guess = [float(worth[[i for _, i in one]].sum()) for one in sets.sets]
    own = float(worth[list(latents)].sum())
    row = weigh(
        "latents " + "+".join(map(str, sorted(latents))),
        signature_name="attributed damage",
        signature=own,
        signature_null=float(np.mean(guess)),
        has_signature=own > max(guess),
        metric=metric,
        clean=found.clean[0],
        ablated=found.changed[0, 0],
        control_effects=controls,
        controls=sets,
        null_effects=null if len(latents) > 1 else None,
        groups=examples.groups,
        alpha=alpha,
        seed=seed,
    )
    return row, harm[1 : len(chosen)].mean(1).to(torch.float64)
