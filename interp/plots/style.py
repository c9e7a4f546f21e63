"""One look for every figure: Okabe and Ito's colour-blind-safe palette and little else."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

BLUE, ORANGE, GREEN, RED, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#999999"

RC: Any = {
    "figure.dpi": 110,
    "savefig.dpi": 160,
    "savefig.bbox": "tight",
    "font.size": 9,
    "axes.titlesize": 10,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "loadbearing",
}


@contextmanager
def figure(width: float, height: float) -> Iterator[tuple[Any, Any]]:
    """Open a figure in the house style, without touching pyplot's state or the user's settings.

    Args:
        width: In inches.
        height: In inches.

    Yields:
        (figure, axes); the figure outlives the block.
    """
    import matplotlib
    from matplotlib.figure import Figure

    with matplotlib.rc_context(RC):
        made = Figure(figsize=(width, height), layout="constrained")
        yield made, made.subplots()


def set_title(axes: Any, text: str) -> None:
    """Put a title above axes: wrapped to the figure's width, and cut after three lines.

    A long model path would otherwise squeeze small axes to nothing.
    """
    # About 12 characters to the inch at the title's size, and it begins where the axes begin.
    axes.set_title(wrapped(text, int(axes.figure.get_size_inches()[0] * 9)))


def wrapped(text: str, characters: int) -> str:
    """Break text into at most three lines of so many characters, and cut the rest."""
    import textwrap

    lines = textwrap.wrap(text, max(16, characters), max_lines=3, placeholder=" …")
    return plain("\n".join(lines))


def plain(text: str) -> str:
    """Text that matplotlib shows as it is, dollar signs included."""
    return text.replace("$", r"\$")
