"""Keeping the result of attacks in a folder, and going on from an interrupted one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from interp.configs import differing
from interp.runfolder.files import (
    names_in,
    read_json,
    read_tensors,
    write_figure,
    write_json,
    write_table,
    write_tensors,
)
from probes.attack.prompts import AttackError
from probes.attack.result import AttackResult

METRICS, TABLE, SUFFIXES, FIGURE = (
    "metrics.json",
    "attacks.parquet",
    "suffixes.safetensors",
    "attacks.png",
)


def save_result(result: AttackResult, out: Path) -> Path:
    """Write table, suffixes, figure and metrics into a folder, each whole or not at all."""
    out.mkdir(parents=True, exist_ok=True)
    write_table(out / TABLE, result.table())
    if result.suffixes:
        write_tensors(out / SUFFIXES, dict(result.suffixes))
    write_figure(out / FIGURE, result.figure())
    write_json(out / METRICS, result.metrics())  # last: it says whether the attacks are done
    return out


def require_open(out: Path) -> dict[str, Any] | None:
    """Return the metrics of an interrupted run in a folder; None of a new or empty folder.

    Raises:
        AttackError: there is something else.
    """
    if not out.exists() or (out.is_dir() and not names_in(out)):
        return None
    stored = read_json(out / METRICS) if out.is_dir() else None
    if not isinstance(stored, dict) or stored.get("status") != "interrupted":
        raise AttackError(f"{out} exists already; give a new folder")
    return stored


def suffixes_in(out: Path, settings: Mapping[str, Any]) -> dict[str, Tensor]:
    """Return the suffixes that an interrupted run left in a folder; none of a new folder.

    Args:
        out: The folder.
        settings: Of the run to come, as ``AttackResult.settings``.

    Raises:
        AttackError: there is something else in the folder, or a run with other settings.
    """
    stored = require_open(out)
    if stored is None:
        return {}
    other = differing(stored.get("settings", {}), settings)
    if other:
        raise AttackError(
            f"{out} holds an interrupted run with other settings: {other}; give a new folder, or "
            "the same settings to go on"
        )
    return read_tensors(out / SUFFIXES) if (out / SUFFIXES).is_file() else {}
