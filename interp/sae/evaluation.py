"""The numbers of an evaluated SAE: what they are called, mean, and look like."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from interp.sae.files import EVALUATION, read_tensors, write_tensors

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class Evaluation:
    """How well an SAE does on some data. Losses in nats a token.

    "Spliced" is the model with its activations replaced by the SAE's reconstruction (no error
    term), "zero" with zeros in their place, at the same positions.

    Attributes:
        name: The SAE.
        data: What it was evaluated on.
        n_activations: Activations encoded.
        n_predictions: Next tokens predicted.
        l0: Mean number of latents that are not zero.
        explained_variance: 1 − E‖x − x̂‖² / (E‖x‖² − ‖E x‖²). At most 1; 0 for the mean of the
            data, below 0 for worse than that. None where the activations do not vary.
        mse: E‖x − x̂‖², summed over dimensions.
        cosine: Mean cosine of x and x̂.
        ce: Cross-entropy of the model as it is.
        ce_spliced: Spliced.
        ce_zero: Zero.
        ce_cost: ce_spliced − ce, with its 95% bootstrap interval over groups of rows (None where
            there is only one group).
        ce_cost_interval: That interval.
        ce_recovered: (ce_zero − ce_spliced) / (ce_zero − ce), or None where undefined.
        undefined: Why ``ce_recovered`` is undefined.
        kl: KL from the model as it is to spliced.
        kl_zero: The same for zero.
        n_dead: Latents that never fired on these activations.
        density: Share of activations on which each latent fired.
    """

    name: str
    data: str
    n_activations: int
    n_predictions: int
    l0: float
    explained_variance: float | None
    mse: float
    cosine: float
    ce: float
    ce_spliced: float
    ce_zero: float
    ce_cost: float
    ce_cost_interval: tuple[float, float] | None
    ce_recovered: float | None
    undefined: str | None
    kl: float
    kl_zero: float
    n_dead: int
    density: Float[Tensor, " d_sae"] = field(repr=False)

    def metrics(self) -> dict[str, Any]:
        """All but the densities, as plain values."""
        found = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "density"}
        interval = self.ce_cost_interval
        return {**found, "ce_cost_interval": None if interval is None else list(interval)}

    def frame(self) -> pd.DataFrame:
        """One row a latent: its density, and whether it is dead on these data."""
        import pandas as pd

        density = self.density.numpy()
        return pd.DataFrame(
            {"latent": range(len(density)), "density": density, "dead": density == 0}
        )

    def figure(self) -> Figure:
        """Draw how often latents fire: a histogram of log densities, dead ones beside it."""
        from interp.plots.sae_training import density_histogram

        return density_histogram(
            self.density.numpy(),
            resolution=1 / self.n_activations,
            title=f"{self.name}: L0 {self.l0:.1f}, {self.n_dead} dead",
        )

    def save(self, folder: Path) -> None:
        """Write into an SAE's folder."""
        write_tensors(folder / EVALUATION, {"density": self.density}, self.metrics())

    @classmethod
    def read(cls, folder: Path) -> Evaluation:
        """Read back.

        Raises:
            SaeError: there is none, or it is damaged.
        """
        tensors, state = read_tensors(folder / EVALUATION)
        interval = state.pop("ce_cost_interval")
        return cls(
            **state,
            ce_cost_interval=None if interval is None else (interval[0], interval[1]),
            density=tensors["density"],
        )
