"""Does a hidden layer that has learnt to multiply in a group do it by representations?

Trains networks of symmetric, dihedral and cyclic groups and reads them. Signature: the share of
logits, weights and neurons in a few representations (Chughtai et al. 2023), and how near neurons
are to telling cosets apart (Stander et al. 2023). Load: what removing each representation costs on
held-out pairs, beside directions fitted the same way with the elements renamed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run
    from interp.zoo.groups.making import GroupConfig

SUMMARY = "Does a hidden layer that has learnt to multiply in a group do it by representations?"


@dataclass(frozen=True)
class Config:
    """Settings of the study of groups.

    Attributes:
        groups: What is multiplied: sN (permutations of N), dN (N rotations and N reflections) or cN
            (residues mod N).
        train_fraction: Share of the pairs that is trained on.
        lr: Learning rate of AdamW.
        weight_decay: Its weight decay; when omitted 3 for permutations of 5 and more, else 1.
        steps: Optimizer steps; when omitted 2600, or 1500 for permutations of 5 and more.
        d_embed: Width of each operand's embedding.
        hidden: Neurons.
        seed: Draws the split, the first weights, the pairs judged, controls and bootstrap. Not
            every seed learns S4: 288 pairs are few.
        judged: Held-out pairs on which removing a representation is judged.
        controls: Renamings, and random subspaces, that each removal is set beside.
        alpha: Level of the verdicts.
        relabellings: Random renamings of the elements, for each null.
        cosets: Also measure coset concentration; half a minute for permutations of 5.
    """

    groups: tuple[str, ...] = ("s4", "s5", "d29", "c59")
    train_fraction: float = 0.5
    lr: float = 1e-2
    weight_decay: float | None = None
    steps: int | None = None
    d_embed: int = 256
    hidden: int = 128
    seed: int = 0
    judged: int = 256
    controls: int = 499
    alpha: float = 0.05
    relabellings: int = 19
    cosets: bool = True


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"groups": ["s4"], "judged": 64, "controls": 99},
    "default": {},
    # The published recipe: hours of CPU time a group.
    "paper": {
        "groups": ["s5", "d59", "c113"],
        "train_fraction": 0.4,
        "lr": 1e-3,
        "weight_decay": 1.0,
        "steps": 250_000,
    },
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    if not config.groups:
        raise ValueError("groups is empty; expected some of sN, dN and cN, such as s4")
    if len(set(config.groups)) != len(config.groups):
        raise ValueError(f"groups names one twice: {', '.join(config.groups)}")
    for name, least in (("judged", 8), ("controls", 1), ("relabellings", 1)):
        if getattr(config, name) < least:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {least}")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    for group in config.groups:
        recipe(config, group)


def recipe(config: Config, group: str) -> GroupConfig:
    """The settings of one group's training."""
    from interp.zoo.groups.making import GroupConfig

    large = group.startswith("s") and group not in ("s3", "s4")
    decay, steps = (3.0, 1500) if large else (1.0, 2600)
    return GroupConfig(
        group=group,
        train_fraction=config.train_fraction,
        lr=config.lr,
        weight_decay=decay if config.weight_decay is None else config.weight_decay,
        steps=steps if config.steps is None else config.steps,
        d_embed=config.d_embed,
        hidden=config.hidden,
        seed=config.seed,
        look_every=100,
    )


def run(config: Config, run: Run) -> None:
    """Train and read the network of every group."""
    from experiments.groups_measuring import clear, measure
    from experiments.groups_report import save

    save(config, run, [measure(config, run, group) for group in config.groups])
    clear(config, run)


def report(run: Run) -> Any:
    """Return what the terminal shows: the table of the paper beside ours."""
    from experiments.groups_report import table_of

    return table_of(run)
