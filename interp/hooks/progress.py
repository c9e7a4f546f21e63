"""One progress bar for everything that takes more than a few seconds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def progress(what: str, *, total: int, initial: int = 0) -> Iterator[Callable[[int], None]]:
    """Show a bar while a job runs; silent when standard error is not a terminal.

    Args:
        what: What is being done, in a word or two.
        total: Number of steps in all.
        initial: Steps that an earlier run already did.

    Yields:
        A function to call with the number of steps just finished.
    """
    from rich.console import Console
    from rich.progress import Progress

    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=total, completed=initial)
        yield lambda n: bar.advance(task, n)
