"""Run folders: configuration, provenance, results, resume.

    with Run.create("induction", config, out="runs/mine") as run:
        run.record(model=model.fingerprint, data={"examples": examples.hash}, device="cpu")
        effects = run.cached("sweep", lambda: sweep(model, examples))
        run.save_table("evidence", frame)
        run.save_metrics({"top_score": 0.93})

    Run.open("runs/mine").table("evidence")

A folder holds ``config.yaml``, ``provenance.json``, ``status.json``, ``log.txt``, and what the
experiment saved: ``metrics.json``, ``NAME.parquet``, ``NAME.safetensors``, ``figures/NAME.png`` and
``.svg``; ``parts/`` for resuming; ``traceback.txt`` if it failed; ``lock.json`` while it runs.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from interp.configs import plain, short_hash
from interp.runfolder import claim, files, logs, owner, parts, provenance
from interp.runfolder.files import RunError
from interp.runfolder.reader import (
    LOG,
    METRICS,
    PROVENANCE,
    TRACEBACK,
    RunReader,
    one_line,
)
from interp.runfolder.show import headline, list_runs

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from pandas import DataFrame
    from torch import Tensor

__all__ = ["Run", "RunError", "headline", "list_runs"]

logger = logging.getLogger(__name__)


class Run(RunReader):
    """A run folder, being written or reopened.

    ``Run.create`` starts one and is used as a context manager; ``Run.open`` reads one. All files
    are written whole; ``metrics.json`` comes last and the status *done* after it, so that a folder
    whose status is not done holds no result. Nothing that differs between two identical runs
    (times, paths) is written outside ``provenance.json`` and ``log.txt``.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        super().__init__(path)
        self._loggers: tuple[str, ...] = logs.PROJECT
        self._claimed = False  # This object may write the folder once it is entered.
        self._writing: contextlib.ExitStack | None = None
        self._log: logging.Handler = logging.NullHandler()
        self._metrics: dict[str, Any] = {}

    # --- starting and ending -------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        experiment: str,
        config: Any,
        out: Path | str | None = None,
        resume: bool = False,
        *,
        root: Path | str = "runs",
        loggers: Sequence[str] = (),
    ) -> Self:
        """Make a run folder, or take up one that was not finished.

        Args:
            experiment: The experiment's name.
            config: Its frozen config dataclass.
            out: The folder; None for ``ROOT/EXPERIMENT-TIME-HASH``. It must be new or empty, or,
                with ``resume``, hold a run of the same experiment and config.
            resume: Finish the run in ``out``: parts stored by ``cached`` are taken from it. A run
                that is done is left alone: its status is then "done" at once, and entering it is an
                error. A folder that is new or empty is simply started.
            root: Where folders are made when ``out`` is None.
            loggers: Loggers to keep in ``log.txt`` besides interp, probes and experiments.

        Raises:
            RunError: ``out`` holds something else, a run of another config (the differing keys are
                named), or a run that a live process is writing.
        """
        values = plain(config)
        if "experiment" in values:
            raise RunError("a config field cannot be called 'experiment': config.yaml needs it")
        if out is None:
            if resume:
                raise RunError("resume needs the folder of the run to finish: give out")
            run = cls(claim.new_folder(Path(root), experiment, short_hash(values)))
        else:
            run = cls(out)
            if run.path.exists() and not run.path.is_dir():
                raise RunError(f"{run.path} is a file; expected a folder: give another out")
            run.path.mkdir(parents=True, exist_ok=True)
        run._loggers = (*logs.PROJECT, *loggers)
        run._claimed = claim.claim(run.path, experiment, values, resume=resume)
        return run

    def __enter__(self) -> Self:
        if not self._claimed:
            raise RunError(
                f"{self.path} is {self.status}, and not open for writing: read it with Run.open"
            )
        self._claimed = False
        self._writing = contextlib.ExitStack()
        self._log = logs.file_handler(self.path / LOG)
        self._writing.enter_context(logs.handled(self._log, self._loggers, keep_stderr=True))
        logger.info("run started in %s", self.path)
        for change in self.provenance.get("changes", []):
            logger.warning("resumed, but %s: parts stored earlier are used as they are", change)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        stack = self._open()
        try:
            if error is None:
                try:
                    self._finish()
                except BaseException as late:
                    self._fail(late)
                    raise
            else:
                self._fail(error)
        finally:
            stack.close()
            self._writing = None

    def _finish(self) -> None:
        self._end("done")
        logger.info("run done")
        files.write_json(self.path / METRICS, self._metrics)
        owner.release(self.path, "done")

    def _fail(self, error: BaseException) -> None:
        state: owner.State = "interrupted" if isinstance(error, KeyboardInterrupt) else "failed"
        text = "".join(traceback.format_exception(error))
        # To the folder only: whoever called gets the exception itself.
        values = ("interp.runs", logging.ERROR, __file__, 0, f"run {state}\n{text}", None, None)
        self._log.handle(logging.LogRecord(*values))
        # The error that ended the run matters more than a full disk while writing it down; without
        # a final status the folder shows as killed.
        try:
            files.write_text(self.path / TRACEBACK, text)
            self._end(state)
            owner.release(self.path, state, one_line(error) if state == "failed" else "")
        except OSError:
            logger.exception("the end of the run could not be written")

    def _end(self, state: owner.State) -> None:
        held = {**self.provenance, "ended": provenance.now(), "outcome": state}
        held["torch"] = provenance.torch_state()
        files.write_json(self.path / PROVENANCE, held)

    def _open(self) -> contextlib.ExitStack:
        if self._writing is None:
            raise RunError(
                f"{self.path} is not open for writing: save inside 'with Run.create(...) as run:'"
            )
        return self._writing

    # --- writing -------------------------------------------------------------------------------

    def record(
        self,
        *,
        model: str | Mapping[str, str] | None = None,
        data: Mapping[str, str] | None = None,
        seeds: Mapping[str, int] | None = None,
        device: str | None = None,
    ) -> None:
        """Add to ``provenance.json`` what the numbers were made from.

        Args:
            model: Fingerprint of the model, or fingerprints by name.
            data: Hashes of the examples, by name.
            seeds: Seeds, by what they seed.
            device: A torch device; the hardware's name is added.

        Raises:
            RunError: Something recorded before, as by the attempt that is being resumed, had
                another value: its stored parts would be mixed with others.
        """
        self._open()
        given = {"model": model, "data": data, "seeds": seeds}
        if device is not None:
            given["device"] = provenance.device_name(str(device))
        files.write_json(self.path / PROVENANCE, provenance.merge(self.provenance, given))

    def seed(self, name: str) -> int:
        """Return a seed for one stage, made from the config's ``seed`` and the stage's name.

        Stages that draw from one generator in turn give other numbers when a resumed run skips one
        of them; a generator per stage does not. The seed is recorded.

        Raises:
            RunError: The config has no integer field ``seed``.
        """
        base = self.config.get("seed")
        if not isinstance(base, int):
            raise RunError("the config has no integer field 'seed' to derive a stage's seed from")
        digest = hashlib.sha256(f"{base}/{name}".encode()).digest()
        value = int.from_bytes(digest[:8], "big") >> 1
        self.record(seeds={name: value})
        return value

    def cached(self, name: str, compute: Callable[[], Any]) -> Any:
        """Return a part of the work, computed once however often the run is resumed.

        Args:
            name: Names the part; slashes make groups, as in ``sweep/L3``.
            compute: Called if the part is not stored. It returns plain values, a DataFrame, a
                tensor, or a mapping from names to tensors, and must draw no random numbers from a
                generator that later parts also draw from (see ``seed``).

        Returns:
            What was stored, read back: the same for the run that computed it and for one resumed.
            So tuples come back as lists and tensors on the CPU.

        Raises:
            RunError: ``compute`` returned something else, or a number that is not finite.
        """
        self._open()
        path = parts.find(self.path, name)
        if path is None:
            path = parts.store(self.path, name, compute())
        else:
            logger.info("part %s is taken from the earlier attempt", name)
        return parts.load(path)

    def save_table(self, name: str, frame: DataFrame) -> Path:
        """Write a DataFrame to ``NAME.parquet``."""
        self._open()
        return files.write_table(self.path / f"{files.checked_name(name, 'table')}.parquet", frame)

    def save_tensors(self, tensors: Mapping[str, Tensor], name: str = "tensors") -> Path:
        """Write named tensors of any shapes and device to ``NAME.safetensors``."""
        self._open()
        file = f"{files.checked_name(name, 'tensor file')}.safetensors"
        return files.write_tensors(self.path / file, tensors)

    def save_figure(self, name: str, figure: Figure) -> Path:
        """Write a matplotlib figure to ``figures/NAME.png`` and ``.svg``; return the PNG's path."""
        self._open()
        path = self.path / "figures" / files.checked_name(name, "figure")
        files.write_figure(path.with_suffix(".svg"), figure)
        return files.write_figure(path.with_suffix(".png"), figure)

    def save_metrics(self, metrics: Mapping[str, Any]) -> None:
        """Add headline numbers; they are checked now and written when the run ends well.

        The texts ``conclusion`` (a paragraph in plain words) and ``headline`` (a few words, for
        lists of runs) are shown where runs are shown.

        Raises:
            RunError: A value is not finite (the key is named) or has no JSON form, or a key was
                saved before.
        """
        self._open()
        checked = files.jsonable(metrics, "metrics")
        if twice := sorted(self._metrics.keys() & checked.keys()):
            raise RunError(f"metrics saved twice: {', '.join(twice)}; expected each key once")
        self._metrics.update(checked)

    @property
    def metrics(self) -> dict[str, Any]:
        """The headline numbers: those saved so far while the run is open, else those it ended with.

        Raises:
            RunError: The run is not open and not done.
        """
        return dict(self._metrics) if self._writing is not None else super().metrics
