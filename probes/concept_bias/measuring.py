"""Bias of targets between two reference concepts, read off a model's activations.

1. Sentences of all concepts and neutral ones are run once; some neutral ones are kept from every
   fit.
2. At each site all vectors are fitted in one solve, and bias is read off them by every method.
3. The same with the references' labels shuffled, group by group: a null for size and slope.
4. The same with groups of sentences drawn with replacement: intervals.
5. Bias is compared with yardsticks, such as the model's behaviour, over targets.

Bias in concept space is a *signature*. That the model's behaviour rests on it is for
``probes.concept_bias.load`` to show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Model
from probes.cav.captured import At, Captured, Concept, captured
from probes.cav.vectors import concept_vectors
from probes.concept_bias.agreement import adjusted, agreement, amplitude
from probes.concept_bias.methods import WITHOUT_SAE, Encoder
from probes.concept_bias.replicates import (
    measured_once,
    with_resampled_groups,
    with_shuffled_references,
)
from probes.concept_bias.result import ConceptBias, TargetBias, VectorAccuracy
from probes.concept_bias.rows import BiasRows, ConceptBiasError, ConceptRows
from probes.data import StatementSet
from probes.domains import Domain


def concept_bias(
    model: Model,
    targets: Sequence[Concept],
    first: Concept,
    second: Concept,
    *,
    sites: Sequence[Site | str],
    neutral: Concept | None = None,
    position: At = "last",
    saes: Mapping[str, Mapping[str, Encoder]] | None = None,
    yardsticks: Mapping[str, Mapping[str, float]] | None = None,
    n_shuffles: int = 200,
    n_resamples: int = 200,
    C: float = 0.1,
    seed: int,
) -> ConceptBias:
    """Measure bias of targets between two references at some sites of a model.

    Args:
        model: The model.
        targets: Concepts that are not about either reference.
        first: The reference that positive bias points to.
        second: The other.
        sites: Places with one vector a token.
        neutral: Sentences of none of the concepts, the negatives of all; what the concepts' own
            sets have without the concept when omitted.
        position: Which token of a sentence.
        saes: By site, and then by the name that its SAE form gets in tables, anything that
            encodes; SAE forms are measured there alone.
        yardsticks: By name, a number for each target, such as its behavioural bias.
        n_shuffles: Shuffles of the references' labels.
        n_resamples: Draws of groups, for intervals; 0 leaves them out, and makes it much faster.
        C: Inverse strength of the penalty, on activations as they are.
        seed: Seeds everything.

    Raises:
        ConceptBiasError: concepts that cannot be compared, or a yardstick that lacks a target.
        DataError: a sentence cannot be read.
        FitError: a vector cannot be fitted.
        SiteError: no such site.
    """
    places = Site.parse_all(sites)
    given = [*targets, first, second]
    held = [captured(model, concept, places, position=position) for concept in given]
    plain = (
        _own_negatives(model, given, places, position)
        if neutral is None
        else captured(model, neutral, places, position=position, label=None)
    )
    by_site = {}
    for site in held[0].at:
        *found, one, other = (ConceptRows(c.name, c.at[site], c.groups) for c in held)
        rest = ConceptRows(
            "neutral" if neutral is None else plain.name, plain.at[site], plain.groups
        )
        by_site[str(site)] = BiasRows.build(
            found, one, other, rest, place=f"{model.spec.name} {site}", seed=seed
        )
    return bias_of_rows(
        by_site,
        saes=saes,
        yardsticks=yardsticks,
        n_shuffles=n_shuffles,
        n_resamples=n_resamples,
        C=C,
        seed=seed,
    )


def bias_of_rows(
    by_site: Mapping[str, BiasRows],
    *,
    saes: Mapping[str, Mapping[str, Encoder]] | None = None,
    yardsticks: Mapping[str, Mapping[str, float]] | None = None,
    n_shuffles: int = 200,
    n_resamples: int = 200,
    C: float = 0.1,
    seed: int,
) -> ConceptBias:
    """Measure bias on activations, site by site.

    Args:
        by_site: The concepts' activations; the same targets and references at every site.
        saes: As in ``concept_bias``.
        yardsticks: As there.
        n_shuffles: As there.
        n_resamples: As there.
        C: As there.
        seed: As there.

    Raises:
        ConceptBiasError: no site, an SAE of none of them or with a name that is taken, or a
            yardstick that lacks a target.
        FitError: a vector cannot be fitted.
    """
    encoders = {str(Site.parse(s)) if s not in by_site else s: e for s, e in (saes or {}).items()}
    if not by_site or encoders.keys() - by_site.keys():
        raise ConceptBiasError(
            f"sites {', '.join(by_site) or 'none'} and SAEs of {', '.join(encoders) or 'none'}: "
            "expected at least one site, and no SAE of another"
        )
    if taken := {name for one in encoders.values() for name in one} & set(WITHOUT_SAE):
        raise ConceptBiasError(f"an SAE is called {', '.join(sorted(taken))}; call it otherwise")
    if n_shuffles < 2 or n_resamples < 0:
        raise ConceptBiasError(
            f"n_shuffles={n_shuffles}, n_resamples={n_resamples}: expected at least 2 and 0"
        )
    first_site = next(iter(by_site.values()))
    scores = _scores(yardsticks or {}, first_site.names)
    biases: list[TargetBias] = []
    amplitudes, agreements, accuracies, axes = [], [], [], {}
    with progress("bias in concept space", total=len(by_site)) as advance:
        for site, rows in by_site.items():
            here = encoders.get(site, {})
            targets, references, real = measured_once(rows, here, C=C)
            null = with_shuffled_references(
                rows, targets, references, here, n=n_shuffles, C=C, seed=seed
            )
            drawn = with_resampled_groups(
                rows, targets, references, here, n=n_resamples, C=C, seed=seed
            )
            accuracies += _accuracies(site, rows, C=C, seed=seed)
            apart = all(
                a.above_chance for a in accuracies if a.site == site and a.concept not in rows.names
            )
            axes[site] = references.probe.units[0].float()
            for method, bias in real.items():
                amplitudes.append(
                    amplitude(site, method, bias, null[method], references_apart=apart)
                )
                biases += _intervals(site, method, rows.names, bias, drawn.get(method))
                agreements += [
                    agreement((site, method, name), values, bias, null[method], seed=seed)
                    for name, values in scores.items()
                ]
            advance(1)
    return ConceptBias(
        first=first_site.first.name,
        second=first_site.second.name,
        biases=tuple(biases),
        amplitudes=adjusted(amplitudes),
        agreements=adjusted(agreements),
        accuracies=tuple(accuracies),
        axes=axes,
        yardsticks=dict(yardsticks or {}),
    )


def _intervals(
    site: str,
    method: str,
    names: Sequence[str],
    bias: Float[Tensor, " target"],
    drawn: Float[Tensor, "draw target"] | None,
) -> list[TargetBias]:
    ends: list[tuple[float | None, float | None]] = [(None, None)] * len(names)
    if drawn is not None:
        low, high = drawn.quantile(torch.tensor([0.025, 0.975], dtype=drawn.dtype), dim=0)
        ends = list(zip(low.tolist(), high.tolist(), strict=True))
    return [
        TargetBias(site, method, name, value, *span)
        for name, value, span in zip(names, bias.tolist(), ends, strict=True)
    ]


def _accuracies(site: str, rows: BiasRows, *, C: float, seed: int) -> list[VectorAccuracy]:
    domains = [_domain(one, rows.neutral) for one in (*rows.targets, rows.first, rows.second)]
    between = f"{rows.first.name} − {rows.second.name}"
    domains.append(replace(_domain(rows.first, rows.second), name=between))
    vectors = concept_vectors(domains, C=C, seed=seed)
    return [VectorAccuracy(site, v.name, v.accuracy, *v.interval) for v in vectors]


def _domain(one: ConceptRows, other: ConceptRows) -> Domain:
    return Domain.build(
        one.name,
        torch.cat([one.values, other.values]),
        np.arange(len(one.values) + len(other.values)) < len(one.values),
        groups=[*one.groups, *other.groups],
    )


def _scores(
    yardsticks: Mapping[str, Mapping[str, float]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    for yardstick, scores in yardsticks.items():
        missing = [name for name in names if name not in scores]
        if missing:
            raise ConceptBiasError(f"{yardstick} has no number for {', '.join(missing[:3])}")
    return {
        yardstick: np.array([float(scores[name]) for name in names])
        for yardstick, scores in yardsticks.items()
    }


def _own_negatives(
    model: Model, concepts: Sequence[Concept], sites: Sequence[Site], position: At
) -> Captured:
    """What the concepts' own sets have without the concept, each sentence once."""
    held: dict[str, tuple[str, dict[Site, Tensor]]] = {}
    taken: set[str] = set()
    for concept in concepts:
        if not isinstance(concept, StatementSet):
            raise ConceptBiasError(f"{concept.name!r} is token ids; give neutral=…")
        # What is one concept's negative may be another's sentence: good and bad ones, say.
        taken |= set(concept.filter(label=True).row_hashes)
        found = captured(model, concept, sites, position=position, label=False)
        for row, (key, group) in enumerate(zip(found.keys, found.groups, strict=True)):
            held.setdefault(key, (group, {s: values[row] for s, values in found.at.items()}))
    rows = [one for key, one in held.items() if key not in taken]
    if not rows:
        raise ConceptBiasError("no sentence is without every concept; give neutral=…")
    return Captured(
        name="neutral",
        groups=tuple(group for group, _ in rows),
        keys=tuple(key for key in held if key not in taken),
        at={site: torch.stack([values[site] for _, values in rows]) for site in rows[0][1]},
    )
