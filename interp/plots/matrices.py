"""Figures of square tables with names, and of one quantity against another, from plain arrays."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from interp.plots.style import BLUE, GREY, ORANGE, figure, plain, set_title, wrapped

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def labelled_matrix(
    values: ArrayLike,
    *,
    rows: Sequence[str],
    columns: Sequence[str],
    row_label: str,
    column_label: str,
    label: str,
    limits: tuple[float, float],
    divided_after: int | None = None,
    title: str | None = None,
) -> Figure:
    """Draw a table of numbers as colours, the middle of the limits white, each number written in.

    Args:
        values: Of shape [row, column]; cells that are not numbers stay grey.
        rows: Names of the rows.
        columns: Names of the columns.
        row_label: What the rows are.
        column_label: What the columns are.
        label: What the colour means, with units.
        limits: Ends of the colours.
        divided_after: Draw a line after so many rows.
        title: Shown above; none when omitted.

    Raises:
        ValueError: names and values differ in number.
    """
    grid = np.asarray(values, dtype=float)
    if grid.shape != (len(rows), len(columns)):
        raise ValueError(
            f"{len(rows)} rows and {len(columns)} columns need values of that shape, "
            f"got {list(grid.shape)}"
        )
    low, high = limits
    with figure(2.8 + 0.5 * len(columns), 1.6 + 0.36 * len(rows)) as (made, axes):
        axes.set_facecolor("#DDDDDD")
        image = axes.imshow(
            np.ma.masked_invalid(grid), cmap="PuOr", vmin=low, vmax=high, aspect="auto"
        )
        for (row, column), value in np.ndenumerate(grid):
            if np.isfinite(value):
                far = abs((value - low) / (high - low) - 0.5) > 0.35
                axes.text(
                    column,
                    row,
                    f"{value:.2f}",
                    ha="center",
                    va="center",
                    fontsize=7,
                    color="white" if far else "black",
                )
        axes.set_yticks(range(len(rows)), [plain(_short(name)) for name in rows])
        axes.set_xticks(
            range(len(columns)), [plain(_short(name)) for name in columns], rotation=45, ha="right"
        )
        axes.set_ylabel(plain(row_label))
        axes.set_xlabel(plain(column_label))
        if divided_after is not None and 0 < divided_after < len(rows):
            axes.axhline(divided_after - 0.5, color="black", linewidth=1)
        height = made.get_size_inches()[1]
        made.colorbar(image, ax=axes, shrink=0.9, label=wrapped(label, int(height * 10)))
        if title:
            set_title(axes, title)
    return made


def points_and_curve(
    x: ArrayLike,
    y: ArrayLike,
    *,
    x_label: str,
    y_label: str,
    hollow: ArrayLike | None = None,
    hollow_label: str = "",
    line: tuple[float, float] | None = None,
    line_label: str = "",
    curve: tuple[ArrayLike, ArrayLike] | None = None,
    curve_label: str = "",
    title: str | None = None,
) -> Figure:
    """Draw points, the line through them and what theory says.

    Args:
        x: Across.
        y: Up, as many.
        x_label: With units.
        y_label: With units.
        hollow: Which points to draw hollow.
        hollow_label: What they are.
        line: (slope, intercept).
        line_label: What it is.
        curve: Its x and y.
        curve_label: What it is.
        title: Shown above; none when omitted.
    """
    across, up = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    open_ = np.zeros(len(across), bool) if hollow is None else np.asarray(hollow, dtype=bool)
    with figure(4.8, 3.6) as (made, axes):
        axes.plot(across[~open_], up[~open_], "o", color=BLUE, markersize=4.5)
        if open_.any():
            axes.plot(
                across[open_],
                up[open_],
                "o",
                color=BLUE,
                markerfacecolor="none",
                markersize=4.5,
                label=plain(hollow_label),
            )
        if line is not None:
            ends = np.array([across.min(), across.max()])
            axes.plot(
                ends, line[0] * ends + line[1], color=GREY, linewidth=1.2, label=plain(line_label)
            )
        if curve is not None:
            axes.plot(
                np.asarray(curve[0], dtype=float),
                np.asarray(curve[1], dtype=float),
                color=ORANGE,
                linewidth=1.4,
                label=plain(curve_label),
            )
        axes.set_xlabel(plain(x_label))
        axes.set_ylabel(plain(y_label))
        if open_.any() or line is not None or curve is not None:
            axes.legend(fontsize=7.5)
        if title:
            set_title(axes, title)
    return made


def _short(name: str, longest: int = 24) -> str:
    return name if len(name) <= longest else name[: longest - 1] + "…"
