"""Bias by every method: once as it is, with shuffled references, and on resampled sentences."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from jaxtyping import Float
from torch import Tensor

from probes.concept_bias.methods import (
    WITHOUT_SAE,
    Encoder,
    References,
    Vectors,
    cosines,
    projections,
    reference_gap,
    reference_vectors,
    sae_biases,
    target_vectors,
)
from probes.concept_bias.rows import BiasRows

# Replicates fitted at a time: their weights are one number a row and replicate.
_AT_ONCE = 50


def measured_once(
    rows: BiasRows, saes: Mapping[str, Encoder], *, C: float
) -> tuple[Vectors, References, dict[str, Float[Tensor, " target"]]]:
    """Fit everything to the rows as they are, and read bias off by every method.

    Args:
        rows: The concepts.
        saes: By the name of the SAE form that each is for; may be none.
        C: Inverse strength of the penalty.

    Returns:
        (the targets' vectors, the references', bias of each target by method).
    """
    once = torch.ones((1, len(rows.pool)), dtype=torch.float64)
    targets = target_vectors(rows, once, C=C)
    references = reference_vectors(rows, once, rows.reference_labels[None], C=C)
    found = _methods(rows, targets, references, saes)
    return targets, references, {method: values[0] for method, values in found.items()}


def _methods(
    rows: BiasRows,
    targets: Vectors,
    references: References,
    saes: Mapping[str, Encoder],
    *,
    gap: float | None = None,
) -> dict[str, Float[Tensor, "replicate target"]]:
    plain = (
        cosines(targets.units, references.units),
        cosines(targets.means, references.means),
        projections(targets, references, gap=gap),
    )
    found = dict(zip(WITHOUT_SAE, plain, strict=True))
    for name, sae in saes.items():
        found[name] = sae_biases(sae, targets, references, rows.held_out)
    return found


def with_shuffled_references(
    rows: BiasRows,
    targets: Vectors,
    references: References,
    saes: Mapping[str, Encoder],
    *,
    n: int,
    C: float,
    seed: int,
) -> dict[str, Float[Tensor, "shuffle target"]]:
    """Measure again with the references' labels shuffled; the targets stay as they are.

    Args:
        rows: The concepts.
        targets: Their vectors.
        references: By the true labels.
        saes: By the name of the SAE form that each is for; may be none.
        n: Shuffles.
        C: Inverse strength of the penalty.
        seed: Seeds the shuffles.
    """
    labels = rows.shuffles(n, seed=seed)
    gap = float(reference_gap(references)[0])
    parts = []
    for some in labels.split(_AT_ONCE):
        once = torch.ones((len(some), len(rows.pool)), dtype=torch.float64)
        null = reference_vectors(rows, once, some, C=C)
        parts.append(_methods(rows, targets, null, saes, gap=gap))
    return {method: torch.cat([part[method] for part in parts]) for method in parts[0]}


def with_resampled_groups(
    rows: BiasRows,
    targets: Vectors,
    references: References,
    saes: Mapping[str, Encoder],
    *,
    n: int,
    C: float,
    seed: int,
) -> dict[str, Float[Tensor, "draw target"]]:
    """Measure again on groups of sentences drawn with replacement; nothing where ``n`` is 0.

    Args:
        rows: The concepts.
        targets: Their vectors, near which those of a draw lie.
        references: By the true labels.
        saes: By the name of the SAE form that each is for; may be none.
        n: Draws.
        C: Inverse strength of the penalty.
        seed: Seeds the draws.
    """
    if not n:
        return {}
    parts = []
    for weights in rows.resamples(n, seed=seed + 1).split(_AT_ONCE):
        labels = rows.reference_labels.expand(len(weights), -1)
        again = target_vectors(rows, weights, C=C, start=targets)
        both = reference_vectors(rows, weights, labels, C=C, start=references)
        parts.append(_methods(rows, again, both, saes))
    return {method: torch.cat([part[method] for part in parts]) for method in parts[0]}
