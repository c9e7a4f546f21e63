"""Does counting effective features count features, and with which sparse autoencoder?

Toy models squeeze 20 features through 5 neurons; the sparser the features, the more of them get
through (Elhage et al. 2022). Their own weights say how many. Effective features, exp(entropy) of
latent activation, are counted by the tied SAE without decoder bias ("Superposition as Lossy
Compression", 2025) and, for comparison, by sae-lens' own SAEs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from interp.runs import Run
    from interp.sae.calibration import Calibration
    from interp.sae.toys import ToyFamily

SUMMARY = "Does counting effective features count features, and with which sparse autoencoder?"


@dataclass(frozen=True)
class Config:
    """Settings of the superposition study.

    Attributes:
        seed: Seeds the toy models, their samples, the SAEs and the permutations.
        toys: How many toy models, from dense features to one in a thousand.
        toy_steps: Training steps of the toy models.
        samples: Activations of each that SAEs are fitted to.
        sae_seeds: SAEs a toy model; their counts are averaged.
        sae_steps: Training steps of each SAE.
        l1: Weight of the tied SAE's sparsity penalty, on activations of norm one.
        compare: sae-lens architectures tried beside it; seconds for each toy model.
    """

    seed: int = 0
    toys: int = 12
    toy_steps: int = 2000
    samples: int = 10_000
    sae_seeds: int = 3
    sae_steps: int = 1500
    l1: float = 0.3
    compare: tuple[str, ...] = ("standard", "topk", "batchtopk")


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "toys": 5,
        "toy_steps": 1500,
        "samples": 4000,
        "sae_seeds": 1,
        "sae_steps": 1200,
        "compare": [],
    },
    "default": {},
    "headline": {"toys": 24, "toy_steps": 5000, "sae_seeds": 5, "sae_steps": 3000},
}

_DENSEST, _SPARSEST = 0.999, 0.001
_D_SAE = 40
_K = 2


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from typing import get_args

    from interp.sae.settings import Architecture

    least = {"toys": 4, "toy_steps": 1, "samples": 512, "sae_seeds": 1, "sae_steps": 1}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {low}")
    if not config.l1 > 0:
        raise ValueError(f"l1 is {config.l1}; expected a weight above 0, such as .3")
    for kind in config.compare:
        if kind not in get_args(Architecture):
            raise ValueError(
                f"compare has {kind!r}; expected some of {', '.join(get_args(Architecture))}"
            )


def run(config: Config, run: Run) -> None:
    """Train the toy models, count their features by each kind of SAE, compare."""
    import numpy as np

    from interp.sae.calibration import calibrate, count_sae_lens, count_tied
    from interp.sae.settings import SaeSettings
    from interp.sae.toys import ToyFamily, train_toys

    density = tuple(np.geomspace(_DENSEST, _SPARSEST, config.toys).tolist())
    run.record(data={"features": "uniform on [0, 1], drawn anew"}, seeds={"all": config.seed})

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
        settings = SaeSettings(
            arch=kind,  # type: ignore[arg-type]  # checked above
            d_sae=_D_SAE,
            k=_K if "topk" in kind else None,
            batch=256,
            samples=256 * config.sae_steps,
            lr=3e-3,
            seed=config.seed,
        )

        def theirs(settings: SaeSettings = settings) -> dict[str, Tensor]:
            found = count_sae_lens(family, settings, samples=config.samples, seed=config.seed + 1)
            return {"features": found[:, None]}

        counted[kind] = run.cached(kind, theirs)["features"]
    found = [
        calibrate(kind, values.mean(1), family.features, seed=config.seed)
        for kind, values in counted.items()
    ]
    _save(run, family, counted, found)


def _save(
    run: Run, family: ToyFamily, counted: dict[str, Tensor], found: list[Calibration]
) -> None:
    import pandas as pd

    from interp.plots.matrices import points_and_curve

    reference = family.features
    toys = pd.DataFrame({"density": family.density, "reference": reference.numpy()})
    for kind, values in counted.items():
        toys[kind] = values.mean(1).numpy()
        toys[f"{kind}, lowest seed"] = values.min(1).values.numpy()
        toys[f"{kind}, highest seed"] = values.max(1).values.numpy()
    run.save_table("toys", toys)
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
    run.save_metrics(
        {
            **{f"r_{c.kind}": c.r for c in found},
            "p_tied": found[0].p_value,
            "headline": "; ".join(_told(c) for c in found),
            "conclusion": _conclusion(found),
        }
    )


def _told(c: Calibration) -> str:
    low, high = c.interval
    return f"{c.kind} r = {c.r:.2f} ({low:.2f} to {high:.2f}, p {c.p_value:.2g})"


def _conclusion(found: list[Calibration]) -> str:
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


def report(run: Run) -> Any:
    """The calibration of each kind of SAE, as a table for the terminal."""
    from interp import terminal

    frame = run.table("calibration")
    rows = [
        (
            r.kind,
            f"{r.r:.3f}",
            f"{r.low:.2f} to {r.high:.2f}",
            f"{r.p_value:.2g}",
            r.n,
            "yes" if r.calibrated else "no",
        )
        for r in frame.itertuples()
    ]
    return terminal.table(("SAE", "r", "95% interval", "p", "toy models", "calibrated"), rows)
