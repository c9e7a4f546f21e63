"""Is a metric more sensitive to a concept than to random sentences? The test behind TCAV.

The published test compares a concept's scores against several random sets with scores between
random sets by a t-test (Kim et al. 2018, §3.4). The concept's scores all share its sentences, so
that they lie close together whatever these sentences are, and the test finds nearly every set of
sentences significant, random ones too: it asks whether *these sentences* differ from others, not
whether the concept does. ``p_welch`` is that test, for comparison (Welch's, with unordered pairs).

``p`` is the rank of the concept's mean over partners among the same means of random concepts, by
distance from zero: what is exchangeable under the null are whole sets of sentences.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.evidence import rank_p_value, smallest_p
from probes.cav.fitting import Fits
from probes.cav.randoms import Draw, fit_draw
from probes.cav.sensitivity import Sensitivity, sensitivity
from probes.cav.vectors import balanced_accuracy


@dataclass(frozen=True)
class ConceptTest:
    """One concept, one target, one site.

    Attributes:
        site: Where.
        concept: Which concept.
        target: Which examples the metric is of.
        fraction: Share of examples whose metric rises towards the concept; the TCAV score.
        magnitude: Mean cosine of the metric's gradient and the concept's vector.
        effect: First-order change of the metric, in its own units, when an activation moves along
            the vector by as much as the concept's sentences lie apart from the others.
        null_low: 2.5% quantile of the random concepts' magnitudes.
        null_high: Their 97.5% quantile.
        z: Magnitude over the random concepts' root mean square.
        p: Rank of |magnitude| among random concepts.
        p_fraction: The same of |fraction − ½|.
        p_welch: The published test, of the fraction; None where no score varies.
        p_smallest: The smallest p this many random concepts can give.
        accuracy: Balanced held-out accuracy of the concept's vectors against random sentences.
        accuracy_low: Lower end of its interval.
        accuracy_high: Upper end.
        n_random: Random concepts.
        p_holm: ``p`` adjusted for all tests of the family.
    """

    site: str
    concept: str
    target: str
    fraction: float
    magnitude: float
    effect: float
    null_low: float
    null_high: float
    z: float
    p: float
    p_fraction: float
    p_welch: float | None
    p_smallest: float
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    n_random: int
    p_holm: float = 1.0

    @property
    def above_chance(self) -> bool:
        """Whether there is a concept vector to speak of."""
        return self.accuracy_low > 0.5

    def verdict(self, *, alpha: float, n_tests: int) -> str:
        """Say what the test says.

        Args:
            alpha: Level of the test.
            n_tests: Tests in the family.
        """
        if not self.above_chance:
            return "no vector: its accuracy is not above chance"
        if self.p_holm <= alpha:
            return "sensitive"
        if self.p <= self.p_smallest * (1 + 1e-9) and self.p_smallest * n_tests > alpha:
            return "underpowered: draw more random concepts"
        return "not to be told from random concepts"


def run_tests(
    site: str,
    drawn: Draw,
    concepts: Mapping[str, Float[Tensor, "row d"]],
    pool: Float[Tensor, "row d"],
    gradients: Mapping[str, Float[Tensor, "example d"]],
    *,
    concept_groups: Mapping[str, Sequence[str]],
    pool_groups: Sequence[str],
    C: float = 0.1,
    seed: int,
) -> tuple[list[ConceptTest], dict[str, Tensor], Float[Tensor, "random d"]]:
    """Test every concept against every target at one site.

    Args:
        site: What the site is called.
        drawn: Which rows make up the sets.
        concepts: Activations of each concept's sentences.
        pool: Activations of the random sentences.
        gradients: Of each target's metric.
        concept_groups: For each concept the group of every row.
        pool_groups: The same of the pool.
        C: Inverse strength of the penalty.
        seed: Seeds the accuracies' intervals.

    Returns:
        (one test a concept and target, unadjusted; each concept's mean vector, of unit length;
        those of the random concepts).

    Raises:
        FitError: a vector cannot be fitted.
        CAVError: a gradient is zero.
    """
    fits = fit_draw(drawn, concepts, pool, C=C)
    n_concepts, n_partners = len(drawn.names), drawn.partners.shape[1]
    units = fits.units.unflatten(0, (-1, n_partners))
    vectors = units.mean(1)
    vectors = vectors / vectors.norm(dim=1, keepdim=True)
    measured = {target: sensitivity(g, units) for target, g in gradients.items()}
    tests = []
    for i, name in enumerate(drawn.names):
        fitted = concepts[name][drawn.concepts[i]].double().mean(0)
        gap = float((fitted - pool[drawn.partners[i].flatten()].double().mean(0)) @ vectors[i])
        of_concept = slice(i * n_partners, (i + 1) * n_partners)
        accuracy = _accuracy(
            Fits(fits.directions[of_concept], fits.biases[of_concept]),
            (concepts[name], concept_groups[name], drawn.concepts_held_out[i]),
            (pool, pool_groups, drawn.held_out),
            seed=seed,
        )
        for target, found in measured.items():
            effect = gap * float((gradients[target].double() @ vectors[i]).mean())
            tests.append(
                _test(
                    (site, name, target),
                    Sensitivity(found.fraction[i], found.magnitude[i]),
                    Sensitivity(found.fraction[n_concepts:], found.magnitude[n_concepts:]),
                    accuracy=accuracy,
                    effect=effect,
                )
            )
    named = dict(zip(drawn.names, vectors[:n_concepts].float(), strict=True))
    return tests, named, vectors[n_concepts:].float()


def by_distance(value: float, null: Float[Tensor, " random"]) -> float:
    """Rank of a value's distance from zero among the null's, which is symmetric about zero."""
    return rank_p_value(abs(value), null.abs().tolist())


def _test(
    named: tuple[str, str, str],
    mine: Sensitivity,
    others: Sensitivity,
    *,
    accuracy: tuple[float, tuple[float, float]],
    effect: float,
) -> ConceptTest:
    site, concept, target = named
    magnitude, null = float(mine.magnitude.mean()), others.magnitude.mean(1)
    fraction, null_fraction = float(mine.fraction.mean()), others.fraction.mean(1)
    low, high = torch.quantile(null, torch.tensor([0.025, 0.975], dtype=null.dtype)).tolist()
    spread = float((null**2).mean().sqrt())
    return ConceptTest(
        site=site,
        concept=concept,
        target=target,
        fraction=fraction,
        magnitude=magnitude,
        effect=effect,
        null_low=low,
        null_high=high,
        z=magnitude / spread if spread > 0 else 0.0,
        p=by_distance(magnitude, null),
        p_fraction=by_distance(fraction - 0.5, null_fraction - 0.5),
        p_welch=_welch(mine.fraction, others.fraction),
        p_smallest=smallest_p(len(null)),
        accuracy=accuracy[0],
        accuracy_low=accuracy[1][0],
        accuracy_high=accuracy[1][1],
        n_random=len(null),
    )


def _welch(mine: Tensor, others: Float[Tensor, "random partner"]) -> float | None:
    """Each random concept with one partner only, so that no two scores share a pair."""
    n, m = others.shape
    pairs = others[torch.arange(n), torch.arange(n) % m]
    if not float(mine.var()) + float(pairs.var()) > 0:
        return None
    with warnings.catch_warnings():
        # Scores that are all alike lose precision in the variance; p is then as good as zero.
        warnings.simplefilter("ignore", RuntimeWarning)
        found = stats.ttest_ind(mine.numpy(), pairs.numpy(), equal_var=False).pvalue
    return float(found) if np.isfinite(found) else None


def _accuracy(
    fits: Fits,
    concept: tuple[Tensor, Sequence[str], Tensor],
    pool: tuple[Tensor, Sequence[str], Tensor],
    *,
    seed: int,
) -> tuple[float, tuple[float, float]]:
    """Of each side: (activations, groups, rows held out)."""
    held = torch.cat([values[rows] for values, _, rows in (concept, pool)]).double()
    said = (held @ fits.directions.T + fits.biases > 0).double().mean(1)
    labels = np.arange(len(held)) < len(concept[2])
    names = [groups[row] for _, groups, rows in (concept, pool) for row in rows.tolist()]
    return balanced_accuracy(said, labels, names, seed=seed)
