"""Directions as interventions: pushing the model along one, or removing it.

These are changes to be run by ``interp.hooks``, one at a time. What they do to the model's answers,
beside hundreds of directions that mean nothing, is measured by ``probes.causal.evidence``.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks import Intervention, Site, add, project_out
from probes.fit.rule import Labels
from probes.probe import Probe


class SteeringError(ValueError):
    """There is nothing to push along; the message says why."""


def push(
    direction: Probe | Float[Tensor, " d"],
    *,
    amount: float,
    site: Site | str | None = None,
    position: int | None = None,
) -> Intervention:
    """Add ``amount`` times the unit direction: towards label 1, or away from it if negative.

    Args:
        direction: A probe, or a direction in the raw space.
        amount: In units of the activations; ``natural_gap`` is the yardstick.
        site: Where; a probe's own site when omitted.
        position: Which token, negative from the end; every token when omitted.

    Raises:
        SteeringError: no site, another site than the probe's, a zero direction or an infinite
            amount.
        SiteError: no such site.
    """
    if not abs(amount) < float("inf"):  # a NaN is not either
        raise SteeringError(f"the amount is {amount}; expected a finite number")
    vector = unit(direction).to(torch.float32)
    return add(_site(direction, site, position), vector, scale=amount)


def ablate(
    *directions: Probe | Float[Tensor, " d"],
    site: Site | str | None = None,
    position: int | None = None,
) -> Intervention:
    """Project the span of directions out of the activation.

    Args:
        *directions: Probes of one site, or directions in the raw space.
        site: Where; the probes' own site when omitted.
        position: Which token, negative from the end; every token when omitted.

    Raises:
        SteeringError: none given, no site, or probes of different sites or models.
        SiteError: the directions are not linearly independent, or no such site.
    """
    if not directions:
        raise SteeringError("no direction to remove; expected at least one")
    probes = [one for one in directions if isinstance(one, Probe)]
    if len({probe.fingerprint for probe in probes}) > 1:
        raise SteeringError("the probes belong to different models")
    places = {_site(one, site, position) for one in directions}
    if len(places) > 1:
        raise SteeringError(f"the probes are of different sites: {', '.join(map(str, places))}")
    units = [unit(one) for one in directions]
    if len({len(one) for one in units}) > 1:
        raise SteeringError("the directions are of different widths")
    return project_out(places.pop(), torch.stack(units))


def natural_gap(
    direction: Probe | Float[Tensor, " d"], activations: Float[Tensor, "row d"], labels: Labels
) -> float:
    """How far apart the labels' means lie along the unit direction (Marks & Tegmark 2023).

    Raises:
        SteeringError: one label, not finite, or of another width.
    """
    vector = unit(direction)
    if activations.ndim != 2 or activations.shape != (len(labels), len(vector)):
        raise SteeringError(
            f"expected activations of shape [{len(labels)}, {len(vector)}], "
            f"got {list(activations.shape)}"
        )
    if labels.all() or not labels.any():
        raise SteeringError("a gap is between two labels, and all rows here have the same one")
    scores = activations.to(torch.float64) @ vector
    if not bool(torch.isfinite(scores).all()):
        raise SteeringError("an activation is not finite")
    one = torch.from_numpy(labels)
    return float(scores[one].mean() - scores[~one].mean())


def random_like(change: Intervention, *, seed: int) -> Intervention:
    """The same intervention with a random direction, or span, of the same length and number.

    Raises:
        SteeringError: it is neither a push nor a projection.
    """
    if change.kind not in ("add", "project") or change.value is None:
        raise SteeringError(f"{change} has no direction; expected what push or ablate return")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(change.value.shape, generator=generator, dtype=torch.float64)
    if change.kind == "project":
        return replace(change, value=torch.linalg.qr(drawn)[0].to(change.value.dtype))
    length = change.value.to(torch.float64).norm()
    return replace(change, value=(drawn / drawn.norm() * length).to(change.value.dtype))


def unit(direction: Probe | Float[Tensor, " d"]) -> Float[Tensor, " d"]:
    """Return the direction with length 1, on the CPU in float64.

    Raises:
        SteeringError: it is zero, not finite, or not one vector.
    """
    w = direction.direction if isinstance(direction, Probe) else direction
    w = w.detach().cpu().to(torch.float64)
    if w.ndim != 1 or not bool(torch.isfinite(w).all()) or not bool(w.any()):
        raise SteeringError(
            f"expected a finite direction of shape [d] that is not zero, got shape {list(w.shape)}"
        )
    return w / w.norm()


def _site(direction: Probe | Tensor, site: Site | str | None, position: int | None) -> Site:
    own = direction.site if isinstance(direction, Probe) else None
    where = Site.parse(site) if site is not None else own
    if where is None:
        raise SteeringError("a bare direction does not know its site; give site=…")
    if own is not None and replace(where, position=own.position) != own:
        raise SteeringError(f"the probe's direction was found at {own}, not at {where}")
    return where if position is None else replace(where, position=position)
