"""Does biased behaviour rest on the direction between the references?

The direction is taken out of the activations on prompts that it was not fitted to, and what is
measured is the slope of behaviour on a yardstick over targets: how much of the bias that differs
between targets is gone, whatever offset they share. Beside it stand random directions that point
where the prompts' activations vary. Isotropic ones, the usual yardstick, mostly point where nothing
varies: on zoo:bias-world hardly any takes a tenth of the slope away, of the others some take half.

A share above 1 is too much: the targets now lean the other way, since what else the model holds of
them works against the direction. On zoo:bias-world's recipe that depends on the seed and is worst
in the middle of the network. That the model uses a direction does not make removing it a remedy.
"""

from __future__ import annotations

from collections.abc import Mapping

from interp.evidence import Evidence, Metric
from interp.hooks import Site
from interp.models import Examples, Model
from probes.causal.random_directions import random_units
from probes.cav.captured import captured
from probes.cav.load import Where, changed_metric, weigh_direction
from probes.concept_bias.behaviour import slope_metric
from probes.concept_bias.result import ConceptBias
from probes.concept_bias.rows import ConceptBiasError


def axis_evidence(
    model: Model,
    found: ConceptBias,
    prompts: Examples,
    behaviour: Metric,
    *,
    site: Site | str,
    yardstick: str,
    method: str = "reference probe",
    where: Where = "every",
    n_random: int = 99,
    isotropic: bool = False,
    alpha: float = 0.05,
    seed: int,
) -> Evidence:
    """Take the reference probe out and weigh what becomes of the bias slope.

    Args:
        model: The model.
        found: Bias in concept space at this site; it gives direction and signature.
        prompts: About the targets, which their groups name (``by_target``), as many of each; on
            other sentences than the concepts'.
        behaviour: What is measured of each prompt, such as ``reference_log_odds``.
        site: One of those that bias was measured at.
        yardstick: The one of ``found`` that behaviour is laid against.
        method: Whose agreement with the yardstick is the signature.
        where: At which tokens of the prompts.
        n_random: Random directions.
        isotropic: Draw them alike in every direction, not with the activations' covariance.
        alpha: Level of the verdict.
        seed: Draws them, and seeds the intervals.

    Returns:
        Its effect is the slope that is gone, its share that over the whole slope: 1 is all of it,
        more is overshoot. The groups of its intervals are the targets.

    Raises:
        ConceptBiasError: bias was not measured there, by that method or beside that yardstick.
        EvidenceError: no random directions.
    """
    place = str(Site.parse(site))
    signatures = {(a.site, a.method, a.yardstick): a for a in found.agreements if a.site == place}
    key = (place, method, yardstick)
    if key not in signatures:
        known = sorted({f"{m} beside {y}" for _, m, y in signatures})
        raise ConceptBiasError(
            f"bias by {method} beside {yardstick} was not measured at {place}; "
            f"{'expected ' + ', '.join(known) if known else 'it was at ' + ', '.join(found.sites)}"
        )
    scores: Mapping[str, float] = found.yardsticks[yardstick]
    targets = {row.target for row in found.biases}
    metric = slope_metric(behaviour, {name: scores[name] for name in scores if name in targets})
    axis = found.axes[place]
    clean, _ = changed_metric(model, prompts, metric, axis[None], site=site, where=where)
    gain = float(clean.mean())
    like = None
    if not isotropic:
        (like,) = captured(model, prompts, [site]).at.values()
    return weigh_direction(
        model,
        prompts,
        metric,
        axis,
        random_units(n_random, len(axis), seed=seed, like=like),
        site=site,
        subject=f"{found.first} − {found.second} at {place}",
        signature_name=f"ρ of bias by {method} with {yardstick}",
        signature=signatures[key].rho,
        signature_null=0.0,
        has_signature=signatures[key].low > 0,
        where=where,
        family="isotropic direction" if isotropic else "random direction",
        gain=gain if gain > 0 else None,
        alpha=alpha,
        seed=seed,
    )
