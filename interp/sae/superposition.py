"""Superposition: how many features a site carries, beside how many dimensions it has.

The effective number of features is F = exp(−Σ p_i ln p_i), where p_i is latent i's share of all
latent activation, Σ_s |z_is| / Σ_j Σ_s |z_js|, in a tied SAE without decoder bias; ψ = F / d_in
(2025, "Superposition as Lossy Compression", arXiv 2512.13568). 1 ≤ F ≤ d_sae. It is a plug-in
estimate that grows with the number of samples and is compared between like settings only.

What licenses the measure is its calibration on toy models whose features are known
(``interp.sae.toys``): r > .9 for this SAE, and not for sae-lens' own, which are therefore refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.tied import TiedSae, fit_tied

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


#: The least variance that a tied SAE explained on the toy models of the calibration.
CALIBRATED_FROM = 0.6


class SuperpositionError(SaeError):
    """Effective features cannot be counted on this; the message says why."""


@dataclass(frozen=True, eq=False)
class Superposition:
    """How many features a site carries, by the number of activations they are counted in.

    Attributes:
        d_in: Dimensions.
        d_sae: Latents of the SAEs: F cannot exceed it.
        by_size: Number of activations → F of SAEs fitted to so many, one a seed. Still rising at
            the end, F is a lower estimate.
        intervals: Number of activations → 95% bootstrap interval of the mean F over groups of
            activations, by the percentile of resamples, for the SAEs as they are: it holds
            sampling, not fitting. None where there is one group only.
        explained: Number of activations → share of their variance that each seed's SAE explains.
            Where it is low, F is about what the SAE found and not about the site.
    """

    d_in: int
    d_sae: int
    by_size: dict[int, tuple[float, ...]]
    intervals: dict[int, tuple[float, float] | None]
    explained: dict[int, tuple[float, ...]]

    @property
    def n(self) -> int:
        """Activations in all."""
        return max(self.by_size)

    @property
    def by_seed(self) -> tuple[float, ...]:
        """F of each seed's SAE, on all activations."""
        return self.by_size[self.n]

    @property
    def features(self) -> float:
        """F on all activations, the mean over seeds."""
        return float(np.mean(self.by_seed))

    @property
    def interval(self) -> tuple[float, float] | None:
        """Of F on all activations."""
        return self.intervals[self.n]

    @property
    def explained_variance(self) -> tuple[float, ...]:
        """Of each seed's SAE, on all activations."""
        return self.explained[self.n]

    @property
    def ratio(self) -> float:
        """ψ = F / d_in: above 1, more features than dimensions."""
        return self.features / self.d_in

    @property
    def doubt(self) -> str | None:
        """Why F may say little here, or None."""
        return doubt_of(min(self.explained_variance))

    def frame(self) -> pd.DataFrame:
        """One row a number of activations and seed (counted from 0); intervals are of the mean."""
        import pandas as pd

        return pd.DataFrame(
            [
                {
                    "n": n,
                    "seed": i,
                    "features": f,
                    "ratio": f / self.d_in,
                    "low": None if (ends := self.intervals[n]) is None else ends[0],
                    "high": None if ends is None else ends[1],
                    "explained_variance": explained,
                }
                for n, values in self.by_size.items()
                for i, (f, explained) in enumerate(zip(values, self.explained[n], strict=True))
            ]
        )

    def figure(self) -> Figure:
        """Draw F against the number of activations: the mean, its interval, a point a seed."""
        from interp.plots.superposition import sample_curves

        return sample_curves(
            {"this site": (self.by_size, self.intervals)},
            title=f"{self.features:.1f} effective features in {self.d_in} dimensions",
        )


def doubt_of(explained: float) -> str | None:
    """Why a count says little where SAEs explain so little of the variance, or None."""
    if explained >= CALIBRATED_FROM:
        return None
    return (
        f"a tied SAE explains {explained:.2f} of the variance only; the toy models on which the "
        f"count was tried had {CALIBRATED_FROM} and more: F counts what was found"
    )


def effective_features(mass: Float[Tensor, "*set d_sae"]) -> Float[Tensor, "*set"]:
    """exp(entropy) of how activation is spread over latents.

    Args:
        mass: Each latent's summed absolute activation; not negative, and not all zero.

    Raises:
        SuperpositionError: masses that are negative, not finite or all zero.
    """
    total = mass.double().sum(-1, keepdim=True)
    if not bool((torch.isfinite(mass) & (mass >= 0)).all()) or not bool((total > 0).all()):
        raise SuperpositionError(
            "no latent ever fires, or masses are negative or not finite: effective features are "
            "undefined"
        )
    p = mass.double() / total
    return torch.exp(-torch.special.xlogy(p, p).sum(-1))


@torch.no_grad()
def features_of(sae: TiedSae | Dictionary, x: Float[Tensor, "n d_in"]) -> float:
    """F of an SAE's latents on some activations.

    Raises:
        SuperpositionError: an SAE for which the measure is not calibrated: every one but the tied.
    """
    require_calibrated(sae)
    mass: Tensor = sum((sae.encode(part).sum(0) for part in x.split(4096)), torch.zeros(()))
    return float(effective_features(mass))


def require_calibrated(sae: TiedSae | Dictionary) -> None:
    """Refuse an SAE whose F says nothing of the number of features.

    Raises:
        SuperpositionError: with the reason.
    """
    if isinstance(sae, TiedSae):
        return
    kind = sae.trained_as if isinstance(sae, Dictionary) else type(sae).__name__
    follows_k = "its F follows the k that was chosen, which nobody knows beforehand: of toy models "
    measured = {
        "standard": "on toy models whose features are known its F correlates at .4 with the true "
        "number, and is as high without superposition as with it",
        "topk": follows_k + "with 15 features it counts 10, 18 or 28 at k of 1, 2 or 4",
        "batchtopk": follows_k + "with 10 features it counts 13, 22 or 29 at k of 1, 2 or 4",
    }
    why = measured.get(kind, "it was never tried on models whose features are known")
    raise SuperpositionError(
        f"effective features are not calibrated for a {kind} SAE: {why}; use "
        "count_features(activations), which fits the tied SAE without decoder bias that they need"
    )


def count_features(
    x: Float[Tensor, "n d_in"],
    *,
    groups: Sequence[object] | None = None,
    d_sae: int | None = None,
    seeds: Sequence[int] = (0, 1, 2),
    sizes: Sequence[int] | None = None,
    l1: float = 0.3,
    steps: int = 1500,
    batch: int = 256,
    seed: int = 0,
) -> Superposition:
    """Count the effective features of a set of activations.

    Args:
        x: The activations, positions of many sequences put one after the other.
        groups: One label an activation, such as its sequence; these are resampled for the interval.
        d_sae: Latents; 8 a dimension where None, as in the calibration.
        seeds: Of the SAEs, three at least.
        sizes: Sample sizes of the curve; a quarter, a half and all of them where None. All of
            them are always among these.
        l1: λ of the tied SAE. The calibration holds for its default, at sites of some dimensions;
            at wide ones, where activations are made of many features each, nothing outweighs it
            and ``doubt`` says so: give less, and compare under one λ only.
        steps: Of each fit.
        batch: Activations a step.
        seed: Decides which samples the smaller sizes hold, and the bootstrap.

    Raises:
        SuperpositionError: fewer than three seeds, sizes out of range, labels for another number.
        SaeError: activations that are all zero or not finite.
    """
    n, d_in = x.shape
    if len(set(seeds)) < 3:
        raise SuperpositionError(f"F varies with the seed: expected three at least, got {seeds}")
    asked = [n // 4, n // 2] if sizes is None else list(sizes)
    sizes = sorted({*asked, n})
    if sizes[0] < 2 or sizes[-1] > n or (groups is not None and len(groups) != n):
        raise SuperpositionError(
            f"sizes {sizes} and {n if groups is None else len(groups)} group labels do not fit "
            f"{n} activations"
        )
    d_sae = d_sae or 8 * d_in
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    labels = list(range(n)) if groups is None else list(groups)
    by_size: dict[int, tuple[float, ...]] = {}
    intervals: dict[int, tuple[float, float] | None] = {}
    explained: dict[int, tuple[float, ...]] = {}
    for size in sizes:
        rows = order[:size] if size < n else torch.arange(n)
        part = x[rows.to(x.device)]
        fitted = fit_tied(part[None], d_sae=d_sae, seeds=seeds, l1=l1, steps=steps, batch=batch)[0]
        by_size[size] = tuple(features_of(sae, part) for sae in fitted)
        intervals[size] = _interval(fitted, part, [labels[i] for i in rows.tolist()], seed=seed)
        explained[size] = tuple(sae.explained_variance for sae in fitted)
    return Superposition(d_in, d_sae, by_size, intervals, explained)


@torch.no_grad()
def _interval(
    saes: Sequence[TiedSae], x: Tensor, labels: Sequence[object], *, seed: int
) -> tuple[float, float] | None:
    """Percentiles of the mean F over seeds, groups drawn with replacement."""
    number = {label: i for i, label in enumerate(dict.fromkeys(labels))}
    if len(number) < 2:
        return None
    at = torch.tensor([number[label] for label in labels])
    masses = []
    for sae in saes:
        by_group = torch.zeros(len(number), len(sae.bias))
        for rows in torch.arange(len(x)).split(4096):
            by_group.index_add_(0, at[rows], sae.encode(x[rows.to(x.device)]).cpu())
        masses.append(by_group)

    def mean_features(rows: np.ndarray, axis: int = -1) -> np.ndarray:
        drawn = torch.from_numpy(np.moveaxis(rows, axis, -1))
        times = torch.zeros(*drawn.shape[:-1], len(number))
        times.scatter_add_(-1, drawn, torch.ones_like(drawn, dtype=times.dtype))
        found = torch.stack([effective_features(times @ mass) for mass in masses])
        result: np.ndarray = found.mean(0).numpy()
        return result

    found = stats.bootstrap(
        (np.arange(len(number)),),
        mean_features,
        n_resamples=999,
        batch=64,
        method="percentile",
        rng=np.random.default_rng(seed),
    )
    return float(found.confidence_interval.low), float(found.confidence_interval.high)
