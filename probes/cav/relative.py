"""Relative concept vectors: one concept against another, beside shuffled labels.

The negatives are the other concept's sentences (Kim et al. 2018, §3.2), so that the direction is
itself an axis from one to the other. Random sentences are no null for it: what would come out if
nothing told the two apart is what comes out where their labels are shuffled, whole groups keeping
their share.

Judged by amplitude, not by direction: where most of the variation lies on the axis itself, a probe
of shuffled labels finds the axis too (from a tiny imbalance), with an accuracy near 0 or 1. What it
does not find is a wide gap: its held-out loss stays near chance, and moving along it by its own gap
does next to nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import rank_p_value, smallest_p
from probes.cav.fitting import fit_each
from probes.cav.sensitivity import Sensitivity, sensitivity
from probes.cav.testing import ConceptTest, by_distance
from probes.cav.vectors import CAVError, ConceptVector, balanced_accuracy
from probes.data import group_split, shuffled_labels
from probes.domains import Domain


@dataclass(frozen=True, eq=False)
class RelativeVector:
    """The axis from one concept to another, and what shuffled labels give in its place.

    Attributes:
        vector: The axis, pointing to label 1.
        loss: Held-out cross-entropy, both labels weighing the same, in nats; ln 2 is chance.
        p_loss: Rank of the loss among those of shuffled labels.
        tests: Sensitivity of each target's metric; p, unadjusted, is the rank of |effect| among
            shuffled labels, null quantiles and z are those of the effect.
        shuffled: Directions of shuffled labels, of unit length.
    """

    vector: ConceptVector
    loss: float
    p_loss: float
    tests: tuple[ConceptTest, ...]
    shuffled: Float[Tensor, "shuffle d"] = field(repr=False)


def relative_vector(
    domain: Domain,
    gradients: Mapping[str, Float[Tensor, "example d"]] | None = None,
    *,
    n_shuffles: int = 199,
    C: float = 0.1,
    held_out: float = 1 / 3,
    seed: int,
) -> RelativeVector:
    """Fit the axis between two concepts, and 199 more to shuffled labels, in one solve.

    Args:
        domain: Activations of both concepts' sentences, label 1 those of the first.
        gradients: Of each target's metric, at the same place.
        n_shuffles: How often labels are shuffled.
        C: Inverse strength of the penalty, on activations as they are.
        held_out: Share of the rows to test on.
        seed: Seeds split, shuffles and intervals.

    Raises:
        CAVError: fewer than one shuffle, or a gradient that is zero.
        DataError: too few groups to split.
        FitError: no direction.
    """
    if n_shuffles < 1:
        raise CAVError(f"n_shuffles is {n_shuffles}; expected at least 1")
    known, new = group_split(
        domain.labels, domain.groups, held_out=held_out, seed=seed, name=domain.name
    )
    rng = np.random.default_rng(seed)
    groups = [domain.groups[row] for row in known]
    real = domain.labels[known]
    labels = [real, *(shuffled_labels(real, groups, rng=rng) for _ in range(n_shuffles))]
    fits = fit_each(
        domain.values[torch.from_numpy(known)],
        torch.arange(len(known)).expand(len(labels), -1),
        torch.from_numpy(np.stack(labels)),
        C=C,
    )
    held = domain.values[torch.from_numpy(new)].double()
    scores = held @ fits.directions.T + fits.biases
    accuracy, interval = balanced_accuracy(
        scores[:, 0] > 0, domain.labels[new], [domain.groups[row] for row in new], seed=seed
    )
    units = fits.units
    vector = ConceptVector(
        name=domain.name,
        direction=units[0].float(),
        weight=float(fits.directions[0].norm()),
        bias=float(fits.biases[0]),
        accuracy=accuracy,
        interval=interval,
        n_fitted=len(known),
        n_held_out=len(new),
        place=domain.place,
    )
    loss = _loss(scores, torch.from_numpy(domain.labels[new]))
    gaps = _gaps(domain.values[torch.from_numpy(known)].double(), np.stack(labels), units)
    tests = []
    for name, gradient in (gradients or {}).items():
        effects = gaps * (gradient.double() @ units.T).mean(0)
        tests.append(_test(vector, name, sensitivity(gradient, units), effects))
    return RelativeVector(
        vector=vector,
        loss=float(loss[0]),
        p_loss=rank_p_value(-float(loss[0]), (-loss[1:]).tolist()),
        tests=tuple(tests),
        shuffled=units[1:].float(),
    )


def _loss(
    scores: Float[Tensor, "row probe"], labels: Bool[Tensor, " row"]
) -> Float[Tensor, " probe"]:
    """Cross-entropy, both labels weighing the same."""
    one = torch.nn.functional.softplus(-scores[labels]).mean(0)
    return (one + torch.nn.functional.softplus(scores[~labels]).mean(0)) / 2


def _gaps(
    values: Float[Tensor, "row d"], labels: np.ndarray, units: Float[Tensor, "probe d"]
) -> Float[Tensor, " probe"]:
    """How far each probe's own labels lie apart along it."""
    one = torch.from_numpy(labels).double()
    means = one @ values / one.sum(1, keepdim=True)
    others = (1 - one) @ values / (1 - one).sum(1, keepdim=True)
    return ((means - others) * units).sum(1)


def _test(
    vector: ConceptVector, target: str, measured: Sensitivity, effects: Float[Tensor, " probe"]
) -> ConceptTest:
    null = effects[1:]
    low, high = torch.quantile(null, torch.tensor([0.025, 0.975], dtype=null.dtype)).tolist()
    spread = float((null**2).mean().sqrt())
    return ConceptTest(
        site=vector.place,
        concept=vector.name,
        target=target,
        fraction=float(measured.fraction[0]),
        magnitude=float(measured.magnitude[0]),
        effect=float(effects[0]),
        null_low=low,
        null_high=high,
        z=float(effects[0]) / spread if spread > 0 else 0.0,
        p=by_distance(float(effects[0]), null),
        p_fraction=by_distance(float(measured.fraction[0]) - 0.5, measured.fraction[1:] - 0.5),
        p_welch=None,
        p_smallest=smallest_p(len(null)),
        accuracy=vector.accuracy,
        accuracy_low=vector.interval[0],
        accuracy_high=vector.interval[1],
        n_random=len(null),
    )
