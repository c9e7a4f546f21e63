"""Experiments, found by entry point: what they are called, how they are configured, running them.

An experiment is a module named by an entry point of the group ``interp.experiments`` in any
installed package. It has

- ``SUMMARY``: one line;
- ``Config``: a frozen dataclass, whose field docstrings become the command line's help;
- ``PRESETS``: name to changed fields; "default" applies where no preset is asked for;
- ``run(config, run)``: does the work and saves into the ``interp.runs.Run``;
- optionally ``check(config)``: raises ``ValueError`` for settings that cannot work, such as a
  misspelt model, before any folder is made;
- optionally ``report(run)``: returns what the terminal shows at the end, instead of the evidence
  table.

Importing the module must be cheap: torch and the like are imported inside its functions.
"""

from __future__ import annotations

import dataclasses
import importlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml

from interp.configs import REQUIRED, ConfigError, build, near, overlay, plain
from interp.runfolder.reader import CONFIG, one_line
from interp.runs import Run

logger = logging.getLogger(__name__)

GROUP = "interp.experiments"
#: Options of the command line, which no config field can be called.
RESERVED = ("preset", "out", "config", "resume", "help", "experiment")


class StudyError(ValueError):
    """There is no such experiment, or its module is not one; the message says what to do."""


@dataclass(frozen=True)
class Listed:
    """One line of ``interp list``.

    Attributes:
        name: The experiment's name.
        package: The distribution that it comes from.
        summary: Its one line; None if it cannot be used.
        error: Why it cannot be used; None if it can.
    """

    name: str
    package: str
    summary: str | None
    error: str | None


@dataclass(frozen=True)
class Study:
    """An experiment that can be run.

    Attributes:
        name: Its name.
        module: Its module.
        config_class: The dataclass of its settings.
        presets: Changed fields, by preset name; always has "default".
        summary: One line.
    """

    name: str
    module: ModuleType
    config_class: type
    presets: Mapping[str, Mapping[str, Any]]
    summary: str

    def values(self, preset: str | None = None, file: Path | str | None = None) -> dict[str, Any]:
        """Return field values: the dataclass's defaults, then the preset, then the file.

        Args:
            preset: A key of ``presets``; None for "default".
            file: A YAML file of fields, such as a run's ``config.yaml``, or a run folder.

        Returns:
            A value for every field; ``interp.configs.REQUIRED`` where none is given.

        Raises:
            StudyError: Unknown preset, or the file belongs to another experiment.
            ConfigError: Unknown key or value of the wrong type.
        """
        chosen = preset or "default"
        if chosen not in self.presets:
            hint = near(chosen, self.presets)
            raise StudyError(f"unknown preset {chosen!r} of experiment {self.name!r}: {hint}")
        layers = [(f"preset {chosen}", self.presets[chosen])]
        if file is not None:
            layers.append((str(file), self._read(Path(file))))
        return overlay(self.config_class, *layers)

    def _read(self, path: Path) -> Mapping[str, Any]:
        path = path / CONFIG if path.is_dir() else path
        try:
            held = yaml.safe_load(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise StudyError(f"config file {path} does not exist") from None
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise StudyError(f"config file {path} cannot be read: {one_line(error)}") from None
        held = {} if held is None else held
        if not isinstance(held, dict):
            raise ConfigError(f"{path}: expected lines of 'field: value'")
        name = held.pop("experiment", self.name)
        if name != self.name:
            raise StudyError(f"{path} is for experiment {name!r}, not for {self.name!r}")
        return held

    def configure(
        self, preset: str | None = None, file: Path | str | None = None, **changes: Any
    ) -> Any:
        """Return a config: as ``values``, with ``changes`` to single fields on top."""
        given = {k: v for k, v in self.values(preset, file).items() if v is not REQUIRED}
        return build(self.config_class, {**given, **changes}, origin=self.name)

    def start(self, config: Any, out: Path | str | None = None, resume: bool = False) -> Run:
        """Check the config, then make or take up the run folder (see ``Run.create``)."""
        plain(config)  # Fails before the model is looked at, which may take longer.
        if (check := getattr(self.module, "check", None)) is not None:
            check(config)
        package = self.module.__name__.partition(".")[0]
        return Run.create(self.name, config, out, resume, loggers=(package,))

    def finish(self, config: Any, run: Run) -> Run:
        """Do the work of a started run and return it, readable; nothing if it is done already."""
        if run.status != "done":
            with run:
                self.module.run(config, run)
        return Run.open(run.path)


def find_studies() -> dict[str, metadata.EntryPoint]:
    """Return the entry points of all installed experiments, by name, without importing them.

    Where two packages use one name, loadbearing's own stands, else the first by package name.
    """

    def rank(point: metadata.EntryPoint) -> tuple[bool, str]:
        package = _package(point)
        return package != "loadbearing", package

    found: dict[str, metadata.EntryPoint] = {}
    for point in sorted(metadata.entry_points(group=GROUP), key=rank):
        kept = found.setdefault(point.name, point)
        if kept.value != point.value:
            logger.warning(
                "experiment %r of %s is hidden by the one of %s",
                point.name,
                _package(point),
                _package(kept),
            )
    return dict(sorted(found.items()))


def list_studies() -> list[Listed]:
    """Return a line for every installed experiment; one that cannot be imported has its error."""
    lines = []
    for name, point in find_studies().items():
        try:
            study = load_study(name)
        except StudyError as error:
            lines.append(Listed(name, _package(point), None, str(error)))
        else:
            lines.append(Listed(name, _package(point), study.summary, None))
    return lines


def load_study(name: str) -> Study:
    """Import one experiment.

    Raises:
        StudyError: No such experiment (with near matches), it cannot be imported, or it lacks one
            of the names that the command line needs.
    """
    points = find_studies()
    if name not in points:
        advice = near(name, points) if points else "none is installed: pip install -e ."
        raise StudyError(f"unknown experiment {name!r}: {advice}")
    try:
        module = importlib.import_module(points[name].value)
    # Someone else's code may fail in any way, sys.exit included; ours must still list the rest.
    except (Exception, SystemExit) as error:
        raise StudyError(
            f"experiment {name!r} ({points[name].value}) cannot be imported: {one_line(error)}"
        ) from error
    return study_of(name, module)


def study_of(name: str, module: ModuleType) -> Study:
    """Return the study that a module defines, checked.

    Raises:
        StudyError: A name is missing, of another type, or a field name is taken.
    """
    where = f"experiment {name!r} ({module.__name__})"
    config_class = getattr(module, "Config", None)
    if not (isinstance(config_class, type) and dataclasses.is_dataclass(config_class)):
        raise StudyError(f"{where} has no dataclass called Config")
    if not callable(getattr(module, "run", None)):
        raise StudyError(f"{where} has no function run(config, run)")
    summary, presets = getattr(module, "SUMMARY", None), getattr(module, "PRESETS", {})
    if not isinstance(summary, str):
        raise StudyError(f"{where} has no text SUMMARY")
    if not isinstance(presets, Mapping):
        raise StudyError(f"{where}: PRESETS is no mapping from names to changed fields")
    taken = [f.name for f in dataclasses.fields(config_class) if f.name in RESERVED]
    if taken:
        raise StudyError(f"{where}: config fields {', '.join(taken)} are taken by the command line")
    return Study(name, module, config_class, {"default": {}, **presets}, " ".join(summary.split()))


def run_study(
    name: str,
    *,
    preset: str | None = None,
    file: Path | str | None = None,
    out: Path | str | None = None,
    resume: bool = False,
    **changes: Any,
) -> Run:
    """Run an experiment by name, as ``interp run`` does, and return its run.

    Args:
        name: An experiment's name, as in ``interp list``.
        preset: A preset; None for "default".
        file: A YAML file of fields, or a run folder to replay.
        out: The run folder; None for a new one under ``runs/``.
        resume: Finish the run in ``out``.
        **changes: Config fields.

    Raises:
        ValueError: Something asked for cannot be had; no folder was made.
        Exception: Whatever the experiment raised; the folder's status is *failed*.
    """
    study = load_study(name)
    config = study.configure(preset, file, **changes)
    return study.finish(config, study.start(config, out, resume))


def _package(point: metadata.EntryPoint) -> str:
    return point.dist.name if point.dist is not None else "unknown package"
