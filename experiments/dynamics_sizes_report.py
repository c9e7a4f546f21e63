"""What trainings on less data leave behind: tables, figures, numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from experiments.dynamics_decays import TIME
from experiments.dynamics_sizes import CONTINUED, SCRATCH

if TYPE_CHECKING:
    from experiments.dynamics import Config
    from experiments.dynamics_decays import Decays
    from experiments.dynamics_sizes import Sizes
    from interp.fourier.dynamics import SeedRatio
    from interp.runs import Run


def save_sizes(config: Config, run: Run, decays: Decays) -> None:
    """Save the table of trainings, and the figures."""
    import pandas as pd

    from experiments.dynamics_decays import by_seed
    from interp.plots.dynamics import across_decays, data_sizes

    rows = [
        {"weight_decay": decay, **row, "settled_between": settled(row)}
        for decay, sizes in decays.by_decay.items()
        for row in sizes.rows
    ]
    run.save_table("sizes", pd.DataFrame(rows))
    task = f"a + b mod {config.p}"
    own = decays.by_decay[config.weight_decay]
    run.save_figure(
        "sizes",
        data_sizes(
            _accuracies(own),
            sizes=config.sizes,
            critical={way: None if one is None else one.size for way, one in own.critical.items()},
            title=f"{task}: how much data",
        ),
    )
    if not decays.ratios:
        return
    run.save_figure(
        "decays",
        across_decays(
            {
                what: {decay: by_seed(sizes)[what] for decay, sizes in decays.by_decay.items()}
                for what in (TIME, SCRATCH, CONTINUED)
            },
            labels={
                TIME: TIME,
                SCRATCH: f"critical size {SCRATCH}",
                CONTINUED: f"critical size {CONTINUED}",
            },
            title=f"{task}: what weight decay changes",
        ),
    )


def settled(row: dict[str, Any]) -> bool:
    """Whether a training stands still between knowing nothing and all.

    It ends with 10 to 90 % of the pairs never trained on right, and had as many to within 10 points
    a quarter of its steps before. From scratch that is semi-grokking.
    """
    end, before = row["never_trained_accuracy"], row["earlier_accuracy"]
    return _middling(row) and abs(end - before) < 0.1


def numbers_of(config: Config, decays: Decays) -> dict[str, Any]:
    """For the metrics: critical sizes at the study's weight decay, and ratios of others to it."""
    sizes = decays.by_decay[config.weight_decay]
    found = sizes.critical.items()
    return {
        "critical_size": {way: None if one is None else one.size for way, one in found},
        "critical_interval": {
            way: None if one is None or one.interval is None else list(one.interval)
            for way, one in found
        },
        "critical_between": {
            way: None if one is None or one.between is None else list(one.between)
            for way, one in found
        },
        "accuracy_before_less_data": sizes.grokked,
        "steps_to_grok": sizes.learnt_at,
        "settled_between": sum(settled(row) for row in sizes.rows if row["way"] == SCRATCH),
        "weight_decays": {
            f"{decay:g}": {
                what: {
                    "ratio": one.ratio,
                    "interval": None if one.interval is None else list(one.interval),
                    "seeds": one.n,
                }
                for what, one in ratios.items()
            }
            for decay, ratios in decays.ratios.items()
        },
    }


def said_of(config: Config, decays: Decays) -> str:
    """How much data it takes, and what weight decay changes about that, in plain words."""
    own = decays.by_decay[config.weight_decay]
    parts = [
        f"at {decay:g}: "
        + ", ".join(f"{_label(what)} {_times(one)}" for what, one in ratios.items())
        for decay, ratios in decays.ratios.items()
    ]
    if not parts:
        return _said_of_sizes(own)
    return (
        f"{_said_of_sizes(own)} Other weight decays, over the same seeds at "
        f"{config.weight_decay:g}: {'; '.join(parts)}. {_verdict(decays)}"
    )


def _said_of_sizes(sizes: Sizes) -> str:
    parts = []
    for way, one in sizes.critical.items():
        if one is None:
            parts.append(f"{way}: no model had grokked, so none went on")
            continue
        if one.size is None:
            parts.append(f"{way}: not within the sizes tried, {one.reason}")
            continue
        around = (
            f" ({one.reason})"
            if one.interval is None
            else f" [{one.interval[0]:.0f}, {one.interval[1]:.0f}]"
        )
        assert one.between is not None
        parts.append(
            f"{way}: {one.size:.0f} pairs{around}, {len(one.by_seed)} seeds, all between "
            f"{one.between[0]:.0f} and {one.between[1]:.0f}"
        )
    grown = sum(row["way"] == CONTINUED for row in sizes.rows) // len(
        {row["size"] for row in sizes.rows}
    )
    scratch = [row for row in sizes.rows if row["way"] == SCRATCH]
    middling = [row for row in scratch if _middling(row)]
    still = sum(settled(row) for row in middling)
    return (
        f"Half of the never-trained pairs right: {'; '.join(parts)}. {grown} of "
        f"{len(sizes.grokked)} models had grokked and went on. {len(middling)} of {len(scratch)} "
        f"trainings from scratch end between 10 and 90 %, {still} of them having stood still for a "
        "quarter of their steps (semi-grokking), the others still moving. With finitely many steps "
        "these are sizes for so many steps: from scratch more would do with less data."
    )


def _middling(row: dict[str, Any]) -> bool:
    return bool(0.1 < row["never_trained_accuracy"] < 0.9)


def _accuracies(sizes: Sizes) -> dict[str, list[list[float]]]:
    """Held-out accuracies by way: seeds by sizes."""
    found: dict[str, dict[int, list[float]]] = {}
    for row in sizes.rows:
        by_seed = found.setdefault(row["way"], {})
        by_seed.setdefault(row["seed"], []).append(row["never_trained_accuracy"])
    return {way: list(by_seed.values()) for way, by_seed in found.items()}


def _label(what: str) -> str:
    return what if what == TIME else f"the critical size {what}"


def _times(one: SeedRatio) -> str:
    if one.ratio is None:
        return "not to be had of any seed"
    if one.interval is None:
        why = "one seed" if one.n == 1 else "looks too far apart for an interval"
        return f"× {one.ratio:.2f} ({why})"
    return f"× {one.ratio:.2f} [{one.interval[0]:.2f}, {one.interval[1]:.2f}]"


def _verdict(decays: Decays) -> str:
    """Which of time and critical size changes with weight decay."""
    changed = {
        what: [
            one.interval is not None and not one.interval[0] <= 1 <= one.interval[1]
            for one in (ratios[what] for ratios in decays.ratios.values())
        ]
        for what in (TIME, SCRATCH, CONTINUED)
    }
    said = (
        "The time to grok changes"
        if any(changed[TIME])
        else "No change of the time to grok is shown"
    )
    for way in (SCRATCH, CONTINUED):
        said += f"; the critical size {way} "
        said += "changes as well" if any(changed[way]) else "is not shown to change"
    return (
        f"{said} (95 % intervals over seeds, all decays together; steps to within a look, sizes "
        "interpolated)."
    )
