"""How a metric changes along concept directions: one backward pass, then a matrix product.

Directional sensitivity of an example is S = ∇h(f(x))·v (Kim et al. 2018, "TCAV", eq. 1), for h any
metric with a gradient, f(x) the activation at one site and position. The published score is the
share of examples with S > 0. In a network that is nearly linear the gradient is nearly the same
for all examples, and the share is then 0 or 1 for *any* direction, random ones included: it cannot
tell a concept from noise there. The mean of S/‖∇h‖, the cosine of gradient and direction, can.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric
from interp.heads.gradients import slopes, zeros
from interp.heads.units import shapes
from interp.hooks import Site
from interp.models import Examples, Model
from interp.models.memory import in_batches
from probes.activations import checked_site
from probes.cav.vectors import CAVError


@dataclass(frozen=True, eq=False)
class Sensitivity:
    """Of one metric along several directions.

    Attributes:
        fraction: Share of examples whose metric rises along the direction, ties counted half.
        magnitude: Mean of S/‖∇h‖, −1 to 1; 0 is no sensitivity on average.
    """

    fraction: Float[Tensor, "*direction"]
    magnitude: Float[Tensor, "*direction"]


def metric_gradients(
    model: Model,
    examples: Examples,
    metric: Metric,
    sites: Sequence[Site | str] | Site | str,
    *,
    position: int | Literal["answer"] = "answer",
    batch_size: int = 64,
) -> dict[Site, Float[Tensor, "example d"]]:
    """Differentiate a metric in the activation at some sites and one position of each example.

    Args:
        model: The model.
        examples: The examples.
        metric: One with a gradient, such as ``logit_difference``.
        sites: Places with one vector a token.
        position: Which real token of each example, negative from its end; or where its answer is
            read (``answer_at``).
        batch_size: Rows at a time; halved on out-of-memory.

    Raises:
        CAVError: an example has no such position, or the metric does not depend on what is there.
        SiteError: a site that is not one vector a token, or cannot be edited.
        AttributionError: the metric has no gradient.
    """
    places = [checked_site(model, site) for site in Site.parse_all(sites)]
    for site in places:
        site.require_editable(model)
    tails = shapes(model, places)
    at = _positions(examples, position)
    parts: dict[Site, list[Tensor]] = {site: [] for site in places}

    def work(rows: slice) -> None:
        batch = examples.select(range(rows.start, rows.stop))
        found = slopes(model, batch, metric, zeros(batch, tails)).gradients
        for site in places:
            mine = found[site].cpu()
            parts[site].append(mine[torch.arange(len(batch)), at[rows]].to(torch.float64))

    in_batches(len(examples), batch_size, work)
    gradients = {site: torch.cat(done) for site, done in parts.items()}
    for site, gradient in gradients.items():
        dead = ~(gradient.norm(dim=1) > 0)
        if bool(dead.any()):
            raise CAVError(
                f"{metric.name} of example {int(dead.nonzero()[0])} does not depend on {site} at "
                f"position {position}; choose a position at or before the one that is read, and "
                "not after the last layer that looks back"
            )
    return gradients


def sensitivity(
    gradients: Float[Tensor, "example d"], directions: Float[Tensor, "*direction d"]
) -> Sensitivity:
    """Say how a metric changes along directions.

    Args:
        gradients: Of the metric, none of them zero.
        directions: Of any length but zero.

    Raises:
        CAVError: widths differ, or a gradient or direction is zero or not finite.
    """
    if gradients.ndim != 2 or gradients.shape[1] != directions.shape[-1]:
        raise CAVError(
            f"gradients of shape {list(gradients.shape)} and directions of "
            f"{list(directions.shape)}: expected the same last axis"
        )
    g, v = gradients.double(), directions.double()
    for what, rows in (("gradient", g), ("direction", v)):
        lengths = rows.norm(dim=-1)
        if not bool(((lengths > 0) & torch.isfinite(lengths)).all()):
            raise CAVError(f"a {what} is zero or not finite")
    cosines = (v / v.norm(dim=-1, keepdim=True)) @ (g / g.norm(dim=1, keepdim=True)).T
    rises = (cosines > 0).double() + 0.5 * (cosines == 0).double()
    return Sensitivity(rises.mean(-1), cosines.mean(-1))


def _positions(examples: Examples, position: int | Literal["answer"]) -> Tensor:
    assert examples.mask is not None
    if position == "answer":
        if examples.answer_at is None:
            raise CAVError(
                f"{examples.name!r} has no answer_at; give position=, such as -1 for the last token"
            )
        return examples.answer_at
    first = examples.mask.int().argmax(1)
    lengths = examples.lengths
    at = first + position if position >= 0 else first + lengths + position
    outside = (at < first) | (at >= first + lengths)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise CAVError(
            f"example {row} of {examples.name!r} has {int(lengths[row])} tokens, so there is none "
            f"at position {position}"
        )
    return at
