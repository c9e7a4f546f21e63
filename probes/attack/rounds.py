"""Attack, measure, refit, and again: the part of an attack that takes time and can be stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from interp.models import Model
from probes.attack.measuring import AttackRow, Judge
from probes.attack.monitor_parts import View, stacked
from probes.attack.monitors import PROBE, Monitor, has_refit, refitted
from probes.attack.prompts import Suffix
from probes.attack.training import Budget, LossError, random_like, train_suffix
from probes.data.split import Rows
from probes.fit import FitError

BEHAVIOUR = "behaviour"


@dataclass
class Rounds:
    """What attacks begin from, and what they have come to so far.

    Attributes:
        model: The model.
        judge: Measures, on held-out prompts.
        practice: Prompts to train suffixes on.
        clean: What the model predicts after those, as log-probabilities.
        fit: What is read of the prompts that monitors are fitted on.
        labels: Theirs.
        calibration: What is read of the benign prompts that thresholds come from.
        budget: What each attack may spend.
        rounds: Attacks on each monitor, refitted before all but the first.
        n_random: Random suffixes beside each.
        seed: Of everything drawn.
        monitors: As they are now.
        suffixes: By ``round-monitor``; one that is there already is not trained.
        rows: What was measured.
        notes: What a reader should know.
        past: What is read of the practice prompts under each attack on a monitor; those that are
            to be attacked again.
        latest: The suffix of the latest attack on each.
        jobs: Suffixes to train in all; fewer when a monitor drops out.
    """

    model: Model
    judge: Judge
    practice: Rows
    clean: Float[Tensor, "row next vocab"]
    fit: View
    labels: npt.NDArray[np.bool_]
    calibration: View
    budget: Budget
    rounds: int
    n_random: int
    seed: int
    monitors: dict[str, Monitor]
    suffixes: dict[str, Suffix]
    rows: list[AttackRow] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    past: dict[str, list[View]] = field(default_factory=dict)
    latest: dict[str, Suffix] = field(default_factory=dict)
    jobs: int = field(init=False)

    def __post_init__(self) -> None:
        again = sum(map(has_refit, self.monitors.values()))
        self.jobs = 1 + len(self.monitors) + (self.rounds - 1) * again

    def run(self, advance: Callable[[int], None]) -> None:
        """Attack every monitor, round by round.

        A monitor whose attack or refit fails is left out of what follows, and the notes say so.

        Raises:
            LossError: no suffix could be trained on any monitor.
        """
        model, judge = self.model, self.judge
        self.rows += judge.rows_for(model, self.monitors, None, condition="clean")
        alone = self._suffix(BEHAVIOUR, None, 0, advance)
        self.rows += judge.rows_for(model, self.monitors, alone, condition="behaviour only")
        failed: LossError | None = None
        for number in range(self.rounds):
            if number:
                self._refit(number, advance)
            for name in list(self.past if number else self.monitors):
                key = f"{number}-{name}"
                try:
                    suffix = self._suffix(key, self.monitors[name], number + 1, advance)
                except LossError as error:
                    failed = error
                    self._drop(name, f"could not be attacked ({error})", number, advance)
                    continue
                self._measure(name, suffix, number)
                seen = judge.prompts.run_all(model, self.practice, judge.sites, suffix).view
                self.past.setdefault(name, []).append(seen)
                self.latest[name] = suffix
            if not self.latest and failed is not None:
                raise failed

    def _suffix(
        self, key: str, monitor: Monitor | None, number: int, advance: Callable[[int], None]
    ) -> Suffix:
        if key in self.suffixes:
            advance(self.budget.steps)
        else:
            self.suffixes[key] = train_suffix(
                self.model,
                self.judge.prompts,
                self.practice,
                clean=self.clean,
                monitor=monitor,
                budget=self.budget,
                # Each round begins elsewhere, and all monitors of a round at the same place.
                seed=self.seed + 1000 * number,
                advance=advance,
            )
        return self.suffixes[key]

    def _measure(self, name: str, suffix: Suffix, number: int) -> None:
        """One suffix, and random ones as long, by every monitor."""
        self.rows += self.judge.rows_for(
            self.model, self.monitors, suffix, condition="attack", against=name, round=number
        )
        generator = torch.Generator().manual_seed(self.seed + 7919 * (number + 1))
        for draw in range(self.n_random):
            self.rows += self.judge.rows_for(
                self.model,
                self.monitors,
                random_like(suffix, generator=generator),
                condition="random",
                against=name,
                round=number,
                draw=draw,
            )

    def _refit(self, number: int, advance: Callable[[int], None]) -> None:
        """Refit every monitor on its own past attacks, and measure it under the latest."""
        for name in list(self.past):
            views = [self.fit, *self.past[name]]
            new = np.ones(len(self.practice) * len(self.past[name]), dtype=bool)
            labels = np.concatenate([self.labels, new])
            why = "knows benign prompts only" if name != PROBE else "has no refit of its method"
            try:
                made = refitted(self.monitors[name], stacked(views), labels, seed=self.seed)
            except FitError as error:
                made, why = None, f"could not be refitted ({error})"
            if made is None:
                self._drop(name, why, number, advance)
                continue
            self.monitors[name] = made.calibrated(self.calibration)
        for name in self.past:
            self.rows += self.judge.rows_for(
                self.model,
                {name: self.monitors[name]},
                self.latest[name],
                condition="past attack",
                against=name,
                round=number,
            )

    def _drop(self, name: str, why: str, number: int, advance: Callable[[int], None]) -> None:
        """Leave a monitor out of this round and the rest."""
        again = " again" if self.past.pop(name, None) else ""
        self.notes.append(f"the {name} monitor {why}, so it is not attacked{again}")
        planned = 1 if not number else 0
        if has_refit(self.monitors[name]):
            planned = self.rounds - number
        self.jobs -= planned
        advance(planned * self.budget.steps)
