"""How do weights move while a model groks, what does its circuit cost, how much data does it need?

Trains a small model of a + b mod p that groks and a twin that only memorises, and follows both:
the dimension of their paths beside random walks, commutators of SGD steps beside random subspaces,
attention entropy, logit for the size of the weights, directions that the logits depend on; then
trains on less and less data, from scratch and from the model that has grokked, at several weight
decays: these should change how fast it goes, and not how much data it takes (Varma et al. 2023).
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run
    from interp.zoo.modular.making import ModularConfig

LARGEST = 113  # checkpoints of both trainings are held at once

FEWEST = 16  # pairs on which never having been trained on either order is judged

SUMMARY = (
    "How do weights move while a model groks, what does its circuit cost, how much data does it "
    "need?"
)


@dataclass(frozen=True)
class Config:
    """Settings of the study of training dynamics.

    Attributes:
        p: The modulus.
        train_fraction: Share of the pairs that is trained on.
        lr: Learning rate of AdamW; the memoriser has a tenth of it.
        weight_decay: Of all trainings but the memoriser's.
        steps: Optimizer steps.
        look_every: Steps between two checkpoints.
        d_model: Width of the residual stream.
        n_heads: Attention heads.
        d_mlp: Neurons.
        sizes: Numbers of training pairs to train on, ascending.
        seeds: Models, each with its own split and first weights, for the critical data size.
        continued_steps: Steps that a model which has grokked is trained on fewer pairs.
        decays: Other weight decays at which less data is tried too. Steps go as one over the decay,
            since training does.
        moments: Checkpoints at which commutators, attention and interaction directions are read.
        components: Principal components of the path that commutators are held against.
        batch: Pairs in each of a commutator's two batches.
        batch_pairs: Pairs of batches at each moment.
        judged: Held-out pairs on which removing directions is judged.
        controls: Random directions and matrix-matched directions; ten times as many random walks.
        features: Also count the neurons' effective features at three checkpoints of each training:
            a minute each.
        seed: Draws everything.
    """

    p: int = 41
    train_fraction: float = 0.6
    lr: float = 1e-2
    weight_decay: float = 1.0
    steps: int = 300
    look_every: int = 10
    d_model: int = 128
    n_heads: int = 4
    d_mlp: int = 512
    sizes: tuple[int, ...] = (100, 200, 400, 560, 800)
    seeds: int = 3
    continued_steps: int = 200
    decays: tuple[float, ...] = (0.5, 2.0)
    moments: int = 8
    components: int = 10
    batch: int = 256
    batch_pairs: int = 4
    judged: int = 512
    controls: int = 99
    features: bool = False
    seed: int = 1


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "p": 31,
        "train_fraction": 0.7,
        "steps": 250,
        "look_every": 25,
        "sizes": (80, 500),
        "seeds": 2,
        "continued_steps": 100,
        "decays": (),
        "moments": 3,
        "components": 5,
        "batch": 64,
        "batch_pairs": 2,
        "judged": 128,
    },
    "default": {},
    # The published modulus; an hour on a CPU.
    "paper": {
        "p": 113,
        "train_fraction": 0.3,
        "steps": 1000,
        "sizes": (500, 1000, 1500, 2000, 2500, 3500),
        "seeds": 5,
        "continued_steps": 1000,
        "seed": 3,
    },
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    least = {
        "moments": 2,
        "components": 1,
        "batch": 2,
        "batch_pairs": 2,
        "judged": 16,
        "controls": 19,
        "seeds": 1,
        "continued_steps": 1,
        "p": 11,
    }
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {value}")
    if config.p > LARGEST:
        raise ValueError(f"p is {config.p}; expected at most {LARGEST}")
    if not 0 <= config.seed < 2**63 - config.seeds:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    recipe(config)
    if config.components > config.steps // config.look_every - 1:
        raise ValueError(
            f"{config.components} components need more than "
            f"{config.steps // config.look_every} checkpoints; lower look_every"
        )
    pool = int(config.train_fraction * config.p**2)
    sizes = config.sizes
    ascending = all(a < b for a, b in pairwise(sizes))
    if len(sizes) < 2 or not ascending or sizes[0] < 1 or sizes[-1] > pool:
        raise ValueError(
            f"sizes are {', '.join(map(str, sizes))}; expected two or more, ascending, of the "
            f"{pool} training pairs"
        )
    decays = (config.weight_decay, *config.decays)
    above = all(0 < decay < float("inf") for decay in decays)  # NaN is not, either
    if config.decays and (not above or len(set(decays)) < len(decays)):
        raise ValueError(
            f"weight decays are {', '.join(f'{d:g}' for d in decays)}; expected different ones, "
            "all above 0"
        )
    if 2 * config.batch > pool:
        raise ValueError(f"batch is {config.batch}; two do not fit into {pool} training pairs")
    if (1 - config.train_fraction) ** 2 * config.p**2 < FEWEST:
        raise ValueError(
            f"train_fraction is {config.train_fraction}; it leaves hardly a pair of which neither "
            "order is trained on; expected less"
        )


def recipe(config: Config, seed: int | None = None) -> ModularConfig:
    """The settings of a training that groks."""
    from interp.zoo.modular.making import ModularConfig

    return ModularConfig(
        train_fraction=config.train_fraction,
        lr=config.lr,
        weight_decay=config.weight_decay,
        steps=config.steps,
        look_every=config.look_every,
        seed=config.seed if seed is None else seed,
        p=config.p,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_mlp=config.d_mlp,
    )


def run(config: Config, run: Run) -> None:
    """Train, measure along the way, and train again on less data."""
    from experiments.dynamics_decays import measure_decays
    from experiments.dynamics_measuring import measure
    from experiments.dynamics_report import save
    from experiments.dynamics_sizes import measure_sizes
    from experiments.dynamics_training import clear, train_both
    from interp.zoo.world_training import torch_threads

    run.record(seeds={"all": config.seed}, device="cpu")
    with torch_threads(1):  # products this small gain nothing from more
        paths = train_both(config, run)
        found = measure(config, run, paths)
        sizes = measure_sizes(config, run, paths[0])
        save(config, run, found, measure_decays(config, run, sizes))
    clear(run)


def report(run: Run) -> Any:
    """Return what the terminal shows: paths beside random walks."""
    from experiments.dynamics_report import table_of

    return table_of(run)
