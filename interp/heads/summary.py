"""What came of removing heads, in plain sentences."""

from __future__ import annotations

from collections.abc import Mapping

from interp.evidence import EvidenceTable


def describe_load(
    table: EvidenceTable, *, kind: str, gain: float, alone: Mapping[str, float], able: bool = True
) -> str:
    """Say what the target's removal cost, beside what, and what each of its heads costs alone.

    Args:
        table: The evidence; the target's rows first, one a family of controls.
        kind: What took the heads' place, such as ``mean``.
        gain: What there was to lose: the loss on the first repeat minus that on the second.
        alone: The effect of removing each of the target's heads alone, by name.
        able: Whether the model can do the task; where it cannot, no verdict is told.
    """
    row = table[0]
    share = (
        ""
        if row.share is None
        else f", {round(row.share, 2) + 0.0:.0%} of the {gain:.3g} by which the second repeat is "
        "easier than the first"
    )
    said = (
        f"Load: removing {row.subject} ({kind} ablation) adds {row.effect:.3g} {row.units} a token "
        f"to the loss on repeats ({row.interval[0]:.3g} to {row.interval[1]:.3g}){share}."
    )
    for same in (r for r in table if r.subject == row.subject):
        match = "" if same.control_match is None else f" ({same.control_match})"
        said += (
            f" Beside {len(same.controls)} {same.control_family} sets{match}, which cost "
            f"{max(same.controls):.2g} at most"
        )
        if same.null_effects != same.controls:
            said += (
                f", and {len(same.null_effects)} that may share heads with it, "
                f"{max(same.null_effects):.2g} at most"
            )
        verdict = f", {same.verdict}" if able else ""
        said += f": p {same.p_value:.2g} (smallest attainable {same.p_smallest:.2g}){verdict}."
    if len(alone) > 1:
        costs = ", ".join(f"{name} costs {effect:.3g}" for name, effect in alone.items())
        said += f" Removed alone, {costs}."
    return said
