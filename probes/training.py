"""Training a probe and saying how far it can be trusted, on statements it was not fitted to."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from interp.configs import near
from interp.evidence import rank_p_value
from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Model
from probes.activations import Activations, Position, checked_site, extract
from probes.data import DataError, StatementSet
from probes.data.split import group_split, shuffled_labels
from probes.fit import METHODS, FitError, Method, NoDirectionError
from probes.measures import CONFIDENCE, auroc, auroc_interval, auroc_lead
from probes.probe import Probe, ProbeError

Scores = npt.NDArray[np.float64]

# Fewer shuffles have no 95th percentile short of their largest.
FEWEST_SHUFFLES = 19


def train(
    model: Model,
    data: StatementSet,
    *,
    site: Site | str,
    method: Method = "mass-mean",
    position: Position | str = "last",
    held_out: float = 0.3,
    n_shuffles: int = 20,
    seed: int = 0,
    batch_size: int = 32,
) -> Probe:
    """Fit a probe to most of the statements and measure it on the others.

    Args:
        model: The model.
        data: The statements, with groups where they are bound together.
        site: Where to read, such as ``L6.resid_post``.
        method: ``mass-mean`` or ``logistic``.
        position: Which token: ``last``, or an index, negative from the end.
        held_out: Share of the statements kept for measuring; no group is on both sides.
        n_shuffles: Refits for the null, with the labels shuffled on both sides of the split.
        seed: Of the split, the shuffles and the bootstrap.
        batch_size: Rows at a time; halved on out-of-memory.

    Returns:
        The probe; its ``metrics`` hold ``train``, ``held_out``, ``null`` and ``notes``.

    Raises:
        DataError: the statements cannot be split or read as asked.
        SiteError: no such site.
        FitError: no direction can be fitted.
    """
    checked_site(model, site)
    _check_settings(method, n_shuffles)
    group_split(data.y, data.groups, held_out=held_out, seed=seed, name=data.name)  # fail early
    activations = extract(model, data, site=site, position=position, batch_size=batch_size)
    return fit_probe(
        activations, data, method=method, held_out=held_out, n_shuffles=n_shuffles, seed=seed
    )


def fit_probe(
    activations: Activations,
    data: StatementSet,
    *,
    method: Method = "mass-mean",
    held_out: float = 0.3,
    n_shuffles: int = 20,
    seed: int = 0,
) -> Probe:
    """``train``, from activations that are there already, one a statement.

    Raises:
        DataError: activations and statements differ in number, or cannot be split.
        FitError: no direction can be fitted.
    """
    _check_settings(method, n_shuffles)
    if len(activations) != len(data):
        raise DataError(f"{len(data)} statements need as many activations, got {len(activations)}")
    chosen, out = group_split(data.y, data.groups, held_out=held_out, seed=seed, name=data.name)
    known, new = data.select(chosen), data.select(out)
    x, x_new = activations.values[chosen], activations.values[out]
    lengths = _numbers(activations.lengths)
    rule = METHODS[method](x, known.y)
    known_scores, scores = _numbers(rule.scores(x)), _numbers(rule.scores(x_new))

    rng = np.random.default_rng((seed, 1))
    null = []
    with progress("shuffled labels", total=n_shuffles) as advance:
        for _ in range(n_shuffles):
            # Held-out labels too: against the true ones, a chance leaning of the direction along
            # the axis of greatest variance would score as high as the signal where that axis is it.
            wrong = shuffled_labels(known.y, known.groups, rng=rng)
            wrong_new = shuffled_labels(new.y, new.groups, rng=rng)
            try:
                null.append(auroc(_numbers(METHODS[method](x, wrong).scores(x_new)), wrong_new))
            except NoDirectionError:
                null.append(0.5)
            advance(1)

    length_auroc = auroc(lengths[chosen], known.y)
    length_sign = 1 if length_auroc >= 0.5 else -1
    measured = measure(scores, lengths[out], new, length_sign=length_sign, seed=seed)
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
        metrics={
            "train": {
                "n": len(known),
                "n_label_1": int(known.y.sum()),
                "n_groups": len(set(known.groups)),
                "auroc": auroc(known_scores, known.y),
                "accuracy": float(((known_scores > 0) == known.y).mean()),
                "length_sign": length_sign,
            },
            "held_out": measured,
            "null": {
                "aurocs": null,
                "mean": float(np.mean(null)),
                "percentile_95": float(np.quantile(null, 0.95)),
                "p_value": rank_p_value(measured["auroc"], null),
            },
            "notes": notes(data),
        },
        training_rows=known.row_hashes,
        dtype=activations.dtype,
        revision=activations.revision,
        scale=rule.scale,
    )


def evaluate(
    probe: Probe, model: Model, data: StatementSet, *, seed: int = 0, batch_size: int = 32
) -> dict[str, Any]:
    """Measure a probe on other statements, those that it was fitted to left out and counted.

    Args:
        probe: The probe.
        model: Its model.
        data: The statements.
        seed: Of the bootstrap.
        batch_size: Rows at a time; halved on out-of-memory.

    Returns:
        ``held_out`` as in a probe's metrics, ``n_trained_on``, and ``notes``.

    Raises:
        ProbeError: it is another model's probe, or was not made by ``train``.
        DataError: too little is left of the statements.
    """
    probe.check(fingerprint=model.fingerprint, model=model.spec.name)
    length_sign = probe.metrics.get("train", {}).get("length_sign")
    if length_sign not in (1, -1):
        raise ProbeError(
            "this probe does not say which label was longer in training; train it anew"
        )
    known = set(probe.training_rows)
    new = [i for i, row in enumerate(data.row_hashes) if row not in known]
    unseen = data.select(new)
    if len(set(unseen.labels)) < 2:
        raise DataError(
            f"{data.name}: the probe was fitted to {len(data) - len(new)} of its {len(data)} "
            f"statements, and the {len(new)} others do not have both labels; give statements it "
            "has not seen"
        )
    found = extract(model, unseen, site=probe.site, position=probe.position, batch_size=batch_size)
    return {
        "held_out": measure(
            _numbers(probe.scores(found)),
            _numbers(found.lengths),
            unseen,
            length_sign=length_sign,
            seed=seed,
        ),
        "n_trained_on": len(data) - len(new),
        "notes": notes(data),
    }


def measure(
    scores: Scores, lengths: Scores, data: StatementSet, *, length_sign: int, seed: int
) -> dict[str, Any]:
    """Numbers for scores of statements that the probe was not fitted to.

    Args:
        scores: One a statement, above zero for label 1 by the training threshold.
        lengths: Number of tokens of each statement.
        data: The statements.
        length_sign: 1 if label 1 was longer in training, else −1.
        seed: Of the bootstrap.
    """
    y, groups = data.y, data.groups
    low, high = auroc_interval(scores, y, groups, seed=seed)
    lead_low, lead_high = auroc_lead(scores, length_sign * lengths, y, groups, seed=seed)
    return {
        "n": len(data),
        "n_label_1": int(y.sum()),
        "n_groups": len(set(groups)),
        "auroc": auroc(scores, y),
        "auroc_low": low,
        "auroc_high": high,
        "confidence": CONFIDENCE,
        "accuracy": float(((scores > 0) == y).mean()),
        "majority": float(max(y.mean(), 1 - y.mean())),
        "length_auroc": auroc(length_sign * lengths, y),
        "lead_over_length_low": lead_low,
        "lead_over_length_high": lead_high,
    }


def notes(data: StatementSet) -> list[str]:
    """What a reader of the numbers should know about the statements."""
    said = []
    if not data.grouped:
        said.append(
            "no groups were given, so every statement counts as independent; if some belong "
            "together (a claim and its negation, one question), name the column that says so "
            "(--group), or the split leaks"
        )
    if data.n_duplicates:
        said.append(f"{data.n_duplicates} repeated statements left out")
    return said


def _check_settings(method: str, n_shuffles: int) -> None:
    if method not in METHODS:
        raise FitError(f"unknown method {method!r}; {near(method, METHODS)}")
    if n_shuffles < FEWEST_SHUFFLES:
        raise FitError(
            f"{n_shuffles} shuffles have no 95th percentile; expected at least {FEWEST_SHUFFLES}"
        )


def _numbers(values: Any) -> Scores:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
