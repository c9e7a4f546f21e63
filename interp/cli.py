"""The ``interp`` command line: which command, and one line for every mistake.

Exit codes: 0 done; 1 the work failed (its folder says how); 2 the command could not be understood
or refused its input, and made no folder; 130 interrupted with Ctrl-C.

Nothing heavy is imported here or for the commands' help: torch loads when an experiment needs it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence

from interp.configs import near
from interp.flags import LineParser, UsageError
from interp.terminal import installed_version, sentence

_EPILOG = "Exit codes: 0 done, 1 the work failed, 2 the command was refused, 130 interrupted."


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code.

    Args:
        argv: The arguments without the program's name; None for those of this process.
    """
    args = list(sys.argv[1:] if argv is None else argv)
    try:
        return _dispatch(args)
    except SystemExit as stop:  # Help and version, which argparse and tyro end with.
        return stop.code if isinstance(stop.code, int) else 0
    except KeyboardInterrupt:
        return _say("interrupted", 130)
    except BrokenPipeError:
        # The reader, such as head, has seen enough; keep Python from complaining at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (ValueError, OSError) as error:
        return _say(sentence(error), 2)


def _dispatch(args: list[str]) -> int:
    commands = _commands()
    if not args or args[0].startswith("-"):
        parser = _top_parser()
        parser.parse_args(args)
        parser.print_help(sys.stderr)
        return 2
    name, *rest = args
    if name not in commands:
        raise UsageError(f"unknown command {name!r}: {near(name, commands)}")
    return commands[name](rest)


def _commands() -> dict[str, Callable[[list[str]], int]]:
    def later(module: str, function: str) -> Callable[[list[str]], int]:
        def call(args: list[str]) -> int:
            from importlib import import_module

            return int(getattr(import_module(module), function)(args))

        return call

    return {
        "list": later("interp.commands", "list_experiments"),
        "run": later("interp.launch", "run_experiment"),
        "models": later("interp.commands", "list_models"),
        "train": later("interp.launch", "train_model"),
        "train-sae": later("interp.sae_command", "train_sae"),
        "runs": later("interp.commands", "list_run_folders"),
    }


def _top_parser() -> LineParser:
    parser = LineParser(
        prog="interp",
        description="Mechanistic interpretability of transformers: what looks like a mechanism, "
        "and whether the model depends on it.",
        epilog=_EPILOG,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"loadbearing {installed_version()}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")
    for name, text in (
        ("list", "list the installed experiments"),
        ("run", "run an experiment: interp run NAME [options]; NAME --help shows its options"),
        ("models", "list the bundled models (zoo:NAME)"),
        ("train", "train a bundled model anew: interp train NAME [options]"),
        ("train-sae", "train a sparse autoencoder on a site of a model"),
        ("runs", "list run folders: interp runs [DIR]"),
    ):
        commands.add_parser(name, help=text, add_help=False)
    return parser


def _say(text: str, code: int) -> int:
    from interp.terminal import say

    say(text)
    return code


if __name__ == "__main__":
    sys.exit(main())
