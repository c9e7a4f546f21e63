"""Does counting effective features count features? Tried on toy models whose features are known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from scipy import stats
from torch import Tensor

from interp.sae.arrays import train_on_array
from interp.sae.settings import SaeSettings
from interp.sae.superposition import SuperpositionError, effective_features, features_of
from interp.sae.tied import fit_tied
from interp.sae.toys import ToyFamily

#: What a kind of SAE must reach on the toy family (2025, arXiv 2512.13568: .94 ± .02).
ENOUGH = 0.9


@dataclass(frozen=True)
class Calibration:
    """How far the features counted follow the features there are, over a family of toy models.

    Attributes:
        kind: Of SAE.
        r: Pearson correlation with the reference.
        interval: Its 95% interval, by Fisher's transformation over toy models; it is meant for
            normal values, and with so few models is only a guide.
        p_value: Of a correlation this high or higher when features are dealt out at random to the
            toy models.
        n: Toy models.
    """

    kind: str
    r: float
    interval: tuple[float, float]
    p_value: float
    n: int

    @property
    def calibrated(self) -> bool:
        """Whether r exceeds .9."""
        return self.r > ENOUGH


def calibrate(
    kind: str, counted: Float[Tensor, " model"], reference: Float[Tensor, " model"], *, seed: int
) -> Calibration:
    """Compare features counted with those there are.

    Args:
        kind: Of SAE, for tables.
        counted: F of each toy model's SAE.
        reference: What each toy model's own weights say.
        seed: Of the permutations.

    Raises:
        SuperpositionError: fewer than four models, or nothing that varies.
    """
    x, y = np.asarray(counted, dtype=float), np.asarray(reference, dtype=float)
    if len(x) != len(y) or len(x) < 4 or np.ptp(x) == 0 or np.ptp(y) == 0:
        raise SuperpositionError(
            f"{len(x)} counts and {len(y)} references: a correlation needs four toy models at "
            "least, and values that vary"
        )
    method = stats.PermutationMethod(n_resamples=9999, rng=np.random.default_rng(seed))
    found = stats.pearsonr(x, y, alternative="greater", method=method)
    low, high = stats.pearsonr(x, y).confidence_interval(0.95)
    return Calibration(
        kind=kind,
        r=float(found.statistic),
        interval=(float(low), float(high)),
        p_value=float(found.pvalue),
        n=len(x),
    )


def count_tied(
    family: ToyFamily,
    *,
    samples: int,
    seeds: Sequence[int],
    seed: int,
    d_sae: int = 40,
    l1: float = 0.3,
    steps: int = 1500,
) -> Float[Tensor, "model seed"]:
    """F of the tied SAEs of each toy model."""
    x = family.activations(samples, seed=seed)
    fitted = fit_tied(x, d_sae=d_sae, seeds=seeds, l1=l1, steps=steps)
    rows = [[features_of(sae, x[i]) for sae in saes] for i, saes in enumerate(fitted)]
    return torch.tensor(rows, dtype=torch.float64)


@torch.no_grad()
def count_sae_lens(
    family: ToyFamily, settings: SaeSettings, *, samples: int, seed: int
) -> Float[Tensor, " model"]:
    """The same formula on sae-lens' SAEs, for the comparison that licenses its refusal."""
    counted = []
    for x in family.activations(samples, seed=seed):
        with torch.enable_grad():
            sae = train_on_array(x, settings, name="toy")
        counted.append(float(effective_features(sae.encode(x).abs().sum(0))))
    return torch.tensor(counted, dtype=torch.float64)
