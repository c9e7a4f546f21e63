"""What every part of a model is worth, estimated by gradients: attribution patching.

Replacing a unit's activation a by r changes the metric by about (r − a)·∂metric/∂a (Nanda 2023,
"Attribution Patching"; Kramár et al. 2024, "AtP*"), for all units of all layers by one
forward and one backward pass. Four steps:

1. What takes each unit's place is made as ``ablate`` makes it.
2. The metric is differentiated in the activations of every layer at once.
3. Step times gradient is summed over each unit, and signed so that positive is worse, as in
   ``Ablations.effects``.
4. A sample of units is replaced exactly, and the result carries how well the two agree.

Two refinements. *Integrated gradients* (``steps`` > 1): all units of one layer go together along
the straight line from a to r, and the gradient is averaged over midpoints of the line
(Sundararajan et al. 2017; the "EAP-IG (activations)" of Hanna et al. 2024). The estimates of a
layer then sum to the damage of replacing that whole layer. *The softmax-exact correction* for
queries and keys (AtP*'s "QK fix"): attention saturates, so the gradient in a query is no guide to a
large step. The changed queries go through the layer's own attention, to head outputs z′, and the
estimate is (z′ − z)·∂metric/∂z. As z is linear in the attention weights, that is AtP*'s
Σ (A′ − A)·∂metric/∂A, and needs no pattern to be edited.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric
from interp.heads.agreement import Agreement, measure_agreement
from interp.heads.gradients import (
    BACKWARD,
    first_order,
    integrated,
    softmax_exact_estimate,
    warn_if_coarse,
)
from interp.heads.replacing import Replacements
from interp.heads.scores import HeadScores
from interp.heads.units import (
    AttributionError,
    Of,
    Replacement,
    Unit,
    shapes,
    unit_kind,
    unit_sites,
)
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches

if TYPE_CHECKING:
    import pandas as pd

A = TypeVar("A", bound="Attributions")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Attributions:
    """An estimate, for each unit and example, of how much worse the metric gets without the unit.

    Attributes:
        of: Which units.
        metric: Which metric; the estimates are in its units, positive is worse.
        kind: What takes a unit's place.
        method: How the estimate was made, in words.
        per_example: The estimates: [example, layer, head], [example, layer, neuron],
            [example, layer, column] of the residual stream, or [example, layer] of MLPs.
        forward_equivalents: Forward passes over the examples that the estimates took, a backward
            pass counted as two. The check is counted apart, in ``agreement``.
        agreement: The estimates of a sample beside exact replacement, or None where unchecked.
        groups: The examples' group labels, for intervals.
    """

    of: str
    metric: Metric
    kind: str
    method: str
    per_example: Float[Tensor, "example layer ..."]
    forward_equivalents: float
    agreement: Agreement | None = None
    groups: tuple[str, ...] = field(default=(), repr=False)

    @property
    def values(self) -> Float[Tensor, "layer ..."]:
        """Mean estimate over the examples."""
        return self.per_example.mean(0)

    def top(self, k: int = 5) -> list[tuple[Unit, float]]:
        """Return the k most damaging units and their estimates, highest first."""
        values = self.values
        order = torch.argsort(values.flatten(), descending=True, stable=True)[:k]
        units = [tuple(map(int, torch.unravel_index(i, values.shape))) for i in order]
        return [(unit, float(values[unit])) for unit in units]

    def table(self) -> pd.DataFrame:
        """Lay the estimates out, most damaging first.

        Returns:
            Columns ``name`` (as L3H7, L3N17, L3.resid_pre@5), ``layer``, ``index`` (nullable) and
            ``estimated``.
        """
        import pandas as pd

        rows = self.top(self.values.numel())
        return pd.DataFrame(
            {
                "name": pd.Series([unit_kind(self.of).name(u) for u, _ in rows], dtype="string"),
                "layer": [unit[0] for unit, _ in rows],
                "index": pd.Series(
                    [unit[1] if unit[1:] else None for unit, _ in rows], dtype="Int64"
                ),
                "estimated": [value for _, value in rows],
            }
        )

    def scores(self) -> HeadScores:
        """The estimates of heads as scores, to draw and to put beside other scores.

        Raises:
            AttributionError: these are not estimates of query heads.
        """
        if unit_kind(self.of).axes != ("head",):
            raise AttributionError(f"{self.of} are not query heads; read .values or .table()")
        return HeadScores(
            name=f"{self.method} of {self.of}",
            values=self.values,
            units=self.metric.units,
            null=0.0,
            description=f"Estimated damage of {self.kind} replacement. {self._trust()}",
            about_null="a head whose output changes nothing",
            per_example=self.per_example,
            groups=self.groups,
        )

    def _trust(self) -> str:
        if self.agreement is None:
            return "Not compared with exact replacement."
        return f"Against exact replacement: {self.agreement}."

    def __repr__(self) -> str:
        best = ", ".join(f"{unit_kind(self.of).name(u)} {value:.3g}" for u, value in self.top(3))
        return (
            f"{type(self).__name__}({self.method} of {self.of}, {self.kind}, {self.metric.name}: "
            f"{best}; {self.forward_equivalents:.1f} forward-equivalents. {self._trust()})"
        )


def attribute(
    model: Model,
    examples: Examples,
    metric: Metric,
    *,
    of: Of = "heads",
    kind: Replacement = "mean",
    reference: Examples | None = None,
    steps: int = 1,
    softmax_exact: bool = True,
    check: int = 32,
    batch_size: int = 32,
    seed: int = 0,
) -> Attributions:
    """Estimate what replacing each unit would cost, and check a sample of the estimates.

    Cost in forward-equivalents, a backward pass counted as two: 3 for one step; 4 with the
    softmax-exact correction; 1 + 3 · layers · ``steps`` for integrated gradients; and to these 1
    for ``resample`` and ``paired``, or the reference's share of tokens for a mean. The check takes
    a further ``check`` + 1, and one a layer where it leaves units unchecked.

    Args:
        model: The model. A 16-bit one is warned about: small effects drown in its rounding.
        examples: What the metric is measured on.
        metric: The metric; it needs a gradient, so ``accuracy`` will not do, and KL from the
            clean model, whose gradient there is zero, needs ``steps``.
        of: ``heads`` (outputs before W_O), ``queries``, ``keys``, ``values`` (the two last per
            key/value head), ``mlps``, ``neurons``, or ``residual`` (columns of the stream
            into each layer).
        kind: What takes a unit's place. ``mean``, ``mean-by-position``, ``zero``, ``resample``: as
            in ``ablate``. ``paired``: the activation on the same row of the reference, a
            counterfactual prompt.
        reference: Where means are taken, or the counterfactual prompts.
        steps: Points on the line from activation to replacement. 1 is attribution patching, the
            gradient at the unchanged model; more are midpoints of as many equal parts, all units
            of a layer moving together, other layers reacting.
        softmax_exact: For queries and keys, take the change of attention exactly. Not with steps.
        check: How many units to replace exactly (half the largest estimates, half drawn from the
            rest); 0 for none, and the result says so.
        batch_size: Rows at a time; halved on out-of-memory.
        seed: Draws the derangement of ``resample`` (the one that ``ablate`` draws) and the sample.

    Returns:
        The estimates, with their agreement.

    Raises:
        AttributionError: settings that do not go together, or a metric without gradient.
        SiteError: the model has no such place, or changes there do not take hold in it (then
            neither estimate nor check is possible there).
    """
    if steps < 1 or check < 0:
        raise AttributionError(f"expected steps ≥ 1 and check ≥ 0, got {steps} and {check}")
    exact_softmax = softmax_exact and of in ("queries", "keys") and steps == 1
    sites = unit_sites(model, of)
    tails = shapes(model, unit_sites(model, "heads") if exact_softmax else sites)
    replacements = Replacements(
        model, examples, sites, kind=kind, reference=reference, batch_size=batch_size, seed=seed
    )
    warn_if_coarse(model)
    estimate: Callable[..., Tensor] = first_order
    if exact_softmax:
        estimate = softmax_exact_estimate
    elif steps > 1:
        estimate = partial(integrated, steps=steps)
    parts: list[Tensor] = []

    with progress("attributing", total=len(examples)) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            swap = replacements.of_rows(rows)
            parts.append(estimate(model, batch, metric, of=of, tails=tails, swap=swap))
            advance(len(batch))

        in_batches(len(examples), batch_size, work)
    if steps > 1:
        method = f"attribution integrated over {steps} steps"
        cost = 1.0 + (1.0 + BACKWARD) * model.n_layers * steps
    else:
        method = f"{'softmax-exact ' if exact_softmax else ''}attribution patching"
        cost = (2.0 if exact_softmax else 1.0) + BACKWARD
    found = Attributions(
        of=of,
        metric=metric,
        kind=kind,
        method=method,
        per_example=torch.cat(parts),
        forward_equivalents=cost + replacements.cost,
        groups=examples.groups,
    )
    return with_agreement(
        found,
        model,
        examples,
        reference=reference,
        check=check,
        batch_size=batch_size,
        seed=seed,
    )


def with_agreement(
    found: A,
    model: Model,
    examples: Examples,
    *,
    reference: Examples | None = None,
    check: int = 32,
    batch_size: int = 32,
    seed: int = 0,
) -> A:
    """Replace ``check`` units exactly and put the comparison into the result.

    Args:
        found: Estimates of this model on these examples.
        model: The model.
        examples: The examples.
        reference: As for the estimates.
        check: How many units; 0 leaves the result unchecked.
        batch_size: Rows at a time.
        seed: Draws the sample, and the derangement of ``resample``.
    """
    if check == 0:
        return found
    agreement = measure_agreement(
        model,
        examples,
        found.metric,
        found.values,
        of=found.of,
        kind=found.kind,
        reference=reference,
        n=check,
        batch_size=batch_size,
        seed=seed,
    )
    if agreement.problem is not None:
        what = f"{found.method} of {found.of}"
        log.warning("%s is no guide to exact replacement here: %s", what, agreement.problem)
    return replace(found, agreement=agreement)
