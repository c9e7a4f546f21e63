"""Log records of a run, kept in its folder."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

#: The project's own loggers; an installed experiment adds its package.
PROJECT = ("interp", "probes", "experiments")


@contextlib.contextmanager
def handled(
    handler: logging.Handler,
    loggers: Sequence[str],
    *,
    level: int = logging.INFO,
    keep_stderr: bool = False,
) -> Iterator[None]:
    """Send the named loggers' records to ``handler`` inside the block, and put all back after it.

    Args:
        handler: Closed at the end.
        loggers: Their levels are lowered to ``level`` where they are higher.
        level: The least severe level that is handled.
        keep_stderr: Python shows warnings on stderr only while nobody handles them; keep showing
            them although ``handler`` does.
    """
    handler.setLevel(level)
    before: list[tuple[logging.Logger, int, list[logging.Handler]]] = []
    for name in dict.fromkeys(loggers):
        logger = logging.getLogger(name)
        added = [handler]
        if keep_stderr and not logger.hasHandlers() and logging.lastResort is not None:
            added.append(logging.lastResort)
        before.append((logger, logger.level, added))
        if logger.getEffectiveLevel() > level:
            logger.setLevel(level)
        for each in added:
            logger.addHandler(each)
    try:
        yield
    finally:
        for logger, old, added in before:
            logger.setLevel(old)
            for each in added:
                logger.removeHandler(each)
        handler.close()


def file_handler(path: Path) -> logging.Handler:
    """Return a handler that appends timed lines to a text file."""
    handler = logging.FileHandler(path, mode="a", encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    return handler
