"""Does weight decay change how much data is needed, or only how long it takes? (Varma et al. 2023)

Less data is tried again at other weight decays, with as many more steps as the decay is smaller.
Each seed's critical size and time to grok are set beside the same seed's at the study's own decay:
the same pairs, the same first weights.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import TYPE_CHECKING

from experiments.dynamics_sizes import CONTINUED, SCRATCH, Sizes, measure_sizes

if TYPE_CHECKING:
    from experiments.dynamics import Config
    from interp.fourier.dynamics import SeedRatio
    from interp.runs import Run

TIME = "steps to 99 %"


@dataclass(frozen=True)
class Decays:
    """Less data at several weight decays.

    Attributes:
        by_decay: In ascending order of the decay, the study's own among them.
        ratios: For each other decay, over the study's own: steps to grok, and the critical size by
            way; the intervals hold for all the decays together.
    """

    by_decay: dict[float, Sizes]
    ratios: dict[float, dict[str, SeedRatio]]


def measure_decays(config: Config, run: Run, own: Sizes) -> Decays:
    """Try less data at the other weight decays."""
    from interp.fourier.dynamics import seed_ratio

    found = {config.weight_decay: own}
    for decay in config.decays:
        found[decay] = measure_sizes(at_decay(config, decay), run)
    ratios = {
        decay: {
            what: seed_ratio(
                numbers,
                by_seed(own)[what],
                grain=config.look_every if what == TIME else 0.0,
                # So that one of several decays is no likelier to differ by chance than one alone.
                confidence=1 - 0.05 / len(config.decays),
            )
            for what, numbers in by_seed(one).items()
        }
        for decay, one in found.items()
        if decay != config.weight_decay
    }
    return Decays(dict(sorted(found.items())), dict(sorted(ratios.items())))


def at_decay(config: Config, decay: float) -> Config:
    """The study's settings at another weight decay, with steps that go as one over it."""
    longer = config.weight_decay / decay
    return dataclasses.replace(
        config,
        weight_decay=decay,
        steps=round(config.steps * longer),
        continued_steps=round(config.continued_steps * longer),
    )


def by_seed(sizes: Sizes) -> dict[str, list[float | None]]:
    """Steps to grok, and the critical size by way; None for a seed that has none."""
    found: dict[str, list[float | None]] = {TIME: list(sizes.learnt_at)}
    for way in (SCRATCH, CONTINUED):
        critical, seeds = sizes.critical[way], len(sizes.learnt_at)
        numbers: list[float | None] = [None] * seeds
        # Where some seed did not go on, it is not known whose numbers these are.
        if critical is not None and len(critical.by_seed) == seeds:
            numbers = list(critical.by_seed)
        found[way] = numbers
    return found
