"""Monitors: differentiable scores of activations that are to raise an alarm on label 1.

Four kinds are fitted here, as in Bailey et al. (2024), "Obfuscated Activations Bypass LLM
Latent-Space Defenses", §3; a trained ``Probe`` is a monitor too. Each scores every vector that it
reads, and averages over tokens, then over sites. An alarm is a score above a threshold that at
most 1 % of benign calibration rows exceed.

* ``logistic`` and ``mlp``: the probability of label 1 by the fitters of ``probes.fit``.
* ``mean-difference``: the cosine of the vector, seen from the midpoint of the class means, with
  their difference.
* ``mahalanobis``: the squared distance ``(x − μ)ᵀ Σ′⁻¹ (x − μ)`` from the benign rows, with
  ``Σ′ = .95 Σ + .05 · mean(diag Σ) · I``. It knows nothing of label 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from interp.configs import near
from interp.hooks import Site
from probes.attack.monitor_parts import CosinePart, DistancePart, Part, RulePart, Seen, View
from probes.fit import METHODS, logistic, mass_mean
from probes.fit.rule import FitError, Labels, LinearRule, NetRule, checked_rows
from probes.probe import Probe

MONITORS = ("logistic", "mlp", "mean-difference", "mahalanobis")
PROBE = "probe"
RATE = 0.01
"""Share of benign calibration rows that may raise an alarm."""
_SHRINK = 0.05


class MonitorError(ValueError):
    """There is no such monitor, or it cannot be fitted or calibrated; the message says why."""


@dataclass(frozen=True, eq=False)
class Monitor:
    """Raises an alarm where its score is above the threshold.

    Attributes:
        name: What it is called: a kind, or ``probe``.
        parts: The score at each site.
        threshold: See ``threshold_at``; None before ``calibrated``.
        method: Of a probe, how it was fitted.
    """

    name: str
    parts: Mapping[Site, Part]
    threshold: float | None = None
    method: str | None = None

    @property
    def sites(self) -> tuple[Site, ...]:
        """Where it reads."""
        return tuple(self.parts)

    def scores(self, view: View) -> Float[Tensor, " row"]:
        """Score prompts: averaged over tokens, then sites. Differentiable, in float64.

        Raises:
            MonitorError: a site of its own is missing.
        """
        return self._averaged({s: p.score(self._at(view, s).values) for s, p in self._of()}, view)

    def alarm(self, view: View) -> Float[Tensor, " row"]:
        """What an attacker lowers, averaged as the scores are."""
        return self._averaged({s: p.alarm(self._at(view, s).values) for s, p in self._of()}, view)

    def flags(self, view: View) -> npt.NDArray[np.bool_]:
        """Return which prompts raise an alarm.

        Raises:
            MonitorError: it is not calibrated.
        """
        if self.threshold is None:
            raise MonitorError(f"{self.name} has no threshold yet; use calibrated(view)")
        with torch.no_grad():
            return np.asarray(self.scores(view).cpu().numpy() > self.threshold)

    def calibrated(self, benign: View, *, rate: float = RATE) -> Monitor:
        """Return the monitor with the threshold that at most ``rate`` of benign rows exceed.

        Raises:
            MonitorError: no rows, or scores that are not finite.
        """
        with torch.no_grad():
            scores = self.scores(benign).cpu().numpy()
        return replace(self, threshold=threshold_at(scores, rate=rate))

    def _of(self) -> list[tuple[Site, Part]]:
        return list(self.parts.items())

    def _at(self, view: View, site: Site) -> Seen:
        if site not in view:
            raise MonitorError(f"{self.name} reads {site}, which was not captured")
        return view[site]

    def _averaged(self, scores: Mapping[Site, Tensor], view: View) -> Tensor:
        parts = [view[site].mean(found) for site, found in scores.items()]
        return torch.stack(parts).mean(0)


def threshold_at(benign: npt.NDArray[np.floating], *, rate: float = RATE) -> float:
    """Return the lowest score that at most ``rate`` of the benign scores exceed.

    With fewer than 1/rate rows that is the largest of them: of new benign rows about one in
    n + 1 then exceeds it, which for few rows is more than the rate asked for.

    Raises:
        MonitorError: no scores, not finite ones, or a rate outside 0…1.
    """
    scores = np.asarray(benign, dtype=np.float64)
    if scores.ndim != 1 or not len(scores) or not np.isfinite(scores).all():
        raise MonitorError(f"expected finite scores of benign rows, got shape {scores.shape}")
    if not 0 < rate < 1:
        raise MonitorError(f"the rate of false alarms is {rate}; expected a share between 0 and 1")
    return float(np.sort(scores)[::-1][math.floor(rate * len(scores))])


def fit_monitor(name: str, view: View, labels: Labels, *, seed: int = 0) -> Monitor:
    """Fit one of ``MONITORS`` to what is read of labelled prompts.

    Args:
        name: Which.
        view: What is read, at one site or several.
        labels: True for what is to raise an alarm; a row's vectors all have its label.
        seed: Of the network's initial weights.

    Raises:
        MonitorError: no such monitor, or nothing is read.
        FitError: nothing can be fitted, and why.
    """
    if name not in MONITORS:
        raise MonitorError(f"unknown monitor {name!r}; {near(name, MONITORS)}")
    if not view:
        raise MonitorError("a monitor needs at least one site to read")
    labels = np.asarray(labels, dtype=bool)
    parts = {}
    for site, seen in view.items():
        if len(seen) != len(labels):
            raise MonitorError(f"{len(labels)} labels, but {len(seen)} prompts at {site}")
        parts[site] = _fitted(name, seen.rows(), seen.spread(labels), seed)
    return Monitor(name, parts)


def probe_monitor(probe: Probe, view: View, *, sign: int = 1) -> Monitor:
    """Return a trained probe as a monitor, by its own score.

    Args:
        probe: The probe.
        view: What it reads of some prompts, from which the spread of its scores is known.
        sign: −1 where label 0 is to raise an alarm.
    """
    part = _part(probe.rule, view[probe.site].rows(), sign=sign, probability=False)
    return Monitor(PROBE, {probe.site: part}, method=probe.method)


def has_refit(monitor: Monitor) -> bool:
    """Say whether other rows would change a monitor.

    The Mahalanobis monitor knows benign rows only, so that attacks teach it nothing; a probe is
    refitted by its own method, where that is one of ``probes.fit.METHODS``.
    """
    if monitor.name == PROBE:
        return monitor.method in METHODS
    return monitor.name != "mahalanobis"


def refitted(monitor: Monitor, view: View, labels: Labels, *, seed: int = 0) -> Monitor | None:
    """Fit a monitor of the same kind to other rows; None where it has no refit.

    Raises:
        FitError: nothing can be fitted.
    """
    if not has_refit(monitor):
        return None
    if monitor.name != PROBE or monitor.method is None:
        return fit_monitor(monitor.name, view, labels, seed=seed)
    ((site, seen),) = ((site, view[site]) for site in monitor.sites)
    rule = METHODS[monitor.method](seen.rows(), seen.spread(labels))
    return replace(
        monitor, parts={site: _part(rule, seen.rows(), probability=False)}, threshold=None
    )


def _fitted(name: str, x: Tensor, y: Labels, seed: int) -> Part:
    if name == "mahalanobis":
        return _distance(x, y)
    if name == "mean-difference":
        rule = mass_mean(x, y)
        return CosinePart(rule.direction.double(), rule.centre.double())
    if name == "logistic":
        return _part(logistic(x, y), x)
    from probes.fit import mlp

    return _part(mlp(x, y, seed=seed), x)


def _part(
    rule: LinearRule | NetRule, x: Tensor, *, sign: int = 1, probability: bool = True
) -> RulePart:
    spread = float(rule.scores(x.detach().cpu()).std(correction=0))
    if not spread > 0:
        raise FitError("the monitor gives all rows one score")
    return RulePart(rule, spread, sign, probability)


def _distance(x: Tensor, y: Labels) -> DistancePart:
    benign = torch.from_numpy(checked_rows(x, len(y))[~y])
    if len(benign) < 2:
        raise FitError("a Mahalanobis distance needs at least two benign rows")
    centre = benign.mean(0)
    covariance = (benign - centre).T @ (benign - centre) / len(benign)
    size = covariance.diagonal().mean()
    if not float(size) > 0:
        raise FitError("all benign rows have the same activation here")
    shrunk = (1 - _SHRINK) * covariance + _SHRINK * size * torch.eye(len(centre)).double()
    whiten = torch.linalg.inv(torch.linalg.cholesky(shrunk))
    part = DistancePart(whiten, centre, 1.0)
    return replace(part, unit=float(part.score(benign).mean()))
