"""``probes data``: the statement sets and formats there are, or what a source holds."""

from __future__ import annotations

from collections.abc import Sequence

from interp.flags import LineParser
from probes.commands.arguments import read_all


def show_data(args: Sequence[str]) -> int:
    """``probes data [SOURCE]``: the sets and formats there are, or what a source holds."""
    parser = LineParser(
        prog="probes data",
        description="List the project's own statement sets and the formats that are read; or read "
        "a source and say what was left out, and what length and words alone tell of its labels.",
    )
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="as for probes train --data")
    parser.add_argument("--format", help="the format, if it is not found by itself")
    parser.add_argument("--group", help="the column that binds statements, if not called group")
    asked = parser.parse_args(list(args))
    from interp import terminal

    if asked.source is not None:
        data = read_all((asked.source,), format=asked.format, group=asked.group)
        from probes import report
        from probes.data import baselines

        told = baselines(data)
        lines = [("data", str(data.report).partition("; ")[0])]
        lines += [(r.name, f"AUROC {r.auroc:.3f} [{r.low:.3f}, {r.high:.3f}]") for r in told.rows]
        notes = [*(data.report.remarks() if data.report is not None else ()), *told.remarks()]
        terminal.show(report.as_text(lines, closing=None, notes=notes, caution=False))
        return 0
    from probes.data import FORMATS, set_table

    sets = [
        (f"set:{name}", about, statements, pairs, groups)
        for name, about, statements, pairs, groups in set_table().itertuples(index=False)
    ]
    out = terminal.console()
    out.print("The project's own statement sets; label 1 is true:")
    out.print(terminal.table(("--data", "about", "statements", "pairs", "groups"), sets))
    out.print("Formats of files, found by their columns or named by --format:")
    rows = [(name, one.about) for name, one in FORMATS.items()]
    out.print(terminal.table(("--format", "columns or keys"), rows))
    return 0
