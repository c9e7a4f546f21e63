"""A comparison of domains in words, and in tables that fit a terminal."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from probes import report
from probes.compared import ALPHA, Compared
from probes.transferred import ALL

if TYPE_CHECKING:
    from rich.table import Table

_WIDTH = 100
_NAME, _CELL = 24, 12


def conclusion(found: Compared) -> str:
    """Return what the comparison allows one to say, in plain words.

    Args:
        found: The comparison.
    """
    own = {name: numbers["held_out"] for name, numbers in found.diagonal.items()}
    mean = sum(one["auroc"] for one in own.values()) / len(own)
    if not found.read:
        told = "; ".join(
            f"{name} {one['auroc']:.3f} [{one['auroc_low']:.3f}, {one['auroc_high']:.3f}]"
            f"{_beaten(found, name)}"
            for name, one in own.items()
        )
        return (
            f"No evidence of a signature in any domain at {found.site}: AUROC of their own probes "
            f"{told}; their mean, {mean:.3f}, ranks at p {found.scan.p_value:.2g} among shuffled "
            "labels. Transfer and likeness between such directions are no evidence either."
        )
    said = f"{len(found.read)} of {len(own)} domains have a signature at {found.site}"
    missing = [name for name in own if name not in found.read]
    said += f" (no evidence: {', '.join(missing)})." if missing else "."
    cells = [
        cell
        for cell in found.matrix.cells
        if cell.train in found.read and cell.test in found.read and cell.train != cell.test
    ]
    if cells:
        high, low = max(cells, key=lambda c: c.auroc), min(cells, key=lambda c: c.auroc)
        said += (
            f" Transfer between them reaches from {low.train} → {low.test}, {low.auroc:.3f} "
            f"[{low.low:.3f}, {low.high:.3f}], to {high.train} → {high.test}, {high.auroc:.3f} "
            f"[{high.low:.3f}, {high.high:.3f}]."
        )
        turned = [c for c in cells if c.high < 0.5]
        if turned:
            said += (
                f" In {len(turned)} of {len(cells)} pairs the direction points the other way: it "
                "ranks false above true."
            )
    if found.regressions and not missing:
        by, plain = (found.regressions[name, False] for name in ("mahalanobis", "cosine"))
        said += (
            f" Over {by.n_pairs} pairs, transfer on the Mahalanobis cosine has R² {by.r2:.3f} "
            f"({by.r2_pair_out:.3f} with each pair foretold from the others), on the plain "
            f"cosine {plain.r2:.3f} ({plain.r2_pair_out:.3f})."
        )
    elif found.unlike:
        said += f" No regression on likeness: {found.unlike}."
    return said


def _beaten(found: Compared, name: str) -> str:
    """The baseline that does as well, where it is this that a probe above chance fails by."""
    numbers = found.diagonal[name]
    said = report.conclusion(numbers["held_out"], numbers["null"], numbers["baselines"])
    if "beyond" not in said:
        return ""
    strongest, value = _strongest(numbers)
    return f" ({strongest} alone {value:.3f})"


def _strongest(numbers: Mapping[str, Any]) -> tuple[str, float]:
    """Name and AUROC of the strongest baseline."""
    name = numbers["baselines"]["strongest"]
    (row,) = [row for row in numbers["baselines"]["rows"] if row["name"] == name]
    return name, row["auroc"]


def notes(found: Compared) -> list[str]:
    """What a reader of the numbers should know."""
    said = []
    if len(found.scan.sites) > 1:
        said.append(
            f"{found.site} was chosen of {len(found.scan.sites)} sites by the mean AUROC of the "
            "domains' own cross-validated probes, in which no transfer has a part; the diagonal "
            "there is the best of so many, and the shuffled labels went through the same choice"
        )
    if any(
        cell.n_bound and cell.train != cell.test and cell.train in found.gathered.names
        for cell in found.matrix.cells
    ):
        said.append(
            "some domains share statements or groups; those are scored by probes fitted without "
            "them"
        )
    n = len(found.gathered.sets)
    said.append(
        f"a verdict asks for a lead over the strongest baseline at {100 - 100 * ALPHA / n:.3g} %, "
        f"since there are {n} domains"
    )
    for one in found.gathered.sets:
        told = report.skipped_notes(found.gathered.skipped[one.name])
        told += [] if one.report is None else one.report.remarks()
        if not one.grouped:
            told.append(
                "no groups were given, so every statement counts as independent (--group names "
                "the column that binds them)"
            )
        told += report.few_groups(found.diagonal[one.name]["held_out"])
        said += [f"{one.name}: {note}" for note in told]
    return said


def show(found: Compared) -> None:
    """Write the tables, the notes and the conclusion to the terminal, no line over 100 columns.

    Args:
        found: The comparison.
    """
    from interp import terminal

    out = terminal.console()
    matrix = found.matrix
    terminal.show(textwrap.fill(f"{matrix.place}, {matrix.method}", _WIDTH))
    if len(found.scan.sites) > 1:
        _grids(
            out,
            "AUROC of each domain's own probe by site (* chosen)",
            [f"{'*' if site == found.site else ' '} {site}" for site in found.scan.sites],
            found.gathered.names,
            lambda i, j: f"{found.scan.aurocs[i, j]:.3f}",
        )
    _grids(
        out,
        f"AUROC of probes trained on (down), tested on (across), and its "
        f"{100 * matrix.confidence:.0f}% interval by groups",
        matrix.sources,
        matrix.domains,
        lambda i, j: _spanned(matrix[matrix.sources[i], matrix.domains[j]]),
    )
    _grids(
        out,
        "each domain's own probe beside what needs no model or no labels",
        ("own probe", "strongest baseline", "shuffled labels, 95th %", "verdict"),
        matrix.domains,
        lambda i, j: _own_cell(found, i, matrix.domains[j]),
    )
    if found.likeness is not None:
        pairs = {(p.train, p.test): p for p in found.likeness.pairs}
        sources = (*matrix.domains, ALL)

        def likeness(i: int, j: int) -> str | None:
            pair = pairs.get((sources[i], matrix.domains[j]))
            return None if pair is None else f"{pair.mahalanobis:+.2f}\n{pair.cosine:+.2f}"

        _grids(
            out,
            "likeness to the tested domain's own direction: Mahalanobis cosine, below it the "
            "plain cosine",
            sources,
            matrix.domains,
            likeness,
        )
    if found.regressions and found.read:
        rows = [
            (
                predictor.replace("_", " "),
                f"{one.r2:.3f}",
                f"{one.spearman2:.3f}",
                f"{one.r2_pair_out:.3f}",
                None if one.r2_domain_out is None else f"{one.r2_domain_out:.3f}",
                f"{found.regressions[predictor, True].r2:.3f}",
            )
            for (predictor, combined), one in found.regressions.items()
            if not combined
        ]
        heads = ("transfer on", "R²", "Spearman²", "pair out", "domains out", "R² with 'all'")
        out.print(terminal.table(heads, rows))
    said = [*(f"Note: {note}." for note in notes(found)), "", conclusion(found), "", report.CAUTION]
    terminal.show("\n".join(textwrap.fill(line, _WIDTH) for line in said))


def _spanned(cell: Any) -> str:
    return f"{cell.auroc:.3f}\n{cell.low:.2f}–{cell.high:.2f}"


def _own_cell(found: Compared, row: int, name: str) -> str:
    numbers = found.diagonal[name]
    if row == 0:
        return f"{numbers['held_out']['auroc']:.3f}"
    if row == 1:
        strongest, value = _strongest(numbers)
        return "\n".join([f"{value:.3f}", *_folded(strongest, _CELL)])
    if row == 2:
        return f"{numbers['null']['percentile_95']:.3f}"
    return found.verdicts[name]


def _grids(
    out: Any,
    title: str,
    rows: Sequence[str],
    columns: Sequence[str],
    cell: Callable[[int, int], str | None],
) -> None:
    """Print a matrix, a few columns at a time, so that no line is over 100 columns."""
    from interp import terminal

    many = max(1, (_WIDTH - _NAME - 2) // (_CELL + 2))
    for start in range(0, len(columns), many):
        part = range(start, min(start + many, len(columns)))
        heads = ["", *("\n".join(_folded(columns[j], _CELL)) for j in part)]
        lines = [
            ("\n".join(_folded(name, _NAME)), *(cell(i, j) for j in part))
            for i, name in enumerate(rows)
        ]
        made: Table = terminal.table(heads, lines)
        terminal.show(textwrap.fill(title + (" (continued)" if start else ""), _WIDTH))
        out.print(made)


def _folded(text: str, width: int) -> list[str]:
    """Lines of a name, broken at spaces, underscores, slashes and dashes where it can be."""
    lines = [""]
    for piece in re.findall(r"\s*[^\s_/-]+[_/-]*|\s*[_/-]+", text):
        if lines[-1] and len(lines[-1]) + len(piece) > width:
            lines.append(piece.lstrip())
        else:
            lines[-1] += piece
    return [part for line in lines for part in textwrap.wrap(line, width) or [line]]
