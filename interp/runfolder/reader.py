"""Reading a run folder: its status, config, provenance and results."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import yaml

from interp.runfolder import files, owner
from interp.runfolder.files import RunError

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

CONFIG, PROVENANCE, METRICS = "config.yaml", "provenance.json", "metrics.json"
LOG, TRACEBACK = "log.txt", "traceback.txt"


class RunReader:
    """The reading half of ``Run``.

    Attributes:
        path: The folder.
    """

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Reopen a run folder for reading.

        Raises:
            RunError: The folder does not exist or holds no run.
        """
        folder = Path(path)
        if not folder.is_dir():
            raise RunError(f"{folder} does not exist: expected a run folder, see 'interp runs'")
        if not is_run(folder):
            raise RunError(f"{folder} holds no run: expected a folder that 'interp run' has made")
        return cls(folder)

    @property
    def status(self) -> owner.State:
        """running, done, failed, interrupted, or killed; as it is now."""
        return owner.read_status(self.path).state

    @property
    def note(self) -> str:
        """The error of a failed run, or the process of a running or killed one; may be empty."""
        return owner.read_status(self.path).note

    @property
    def experiment(self) -> str | None:
        """The experiment's name; None if the run was killed before it was written."""
        return (self._stored_config() or {}).get("experiment")

    @property
    def config(self) -> dict[str, Any]:
        """The config as plain values; empty if the run was killed before it was written."""
        return {k: v for k, v in (self._stored_config() or {}).items() if k != "experiment"}

    @property
    def provenance(self) -> dict[str, Any]:
        """Versions, commit, machine, model, data, seeds and times; empty if not yet written."""
        held = files.read_json(self.path / PROVENANCE)
        return held if isinstance(held, dict) else {}

    @property
    def metrics(self) -> dict[str, Any]:
        """The headline numbers.

        Raises:
            RunError: The run is not done.
        """
        held = files.read_json(self.path / METRICS)
        if self.status != "done" or not isinstance(held, dict):
            trace = self.path / TRACEBACK
            see = f"; see {trace}" if trace.exists() else ""
            raise RunError(f"{self.path} has no result: it is {self.status}{see}")
        return held

    def table(self, name: str = "evidence") -> DataFrame:
        """Return the table saved under a name."""
        return files.read_table(self._existing(name, ".parquet"))

    def tensors(self, name: str = "tensors") -> dict[str, Tensor]:
        """Return the tensors saved under a name, on the CPU."""
        return files.read_tensors(self._existing(name, ".safetensors"))

    @property
    def figures(self) -> dict[str, Path]:
        """The PNG files of the saved figures, by name."""
        return {path.stem: path for path in sorted((self.path / "figures").glob("[!.]*.png"))}

    @property
    def tables(self) -> list[str]:
        """The names of the saved tables."""
        return sorted(path.stem for path in self.path.glob("[!.]*.parquet"))

    def _existing(self, name: str, suffix: str) -> Path:
        path = self.path / (name + suffix)
        if not path.is_file():
            known = ", ".join(sorted(p.stem for p in self.path.glob(f"[!.]*{suffix}"))) or "none"
            raise RunError(f"{self.path} ({self.status}) has no {name + suffix}; it has: {known}")
        return path

    def _stored_config(self) -> dict[str, Any] | None:
        try:
            held = yaml.safe_load((self.path / CONFIG).read_text(encoding="utf-8"))
        except (OSError, ValueError, yaml.YAMLError):
            return None
        return held if isinstance(held, dict) else None

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, experiment={self.experiment!r}, status={self.status!r})"

    def _repr_html_(self) -> str:
        from interp.runfolder.show import html

        return html(self)


def is_run(folder: Path) -> bool:
    """Whether a folder is a run's, however early the run was killed.

    A ``config.yaml`` alone proves nothing: other tools write one too.
    """
    lock, status = files.read_json(folder / owner.LOCK), files.read_json(folder / owner.STATUS)
    return (isinstance(lock, dict) and "pid" in lock and "host" in lock) or (
        isinstance(status, dict) and "status" in status
    )


def one_line(error: BaseException, *, limit: int = 300) -> str:
    """Return an exception as one line of text, "Type: message"."""
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return text if len(text) <= limit else text[: limit - 1] + "…"
