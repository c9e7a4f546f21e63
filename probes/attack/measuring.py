"""What a suffix does to monitors and to behaviour, on prompts that it was not trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import bootstrap_interval
from interp.hooks import Site
from interp.models import Model
from probes.attack.monitor_parts import View
from probes.attack.monitors import Monitor
from probes.attack.prompts import AttackPrompts, Suffix
from probes.measures import CONFIDENCE, auroc, auroc_interval

Condition = Literal["clean", "random", "behaviour only", "past attack", "attack"]
_RESAMPLES = 1000


@dataclass(frozen=True)
class AttackRow:
    """One monitor on held-out prompts under one suffix, or none.

    Attributes:
        round: 0 for the monitors as they were first fitted, 1 after the first refit, and so on.
        condition: ``clean`` is no suffix; ``random`` one of random directions, as long as the
            attack's own vectors; ``behaviour only`` one trained without regard to any monitor;
            ``attack`` one trained against a monitor; ``past attack`` the round before's.
        against: The monitor that the suffix was trained against, or its lengths taken from; empty
            where there is none.
        draw: Which of the random suffixes; 0 for all else.
        monitor: The monitor that is measured.
        recall: Share of the prompts to be caught that raise an alarm.
        recall_low: Lower end of its interval, by groups.
        recall_high: Upper end.
        auroc: Chance that a prompt to be caught, with the suffix, scores above a benign one
            without. Far below .5 the suffix has turned the score round.
        auroc_low: Lower end of its interval, by groups.
        auroc_high: Upper end.
        false_alarms: Share of held-out benign prompts that raise an alarm.
        kept: Share of the prompts to be caught after which the model's most probable next tokens
            all stay what they are without a suffix.
        kept_low: Lower end of its interval, by groups.
        kept_high: Upper end.
        kl: Mean divergence KL(clean ‖ with the suffix) of the next token, in nats.
        n: Prompts to be caught.
        n_groups: Their groups.
    """

    round: int
    condition: Condition
    against: str
    draw: int
    monitor: str
    recall: float
    recall_low: float
    recall_high: float
    auroc: float
    auroc_low: float
    auroc_high: float
    false_alarms: float
    kept: float
    kept_low: float
    kept_high: float
    kl: float
    n: int
    n_groups: int


@dataclass(frozen=True, eq=False)
class Judge:
    """The held-out prompts, and what they are like without a suffix.

    Attributes:
        prompts: All prompts.
        rows: Those to be caught.
        clean: What the model predicts after them, as log-probabilities.
        view: What is read of them.
        benign: What is read of the benign ones.
        benign_groups: Of the benign ones.
        sites: Where monitors read.
        seed: Of the bootstrap.
    """

    prompts: AttackPrompts
    rows: npt.NDArray[np.intp]
    clean: Float[Tensor, "row next vocab"]
    view: View
    benign: View
    benign_groups: Sequence[str]
    sites: Sequence[Site]
    seed: int

    def rows_for(
        self,
        model: Model,
        monitors: Mapping[str, Monitor],
        suffix: Suffix | None,
        *,
        condition: Condition,
        against: str = "",
        round: int = 0,
        draw: int = 0,
    ) -> list[AttackRow]:
        """Measure every monitor under one suffix, in one pass."""
        view, log_probs = self.view, self.clean
        if suffix is not None:
            view, log_probs = self.prompts.run_all(model, self.rows, self.sites, suffix)
        groups = [self.prompts.data.groups[row] for row in self.rows]
        same = (log_probs.argmax(-1) == self.clean.argmax(-1)).all(1).numpy()
        gap = torch.where(self.clean > -torch.inf, self.clean - log_probs, 0.0)
        kl = float((self.clean.exp() * gap).sum(-1).mean())
        kept_low, kept_high = share_interval(same, groups, seed=self.seed)
        found = []
        for name, monitor in monitors.items():
            caught = monitor.flags(view)
            low, high = share_interval(caught, groups, seed=self.seed)
            with torch.no_grad():
                parts = [monitor.scores(seen).cpu().numpy() for seen in (view, self.benign)]
            scores = np.concatenate(parts)
            labels = np.arange(len(scores)) < len(parts[0])
            everyone = [*groups, *self.benign_groups]
            ends = auroc_interval(scores, labels, everyone, n_resamples=_RESAMPLES, seed=self.seed)
            found.append(
                AttackRow(
                    round=round,
                    condition=condition,
                    against=against,
                    draw=draw,
                    monitor=name,
                    recall=float(caught.mean()),
                    recall_low=low,
                    recall_high=high,
                    auroc=auroc(scores, labels),
                    auroc_low=ends[0],
                    auroc_high=ends[1],
                    false_alarms=float(monitor.flags(self.benign).mean()),
                    kept=float(same.mean()),
                    kept_low=kept_low,
                    kept_high=kept_high,
                    kl=kl,
                    n=len(same),
                    n_groups=len(set(groups)),
                )
            )
        return found


def share_interval(
    hits: npt.NDArray[np.bool_], groups: Sequence[str], *, seed: int
) -> tuple[float, float]:
    """Interval for a share, by the bootstrap over groups.

    Where all rows agree every resample does too, and the bootstrap would claim certainty: the far
    end is then the exact binomial bound with as many trials as there are groups, (α/2)^(1/groups).
    """
    share = float(hits.mean())
    bound = ((1 - CONFIDENCE) / 2) ** (1 / len(set(groups)))
    if share in (0.0, 1.0):
        return (bound, 1.0) if share else (0.0, 1 - bound)
    values = hits.astype(np.float64)
    low, high = bootstrap_interval(
        values, groups, confidence=CONFIDENCE, n_resamples=_RESAMPLES, seed=seed
    )
    return max(0.0, low), min(1.0, high)
