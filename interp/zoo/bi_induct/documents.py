"""Documents to make a stream of: from a folder of texts, or from the ``datasets`` package."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from interp.models.hub import hub_reachable
from interp.zoo.bi_induct.streams import StreamError


def text_documents(
    source: str, *, held_out_share: float = 0.03, max_bytes: int | None = None
) -> tuple[list[str], list[str]]:
    """Documents to train on and held-out ones, from a folder or the ``datasets`` package.

    Held out are documents in the order of their content's hash until the share of bytes is
    reached, so that equal documents never stand on both sides.

    Args:
        source: A folder, whose ``.txt`` and ``.md`` files are read; or ``datasets:NAME``, whose
            training split's ``text`` column is streamed.
        held_out_share: Share of the bytes to hold out.
        max_bytes: Stop reading once so many bytes are kept.

    Raises:
        StreamError: no documents, no ``text`` column, or the package is missing.
    """
    documents: dict[str, str] = {}
    total = 0
    for text in _texts(source):
        if not text.strip():
            continue
        documents.setdefault(hashlib.sha256(text.encode()).hexdigest(), text)
        total += len(text.encode())
        if max_bytes is not None and total >= max_bytes:
            break
    if len(documents) < 2:
        raise StreamError(
            f"{source} has {len(documents)} different documents; expected at least two, one to "
            "train on and one to hold out"
        )
    ordered = [documents[digest] for digest in sorted(documents)]
    size = sum(len(text.encode()) for text in ordered)
    n, held = 0, 0
    while n < len(ordered) - 1 and held < held_out_share * size:
        held += len(ordered[n].encode())
        n += 1
    return ordered[n:], ordered[:n]


def _texts(source: str) -> Iterator[str]:
    if not source.startswith("datasets:"):
        for path in sorted(Path(source).rglob("*")):
            if path.suffix in {".txt", ".md"}:
                yield path.read_text(encoding="utf-8", errors="replace")
        return
    try:
        from datasets import load_dataset
    except ImportError as error:
        raise StreamError(
            f"{source} needs the datasets package: pip install datasets, or give a folder of texts"
        ) from error
    name = source.removeprefix("datasets:")
    # Asked first, since the package's own retries take half a minute.
    if not os.environ.get("HF_HUB_OFFLINE") and not hub_reachable():
        raise StreamError(
            f"data set {name}: the Hub cannot be reached; give a folder of texts, or set "
            "HF_HUB_OFFLINE=1 to use what is in the cache"
        )
    try:
        rows = load_dataset(name, split="train", streaming=True)
    except (OSError, ValueError) as error:
        raise StreamError(
            f"no data set {name} could be read ({type(error).__name__}); check the name, or give "
            "a folder of texts"
        ) from error
    for row in rows:
        if "text" not in row:
            raise StreamError(f"{source} has no column 'text'; it has {', '.join(row)}")
        yield row["text"]
