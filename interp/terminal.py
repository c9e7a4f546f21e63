"""What the commands write: results to standard output, one-line messages to standard error."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import textwrap
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from interp.runfolder import logs

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

#: Columns when the output is no terminal: wide, so that files and pipes get whole names.
_WIDE = 200
#: Columns that sentences take at most: longer lines are hard to read.
_READABLE = 100


def clean(value: Any) -> str:
    """Return text safe to show: control characters, which can drive a terminal, are spelt out.

    Names and texts from models, data and other people's packages pass through here.
    """
    return "".join(
        c if c.isprintable() or c == "\n" else c.encode("unicode_escape").decode("ascii")
        for c in str(value)
    )


def console(*, error: bool = False) -> Console:
    """Return a console on standard output, or on standard error."""
    from rich.console import Console

    stream = sys.stderr if error else sys.stdout
    fixed = None if stream.isatty() or "COLUMNS" in os.environ else _WIDE
    return Console(file=stream, width=fixed, highlight=False, soft_wrap=False)


def say(message: str, *, style: str = "red", prog: str = "interp") -> None:
    """Write one line to standard error, begun with the name of the command."""
    from rich.text import Text

    text = " ".join(clean(message).split())
    console(error=True).print(Text(f"{prog}: {text}", style=style), soft_wrap=True)


def sentence(error: Exception) -> str:
    """Return what an error says, without the number that an OSError begins with."""
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    return str(error) or type(error).__name__


def installed_version() -> str:
    """Return the installed version of the distribution."""
    from importlib import metadata

    try:
        return metadata.version("loadbearing")
    except metadata.PackageNotFoundError:
        return "(not installed)"


def show(text: str) -> None:
    """Write plain text to standard output, never wrapped or interpreted."""
    from rich.text import Text

    console().print(Text(clean(text)), soft_wrap=True)


def tell(text: str) -> None:
    """Write sentences to standard output, wrapped; an empty line begins a paragraph."""
    width = min(console().width, _READABLE)
    show(
        "\n\n".join(
            textwrap.fill(
                " ".join(clean(part).split()),
                width,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for part in text.split("\n\n")
        )
    )


def table(
    columns: Sequence[str], rows: Sequence[Sequence[Any]], *, whole: int = 1, cut: bool = False
) -> Table:
    """Return a table of cleaned cells.

    Args:
        columns: The headings.
        rows: The cells; None is shown as a dash.
        whole: The first so many columns are never folded: they are names to copy.
        cut: The last column is one line, ended with … where it is longer than there is room.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for i, column in enumerate(columns):
        last = cut and i == len(columns) - 1
        heading = Text(column, no_wrap=True, overflow="ellipsis") if last else column
        made.add_column(heading, no_wrap=i < whole, overflow="fold")
    for row in rows:
        cells = [Text("-" if cell is None else clean(cell)) for cell in row]
        if cut:
            cells[-1] = Text(" ".join(cells[-1].plain.split()), no_wrap=True, overflow="ellipsis")
        made.add_row(*cells)
    return made


@contextlib.contextmanager
def logging_shown(*loggers: str) -> Iterator[None]:
    """Show log records on standard error: progress on a terminal, else only warnings."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(levelname)s: %(message)s"))
    level = logging.INFO if sys.stderr.isatty() else logging.WARNING
    with logs.handled(handler, (*logs.PROJECT, *loggers), level=level):
        yield
