"""Ctrl-C between steps rather than inside one, so that what is saved then is whole."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def interrupts_held() -> Iterator[Callable[[], bool]]:
    """Hold back the first Ctrl-C inside this block; a second one comes through at once.

    Only the main thread of a program receives it; elsewhere this does nothing.

    Yields:
        A function that says whether it was pressed: save, then raise ``KeyboardInterrupt``.
    """
    pressed = False
    if threading.current_thread() is not threading.main_thread():
        yield lambda: False
        return
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: Any) -> None:
        nonlocal pressed
        if pressed:
            raise KeyboardInterrupt
        pressed = True

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: pressed
    finally:
        signal.signal(signal.SIGINT, before)
