"""The toy models of the superposition study: what licenses counting, and what forbids it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.superposition import Config
    from interp.runs import Run
    from interp.sae.calibration import Calibration
    from interp.sae.settings import SaeSettings
    from interp.sae.toys import ToyFamily

_DENSEST, _SPARSEST = 0.999, 0.001
_D_SAE = 40
_K = 2


@dataclass(frozen=True)
class Toys:
    """What was counted on the toy models.

    Attributes:
        family: The toy models.
        counted: Kind of SAE → F, ``[model, seed]``.
        found: How far each kind follows the features there are; the tied one first.
    """

    family: ToyFamily
    counted: dict[str, Tensor]
    found: list[Calibration]


def calibrate_on_toys(config: Config, run: Run) -> Toys:
    """Train the toy models, count their features by each kind of SAE, compare."""
    import numpy as np

    from interp.sae.calibration import calibrate, count_tied
    from interp.sae.toys import ToyFamily, train_toys

    density = tuple(np.geomspace(_DENSEST, _SPARSEST, config.toys).tolist())
    run.record(data={"toy features": "uniform on [0, 1], drawn anew"})

    def toys() -> dict[str, Tensor]:
        family = train_toys(density, steps=config.toy_steps, seed=config.seed)
        return {"weight": family.weight}

    family = ToyFamily(density, run.cached("toys", toys)["weight"])

    def tied() -> dict[str, Tensor]:
        counted = count_tied(
            family,
            samples=config.samples,
            seeds=range(config.sae_seeds),
            seed=config.seed + 1,
            d_sae=_D_SAE,
            l1=config.l1,
            steps=config.sae_steps,
        )
        return {"features": counted}

    counted = {"tied": run.cached("tied", tied)["features"]}
    for kind in config.compare:
        counted[kind] = _by_sae_lens(config, run, family, kind)
    found = [
        calibrate(kind, values.mean(1), family.features, seed=config.seed)
        for kind, values in counted.items()
    ]
    return Toys(family, counted, found)


def _by_sae_lens(config: Config, run: Run, family: ToyFamily, kind: str) -> Tensor:
    from interp.sae.calibration import count_sae_lens
    from interp.sae.settings import SaeSettings

    settings: SaeSettings = SaeSettings(
        arch=kind,  # type: ignore[arg-type]  # checked before the run
        d_sae=_D_SAE,
        k=_K if "topk" in kind else None,
        batch=256,
        samples=256 * config.sae_steps,
        lr=3e-3,
        seed=config.seed,
    )

    def theirs() -> dict[str, Tensor]:
        found = count_sae_lens(family, settings, samples=config.samples, seed=config.seed + 1)
        return {"features": found[:, None]}

    features: Tensor = run.cached(kind, theirs)["features"]
    return features


def save_toys(run: Run, toys: Toys) -> None:
    """Save what was counted on the toy models: tables, tensors, a figure for each kind of SAE."""
    import pandas as pd

    from interp.plots.matrices import points_and_curve

    family, counted, found = toys.family, toys.counted, toys.found
    reference = family.features
    frame = pd.DataFrame({"density": family.density, "reference": reference.numpy()})
    for kind, values in counted.items():
        frame[kind] = values.mean(1).numpy()
        frame[f"{kind}, lowest seed"] = values.min(1).values.numpy()
        frame[f"{kind}, highest seed"] = values.max(1).values.numpy()
    run.save_table("toys", frame)
    rows = [
        {
            "kind": c.kind,
            "r": c.r,
            "low": c.interval[0],
            "high": c.interval[1],
            "p_value": c.p_value,
            "n": c.n,
            "calibrated": c.calibrated,
        }
        for c in found
    ]
    run.save_table("calibration", pd.DataFrame(rows))
    run.save_tensors({"weight": family.weight, **counted})
    ends = [float(reference.min()), float(reference.max())]
    for c in found:
        run.save_figure(
            f"features_{c.kind}",
            points_and_curve(
                reference.numpy(),
                counted[c.kind].mean(1).numpy(),
                x_label="features there are: exp(entropy) of the toy model's weights",
                y_label="effective features counted",
                curve=(ends, ends),
                curve_label="equal",
                title=f"{c.kind}: r = {c.r:.2f} over {c.n} toy models",
            ),
        )


def told(c: Calibration) -> str:
    """A calibration in half a line."""
    low, high = c.interval
    return f"{c.kind} r = {c.r:.2f} ({low:.2f} to {high:.2f}, p {c.p_value:.2g})"


def on_toys(found: list[Calibration]) -> str:
    """What the toy models say of each kind of SAE."""
    tied, *rest = found
    if not tied.calibrated:
        return (
            f"On these toy models the tied SAE's count follows the features there are with r = "
            f"{tied.r:.2f} only, below .9: with these settings it is not to be used."
        )
    text = (
        f"The tied SAE without decoder bias counts the features of {tied.n} toy models with r = "
        f"{tied.r:.2f}: F may be compared between sites measured alike."
    )
    if low := [c.kind for c in rest if not c.calibrated]:
        text += f" sae-lens' {', '.join(low)} SAEs do not reach .9 and are refused."
    if high := [c.kind for c in rest if c.calibrated]:
        text += (
            f" {', '.join(high)} reach it here, at k = {_K}; F follows the k chosen, which nobody "
            "knows beforehand, so they are refused as well."
        )
    return text
