"""The ``probes`` command line: look at statements, train probes on them, evaluate and show them.

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
from typing import TYPE_CHECKING

from interp.configs import near, overlay
from interp.flags import LineParser, UsageError, parse_fields
from interp.terminal import installed_version, sentence
from probes.settings import EvalSettings, TrainSettings

if TYPE_CHECKING:
    from interp.models import Model
    from probes.data import StatementSet

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
    """``probes train``: fit probes, measure them, save them."""
    asked: TrainSettings = parse_fields(
        TrainSettings,
        overlay(TrainSettings),
        args,
        options=(),
        prog="probes train",
        description="Fit probes to labelled statements, and measure them on others.",
    )
    from interp import terminal

    with terminal.logging_shown():
        data = _read(asked.data, format=asked.format, group=asked.group)
        from interp.hooks.sites import GLOBAL_KINDS
        from probes.activations import parse_position
        from probes.cache import activation_cache
        from probes.probe import require_free
        from probes.selection import train_many

        require_free(asked.out)
        cache = activation_cache(asked.cache, limit_gib=asked.cache_gib)
        position = parse_position(asked.pooling or asked.position)
        model = _load(asked.model, asked.device, asked.dtype, asked.revision)
        trained = train_many(
            model,
            data,
            sites=asked.sites(model.n_layers, layerless=GLOBAL_KINDS),
            methods=asked.methods,
            position=position,
            held_out=asked.held_out,
            n_shuffles=asked.shuffles,
            seed=asked.seed,
            batch_size=asked.batch_size,
            cache=cache,
        )
    from probes.showing import show_trained

    show_trained(trained)
    try:
        trained.save(asked.out)
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

    with terminal.logging_shown():
        data = _read(asked.data, format=asked.format, group=asked.group)
        from probes import report
        from probes.cache import activation_cache
        from probes.evaluation import evaluate
        from probes.selection import Trained

        trained = Trained.load(folder)
        probe = trained.best
        cache = activation_cache(asked.cache, limit_gib=asked.cache_gib)
        revision = probe.revision if asked.model in (None, probe.model) else None
        model = _load(asked.model or probe.model, asked.device, probe.dtype, revision)
        found = evaluate(
            probe, model, data, seed=asked.seed, batch_size=asked.batch_size, cache=cache
        )
    notes = [*found["notes"], *report.skipped_notes(found["skipped"])]
    notes += [*found["baselines"]["notes"], *report.few_groups(found["held_out"])]
    if data.report is not None:
        notes += [note for note in data.report.remarks() if "repeated statement" not in note]
    if found["n_trained_on"]:
        notes.append(f"{found['n_trained_on']} statements it was fitted to are left out")
    if len(trained.probes) > 1:
        notes.append(
            f"the folder holds {len(trained.probes)} probes, of which training chose this one; "
            f"for another give its folder, such as {folder / trained.names[0]}"
        )
    terminal.show(
        report.as_text(
            [
                ("probe", str(folder)),
                ("site", f"{probe.site} of {probe.model}, {probe.method}"),
                ("data", data.name),
                *report.measured_lines(found["held_out"]),
                *report.baseline_lines(found["baselines"]),
            ],
            notes=notes,
            closing=report.conclusion(found["held_out"], None, found["baselines"]),
        )
    )
    return 0


def show_probe(args: Sequence[str]) -> int:
    """``probes show PROBE``: what a probe is and what training measured."""
    parser = LineParser(prog="probes show", description="Show a probe and its measurements.")
    parser.add_argument("probe", metavar="PROBE", help="a folder written by probes train")
    folder = parser.parse_args(args).probe
    from probes.selection import Trained
    from probes.showing import show_trained

    show_trained(Trained.load(folder))
    return 0


def show_data(args: Sequence[str]) -> int:
    """``probes data [SOURCE]``: the sets and formats there are, or what a source holds."""
    parser = LineParser(
        prog="probes data",
        description="List the project's own statement sets and the formats that are read; or read "
        "a source and say what was left out, and what length and words alone tell of its labels.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="as for probes train --data")
    parser.add_argument("--format", help="the format, if it is not found by itself")
    parser.add_argument("--group", help="the column that binds statements, if not called group")
    asked = parser.parse_args(list(args))
    from interp import terminal

    if asked.source is not None:
        data = _read((asked.source,), format=asked.format, group=asked.group)
        from probes import report
        from probes.data import baselines

        told = baselines(data)
        lines = [("data", str(data.report).partition("; ")[0])]
        lines += [(r.name, f"AUROC {r.auroc:.3f} [{r.low:.3f}, {r.high:.3f}]") for r in told.rows]
        notes = [*(data.report.remarks() if data.report is not None else ()), *told.remarks()]
        terminal.show(report.as_text(lines, closing=None, notes=notes, caution=False))
        return 0
    from probes.data import FORMATS, set_table

    sets = [
        (f"set:{name}", about, statements, pairs, groups)
        for name, about, statements, pairs, groups in set_table().itertuples(index=False)
    ]
    out = terminal.console()
    out.print("The project's own statement sets; label 1 is true:")
    out.print(terminal.table(("--data", "about", "statements", "pairs", "groups"), sets))
    out.print("Formats of files, found by their columns or named by --format:")
    rows = [(name, one.about) for name, one in FORMATS.items()]
    out.print(terminal.table(("--format", "columns or keys"), rows))
    return 0


_COMMANDS: dict[str, tuple[Callable[[list[str]], int], str]] = {
    "data": (show_data, "list statement sets and formats, or look at one: probes data [SOURCE]"),
    "train": (train_probe, "fit probes: probes train --model M --data SOURCE --out DIR"),
    "eval": (
        evaluate_probe,
        "measure a probe on other statements: probes eval PROBE --data SOURCE",
    ),
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


def _read(
    sources: Sequence[str], *, format: str | None = None, group: str | None = None
) -> StatementSet:
    from probes.data import joined, read_statements

    sets = [read_statements(source, format=format, group=group) for source in sources]
    return sets[0] if len(sets) == 1 else joined(sets)


def _say(text: str, code: int) -> int:
    from interp.terminal import say

    say(text, prog="probes")
    return code


if __name__ == "__main__":
    sys.exit(main())
