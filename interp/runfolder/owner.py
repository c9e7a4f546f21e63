"""Who is writing a run folder, and is that process still alive?

A run that is killed cannot change its own status, so *running* is only believed while the process
that wrote it lives. A process is named by host, boot, process namespace, id and start time: the
id alone is soon given to another process.
"""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from interp.runfolder.files import read_json, write_json

State = Literal["running", "done", "failed", "interrupted", "killed"]

STATUS = "status.json"
LOCK = "lock.json"


@dataclass(frozen=True)
class Status:
    """What a run folder says of itself.

    Attributes:
        state: running, done, failed (an exception), interrupted (Ctrl-C) or killed (it says running
            and its process is gone).
        note: The error of a failed run, or who is running it; may be empty.
    """

    state: State
    note: str = ""


def this_process() -> dict[str, Any]:
    """Return what identifies the running process, for ``lock.json``."""
    pid = os.getpid()
    return {"pid": pid, "started": _started(pid), "host": socket.gethostname(), **_machine()}


def alive(owner: dict[str, Any]) -> bool | None:
    """Whether the process in a ``lock.json`` still runs; None where this machine cannot tell."""
    here = {"host": socket.gethostname(), **_machine()}
    if owner.get("host") != here["host"]:
        return None
    if owner.get("boot") != here["boot"]:
        return False  # The machine has been restarted since.
    if owner.get("namespace") != here["namespace"]:
        return None  # Another container on this machine.
    pid, started = owner.get("pid"), owner.get("started")
    if not isinstance(pid, int) or started is None:
        return None
    return _started(pid) == started


def _machine() -> dict[str, str | None]:
    def read(get: Any) -> str | None:
        try:
            return str(get()).strip()
        except OSError:
            return None

    return {
        "boot": read(Path("/proc/sys/kernel/random/boot_id").read_text),
        "namespace": read(Path("/proc/self/ns/pid").readlink),
    }


def _started(pid: int) -> str | None:
    """Return the start time of a live process in the system's own words; None if there is none."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    except OSError:
        return None
    else:
        # The command name, in brackets, may itself contain spaces and brackets.
        fields = stat.rpartition(")")[2].split()
        state, ticks = fields[0], fields[19]
        return None if state in "ZX" else ticks
    if os.name != "posix":
        return None
    # No /proc, as on macOS.
    done = subprocess.run(
        ["ps", "-o", "stat=,lstart=", "-p", str(pid)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "LC_ALL": "C", "TZ": "UTC"},
    )
    state, _, when = done.stdout.strip().partition(" ")
    return when.strip() or None if not state.startswith("Z") else None


@contextlib.contextmanager
def sole_access(folder: Path) -> Iterator[None]:
    """Hold other processes off while deciding who may write ``folder``; for moments only."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        # Some network file systems have no locks: then two simultaneous starts are not told apart.
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def take(folder: Path) -> None:
    """Write this process as the owner, then the status *running*."""
    write_json(folder / LOCK, this_process())
    write_json(folder / STATUS, {"status": "running"})


def release(folder: Path, state: State, note: str = "") -> None:
    """Write the final status, then remove the lock."""
    write_json(folder / STATUS, {"status": state, **({"note": note} if note else {})})
    (folder / LOCK).unlink(missing_ok=True)


def read_status(folder: Path) -> Status:
    """Return the status of a run folder as it is now."""
    said = _said(folder)
    if said is not None:
        return said
    owner = read_json(folder / LOCK)
    living = alive(owner) if isinstance(owner, dict) else False
    if living is False:
        # The run may have ended, and removed its lock, between the two reads.
        return _said(folder) or Status("killed", _who(owner))
    unseen = "" if living else ", which cannot be seen from here"
    return Status("running", _who(owner) + unseen)


def _said(folder: Path) -> Status | None:
    """The final status that the folder has, if any."""
    said = read_json(folder / STATUS)
    state = said.get("status") if isinstance(said, dict) else None
    if state in ("done", "failed", "interrupted"):
        return Status(state, str(said.get("note", "")))
    return None


def _who(owner: Any) -> str:
    if not isinstance(owner, dict):
        return "unknown process"
    return f"process {owner.get('pid')} on {owner.get('host')}"
