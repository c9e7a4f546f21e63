"""The ``probes`` command line: which command, and one line for every mistake.

Exit codes: 0 done; 1 the work failed; 2 the command could not be understood or refused its input,
and wrote nothing; 130 interrupted with Ctrl-C.

Nothing heavy is imported here: torch loads when a command has something to do for it.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module

from interp.configs import near
from interp.flags import LineParser, UsageError
from interp.terminal import installed_version, sentence

_EPILOG = "Exit codes: 0 done, 1 the work failed, 2 the command was refused, 130 interrupted."
_COMMANDS = {
    "data": (
        "data:show_data",
        "list statement sets and formats, or look at one: probes data [SOURCE]",
    ),
    "train": ("train:train_probe", "fit probes: probes train --model M --data SOURCE --out DIR"),
    "eval": (
        "evaluate:evaluate_probe",
        "measure a probe on other statements: probes eval PROBE --data SOURCE",
    ),
    "transfer": (
        "transfer:transfer",
        "compare kinds of statement: probes transfer --model M --data A --data B",
    ),
    "steer": (
        "steer:steer_probe",
        "push along a probe's direction, and erase it: probes steer PROBE --prompt TEXT",
    ),
    "attack": (
        "attack:attack_probe",
        "try to hide from a probe what the model does: probes attack PROBE --data SOURCE --out DIR",
    ),
    "show": ("show:show_probe", "show a probe: probes show PROBE"),
}
"""A command's name to ``module:function`` in :mod:`probes.commands`, and its line of help."""


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
    module, _, function = _COMMANDS[name][0].partition(":")
    return int(getattr(import_module(f"probes.commands.{module}"), function)(rest))


def _say(text: str, code: int) -> int:
    from interp.terminal import say

    say(text, prog="probes")
    return code


if __name__ == "__main__":
    sys.exit(main())
