"""The ``probes`` command line: train a probe, evaluate it, show it.

Exit codes: 0 done; 1 the work failed; 2 the command could not be understood or refused its input,
and wrote nothing; 130 interrupted with Ctrl-C.

Nothing heavy is imported here: torch loads when a command has something to do for it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from interp.configs import near, overlay
from interp.flags import LineParser, UsageError, parse_fields
from interp.terminal import installed_version, sentence
from probes.settings import EvalSettings, TrainSettings

if TYPE_CHECKING:
    from interp.models import Model

_EPILOG = "Exit codes: 0 done, 1 the work failed, 2 the command was refused, 130 interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments without the program's name; None for those of this process.
    """
    try:
        return _dispatch(list(sys.argv[1:] if argv is None else argv))
    except SystemExit as stop:  # Help and version, which argparse and tyro end with.
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        # The reader, such as head, has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        return _say(sentence(error), 1 if type(error).__module__.startswith("probes.fit") else 2)
    except Exception as error:
        traceback.print_exc()  # not foreseen, so it has to be seen
        return _say(f"failed: {type(error).__name__}: {error}", 1)


def train_probe(args: Sequence[str]) -> int:
    """``probes train``: fit a probe, measure it, save it."""
    asked: TrainSettings = parse_fields(
        TrainSettings,
        overlay(TrainSettings),
        args,
        options=(),
        prog="probes train",
        description="Fit a probe to labelled statements, and measure it on others.",
    )
    from interp import terminal
    from probes.data import read_statements

    data = read_statements(asked.data, group=asked.group)
    from probes.activations import parse_position
    from probes.probe import require_free
    from probes.training import train

    require_free(asked.out)
    position = parse_position(asked.position)
    with terminal.logging_shown():
        probe = train(
            _load(asked.model, asked.device, asked.dtype, asked.revision),
            data,
            site=asked.site,
            method=asked.method,
            position=position,
            held_out=asked.held_out,
            n_shuffles=asked.shuffles,
            seed=asked.seed,
            batch_size=asked.batch_size,
        )
    _show_probe(probe)
    try:
        probe.save(asked.out)
    except OSError as error:
        return _say(f"the probe could not be saved: {sentence(error)}", 1)
    terminal.show(f"\nprobe folder: {asked.out}")
    return 0


def evaluate_probe(args: Sequence[str]) -> int:
    """``probes eval PROBE``: measure a probe on other statements."""
    folder, rest = _probe_first(args, "eval", EvalSettings)
    asked: EvalSettings = parse_fields(
        EvalSettings,
        overlay(EvalSettings),
        rest,
        options=(),
        prog="probes eval PROBE",
        description="Measure a probe on statements it was not fitted to.",
    )
    from interp import terminal
    from probes.data import read_statements

    data = read_statements(asked.data, group=asked.group)
    from probes import report
    from probes.probe import Probe
    from probes.training import evaluate

    probe = Probe.load(folder)
    revision = probe.revision if asked.model in (None, probe.model) else None
    with terminal.logging_shown():
        model = _load(asked.model or probe.model, asked.device, probe.dtype, revision)
        found = evaluate(probe, model, data, seed=asked.seed, batch_size=asked.batch_size)
    notes = [*found["notes"], *report.few_groups(found["held_out"])]
    if found["n_trained_on"]:
        notes.append(f"{found['n_trained_on']} statements it was fitted to are left out")
    terminal.show(
        report.as_text(
            [
                ("probe", str(folder)),
                ("site", f"{probe.site} of {probe.model}, {probe.method}"),
                ("data", data.name),
                *report.measured_lines(found["held_out"]),
            ],
            notes=notes,
            closing=report.conclusion(found["held_out"]),
        )
    )
    return 0


def show_probe(args: Sequence[str]) -> int:
    """``probes show PROBE``: what a probe is and what training measured."""
    parser = LineParser(prog="probes show", description="Show a probe and its measurements.")
    parser.add_argument("probe", metavar="PROBE", help="a folder written by probes train")
    folder = parser.parse_args(args).probe
    from probes.probe import Probe

    _show_probe(Probe.load(folder))
    return 0


_COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "train": (train_probe, "fit a probe: probes train --model M --data FILE --site S --out DIR"),
    "eval": (evaluate_probe, "measure a probe on other statements: probes eval PROBE --data FILE"),
    "show": (show_probe, "show a probe: probes show PROBE"),
}


def _dispatch(args: list[str]) -> int:
    if not args or args[0].startswith("-"):
        parser = LineParser(
            prog="probes",
            description="Linear probes: directions on which labelled statements separate.",
            epilog=_EPILOG,
            allow_abbrev=False,
        )
        parser.add_argument(
            "--version", action="version", version=f"loadbearing {installed_version()}"
        )
        commands = parser.add_subparsers(title="commands", metavar="COMMAND")
        for name, (_, text) in _COMMANDS.items():
            commands.add_parser(name, help=text, add_help=False)
        parser.parse_args(args)
        parser.print_help(sys.stderr)
        return 2
    name, *rest = args
    if name not in _COMMANDS:
        raise UsageError(f"unknown command {name!r}: {near(name, _COMMANDS)}")
    return _COMMANDS[name][0](rest)


def _probe_first(args: Sequence[str], command: str, settings: type) -> tuple[Path, list[str]]:
    if args and not args[0].startswith("-"):
        return Path(args[0]), list(args[1:])
    if any(arg in ("-h", "--help") for arg in args):
        parse_fields(
            settings,
            overlay(settings),
            ["--help"],
            options=(),
            prog=f"probes {command} PROBE",
            description=f"{command} a probe; PROBE is a folder written by probes train.",
        )
    raise UsageError(f"expected a probe's folder first: probes {command} PROBE [options]")


def _load(name: str, device: str, dtype: str, revision: str | None) -> Model:
    from interp.models import ModelSpec, load_model

    return load_model(ModelSpec(name, device=device, dtype=dtype, revision=revision))


def _show_probe(probe: Any) -> None:
    from interp import terminal
    from probes import report

    lines = report.probe_lines(probe)
    notes = list(probe.metrics.get("notes", ()))
    closing = None
    if (held_out := probe.metrics.get("held_out")) is not None:
        null = probe.metrics.get("null")
        lines += report.measured_lines(held_out, null)
        notes += report.few_groups(held_out)
        closing = report.conclusion(held_out, null)
    terminal.show(report.as_text(lines, closing=closing, notes=notes))


def _say(text: str, code: int) -> int:
    from interp.terminal import say

    say(text, prog="probes")
    return code


if __name__ == "__main__":
    sys.exit(main())
