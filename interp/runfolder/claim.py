"""Who may start a run where: new folders, refusals, and taking up what was not finished."""

from __future__ import annotations

import contextlib
import logging
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from interp.configs import differing
from interp.runfolder import files, owner, provenance
from interp.runfolder.files import RunError
from interp.runfolder.reader import CONFIG, METRICS, PROVENANCE, TRACEBACK, RunReader, is_run

logger = logging.getLogger(__name__)


def new_folder(root: Path, name: str, ending: str) -> Path:
    """Make and return an empty folder ``ROOT/NAME-TIME-ENDING`` that nobody has had before."""
    safe = re.sub(r"[^A-Za-z0-9._-]+", "-", name).lstrip(".")
    stem = f"{safe}-{datetime.now(UTC):%Y%m%d-%H%M%S}-{ending}"
    for attempt in range(1, 1000):
        folder = root / (stem if attempt == 1 else f"{stem}-{attempt}")
        with contextlib.suppress(FileExistsError):
            folder.mkdir(parents=True)
            return folder
    raise RunError(f"no free folder name like {root / stem}: give out")


def claim(path: Path, experiment: str, values: dict[str, Any], *, resume: bool) -> bool:
    """Make this process the writer of a folder and write the run's beginning into it.

    Args:
        path: An existing folder.
        experiment: The experiment's name.
        values: Its config as plain values.
        resume: Whether an unfinished run of the same config may be taken up.

    Returns:
        False if the folder holds this run, done: nothing was changed.

    Raises:
        RunError: The folder is not ours to use.
    """
    with owner.sole_access(path):
        if not _may_start(RunReader(path), experiment, values, resume):
            return False
        _start(RunReader(path), experiment, values)
    return True


def _may_start(run: RunReader, experiment: str, values: dict[str, Any], resume: bool) -> bool:
    if not files.names_in(run.path):
        return True
    if not is_run(run.path):
        raise RunError(f"{run.path} is not empty and holds no run: give a new or empty folder")
    status = owner.read_status(run.path)
    if not resume:
        or_finish = "" if status.state == "done" else ", or resume to finish it"
        raise RunError(
            f"{run.path} already holds a run ({status.state}): give another folder{or_finish}"
        )
    # A run killed in its first moments has no config yet: nothing to agree with.
    if run.experiment not in (None, experiment):
        raise RunError(f"{run.path} holds a run of {run.experiment!r}, not of {experiment!r}")
    if run.experiment is not None and (difference := differing(run.config, values)):
        raise RunError(
            f"{run.path} holds a run with another config: {difference}; "
            "resume it with its own config, or give another folder"
        )
    if status.state == "running":
        raise RunError(
            f"{run.path} is being written by {status.note}; wait for it. If that process is "
            f"gone, delete {owner.LOCK} in the folder and resume again"
        )
    if status.state == "done":
        logger.info("%s is done already: nothing to resume", run.path)
    return status.state != "done"


def _start(run: RunReader, experiment: str, values: dict[str, Any]) -> None:
    earlier = run.provenance
    owner.take(run.path)
    files.remove_leftovers(run.path)
    for name in (TRACEBACK, METRICS):  # The earlier attempt's end.
        (run.path / name).unlink(missing_ok=True)
    held = {"experiment": experiment, **values}
    text = yaml.safe_dump(held, sort_keys=False, allow_unicode=True)
    note = f"# Same numbers again: interp run {experiment} --config THIS_FILE\n"
    files.write_text(run.path / CONFIG, note + text)
    files.write_json(run.path / PROVENANCE, provenance.begin(experiment, earlier))
