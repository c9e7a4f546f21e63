"""Do quadratic networks end at the largest margin there can be, and with the weights it asks for?

Trains networks f(a, b) = Σ (u(a) + v(b))² w on groups, and one on sparse parity, and sets their
normalised margins beside the theoretical maximum (Morwani et al. 2024). Where the maximum is
reached, the weights are known: pure frequencies whose phases add up, or the bits that count. Each
network is then sent to climb its own margin, so that one which training leaves below the maximum is
not taken for a maximum that is wrong.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run
    from interp.zoo.groups.quadratic import QuadraticConfig

SUMMARY = (
    "Do quadratic networks end at the largest margin there can be, with the weights it asks for?"
)


@dataclass(frozen=True)
class Config:
    """Settings of the study of margins.

    Attributes:
        groups: cN with N odd (residues mod N), sN (permutations of N) or dN (N rotations and N
            reflections).
        width: Neurons for each element; the construction for residues takes just under 4.
        steps: Optimizer steps.
        lr: Learning rate of Adam at the start; falls to nothing.
        decay: Weight of ‖θ‖³ in the loss; the margin is the largest as it goes to 0.
        climb: Steps in which the trained network then climbs the normalised margin itself.
        parity_bits: Bits of sparse parity.
        parity_k: How many of them count.
        parity_width: Neurons of the parity network.
        seed: Draws the first weights.
    """

    groups: tuple[str, ...] = ("c17", "c31", "s3", "s4")
    width: int = 6
    steps: int = 3000
    lr: float = 0.02
    decay: float = 1e-4
    climb: int = 3000
    parity_bits: int = 6
    parity_k: int = 3
    parity_width: int = 16
    seed: int = 0


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"groups": ["c11"], "steps": 1500, "climb": 1000},
    "default": {},
    "paper": {"groups": ["c71", "s4", "s5"], "width": 8, "steps": 20_000, "climb": 20_000},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from interp.fourier import largest_margin, largest_parity_margin, named_group
    from interp.zoo.groups.quadratic import parity_data
    from interp.zoo.groups.tables import group_table

    if not config.groups:
        raise ValueError("groups is empty; expected some of cN, sN and dN, such as c17")
    if len(set(config.groups)) != len(config.groups):
        raise ValueError(f"groups names one twice: {', '.join(config.groups)}")
    if config.width < 1:
        raise ValueError(f"width is {config.width}; expected at least 1 neuron for each element")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    if config.climb < 1:
        raise ValueError(f"climb is {config.climb}; expected at least 1 step")
    parity_data(config.parity_bits, config.parity_k)
    largest_parity_margin(config.parity_k)
    recipe(config, config.parity_width)
    for group in config.groups:
        group_table(group)
        largest_margin(named_group(group))


def recipe(config: Config, hidden: int) -> QuadraticConfig:
    """The settings of one training."""
    from interp.zoo.groups.quadratic import QuadraticConfig

    return QuadraticConfig(
        hidden=hidden, steps=config.steps, lr=config.lr, decay=config.decay, seed=config.seed
    )


def run(config: Config, run: Run) -> None:
    """Train every network and read its margin."""
    from experiments.margin_measuring import measure_group, measure_parity
    from experiments.margin_report import save

    run.record(seeds={"all": config.seed}, device="cpu")
    rows = [measure_group(config, run, group) for group in config.groups]
    save(run, [*rows, measure_parity(config, run)])


def report(run: Run) -> Any:
    """Return what the terminal shows: margins beside the largest."""
    from experiments.margin_report import table_of

    return table_of(run)
