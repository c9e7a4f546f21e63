"""Rows of a dataset of the Hugging Face Hub, by the package ``datasets``."""

from __future__ import annotations

from typing import Any

from interp.configs import near
from probes.data.checks import DataError
from probes.data.files import Row, rows_of

# Tried in order where no split is named; evaluation data comes first, as in the papers.
_SPLITS = ("test", "validation", "train")


def hub_rows(name: str) -> list[Row]:
    """Load a dataset and return its rows.

    Args:
        name: ``OWNER/NAME``, ``OWNER/NAME:CONFIG`` or ``OWNER/NAME:CONFIG:SPLIT``; without a
            split the first there is of test, validation and train.

    Raises:
        DataError: the package is missing, the Hub cannot be reached, or there is no such
            dataset, configuration or split.
    """
    parts = name.split(":")
    if not parts[0].strip() or len(parts) > 3:
        raise DataError(f"hf:{name}: expected hf:NAME, hf:NAME:CONFIG or hf:NAME:CONFIG:SPLIT")
    try:
        import datasets
    except ImportError:
        raise DataError(
            f"hf:{name} needs the package datasets; install it (pip install datasets), or give a "
            "file"
        ) from None
    from interp.models.hub import hub_reachable

    # Asked first: offline, the package itself would retry for minutes.
    if not hub_reachable():
        raise DataError(
            f"hf:{name}: the Hugging Face Hub cannot be reached; work from a file that you have"
        )
    config = parts[1] if len(parts) > 1 and parts[1] else None
    try:
        found: Any = datasets.load_dataset(parts[0], config)
    except Exception as error:  # the package raises its own, the Hub's and the network's errors
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"hf:{name}: {first}") from None
    wanted = parts[2] if len(parts) > 2 else next((s for s in _SPLITS if s in found), None)
    if wanted is None or wanted not in found:
        raise DataError(f"hf:{name}: no split {wanted!r}; {near(str(wanted), found)}")
    return rows_of(list(found[wanted]), f"hf:{name}")
