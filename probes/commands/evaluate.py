"""``probes eval``: measure a probe on statements it was not fitted to."""

from __future__ import annotations

from collections.abc import Sequence

from interp.configs import overlay
from interp.flags import parse_fields
from probes.commands.arguments import load_named, probe_first, read_all
from probes.settings import EvalSettings


def evaluate_probe(args: Sequence[str]) -> int:
    """``probes eval PROBE``: measure a probe on other statements."""
    what = "Measure a probe on statements it was not fitted to."
    folder, rest = probe_first(args, "eval", EvalSettings, description=what)
    asked: EvalSettings = parse_fields(
        EvalSettings,
        overlay(EvalSettings),
        rest,
        options=(),
        prog="probes eval PROBE",
        description=what,
    )
    from interp import terminal

    with terminal.logging_shown():
        data = read_all(asked.data, format=asked.format, group=asked.group)
        if asked.framing is not None:
            from probes.data import framed

            data = framed(data, asked.framing, seed=asked.seed)
        from probes import report
        from probes.cache import activation_cache
        from probes.evaluation import evaluate
        from probes.selection import Trained

        trained = Trained.load(folder)
        probe = trained.best
        cache = activation_cache(asked.cache, limit_gib=asked.cache_gib)
        revision = probe.revision if asked.model in (None, probe.model) else None
        model = load_named(asked.model or probe.model, asked.device, probe.dtype, revision)
        found = evaluate(
            probe, model, data, seed=asked.seed, batch_size=asked.batch_size, cache=cache
        )
    notes = [*found["notes"], *report.skipped_notes(found["skipped"])]
    notes += [*found["baselines"]["notes"], *report.few_groups(found["held_out"])]
    if data.report is not None:
        notes += [note for note in data.report.remarks() if "repeated statement" not in note]
    if found["n_trained_on"]:
        notes.append(f"{found['n_trained_on']} statements it was fitted to are left out")
    if len(trained.probes) > 1:
        notes.append(
            f"the folder holds {len(trained.probes)} probes, of which training chose this one; "
            f"for another give its folder, such as {folder / trained.names[0]}"
        )
    terminal.show(
        report.as_text(
            [
                ("probe", str(folder)),
                ("site", f"{probe.site} of {probe.model}, {probe.method}"),
                ("data", data.name),
                *report.measured_lines(found["held_out"]),
                *report.baseline_lines(found["baselines"]),
            ],
            notes=notes,
            closing=report.conclusion(found["held_out"], None, found["baselines"]),
        )
    )
    return 0
