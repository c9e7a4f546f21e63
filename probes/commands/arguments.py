"""What commands are told in common: a probe's folder, a model's name, sources of statements."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from interp.configs import overlay
from interp.flags import UsageError, parse_fields

if TYPE_CHECKING:
    from interp.models import Model
    from probes.data import StatementSet


def probe_first(
    args: Sequence[str], command: str, settings: type, *, description: str
) -> tuple[Path, list[str]]:
    """Return the folder that stands first and the options after it; show the help if asked.

    Args:
        args: What follows the command's name.
        command: Its name.
        settings: The dataclass of its options.
        description: What it does, for the help.

    Raises:
        UsageError: no folder stands first.
    """
    if args and not args[0].startswith("-"):
        return Path(args[0]), list(args[1:])
    if any(arg in ("-h", "--help") for arg in args):
        parse_fields(
            settings,
            overlay(settings),
            ["--help"],
            options=(),
            prog=f"probes {command} PROBE",
            description=f"{description} PROBE is a folder written by probes train.",
        )
    raise UsageError(f"expected a probe's folder first: probes {command} PROBE [options]")


def load_named(name: str, device: str, dtype: str, revision: str | None) -> Model:
    """Load a model by what the command was told."""
    from interp.models import ModelSpec, load_model

    return load_model(ModelSpec(name, device=device, dtype=dtype, revision=revision))


def read_all(
    sources: Sequence[str], *, format: str | None = None, group: str | None = None
) -> StatementSet:
    """Read the sources of ``--data`` and put them together.

    Raises:
        DataError: one of them cannot be read.
    """
    from probes.data import joined, read_statements

    sets = [read_statements(source, format=format, group=group) for source in sources]
    return sets[0] if len(sets) == 1 else joined(sets)
