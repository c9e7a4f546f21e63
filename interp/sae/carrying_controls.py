"""Random latents that fire as often, and the row of evidence that weighs an edit against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import ControlSets, Evidence, Metric, damage, norm_matched, weigh
from interp.sae.carrying_measures import Slopes
from interp.sae.features import LatentStatistics

_TOLERANCE = 2.05  # a factor 2, and rounding


def matched_latents(
    latents: Sequence[int], statistics: LatentStatistics, *, n: int, seed: int
) -> ControlSets:
    """Draw random sets of as many latents, each within a factor 2 in firing rate of one of these.

    Drawn as ``norm_matched`` draws heads: sets that share no latent with these, and null sets that
    may. A latent stands as (0, index). Where too few others fire so often, the nearest are taken,
    and the family says so: ``nearest-firing`` in place of ``firing-matched``. How well the lengths
    of what they write match is told beside, as the norms' ratio.

    Args:
        latents: The target.
        statistics: Rates and masses of all latents where the edit is made.
        n: Sets of each kind.
        seed: Draws them.

    Raises:
        NoControlsError: too few other latents.
    """
    target = [(0, i) for i in latents]
    found = norm_matched(target, statistics.rate[None], n=n, seed=seed)
    log_mass = torch.log(statistics.mass.clamp(min=1e-6 * float(statistics.mass.max())))
    own = float(log_mass[list(latents)].mean())
    ratios = tuple(
        float(torch.exp(log_mass[[i for _, i in chosen]].mean() - own)) for chosen in found.sets
    )
    own_rates = np.sort(statistics.rate[list(latents)].numpy())
    worst = max(
        float(np.exp(np.abs(np.log(_rates(chosen, statistics) / own_rates)).max()))
        for chosen in found.sets
    )
    family = "firing-matched" if worst <= _TOLERANCE else "nearest-firing"
    return dataclasses.replace(found, family=family, norm_ratios=ratios)


def _rates(chosen: Iterable[tuple[int, int]], statistics: LatentStatistics) -> np.ndarray:
    floor = float(statistics.rate[statistics.rate > 0].min())
    return np.sort(statistics.rate[[i for _, i in chosen]].clamp(min=floor).numpy())


def carrying_evidence(
    latents: Sequence[int],
    *,
    estimated: Float[Tensor, " d_sae"],
    sets: ControlSets,
    slopes: Slopes,
    metric: Metric,
    clean: Float[np.ndarray, " example"],
    edited: Float[np.ndarray, " example"],
    controls: Float[np.ndarray, "set example"],
    null: Float[np.ndarray, "set example"],
    targets: Sequence[str],
    alpha: float = 0.05,
    seed: int,
) -> Evidence:
    """Weigh an edit against random latents; the metric is each prompt's part in the slope.

    Prompts of one target are one group, since targets are what a slope is over.

    Args:
        latents: Those edited.
        estimated: Each latent's estimated drop of the slope, from the selecting split.
        sets: What ``matched_latents`` drew.
        slopes: Of the test split.
        metric: The bias of a prompt.
        clean: That of each test prompt, in the model as it is.
        edited: Under the edit.
        controls: With each of ``sets.sets`` edited instead.
        null: With each of ``sets.null_sets`` edited.
        targets: Which target each prompt is about.
        alpha: Level of the verdict.
        seed: Seeds the bootstrap.
    """
    sign = float(np.sign(slopes.weight @ clean))
    part = Metric(
        "bias slope",
        f"{metric.units} a unit of score",
        higher_is_better=True,
        per_example=metric.per_example,
    )
    was, now, others, nulls = (
        torch.from_numpy(sign * slopes.parts(values)) for values in (clean, edited, controls, null)
    )
    guess = [float(estimated[[i for _, i in chosen]].sum()) for chosen in sets.sets]
    own = float(estimated[list(latents)].sum())
    return weigh(
        "latents " + "+".join(map(str, sorted(latents))),
        signature_name="attributed drop of the slope",
        signature=own,
        signature_null=float(np.mean(guess)),
        has_signature=own > max(guess),
        metric=part,
        clean=was,
        ablated=now,
        control_effects=damage(part, was, others),
        controls=sets,
        null_effects=damage(part, was, nulls),
        groups=targets,
        gain=float(was.mean()),
        alpha=alpha,
        seed=seed,
    )
