"""Where a run's numbers come from: versions, the code's commit, the machine.

Nothing heavy is imported: versions come from the installed packages' metadata, and torch is asked
only if the run has loaded it.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

import interp
from interp.runfolder.files import RunError

DISTRIBUTION = "loadbearing"
PACKAGES = (
    DISTRIBUTION,
    "torch",
    "transformers",
    "transformer-lens",
    "numpy",
    "scipy",
    "pandas",
    "safetensors",
    "tokenizers",
)
#: Folders of the checkout whose changes can change results.
_CODE = ("interp", "probes", "experiments", "pyproject.toml")


def now() -> str:
    """Return the time in UTC as ISO 8601, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def begin(experiment: str, earlier: dict[str, Any]) -> dict[str, Any]:
    """Return the provenance of an attempt that starts now.

    Args:
        experiment: The experiment's name.
        earlier: The provenance of the attempt that is resumed; empty if there is none. What it
            recorded of model, data, seeds and device is kept, the rest goes to
            ``earlier_attempts``.
    """
    here = describe()
    recorded = ("model", "data", "seeds", "device")
    attempts = list(earlier.get("earlier_attempts", []))
    if earlier:
        left_out = (*recorded, "earlier_attempts", "changes", "experiment")
        attempts.append({k: v for k, v in earlier.items() if k not in left_out})
    return {
        "experiment": experiment,
        "started": now(),
        "ended": None,
        "outcome": None,
        **here,
        "torch": None,
        "device": earlier.get("device"),
        "model": earlier.get("model"),
        "data": earlier.get("data", {}),
        "seeds": earlier.get("seeds", {}),
        "changes": _changes(earlier, here) if earlier else [],
        "earlier_attempts": attempts,
    }


def _changes(earlier: dict[str, Any], here: dict[str, Any]) -> list[str]:
    """What has changed between two attempts at one run that can change its numbers."""
    old = {key: earlier.get(key) for key in ("commit", "dirty", "platform")}
    new = {key: here[key] for key in old}
    old.update(earlier.get("versions", {}))
    new.update(here["versions"])
    return [
        f"{key} was {old.get(key)} and is {new[key]}" for key in new if old.get(key) != new[key]
    ]


def merge(held: dict[str, Any], given: dict[str, Any]) -> dict[str, Any]:
    """Return ``held`` with what was newly recorded.

    Raises:
        RunError: A key had another value before.
    """
    merged = dict(held)
    for key, value in given.items():
        if value is None:
            continue
        before = merged.get(key)
        if isinstance(value, Mapping):
            known = dict(before) if isinstance(before, dict) else {}
            for name, item in value.items():
                _agree(f"{key} {name}", known.get(name), item)
            merged[key] = {**known, **value}
        else:
            _agree(key, before, value)
            merged[key] = value
    return merged


def _agree(what: str, before: Any, value: Any) -> None:
    if before is not None and before != value:
        raise RunError(
            f"{what} was recorded as {before!r} and is now {value!r}: parts of this run were made "
            "with the other; start it anew in another folder"
        )


def describe() -> dict[str, Any]:
    """Return the code, the versions, the machine and the command line, as plain values."""
    return {
        "command": list(sys.argv),
        "cwd": str(Path.cwd()),
        **code_state(Path(interp.__file__).resolve().parent),
        "versions": versions(),
        "platform": platform.platform(),
    }


def versions() -> dict[str, str | None]:
    """Return the version of Python and of each package that decides numbers; None if absent."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            found[name] = None
    return found


def torch_state() -> dict[str, Any] | None:
    """Return the torch settings that can change the last bits; None if torch is not loaded."""
    torch = sys.modules.get("torch")
    if torch is None:
        return None
    return {
        "threads": torch.get_num_threads(),
        "cuda": torch.version.cuda,
        "deterministic": torch.are_deterministic_algorithms_enabled(),
    }


def device_name(device: str) -> str:
    """Return a device with the name of its hardware where it is known, as in "cuda:0 (H200)"."""
    torch = sys.modules.get("torch")
    if torch is not None and device.startswith("cuda") and torch.cuda.is_available():
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return device


def code_state(package: Path) -> dict[str, Any]:
    """Return ``commit``, ``dirty`` and, where there is no commit, ``commit_reason``.

    Args:
        package: The folder that the code was imported from. A commit is reported only if that
            folder's files belong to the repository around it: an environment that merely lies
            inside some checkout is not that checkout.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "--verify", "HEAD").strip()
        changed = _git(package.parent, "status", "--porcelain", "--", *_present(package.parent))
    except _NoCommitError as error:
        installed = _installed_commit()
        if installed is not None:
            return {"commit": installed, "dirty": False, "commit_reason": None}
        return {"commit": None, "dirty": None, "commit_reason": str(error)}
    return {"commit": commit, "dirty": bool(changed.strip()), "commit_reason": None}


class _NoCommitError(Exception):
    pass


def _present(root: Path) -> list[str]:
    return [name for name in _CODE if (root / name).exists()]


def _git(folder: Path, *arguments: str) -> str:
    # Inside a git hook GIT_DIR and its kin point at another repository.
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
    command = ["git", "--no-optional-locks", "-C", str(folder), *arguments]
    try:
        done = subprocess.run(
            command,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=20,
            check=False,
            env={**environment, "LC_ALL": "C"},
        )
    except FileNotFoundError:
        raise _NoCommitError("git is not installed") from None
    except subprocess.TimeoutExpired:
        raise _NoCommitError("git did not answer within 20 s") from None
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no message"])[0]
        raise _NoCommitError(f"the code is not in a git checkout with a commit: {said}")
    return done.stdout


def _installed_commit() -> str | None:
    """The commit that pip installed from, if it installed from a repository's address."""
    try:
        text = metadata.distribution(DISTRIBUTION).read_text("direct_url.json")
        commit = json.loads(text or "{}").get("vcs_info", {}).get("commit_id")
    except (metadata.PackageNotFoundError, ValueError):
        return None
    return commit if isinstance(commit, str) else None
