"""Testing with concept activation vectors (Kim et al. 2018), on any loaded model.

1. Activations of the concepts' and of random sentences are taken at all sites in one pass.
2. At each site every concept and random concept is fitted against sets of negatives drawn for it,
   all in one solve.
3. The metric is differentiated once for each target, at all sites together.
4. Each concept's sensitivity is ranked among the random concepts', and the p-values are adjusted
   by Holm over sites × concepts × targets.

A concept that a metric is sensitive to is a *signature*: the model would react. Whether it uses the
concept is a question for ``probes.cav.load``.
"""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric, holm, logit_difference
from interp.hooks import Site
from interp.models import Examples, Model
from probes.cav.captured import At, Concept, captured
from probes.cav.randoms import draw
from probes.cav.sensitivity import metric_gradients
from probes.cav.testing import ConceptTest, run_tests
from probes.cav.vectors import CAVError
from probes.data import StatementSet

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class TCAV:
    """Sensitivity of metrics to concepts, each beside random concepts.

    Attributes:
        tests: One a site, concept and target.
        metric: Which metric was differentiated.
        alpha: Level of the tests.
        size: Sentences in every set.
        vectors: By (site, concept), the mean vector over partners, of unit length.
        random_vectors: By site, the same of every random concept.
    """

    tests: tuple[ConceptTest, ...]
    metric: str
    alpha: float
    size: int
    vectors: Mapping[tuple[str, str], Float[Tensor, " d"]] = field(repr=False)
    random_vectors: Mapping[str, Float[Tensor, "random d"]] = field(repr=False)

    def table(self) -> pd.DataFrame:
        """Return one row a test, with its verdict."""
        import pandas as pd

        n = len(self.tests)
        rows = [
            {**asdict(t), "verdict": t.verdict(alpha=self.alpha, n_tests=n)} for t in self.tests
        ]
        return pd.DataFrame(rows).astype({"p_welch": "Float64"})

    def figure(self, target: str | None = None) -> Figure:
        """Draw each concept's magnitude beside the random concepts', by site.

        Args:
            target: Of which examples; may be left out where there is one target.

        Raises:
            CAVError: no such target, or several and none named.
        """
        from interp.plots.concepts import sensitivities

        names = list(dict.fromkeys(t.target for t in self.tests))
        if target is None and len(names) == 1:
            target = names[0]
        if target not in names:
            raise CAVError(f"no target {target!r}; expected one of {', '.join(names)}")
        chosen = [t for t in self.tests if t.target == target]
        n = len(self.tests)
        return sensitivities(
            [(t.site, t.concept, t.magnitude, t.null_low, t.null_high) for t in chosen],
            sensitive=[t.verdict(alpha=self.alpha, n_tests=n) == "sensitive" for t in chosen],
            label=f"mean cosine with the gradient of {self.metric}",
            title=f"{target}: beside {chosen[0].n_random} random concepts",
        )

    def test(self, site: str, concept: str, target: str) -> ConceptTest:
        """Return one test.

        Raises:
            CAVError: there is none; the message names what there is.
        """
        for one in self.tests:
            if (one.site, one.concept, one.target) == (site, concept, target):
                return one
        known = ", ".join(f"{t.concept} at {t.site} on {t.target}" for t in self.tests[:6])
        raise CAVError(f"no test of {concept} at {site} on {target}; there are {known}")

    def __repr__(self) -> str:
        n = len(self.tests)
        found = sum(t.verdict(alpha=self.alpha, n_tests=n) == "sensitive" for t in self.tests)
        return f"TCAV({self.metric}: {found} of {n} tests sensitive at {self.alpha:g} by Holm)"

    def _repr_html_(self) -> str:
        shown = self.table().to_html(index=False, escape=True, float_format="{:.3g}".format)
        return f"<p>{html.escape(repr(self))}</p>{shown}"


def tcav(
    model: Model,
    targets: Mapping[str, Examples] | Examples,
    concepts: Sequence[Concept],
    *,
    random: Concept | Sequence[str],
    sites: Sequence[Site | str],
    metric: Metric = logit_difference,
    position: At = "last",
    at: int | Literal["answer"] = "answer",
    n_random: int = 199,
    n_partners: int = 4,
    C: float = 0.1,
    alpha: float = 0.05,
    seed: int,
) -> TCAV:
    """Test whether a metric is sensitive to concepts, beside random concepts.

    Args:
        model: The model.
        targets: Examples by name, on which the metric is differentiated.
        concepts: Sets, of which the sentences without the concept are not used here, or ids.
        random: Sentences, whatever their labels, from which random concepts and negatives are
            drawn. What the concept's sentences share besides the concept, random ones must share
            too, or that is what is found: sentences of the same templates are best.
        sites: Places with one vector a token.
        metric: One with a gradient.
        position: Which token of a sentence the vectors are fitted to.
        at: Which token of a target's example the gradient is taken at.
        n_random: Random concepts. With k tests in all, Holm at level α needs about k/α of them.
        n_partners: Sets of negatives that each concept, random or not, is fitted against.
        C: Inverse strength of the penalty, on activations as they are.
        alpha: Level of the tests.
        seed: Draws the sets.

    Raises:
        CAVError: no or repeated concepts, too few sentences, or a metric that does not depend on
            the site.
        DataError: a sentence cannot be read.
        SiteError: no such site, or not one vector a token.
    """
    named = {targets.name: targets} if isinstance(targets, Examples) else dict(targets)
    names = [concept.name for concept in concepts]
    if not named or not names or len(set(names)) < len(names):
        raise CAVError(
            f"expected at least one target and concepts of different names, got {len(named)} "
            f"targets and concepts {', '.join(names) or 'none'}"
        )
    if not 0 < alpha < 1:
        raise CAVError(f"alpha is {alpha}; expected a level between 0 and 1")
    held = [captured(model, concept, sites, position=position) for concept in concepts]
    pool = captured(model, _pool(random), sites, position=position, label=None)
    places = list(pool.at)
    groups = {one.name: one.groups for one in held}
    drawn = draw(groups, pool.groups, n_random=n_random, n_partners=n_partners, seed=seed)
    gradients = {
        target: metric_gradients(model, examples, metric, places, position=at)
        for target, examples in named.items()
    }
    tests: list[ConceptTest] = []
    vectors, random_vectors = {}, {}
    for site in places:
        found, directions, random_vectors[str(site)] = run_tests(
            str(site),
            drawn,
            {one.name: one.at[site] for one in held},
            pool.at[site],
            {target: g[site] for target, g in gradients.items()},
            concept_groups=groups,
            pool_groups=pool.groups,
            C=C,
            seed=seed,
        )
        tests += found
        vectors.update({(str(site), name): v for name, v in directions.items()})
    return TCAV(adjusted(tests), metric.name, alpha, drawn.size, vectors, random_vectors)


def adjusted(tests: Sequence[ConceptTest]) -> tuple[ConceptTest, ...]:
    """Adjust the p-values of one family of tests by Holm's method."""
    values = holm([t.p for t in tests])
    return tuple(replace(t, p_holm=p) for t, p in zip(tests, values, strict=True))


def _pool(random: Concept | Sequence[str]) -> Concept:
    if isinstance(random, StatementSet | Examples):
        return random
    # A statement set has both labels; nobody reads them here.
    labels = [number % 2 == 0 for number in range(len(random))]
    return StatementSet.build(random, labels, name="random sentences")
