"""Concept activation vectors with their held-out accuracy: is there a vector to speak of at all?

A vector fitted to a concept and its negatives (Kim et al. 2018, "TCAV", §3.2) always exists. Where
it does not tell held-out sentences apart it is the direction of some noise, and nothing that is
measured along it is about the concept: it is flagged, and ``require_concepts`` refuses it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import bootstrap_interval
from probes.cav.fitting import Fits, fit_each
from probes.data import group_split
from probes.domains import Domain, require_together


class CAVError(ValueError):
    """There is no concept vector to measure along; the message says why."""


@dataclass(frozen=True, eq=False)
class ConceptVector:
    """The direction of one concept at one place, of unit length, pointing to the concept.

    Attributes:
        name: Of the concept.
        direction: In the raw activation space.
        weight: Length of the fitted weights: log-odds of the concept by unit of activation.
        bias: Log-odds at an activation of zero.
        accuracy: Balanced accuracy on groups it was not fitted to, 0 to 1; chance is .5.
        interval: Of the accuracy, over groups.
        n_fitted: Rows it was fitted to.
        n_held_out: Rows it was tested on.
        place: Model, site and position.
    """

    name: str
    direction: Float[Tensor, " d"]
    weight: float
    bias: float
    accuracy: float
    interval: tuple[float, float]
    n_fitted: int
    n_held_out: int
    place: str

    @property
    def above_chance(self) -> bool:
        """Whether the accuracy's interval lies above one half."""
        return self.interval[0] > 0.5

    def __str__(self) -> str:
        low, high = self.interval
        flag = "" if self.above_chance else "; not above chance"
        return f"{self.name}: held-out accuracy {self.accuracy:.2f} [{low:.2f}, {high:.2f}]{flag}"


def concept_vectors(
    domains: Sequence[Domain], *, C: float = 0.1, held_out: float = 1 / 3, seed: int
) -> list[ConceptVector]:
    """Fit a vector to each concept, all in one solve, and test it on groups left out.

    Args:
        domains: Each concept's activations, label 1 with the concept, at one place.
        C: Inverse strength of the penalty, on activations as they are.
        held_out: Share of the rows to test on.
        seed: Seeds the split and the intervals.

    Raises:
        DomainError: activations of different places.
        DataError: too few groups to split.
        FitError: no direction, or a fit that did not arrive.
    """
    require_together(domains, fewest=1)
    splits = [
        group_split(d.labels, d.groups, held_out=held_out, seed=seed, name=d.name) for d in domains
    ]
    fits = fit_domains(domains, [known for known, _ in splits], C=C)
    made = []
    for i, (domain, (known, new)) in enumerate(zip(domains, splits, strict=True)):
        scores = domain.values[torch.from_numpy(new)].double() @ fits.directions[i] + fits.biases[i]
        accuracy, interval = balanced_accuracy(
            scores > 0, domain.labels[new], [domain.groups[r] for r in new], seed=seed
        )
        made.append(
            ConceptVector(
                name=domain.name,
                direction=fits.units[i].float(),
                weight=float(fits.directions[i].norm()),
                bias=float(fits.biases[i]),
                accuracy=accuracy,
                interval=interval,
                n_fitted=len(known),
                n_held_out=len(new),
                place=domain.place,
            )
        )
    return made


def require_concepts(vectors: Sequence[ConceptVector]) -> None:
    """Refuse vectors that do not tell their concept from its negatives.

    Raises:
        CAVError: one of them is not above chance.
    """
    for vector in vectors:
        if not vector.above_chance:
            raise CAVError(
                f"{vector} at {vector.place}: give more sentences, or another site or position"
            )


def fit_domains(domains: Sequence[Domain], rows: Sequence[np.ndarray], *, C: float) -> Fits:
    """Fit every domain's labels on some of its rows, all in one solve."""
    starts = np.cumsum([0, *(len(d) for d in domains)])
    pool = torch.cat([d.values for d in domains])
    n = max(map(len, rows))
    index = torch.zeros((len(domains), n), dtype=torch.int64)
    labels = torch.zeros((len(domains), n), dtype=torch.bool)
    weights = torch.zeros((len(domains), n))
    for i, (domain, chosen) in enumerate(zip(domains, rows, strict=True)):
        index[i, : len(chosen)] = torch.from_numpy(chosen + starts[i])
        labels[i, : len(chosen)] = torch.from_numpy(domain.labels[chosen])
        weights[i, : len(chosen)] = 1
    return fit_each(pool, index, labels, weights=weights, C=C)


def balanced_accuracy(
    said: Tensor, labels: np.ndarray, groups: Sequence[str], *, seed: int
) -> tuple[float, tuple[float, float]]:
    """Mean of both labels' accuracies, with its interval over groups.

    Args:
        said: What was said of each row; a share where several vectors said it.
        labels: What is so.
        groups: What binds rows together.
        seed: Seeds the interval.
    """
    share = said.double().numpy()
    right = np.where(labels, share, 1 - share)
    of_label = {label: right[labels == label].mean() for label in (True, False)}
    balanced = float((of_label[True] + of_label[False]) / 2)
    own = np.where(labels, of_label[True], of_label[False])
    weight = np.where(labels, len(labels) / labels.sum(), len(labels) / (~labels).sum()) / 2
    # The balanced mean plus each row's influence on it: its spread is that of the mean, not that
    # of how many rows of each label a resample happens to hold.
    low, high = bootstrap_interval(
        balanced + weight * (right - own), groups, n_resamples=1999, seed=seed
    )
    return balanced, (max(low, 0.0), min(high, 1.0))
