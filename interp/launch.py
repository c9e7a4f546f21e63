"""The commands that do work: ``interp run`` and ``interp train``."""

from __future__ import annotations

import importlib
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from interp import terminal
from interp.configs import overlay
from interp.flags import Option, UsageError, parse_fields, split_options
from interp.runfolder.claim import new_folder
from interp.runfolder.files import names_in, write_text
from interp.runfolder.reader import CONFIG, TRACEBACK, one_line
from interp.runs import Run, RunError
from interp.studies import Study, find_studies, load_study

_RESUME = Option("resume", "Finish what was begun in the folder of --out.")
_RUN_HELP = """\
usage: interp run NAME [--preset NAME] [--config FILE] [--out DIR] [--resume] [--FIELD VALUE]

Run an experiment. Its fields are set by their own defaults, then the preset, then the YAML file of
--config (a run's config.yaml replays that run), then flags. NAME --help shows presets and fields.

experiments: {names}
"""
_TRAIN_HELP = """\
usage: interp train NAME [--out DIR] [--resume] [--FIELD VALUE]

Train a bundled model anew, by its recipe. NAME --help shows the recipe's fields.

recipes: {names}
"""


def run_experiment(args: Sequence[str]) -> int:
    """``interp run NAME [options]``."""
    name, rest = _name_first(args, "run", _RUN_HELP, lambda: list(find_studies()))
    study = load_study(name)
    prog = f"interp run {name}"
    options = (
        Option("preset", "The preset to start from.", "{" + ",".join(sorted(study.presets)) + "}"),
        Option("config", "YAML file of fields, or a run folder to replay.", "FILE"),
        Option("out", "The run folder; new under runs/ if not given.", "DIR"),
        _RESUME,
    )
    asked, flags = split_options(options, rest, prog=prog)
    out = Path(asked["out"]) if asked["out"] is not None else None
    file = asked["config"]
    if asked["resume"] and out is None:
        raise UsageError("--resume needs --out DIR, the run to finish (see interp runs)")
    # Bare, --resume means the run as it was begun.
    if asked["resume"] and out is not None and not (file or asked["preset"] or flags):
        if not (out / CONFIG).is_file():
            raise UsageError(f"{out} holds no run to finish: give its folder (see interp runs)")
        file = out
    config = parse_fields(
        study.config_class,
        study.values(asked["preset"], file),
        flags,
        options=options,
        prog=prog,
        description=f"{study.summary} Presets: {_presets(study)}.",
    )
    with terminal.logging_shown(study.module.__name__.partition(".")[0]):
        return _work(study, config, out, asked["resume"])


def _presets(study: Study) -> str:
    """The presets with what they change."""
    told = []
    for name, changes in sorted(study.presets.items()):
        fields = ", ".join(f"{field}={value}" for field, value in changes.items())
        told.append(f"{name} ({fields or 'the defaults below'})")
    return "; ".join(told)


def _work(study: Study, config: Any, out: Path | None, resume: bool) -> int:
    run = study.start(config, out, resume)
    if run.status == "done":
        terminal.show(f"{run.path} is done already: nothing to resume")
        return 0
    again = f"interp run {study.name} --resume --out {run.path}"
    try:
        study.finish(config, run)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; to go on: {again}")
        return 130
    except (Exception, SystemExit) as error:
        terminal.say(f"the run failed: {one_line(error)} (traceback: {run.path / TRACEBACK})")
        return 1
    _show_result(study, Run.open(run.path))
    return 0


def _show_result(study: Study, run: Run) -> None:
    """Show what the run found. The run is done: what goes wrong here does not make it fail."""
    try:
        shown = _renderable(study, run)
        if shown is not None:
            terminal.console().print(shown)
    except Exception as error:
        terminal.say(f"the run is done, but its table cannot be shown: {one_line(error)}")
    conclusion = run.metrics.get("conclusion")
    if isinstance(conclusion, str):
        terminal.tell(conclusion)
    terminal.show(f"\nrun folder: {run.path}")


def _renderable(study: Study, run: Run) -> Any:
    if (report := getattr(study.module, "report", None)) is not None:
        return report(run)
    if "evidence" not in run.tables:
        return None
    evidence = importlib.import_module("interp.evidence.table")
    return evidence.rich_table(evidence.read_evidence(run.table("evidence")))


def train_model(args: Sequence[str]) -> int:
    """``interp train NAME [options]``."""
    from interp.zoo.recipes import RECIPES, get_recipe

    name, rest = _name_first(args, "train", _TRAIN_HELP, lambda: list(RECIPES))
    recipe = get_recipe(name)
    name = name.removeprefix("zoo:")
    prog = f"interp train {name}"
    options = (
        Option("out", "Folder to write; new under runs/ if not given.", "DIR"),
        _RESUME,
    )
    asked, flags = split_options(options, rest, prog=prog)
    config_class = recipe.load_config()
    config = parse_fields(
        config_class,
        overlay(config_class),
        flags,
        options=options,
        prog=prog,
        description=f"{recipe.summary}; about {recipe.minutes:g} minutes on 2 cores",
    )
    out = _train_folder(name, asked["out"], asked["resume"])
    try:
        with terminal.logging_shown():
            recipe.load_function()(config, out)
            _stamp(out)
    except KeyboardInterrupt:
        terminal.say(f"interrupted; to go on: {prog} --resume --out {out} and the same fields")
        return 130
    except (Exception, SystemExit) as error:
        path = write_text(out / TRACEBACK, traceback.format_exc())
        terminal.say(f"training failed: {one_line(error)} (traceback: {path})")
        return 1
    terminal.show(f"model folder: {out}\nto use it: load_model({str(out)!r})")
    return 0


def _stamp(out: Path) -> None:
    """Load what was trained, which checks it, and write its fingerprint into its card."""
    from interp.models import ModelSpec, load_model
    from interp.zoo.cards import stamp

    stamp(out, load_model(ModelSpec(str(out), source="folder")).fingerprint)


def _train_folder(name: str, out: str | None, resume: bool) -> Path:
    if out is None:
        if resume:
            raise UsageError("--resume needs --out DIR, the training to finish")
        return new_folder(Path("runs"), "train", name)
    folder = Path(out)
    if folder.is_dir() and names_in(folder) and not resume:
        raise RunError(f"{folder} is not empty: give another folder, or --resume to go on in it")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TRACEBACK).unlink(missing_ok=True)
    return folder


def _name_first(
    args: Sequence[str], command: str, text: str, names: Callable[[], list[str]]
) -> tuple[str, list[str]]:
    if args and args[0] in ("-h", "--help"):
        terminal.show(text.format(names=", ".join(names()) or "none installed"))
        raise SystemExit(0)
    if not args or args[0].startswith("-"):
        known = ", ".join(names()) or "none installed"
        raise UsageError(f"expected a name first: interp {command} NAME [options]; one of: {known}")
    return args[0], list(args[1:])
