"""Asking the Hugging Face Hub only where it answers: its client else tries for half a minute."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from interp.models.hub import hub_reachable


@contextmanager
def hub_or_cache() -> Iterator[bool]:
    """Inside this block the Hub's client asks the local cache alone, if the Hub does not answer.

    Yields:
        Whether it answers.
    """
    from huggingface_hub import constants

    online, before = hub_reachable(), constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = before or not online
    try:
        yield online
    finally:
        constants.HF_HUB_OFFLINE = before
