"""Trained probes on the terminal: a table of all, and the whole report of the chosen one."""

from __future__ import annotations

from interp import terminal
from probes import report
from probes.selection import Trained


def show_trained(trained: Trained) -> None:
    """Write a table of the probes, where there are several, and the report of the chosen one.

    Args:
        trained: One or more.
    """
    if len(trained.probes) > 1:
        rows = [
            (
                f"{'*' if i == trained.chosen else ' '} {name}",
                f"{probe.metrics['selection']['auroc']:.3f}",
                f"{held['auroc']:.3f} [{held['auroc_low']:.3f}, {held['auroc_high']:.3f}]",
                report.verdict(probe.metrics),
            )
            for i, (name, probe) in enumerate(zip(trained.names, trained.probes, strict=True))
            for held in [probe.metrics["held_out"]]
        ]
        heads = ("probe", "cross-validated AUROC", "held-out AUROC", "verdict")
        terminal.console().print(terminal.table(heads, rows))
        terminal.show(
            "* does best in cross-validation on the training statements, and is shown below. The\n"
            "verdicts of the others are not corrected for their number.\n"
        )
    for name, why in trained.failed:
        terminal.show(f"Note: no probe {name}: {why}.\n")
    probe = trained.best
    lines = report.probe_lines(probe)
    more, remarks = report.reading_lines(probe.metrics)
    lines += more
    notes = [*probe.metrics.get("notes", ()), *remarks]
    closing = None
    if (held_out := probe.metrics.get("held_out")) is not None:
        null, baselines = probe.metrics.get("null"), probe.metrics.get("baselines")
        lines += report.measured_lines(held_out, null)
        if baselines is not None:
            lines += report.baseline_lines(baselines)
            notes += baselines["notes"]
        notes += report.few_groups(held_out)
        closing = report.conclusion(held_out, null, baselines)
    terminal.show(report.as_text(lines, closing=closing, notes=notes))
