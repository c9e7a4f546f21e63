"""Measuring a probe on statements that it was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np

from interp.models import Model
from probes.activations import extract_sites
from probes.cache import ActivationCache
from probes.comparison import text_scores, yardsticks
from probes.data import DataError, StatementSet
from probes.probe import Probe, ProbeError
from probes.seen import trained_on
from probes.training import measure, notes


def evaluate(
    probe: Probe,
    model: Model,
    data: StatementSet,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> dict[str, Any]:
    """Measure a probe on other statements, those that it was fitted to left out and counted.

    A statement that it was fitted to in another framing is left out too.

    Args:
        probe: The probe.
        model: Its model.
        data: The statements.
        seed: Of the bootstrap.
        batch_size: Statements at a time, halved on out-of-memory; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Returns:
        ``held_out`` and ``baselines`` as in a probe's metrics, ``n_trained_on``, ``skipped`` and
        ``notes``.

    Raises:
        ProbeError: it is another model's probe, or was not made by ``train``.
        DataError: too little is left of the statements.
    """
    probe.check(fingerprint=model.fingerprint, model=model.spec.name)
    fitted = probe.metrics.get("train", {})
    length_sign = fitted.get("length_sign")
    if length_sign not in (1, -1):
        raise ProbeError(
            "this probe does not say which label was longer in training; train it anew"
        )
    new = np.flatnonzero(~trained_on(data, probe.training_rows))
    unseen = data.select(new)
    _require_both(unseen, data, len(data) - len(new))
    found = extract_sites(
        model,
        unseen,
        sites=[probe.site],
        position=probe.position,
        batch_size=batch_size,
        cache=cache,
    )
    (activations,) = found.at.values()
    left = len(unseen) - len(found.data)
    if len(set(found.data.labels)) < 2:
        raise DataError(
            f"{data.name}: {left} statements cannot be read, and the others have one label only: "
            f"{'; '.join(found.skipped)}"
        )
    scores = activations.by_statement(probe.scores(activations)).numpy().astype(np.float64)
    lengths = activations.statement_lengths.numpy().astype(np.float64)
    held_out = measure(scores, lengths, found.data, length_sign=length_sign, seed=seed)
    # By all statements given, as in training; scored on those that the probe is scored on.
    where = {place: i for i, place in enumerate(data.row_hashes)}
    rows = np.array([where[row] for row in found.data.row_hashes], dtype=np.intp)
    compared = yardsticks(
        text_scores(data, seed=seed).select(rows),
        found.data,
        signs=fitted.get("signs", {}),
        seed=seed,
    )
    return {
        "held_out": held_out,
        "baselines": compared.against(scores, found.data, seed=seed),
        "n_trained_on": len(data) - len(new),
        "skipped": {reason: list(places) for reason, places in found.skipped.items()},
        "notes": notes(data),
    }


def _require_both(unseen: StatementSet, data: StatementSet, n_known: int) -> None:
    if len(set(unseen.labels)) < 2:
        raise DataError(
            f"{data.name}: the probe was fitted to {n_known} of its {len(data)} "
            f"statements, and the {len(unseen)} others do not have both labels; give statements "
            "it has not seen"
        )
