"""How a metric changes with activations anywhere, and estimates of damage made of that.

``interp.heads.attribution`` says what the estimates are and where they come from.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from einops import reduce
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Metric
from interp.heads.units import AttributionError, real, unit_kind, unit_sites
from interp.hooks import Site, add, session, set_to
from interp.models import Examples, Model

log = logging.getLogger(__name__)

BACKWARD = 2.0  # forward passes that a backward pass is counted as

Tails = Mapping[Site, tuple[int, ...]]  # the axes at each site after batch and position
Swap = Callable[[Site, Tensor], Tensor]  # from a site and its activation to what replaces it


class Slopes(NamedTuple):
    """A metric at a point, and its gradient there.

    Attributes:
        values: The metric of each example.
        gradients: Of each example's metric in that example's own activation, at each site;
            zero at padding.
        activations: What stood at each site, the shift included.
    """

    values: Float[Tensor, " batch"]
    gradients: dict[Site, Tensor]
    activations: dict[Site, Tensor]


def slopes(
    model: Model,
    batch: Examples,
    metric: Metric,
    shifts: Mapping[Site, Tensor],
    *,
    capture: Sequence[Site] = (),
) -> Slopes:
    """Differentiate a metric in the activations at some sites.

    A shift is added at each site and the gradient taken in the shift, so that one backward pass
    serves all sites, and neither the parameters' ``grad`` nor their ``requires_grad`` is touched.

    Args:
        model: The model.
        batch: One batch.
        metric: Its value on an example may depend on that example alone.
        shifts: What is added at each site; zeros for the gradient at the unchanged model.
        capture: Further sites whose activations are wanted.

    Raises:
        AttributionError: the metric has no gradient, or the gradient is not finite.
    """
    # In float32 at least, so that a bfloat16 model's many small gradients are not rounded again.
    leaves = {
        site: shift.detach()
        .to(model.device, torch.promote_types(shift.dtype, torch.float32), copy=True)
        .requires_grad_()
        for site, shift in shifts.items()
    }
    edits = [add(site, leaf) for site, leaf in leaves.items()]
    with session(model, capture=[*leaves, *capture], intervene=edits) as s:
        values = metric.per_example(s.run(batch, grad=True), batch)
    if not values.requires_grad:
        raise AttributionError(
            f"{metric.name} is a step function of the logits, so it has no gradient; "
            "use logit_difference or loss"
        )
    found = torch.autograd.grad(values.sum(), list(leaves.values()))
    gradients = {site: real(g, batch) for site, g in zip(leaves, found, strict=True)}
    for site, gradient in gradients.items():
        if not bool(torch.isfinite(gradient).all()):
            raise AttributionError(
                f"the gradient of {metric.name} at {site} is not finite; try float32"
            )
    return Slopes(values.detach(), gradients, s.captured)


def zeros(batch: Examples, tails: Tails) -> dict[Site, Tensor]:
    """A shift by nothing at each site."""
    return {site: torch.zeros((*batch.tokens.shape, *tail)) for site, tail in tails.items()}


def first_order(
    model: Model, batch: Examples, metric: Metric, *, of: str, tails: Tails, swap: Swap
) -> Float[Tensor, "batch layer ..."]:
    """(r − a)·∂metric/∂a of each unit at the unchanged model; positive is worse."""
    at = slopes(model, batch, metric, zeros(batch, tails))
    return _per_unit(
        metric, of, [(swap(s, a) - a) * at.gradients[s] for s, a in at.activations.items()]
    )


def integrated(
    model: Model,
    batch: Examples,
    metric: Metric,
    *,
    of: str,
    tails: Tails,
    swap: Swap,
    steps: int,
) -> Float[Tensor, "batch layer ..."]:
    """The same with the gradient averaged over midpoints of the line from a to r, layer by layer.

    Only one layer moves at a time, so what stood there in the unchanged model is where its line
    begins.
    """
    products = []
    with session(model, capture=list(tails)) as s:
        s.run_until_captured(batch.tokens, batch.mask)
    for site, activation in s.captured.items():
        step = swap(site, activation) - activation
        total = torch.zeros_like(step, dtype=torch.promote_types(step.dtype, torch.float32))
        for i in range(steps):
            shift = step * ((i + 0.5) / steps)
            total += slopes(model, batch, metric, {site: shift}).gradients[site]
        products.append(step * total / steps)
    return _per_unit(metric, of, products)


def softmax_exact_estimate(
    model: Model, batch: Examples, metric: Metric, *, of: str, tails: Tails, swap: Swap
) -> Float[Tensor, "batch layer ..."]:
    """(z′ − z)·∂metric/∂z of queries or keys, with z′ from attention run on the replacement.

    One more forward pass does all layers: queries or keys are replaced in each, and each layer's
    head outputs, once seen, are put back, so that the next layer reads what it always did.
    """
    heads, replaced = list(tails), unit_sites(model, of)
    at = slopes(model, batch, metric, zeros(batch, tails), capture=replaced)
    products: dict[Site, Tensor] = {}

    def look(site: Site) -> Callable[[Tensor], None]:
        def seen(z: Tensor) -> None:
            products[site] = (z - at.activations[site]) * at.gradients[site]

        return seen

    edits = [set_to(site, swap(site, at.activations[site])) for site in replaced]
    # The run ends at the last layer's heads, which need not be put back.
    back = [set_to(site, at.activations[site]) for site in heads[:-1]]
    # Hooks run in the order they were put on: the outer session sees z before it is put back.
    with (
        session(model, watch={site: look(site) for site in heads}, intervene=edits) as outer,
        session(model, intervene=back),
    ):
        outer.run_until_captured(batch.tokens, batch.mask)
    per_head = _per_unit(metric, "heads", [products[site] for site in heads])
    if unit_kind(of).axes == ("head",):
        return per_head
    # A key serves every query head of its group.
    return reduce(
        per_head,
        "batch layer (kv_head group) -> batch layer kv_head",
        "sum",
        kv_head=model.n_kv_heads,
    )


def _per_unit(
    metric: Metric, of: str, products: list[Float[Tensor, "batch pos ..."]]
) -> Float[Tensor, "batch layer ..."]:
    """Sum each layer's products over its units, on the CPU; positive is worse."""
    sign = -1.0 if metric.higher_is_better else 1.0
    layers = [unit_kind(of).reduce(product.to(torch.float64)).cpu() for product in products]
    return sign * torch.stack(layers, dim=1)


def warn_if_coarse(model: Model) -> None:
    """Say that a 16-bit model's small effects drown in its rounding."""
    if model.dtype in (torch.bfloat16, torch.float16):
        log.warning(
            "%s runs in %s: estimates below its rounding mean nothing, in the check neither; "
            "load it in float32 where that fits",
            model.spec.name,
            str(model.dtype).removeprefix("torch."),
        )
