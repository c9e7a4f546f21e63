"""How much of a change at the input flows through each unit: conductance.

Dhamdhere, Sundararajan & Yan 2018, "How Important Is a Neuron?": the integrated gradients of the
metric F from a baseline x′ to the input x, split by the unit y they pass through. In the form of
Shrikumar, Su & Kundaje 2018, which is the same and needs one backward pass for all units,

    Cond(y) = ∫ ∂F/∂y · dy/dα dα   along   x′ + α (x − x′),   α from 0 to 1,

where x is the token embedding. Position embeddings stay as they are. The integral is summed by
the trapezoid rule over the unit's own values, ½ (g_k + g_{k+1}) · (y_{k+1} − y_k), whose error
falls with the square of the steps. It is signed as damage: positive where the way through the unit
makes the model worse as the input fades into the baseline.

**Completeness.** Units that every way from input to output passes, each once, have conductances
that sum to the damage of the baseline itself: the columns of the residual stream into a layer do,
and so does the embedding. The heads or neurons of a layer do not, since the residual stream
passes them by; they sum to what passes through that layer's attention or MLP.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric, damage
from interp.heads.attribution import Attributions, with_agreement
from interp.heads.gradients import BACKWARD, Slopes, slopes, warn_if_coarse, zeros
from interp.heads.units import AttributionError, Of, Replacement, shapes, unit_kind, unit_sites
from interp.hooks import Site, reference_mean, session
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches

Baseline = Literal["mean", "zero"]

_EMBED = Site(None, "embed")
_GAP = 0.05  # a larger share of the total left out is warned about

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class Conductances(Attributions):
    """Conductance of each unit, for each example; positive where it carries damage.

    Attributes:
        total: Damage of each example when its input is the baseline.
        through_input: The same as the integral has it, summed over the embedding.
    """

    total: Float[Tensor, " example"]
    through_input: Float[Tensor, " example"]

    @property
    def gap(self) -> float:
        """Mean |total − integral| over mean |total|: what too few steps leave out. 0 is complete.

        A few per cent will do; if it does not fall as steps are doubled, the path is not smooth.

        Raises:
            AttributionError: the baseline changes nothing, so there is nothing to take a share of.
        """
        size = float(self.total.abs().mean())
        if size == 0:
            raise AttributionError("the baseline gives the metric of the input; take another one")
        return float((self.total - self.through_input).abs().mean()) / size

    def __repr__(self) -> str:
        gap = f", gap {self.gap:.2g}" if bool(self.total.any()) else ""
        return f"{super().__repr__()[:-1]} Total damage {float(self.total.mean()):.3g}{gap}.)"


def conductance(
    model: Model,
    examples: Examples,
    metric: Metric,
    *,
    of: Of = "neurons",
    baseline: Baseline | Float[Tensor, " d_model"] = "mean",
    steps: int = 32,
    reference: Examples | None = None,
    check: int = 32,
    check_kind: Replacement = "zero",
    batch_size: int = 32,
    seed: int = 0,
) -> Conductances:
    """Measure the conductance of every unit of one kind, in all layers.

    Cost: 3 · (``steps`` + 1) + 1 forward-equivalents for all layers together, and ``check`` + 1.

    Conductance does not estimate an ablation, so the agreement with one says whether it may stand
    in for it here, not whether it is right; ``gap`` says whether the steps were enough.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric; it needs a gradient.
        of: Which units, as in ``attribute``.
        baseline: The embedding that stands for no input, at every position. ``mean``: the mean
            over real tokens of the reference, or of the examples where there is none. ``zero``:
            with a norm at the beginning of the first layer, the model cannot tell x from a small
            multiple of it, and nearly all the change comes in the last small step to zero, which
            no number of steps resolves (see ``gap``). Or a vector.
        steps: Parts of the line from baseline to input.
        reference: For the mean baseline, and for the check where that takes means.
        check: How many units to replace exactly; 0 for none.
        check_kind: What takes their place in the check.
        batch_size: Rows at a time; halved on out-of-memory.
        seed: Draws the sample for the check.

    Returns:
        The conductances, with ``total`` and ``gap``.

    Raises:
        AttributionError: settings that do not go together, or a metric without gradient.
        SiteError: the model has no such place.
    """
    if steps < 1 or check < 0:
        raise AttributionError(f"expected steps ≥ 1 and check ≥ 0, got {steps} and {check}")
    sites = unit_sites(model, of)
    tails = shapes(model, [_EMBED, *sites])
    base = _baseline(model, baseline, reference or examples, batch_size)
    warn_if_coarse(model)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []

    with progress("conductance", total=len(examples)) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            with session(model, capture=_EMBED) as s:
                s.run_until_captured(batch.tokens, batch.mask)
            away = base.to(s[_EMBED]) - s[_EMBED]
            flow: dict[Site, Tensor] = {}
            before: Slopes | None = None
            for k in range(steps + 1):
                shifts = zeros(batch, tails) | {_EMBED: away * (k / steps)}
                here = slopes(model, batch, metric, shifts)
                if before is None:
                    clean = here.values
                else:
                    _accumulate(flow, before, here)
                before = here
            assert before is not None
            layers = [unit_kind(of).reduce(flow[site]).cpu() for site in sites]
            total = damage(metric, clean.double().cpu(), before.values.double().cpu())
            sign = -1.0 if metric.higher_is_better else 1.0
            through = flow[_EMBED].sum((1, 2)).cpu()
            parts.append((sign * torch.stack(layers, dim=1), total, sign * through))
            advance(len(batch))

        in_batches(len(examples), batch_size, work)
    per_example, total, through_input = (torch.cat(part) for part in zip(*parts, strict=True))
    found = Conductances(
        of=of,
        metric=metric,
        kind=check_kind,
        method=f"conductance in {steps} steps",
        per_example=per_example,
        forward_equivalents=1.0 + (1.0 + BACKWARD) * (steps + 1),
        groups=examples.groups,
        total=total,
        through_input=through_input,
    )
    if bool(total.any()) and found.gap > _GAP:
        log.warning(
            "conductance misses %.2g of the total in %d steps; take more, or another baseline",
            found.gap,
            steps,
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


def _accumulate(flow: dict[Site, Tensor], before: Slopes, here: Slopes) -> None:
    """Add one step of the trapezoid rule at every site."""
    for site, gradient in here.gradients.items():
        mean = (gradient.to(torch.float64) + before.gradients[site]) / 2
        step = here.activations[site].to(torch.float64) - before.activations[site]
        flow[site] = flow.get(site, 0.0) + mean * step


def _baseline(
    model: Model, baseline: str | Tensor, reference: Examples, batch_size: int
) -> Float[Tensor, " d_model"]:
    if isinstance(baseline, Tensor):
        if tuple(baseline.shape) != (model.d_model,):
            raise AttributionError(
                f"a baseline must be one embedding of {model.d_model} numbers, "
                f"got shape {list(baseline.shape)}"
            )
        return baseline
    if baseline == "zero":
        return torch.zeros(model.d_model)
    if baseline == "mean":
        return reference_mean(model, reference, _EMBED, batch_size=batch_size)[_EMBED]
    raise AttributionError(
        f"unknown baseline {baseline!r}; expected {', '.join(get_args(Baseline))} or a vector"
    )
