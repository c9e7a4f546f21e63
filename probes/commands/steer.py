"""``probes steer``: does the model depend on a probe's direction, or only carry it?"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from interp.configs import overlay
from interp.flags import UsageError, parse_fields
from probes.commands.arguments import load_named, probe_first, read_all


@dataclass(frozen=True)
class SteerSettings:
    """Settings of ``probes steer``.

    Attributes:
        prompt: One prompt or several, to be continued.
        answer: What label 1 should make likelier after the prompts, such as " true". Without it
            the next token and a continuation are shown.
        wrong: What label 1 should make less likely, one or several; their logits are averaged.
        prompts: A file of prompts, one JSON object a line, as interp run heads reads it: clean,
            answer, wrong and, if you like, group and corrupt. A corrupt prompt is the same with
            label 0, so that there is a natural gap, and erasing the direction is judged too.
        first_token: Where a continuation has several tokens, use its first.
        amount: How far to push, in natural gaps (the distance between the labels' means along the
            direction), 1 if omitted; negative away from label 1, where no answers are given.
        position: last, every, or a token's index, negative from the end: where to push. The
            probe's own position when not given.
        ablate: Erase the direction instead of pushing along it, where no answers are given.
        data: The labelled statements that the probe was trained on, or others like them: labels
            shuffled on them give the directions to compare with. Found again by themselves where
            they are a set: or an unchanged file; evidence needs them.
        random: Directions of the same length to compare with.
        tokens: Length of the continuation shown, where no answers are given; 20 if omitted.
        out: A new .json file for the evidence.
        model: The model, if it is no longer to be found under the name it was trained with.
        format: The format of the data, if it is not found by itself.
        group: The column that binds statements together, if it is not called group.
        seed: Of the random directions and the bootstrap.
        device: A torch device.
    """

    prompt: tuple[str, ...] = ()
    answer: str | None = None
    wrong: tuple[str, ...] = ()
    prompts: Path | None = None
    first_token: bool = False
    amount: float | None = None
    position: str | None = None
    ablate: bool = False
    data: tuple[str, ...] = ()
    random: int = 99
    tokens: int | None = None
    out: Path | None = None
    model: str | None = None
    format: str | None = None
    group: str | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if bool(self.prompt) == (self.prompts is not None):
            raise UsageError("give prompts to steer: either --prompt TEXT or --prompts FILE")
        if (self.answer is None) != (not self.wrong):
            raise UsageError("--answer and --wrong go together: log-odds are of one against others")
        if self.answer is not None and self.prompts is not None:
            raise UsageError("--answer and --wrong go with --prompt; a --prompts file has its own")
        if not 0 < abs(self.pushed) < math.inf:
            raise UsageError(f"--amount is {self.amount}; expected a finite number other than 0")
        self._check_together()
        if self.judged and (self.pushed < 0 or self.ablate):
            what = "a negative --amount" if self.pushed < 0 else "--ablate"
            raise UsageError(
                f"{what} is for prompts without answers; with answers prompts are pushed either "
                "way, and the direction is erased too where there are corrupt prompts"
            )
        if self.out is not None and not self.judged:
            raise UsageError(
                "--out keeps evidence, which needs answers: --answer and --wrong, or --prompts"
            )
        if self.out is not None and self.out.exists():
            raise UsageError(f"--out {self.out} is there already; give a new file")
        if self.position is not None and not re.fullmatch(r"last|every|-?\d+", self.position):
            raise UsageError(
                f"--position is {self.position!r}; expected last, every or a token's index"
            )
        for name, least in (("random", 19), ("tokens", 0), ("seed", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                raise UsageError(f"--{name} is {value}; expected at least {least}")
        if self.prompts is not None and not self.prompts.is_file():
            raise UsageError(f"--prompts {self.prompts}: there is no such file")

    def _check_together(self) -> None:
        """Refuse options that would do nothing beside the others."""
        if self.ablate and self.amount is not None:
            raise UsageError("--ablate erases the direction, so there is no --amount to push by")
        if self.tokens is not None and self.judged:
            raise UsageError("--tokens is for prompts without answers; with answers none are shown")
        if self.first_token and not self.judged:
            raise UsageError(
                "--first-token is for answers; give --answer and --wrong, or --prompts"
            )
        for name in ("format", "group"):
            if getattr(self, name) is not None and not self.data:
                raise UsageError(f"--{name} says how to read --data; give that too")

    @property
    def pushed(self) -> float:
        """How far to push, in natural gaps."""
        return 1.0 if self.amount is None else self.amount

    @property
    def judged(self) -> bool:
        """Whether there are answers, so that there is evidence."""
        return self.prompts is not None or self.answer is not None


def steer_probe(args: Sequence[str]) -> int:
    """``probes steer PROBE``: push a model along a probe's direction, and erase it."""
    what = "Push a model along a probe's direction: does what it says next depend on it?"
    folder, rest = probe_first(args, "steer", SteerSettings, description=what)
    asked: SteerSettings = parse_fields(
        SteerSettings,
        overlay(SteerSettings),
        rest,
        options=(),
        prog="probes steer PROBE",
        description=what,
    )
    from interp import terminal

    with terminal.logging_shown():
        from probes.causal.steering_inputs import asked_of
        from probes.causal.steering_report import show_evidence, show_open
        from probes.selection import Trained

        trained = Trained.load(folder)
        probe = trained.best
        place = asked_of(probe, asked.position)
        data = read_all(asked.data, format=asked.format, group=asked.group) if asked.data else None
        revision = probe.revision if asked.model in (None, probe.model) else None
        model = load_named(asked.model or probe.model, asked.device, probe.dtype, revision)
        if len(trained.probes) > 1:
            terminal.show(
                f"Note: the folder holds {len(trained.probes)} probes; this is {probe.site}-"
                f"{probe.method}, the one training chose.\n"
            )
        show = show_evidence if asked.judged else show_open
        show(asked, probe, model, data=data, place=place, name=folder.resolve().name)
    return 0
