"""What the grokking study leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.grokking import Config
    from experiments.grokking_measuring import Found
    from interp.evidence import EvidenceTable
    from interp.fourier import ModularReading, Phases
    from interp.runs import Run


def save(config: Config, run: Run, found: Found) -> None:
    """Save tables, tensors, figures and metrics."""
    _save_tables(run, found)
    _save_figures(config, run, found)
    run.save_metrics(_metrics(config, found))


def table_of(run: Run) -> Any:
    """The evidence of a finished run, or None where no frequency was removed."""
    from interp.evidence import EvidenceTable, read_evidence

    if not run.metrics["verdicts"]:
        return None
    return EvidenceTable(read_evidence(run.table("evidence")))


def _save_tables(run: Run, found: Found) -> None:
    import pandas as pd

    from interp.evidence import evidence_frame

    reading = found.reading
    assert reading.spectra is not None and reading.neurons is not None
    keys = set(reading.key_frequencies or ())
    parts = reading.components
    best = reading.neurons.frequency[reading.neurons.alive].tolist()
    removed = {} if reading.progress is None else reading.progress.excluded_each
    run.save_table("evidence", evidence_frame(found.table or ()))
    run.save_table(
        "frequencies",
        pd.DataFrame(
            {
                "frequency": k,
                "key": k in keys,
                "cos_fve": float(parts.cos_fve[k - 1]),
                "alpha": float(parts.alpha[k - 1]),
                "pair_fve": float(parts.pair_fve[k - 1]),
                "embedding_power": float(reading.spectra.embedding.power[k - 1]),
                "readout_power": float(reading.spectra.readout.power[k - 1]),
                "neurons": best.count(k),
                "excluded_alone": _judged(removed[k], "excluded") if k in removed else None,
            }
            for k in range(1, reading.p // 2 + 1)
        ),
    )
    if found.history is not None:
        run.save_table("history", found.history)
    run.save_tensors(
        {
            "neuron frequency": reading.neurons.frequency,
            "neuron fve": reading.neurons.fve,
            "head power": reading.spectra.heads,
        }
    )


def _save_figures(config: Config, run: Run, found: Found) -> None:
    from interp.plots.fourier import frequency_bars, grokking

    reading, history = found.reading, found.history
    assert reading.spectra is not None
    if history is not None:
        losses = {"train": history["train_loss"], "test": history["test_loss"]}
        if reading.key_frequencies is not None:
            losses |= {
                "restricted (key frequencies alone), test": history["restricted_loss"],
                "excluded (without them), train": history["excluded_loss"],
            }
        phases = found.phases
        run.save_figure(
            "grokking",
            grokking(
                history["step"],
                losses,
                gini={
                    "embedding W_E": history["gini_embedding"],
                    "readout W_out W_U": history["gini_readout"],
                },
                sum_of_squares=history["sum_of_squares"],
                phases=[] if phases is None else [at for at in _turns(phases) if at is not None],
                n_answers=reading.p,
                grokked_at=_reached(found),
                title=f"a + b mod {reading.p}: progress measures over training",
            ),
        )
    shuffled = {"logits": reading.shuffled_max}
    shuffled["embedding"] = float(reading.spectra.embedding.null_max.max())
    shuffled["readout"] = float(reading.spectra.readout.null_max.max())
    run.save_figure(
        "frequencies",
        frequency_bars(
            {
                "logits": reading.components.cos_fve.numpy(),
                "readout": reading.spectra.readout.power.numpy(),
                "embedding": reading.spectra.embedding.power.numpy(),
            },
            y_label="share of variance",
            keys=reading.key_frequencies or (),
            nulls=shuffled,
            null_label="largest in any shuffled order",
            title=f"{_name(config)}: key frequencies {_keys(reading)}",
        ),
    )


def _metrics(config: Config, found: Found) -> dict[str, Any]:
    """Headline numbers, and what they mean in plain words."""
    reading, phases = found.reading, found.phases
    assert reading.spectra is not None and reading.neurons is not None
    measured, keys = reading.progress, reading.key_frequencies
    verdicts: dict[str, dict[str, str]] = {}
    for row in found.table or ():
        verdicts.setdefault(row.subject, {})[row.control_family] = row.verdict
    return {
        "p": reading.p,
        "grokked": reading.grokked,
        "reason": reading.reason,
        "train_accuracy": reading.accuracy.train,
        "test_accuracy": reading.accuracy.test,
        "unseen_accuracy": reading.accuracy.unseen,
        "unseen_pairs": reading.accuracy.n_unseen,
        "accuracy": reading.accuracy.all,
        "steps_to_99_percent": _reached(found),
        "key_frequencies": None if keys is None else list(keys),
        "keys_suffice": None if measured is None else measured.suffices,
        "cos_fve": reading.components.total,
        "restricted_loss": None if measured is None else _judged(measured.restricted, "restricted"),
        "excluded_loss": None if measured is None else _judged(measured.excluded, "excluded"),
        "gini_embedding": reading.spectra.embedding.gini,
        "gini_readout": reading.spectra.readout.gini,
        "readout_power_in_keys": None if keys is None else reading.spectra.readout.share(keys),
        "neurons_above_85_percent": reading.neurons.share(),
        "neuron_fve": reading.neurons.mean_fve,
        "sum_of_squares": reading.sum_of_squares,
        "circuit_formation_from": None if phases is None else phases.circuit_from,
        "cleanup_from": None if phases is None else phases.cleanup_from,
        "phases_known_within": None if phases is None else phases.within,
        "no_phases": None if phases is None else phases.reason,
        "verdicts": verdicts,
        "headline": _headline(reading),
        "conclusion": _conclusion(config, found),
    }


def _reached(found: Found) -> int | None:
    """The first look with 99 % of the held-out pairs right; None where there was none."""
    if found.history is None:
        return None
    sure = found.history["step"][found.history["test_accuracy"] >= 0.99]
    return int(sure.iloc[0]) if len(sure) else None


def _turns(phases: Phases) -> tuple[int | None, int | None]:
    return phases.circuit_from, phases.cleanup_from


def _judged(losses: Any, which: str) -> float:
    """The published choice of pairs, or all where it is not known which were trained on."""
    chosen = losses.train if which == "excluded" else losses.test
    return float(losses.all if chosen is None else chosen)


def _name(config: Config) -> str:
    return config.weights or f"a + b mod {config.p}"


def _keys(reading: ModularReading) -> str:
    return ", ".join(map(str, reading.key_frequencies or ())) or "none"


def _headline(reading: ModularReading) -> str:
    if not reading.grokked:
        return reading.reason
    if reading.progress is not None and not reading.progress.suffices:
        return f"grokked: {reading.reason}"
    return f"grokked; key frequencies {_keys(reading)}, cosFVE {reading.components.total:.2f}"


def _conclusion(config: Config, found: Found) -> str:
    reading = found.reading
    known = reading.accuracy.test is not None
    said = f"{_name(config)}: {reading.reason}."
    if not known:
        said += " Which pairs it was trained on is not known, so all measures are over all pairs."
    if not reading.grokked:
        return f"{said} So no frequency is called key, and there is nothing to remove."
    if reading.key_frequencies is None or reading.progress is None:
        return f"{said} It is right by other means than few frequencies: by table, perhaps."
    restricted = _judged(reading.progress.restricted, "restricted")
    excluded = _judged(reading.progress.excluded, "excluded")
    full = _judged(reading.progress.full, "restricted")
    on, of = ("held-out", "training") if known else ("all", "all")
    said += (
        f" Signature: {len(reading.key_frequencies)} of {reading.p // 2} frequencies stand out "
        f"({_keys(reading)}); cosines of them are a share of {reading.components.total:.2g} of the "
        f"logits' variance (at most {reading.shuffled_max:.1g} for any frequency in shuffled "
        "order). Load: "
        f"with these frequencies alone the loss on {on} pairs is {restricted:.2g} nats (the "
        f"model's own {full:.2g}); without them, {excluded:.3g} on {of} pairs."
    )
    if found.table is not None:
        said += f" Removed from the logits,{_told(found.table)}."
    if found.phases is not None and found.phases.reason is not None:
        said += f" No phases are told apart: {found.phases.reason}."
    elif found.phases is not None:
        said += (
            f" Phases: memorisation to step {found.phases.circuit_from}, circuit formation to "
            f"{found.phases.cleanup_from}, then cleanup (steps known to within "
            f"{found.phases.within}, the interval between looks)."
        )
    return said


def _told(table: EvidenceTable) -> str:
    """What removing each frequency from the logits costs, beside random planes and others."""
    beside = {"random-plane": "random planes", "random-frequency": "other frequencies"}
    rows = [row for row in table if row.subject.endswith(" at logits")]
    parts = []
    for subject in dict.fromkeys(row.subject for row in rows):
        own = [row for row in rows if row.subject == subject]
        verdicts: dict[str, list[str]] = {}
        for row in own:
            verdicts.setdefault(row.verdict, []).append(beside[row.control_family])
        said = ", ".join(f"{v} beside {' and '.join(which)}" for v, which in verdicts.items())
        parts.append(
            f" {subject.removesuffix(' at logits')} costs {own[0].effect:.3g} nats ({said})"
        )
    said = ";".join(parts)
    short = [row for row in table if row.verdict == "underpowered"]
    if short:
        said += (
            f". {len(short)} of {len(table)} comparisons are underpowered: the frequency cost more "
            "than every other one, but there are too few others to say so at the level asked for"
        )
    return said
