"""What attacks on monitors came to: a table, a verdict for every monitor, a conclusion."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from jaxtyping import Float
from torch import Tensor

from interp.configs import near
from probes.attack.measuring import AttackRow, Condition
from probes.attack.report import SUMMARY, Verdict, conclusion, summary_rows, verdict
from probes.attack.training import Budget
from probes.extraction import Position

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, eq=False)
class AttackResult:
    """Monitors under suffixes, on held-out prompts.

    Attributes:
        rows: One a monitor and suffix.
        attacked: The monitors.
        asked: Those asked for; the notes say why one could not be fitted.
        model: The model's name.
        fingerprint: Of the model.
        data: What the prompts are called.
        data_hash: Of the prompts.
        sites: Where monitors read.
        position: Which tokens they read.
        label: Which label is to be caught.
        budget: What the attacker could spend.
        rounds: Attacks on each monitor.
        n_next: Predictions on which behaviour is judged.
        n_random: Random suffixes for every attack.
        seed: Of everything drawn.
        probe: The trained probe among the monitors, as ``probe_name`` writes it.
        n_known: Prompts that monitors were fitted on.
        n_practice: Prompts that suffixes were trained on.
        n_calibration: Benign prompts that thresholds come from.
        suffixes: The trained ones, as ``round-monitor``; ``behaviour`` for that alone.
        notes: What a reader should know.
        skipped: Reason to places, of statements that could not be read.
        interrupted: Where it stopped, if it did not come to its end.
    """

    rows: tuple[AttackRow, ...]
    attacked: tuple[str, ...]
    asked: tuple[str, ...]
    model: str
    fingerprint: str
    data: str
    data_hash: str
    sites: tuple[str, ...]
    position: Position
    label: int
    budget: Budget
    rounds: int
    n_next: int
    n_random: int
    seed: int
    probe: str | None
    n_known: int
    n_practice: int
    n_calibration: int
    suffixes: Mapping[str, Float[Tensor, "vector d_model"]] = field(repr=False)
    notes: tuple[str, ...] = ()
    skipped: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    interrupted: str | None = None

    def __repr__(self) -> str:
        return (
            f"AttackResult({len(self.attacked)} monitors at {', '.join(self.sites)} of "
            f"{self.model!r}, {self.budget.suffix_length} vectors, {self.budget.steps} steps, "
            f"{self.rounds} rounds)"
        )

    def select(
        self,
        condition: Condition,
        *,
        monitor: str,
        against: str | None = None,
        round: int = 0,
    ) -> list[AttackRow]:
        """Return the rows of one monitor under one kind of suffix."""
        return [
            row
            for row in self.rows
            if (row.condition, row.monitor, row.round) == (condition, monitor, round)
            and against in (None, row.against)
        ]

    def one(
        self,
        condition: Condition,
        *,
        monitor: str,
        against: str | None = None,
        round: int = 0,
    ) -> AttackRow:
        """Return the only such row.

        Raises:
            KeyError: there is none, or several.
        """
        found = self.select(condition, monitor=monitor, against=against, round=round)
        if len(found) != 1:
            known = {f"{r.condition} {r.monitor} {r.against} {r.round}" for r in self.rows}
            asked = f"{condition} {monitor} {against or ''} {round}"
            raise KeyError(f"{len(found)} rows are {asked!r}; {near(asked, known)}")
        return found[0]

    def attack(self, name: str, *, round: int = 0) -> AttackRow | None:
        """Return a monitor under the attack on itself; None where it was not reached."""
        found = self.select("attack", monitor=name, against=name, round=round)
        return found[0] if found else None

    def verdict(self, name: str, *, round: int = 0) -> Verdict:
        """Say what became of a monitor in a few words; see ``probes.attack.report.verdict``."""
        return verdict(self, name, round=round)

    def conclusion(self) -> str:
        """Say in plain words what the attacks found."""
        return conclusion(self)

    def table(self) -> pd.DataFrame:
        """Return one row a monitor and suffix."""
        import pandas as pd

        return pd.DataFrame([asdict(row) for row in self.rows])

    def transfer(self) -> pd.DataFrame:
        """Return recall with the monitor that a suffix was trained against down, those it is
        measured by across; below them no suffix, the lowest of the random ones, and behaviour only.
        """
        import pandas as pd

        grid: dict[str, dict[str, float]] = {}
        for against in self.attacked:
            rows = [r for r in self.rows if r.condition == "attack" and r.round == 0]
            mine = {r.monitor: r.recall for r in rows if r.against == against}
            if mine:
                grid[against] = mine
        for condition in ("clean", "random", "behaviour only"):
            lowest: dict[str, float] = {}
            for row in self.rows:
                if row.condition == condition and row.round == 0:
                    lowest[row.monitor] = min(row.recall, lowest.get(row.monitor, 1.0))
            if lowest:
                grid["random, lowest" if condition == "random" else condition] = lowest
        return pd.DataFrame(grid).T.reindex(columns=list(self.attacked))

    def metrics(self) -> dict[str, Any]:
        """Return the headline numbers and everything that decided them, as plain values."""
        monitors = {}
        for name in self.attacked:
            (clean,) = self.select("clean", monitor=name)
            told: dict[str, Any] = {"verdict": self.verdict(name), "clean_recall": clean.recall}
            told["clean_auroc"], told["false_alarms"] = clean.auroc, clean.false_alarms
            for round in range(self.rounds):
                after = self.attack(name, round=round)
                if after is None:
                    continue
                random = self.select("random", monitor=name, against=name, round=round)
                past = self.select("past attack", monitor=name, round=round)
                told[f"round_{round}"] = {
                    "recall": after.recall,
                    "recall_interval": [after.recall_low, after.recall_high],
                    "auroc": after.auroc,
                    "behaviour_kept": after.kept,
                    "kl_nats": after.kl,
                    "lowest_random_recall": min(r.recall for r in random) if random else None,
                    "refit_recall_of_past_attack": past[0].recall if past else None,
                }
            monitors[name] = told
        return {
            "status": "interrupted" if self.interrupted else "done",
            "interrupted": self.interrupted,
            "conclusion": self.conclusion(),
            "monitors": monitors,
            "settings": self.settings(),
            "n_known": self.n_known,
            "n_practice": self.n_practice,
            "n_calibration": self.n_calibration,
            "notes": list(self.notes),
            "skipped": {reason: list(places) for reason, places in self.skipped.items()},
        }

    def settings(self) -> dict[str, Any]:
        """Return all that decides the numbers, as plain values."""
        names = ["model", "fingerprint", "data", "data_hash", "position", "label", "rounds"]
        names += ["n_next", "n_random", "seed", "probe"]
        told = {name: getattr(self, name) for name in names} | asdict(self.budget)
        return told | {"sites": list(self.sites), "against": list(self.asked)}

    def figure(self) -> Figure:
        """Draw recall without a suffix, under random ones and under the attacks, by round."""
        from interp.plots.attacks import AttackBar, attack_bars

        bars = []
        for name in self.attacked:
            for round in range(self.rounds):
                after = self.attack(name, round=round)
                before = self.select("past attack" if round else "clean", monitor=name, round=round)
                if after is None or not before:
                    continue
                random = self.select("random", monitor=name, against=name, round=round)
                bars.append(
                    AttackBar(
                        name=name if not round else f"{name}\nrefit {round}",
                        before=before[0].recall,
                        after=after.recall,
                        low=after.recall_low,
                        high=after.recall_high,
                        random=tuple(row.recall for row in random),
                        kept=after.kept,
                    )
                )
        return attack_bars(bars, title=f"{', '.join(self.sites)} of {self.model}")

    def _repr_html_(self) -> str:
        import pandas as pd

        shown = pd.DataFrame(summary_rows(self), columns=list(SUMMARY))
        body = shown.to_html(index=False, escape=True)
        return f"<p>{html.escape(repr(self))}</p>{body}<p>{html.escape(self.conclusion())}</p>"
