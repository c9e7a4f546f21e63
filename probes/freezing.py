"""From a fitted rule to a probe: with it, where and on what it was fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.activations import Activations
from probes.card import ProbeError
from probes.data import StatementSet
from probes.fit.rule import LinearRule, NetRule
from probes.probe import Probe
from probes.seen import training_hashes


def freeze(
    rule: LinearRule | NetRule,
    activations: Activations,
    data: StatementSet,
    *,
    method: str,
    rows: Sequence[int] | npt.NDArray[np.integer] | None = None,
    seed: int = 0,
    metrics: Mapping[str, Any] | None = None,
) -> Probe:
    """Return the rule as a probe.

    Args:
        rule: What was fitted.
        activations: Of the statements; they know their model, site and position.
        data: The statements, those held out included.
        method: How the rule was fitted.
        rows: The statements it was fitted to; None for all.
        seed: Of the split and whatever else was drawn.
        metrics: What was measured, as plain values.

    Raises:
        ProbeError: activations, statements and rule do not belong together.
    """
    if activations.n_statements != len(data):
        raise ProbeError(
            f"{len(data)} statements need as many activations: {activations.n_statements}"
        )
    if activations.values.shape[1] != len(rule.direction):
        raise ProbeError(
            f"the rule was fitted to {len(rule.direction)} numbers a row, these activations "
            f"have {activations.values.shape[1]}"
        )
    fitted = data if rows is None else data.select(rows)
    net = rule if isinstance(rule, NetRule) else None
    return Probe(
        direction=rule.direction,
        centre=rule.centre,
        bias=rule.bias,
        site=activations.site,
        position=activations.position,
        method=method,
        model=activations.model,
        fingerprint=activations.fingerprint,
        data=data.name,
        data_hash=data.hash,
        seed=seed,
        metrics=dict(metrics or {}),
        training_rows=training_hashes(fitted),
        dtype=activations.dtype,
        revision=activations.revision,
        scale=rule.scale,
        weights=None if net is None else net.weights,
        biases=None if net is None else net.biases,
        out=None if net is None else net.out,
    )
