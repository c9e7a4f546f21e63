"""``probes attack``: whether a suffix can hide from a probe what the model does all the same."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from interp.configs import near, overlay
from interp.flags import UsageError, parse_fields
from interp.terminal import sentence
from probes.commands.arguments import load_named, probe_first, read_all

# Named here too, so that the help needs nothing heavy; a test holds it against the monitors.
MONITOR_NAMES = ("probe", "logistic", "mlp", "mean-difference", "mahalanobis")


@dataclass(frozen=True)
class AttackSettings:
    """Settings of ``probes attack``.

    Attributes:
        data: Labelled statements, as for probes train. Those that the probe was fitted to serve
            for fitting the other monitors; the rest is halved for practice and judging.
        out: Folder for the results; new, or that of the same command interrupted.
        label: The label to be caught, 1 or 0; the other is benign.
        against: Which monitors to attack: probe, and logistic, mlp, mean-difference and
            mahalanobis ones, fitted where the probe reads.
        steps: Optimizer steps of each attack.
        suffix_length: Vectors of the suffix.
        weight: Of the behaviour in the attack's loss, 0 to 1.
        lr: The attack's learning rate, in root mean squares of a number of the embeddings.
        rounds: Attacks on each monitor, refitted on the attacks so far before all but the first.
        continuation: Next tokens of the model that are to stay what they are.
        random: Random suffixes beside each attack.
        framing: As for probes train; the statements as they are if omitted.
        model: The model, if it is no longer to be found under the name it was trained with.
        format: The format of the data, if it is not found by itself.
        group: The column that binds statements together, if it is not called group.
        seed: Of everything drawn.
        device: A torch device.
    """

    data: tuple[str, ...]
    out: Path
    label: int = 1
    against: str = ",".join(MONITOR_NAMES)
    steps: int = 200
    suffix_length: int = 4
    weight: float = 0.1
    lr: float = 1.0
    rounds: int = 1
    continuation: int = 1
    random: int = 5
    framing: str | None = None
    model: str | None = None
    format: str | None = None
    group: str | None = None
    seed: int = 0
    device: str = "cpu"

    def __post_init__(self) -> None:
        if not self.data:
            raise UsageError("--data names nothing; expected a file, a folder, set:NAME or hf:NAME")
        if self.label not in (0, 1):
            raise UsageError(f"--label is {self.label}; expected 1 or 0")
        for name in self.monitors:
            if name not in MONITOR_NAMES:
                raise UsageError(f"--against names {name!r}; {near(name, MONITOR_NAMES)}")
        for flag, value, least in (
            ("steps", self.steps, 0),
            ("suffix-length", self.suffix_length, 1),
            ("rounds", self.rounds, 1),
            ("continuation", self.continuation, 1),
            ("random", self.random, 1),
            ("seed", self.seed, 0),
        ):
            if value < least:
                raise UsageError(f"--{flag} is {value}; expected at least {least}")
        if not 0 <= self.weight <= 1:
            raise UsageError(f"--weight is {self.weight}; expected 0 to 1")
        if not 0 < self.lr < float("inf"):
            raise UsageError(f"--lr is {self.lr}; expected a positive number")

    @property
    def monitors(self) -> tuple[str, ...]:
        """The monitors, each once."""
        return tuple(dict.fromkeys(part.strip() for part in self.against.split(",")))


def attack_probe(args: Sequence[str]) -> int:
    """``probes attack PROBE``: attack a probe, and monitors beside it, with soft suffixes."""
    what = "Attack a probe with soft suffixes under which the model goes on as before."
    folder, rest = probe_first(args, "attack", AttackSettings, description=what)
    asked: AttackSettings = parse_fields(
        AttackSettings,
        overlay(AttackSettings),
        rest,
        options=(),
        prog="probes attack PROBE",
        description=what,
    )
    from interp import terminal

    with terminal.logging_shown():
        data = read_all(asked.data, format=asked.format, group=asked.group)
        if asked.framing is not None:
            from probes.data import framed

            data = framed(data, asked.framing, seed=asked.seed)
        from probes.attack.attacking import Budget, attack_monitors
        from probes.attack.report import SUMMARY, summary_rows
        from probes.attack.saving import require_open, save_result, suffixes_in
        from probes.selection import Trained

        require_open(asked.out)
        probe = Trained.load(folder).best
        revision = probe.revision if asked.model in (None, probe.model) else None
        model = load_named(asked.model or probe.model, asked.device, probe.dtype, revision)
        probe.check(fingerprint=model.fingerprint, model=model.spec.name)
        budget = Budget(
            steps=asked.steps,
            suffix_length=asked.suffix_length,
            weight=asked.weight,
            lr=asked.lr,
        )
        result = attack_monitors(
            model,
            data,
            probe=probe,
            against=asked.monitors,
            label=asked.label,
            rounds=asked.rounds,
            budget=budget,
            n_next=asked.continuation,
            n_random=asked.random,
            seed=asked.seed,
            resume=partial(suffixes_in, asked.out),
        )
    from probes import report

    out = terminal.console()
    terminal.show(f"{folder}: {probe.method} at {probe.site} of {probe.model}; {data.name}\n")
    out.print(terminal.table(SUMMARY, summary_rows(result)))
    grid = result.transfer()
    rows = [(name, *(f"{value:.2f}" for value in row)) for name, *row in grid.itertuples(name=None)]
    terminal.show("Recall of each monitor (across) under a suffix trained against (down):")
    out.print(terminal.table(("suffix", *map(str, grid.columns)), rows))
    clean = result.select("clean", monitor=result.attacked[0])[0]
    n = asked.continuation
    next_tokens = "most probable next token" if n == 1 else f"next {n} most probable tokens"
    lines = [
        (
            "judged on",
            f"{clean.n} held-out prompts of label {asked.label}, {clean.n_groups} groups",
        ),
        ("behaviour", f"the model's {next_tokens}"),
    ]
    notes = [*result.notes, *report.skipped_notes(result.skipped)]
    terminal.show(report.as_text(lines, closing=result.conclusion(), notes=notes, caution=False))
    try:
        save_result(result, asked.out)
    except OSError as error:
        terminal.say(f"the results could not be saved: {sentence(error)}", prog="probes")
        return 1
    terminal.show(f"\nresults: {asked.out}")
    if result.interrupted:
        terminal.say(f"{result.interrupted}; the same command goes on from there", prog="probes")
        return 130
    return 0
