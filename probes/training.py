"""Training a probe and saying how far it can be trusted, on statements it was not fitted to."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from interp.evidence import rank_p_value
from interp.hooks import Site
from interp.hooks.progress import progress
from interp.models import Model
from probes.activations import Activations, Position, checked_site, extract_sites
from probes.cache import ActivationCache
from probes.comparison import TextScores, Yardsticks, signs_of, text_scores, yardsticks
from probes.data import DataError, StatementSet, check_split
from probes.data.split import group_split, shuffled_labels
from probes.fit import FitError, LinearRule, NetRule, NoDirectionError, fit_many
from probes.fitting import fit_named, known_method
from probes.freezing import freeze
from probes.measures import CONFIDENCE, auroc, auroc_interval, auroc_lead
from probes.probe import Probe
from probes.steering import natural_gap

Scores = npt.NDArray[np.float64]
Rows = npt.NDArray[np.intp]

# Fewer shuffles have no 95th percentile short of their largest.
FEWEST_SHUFFLES = 19


def train(
    model: Model,
    data: StatementSet,
    *,
    site: Site | str,
    method: str = "mass-mean",
    position: Position = "last",
    held_out: float = 0.3,
    n_shuffles: int = 20,
    seed: int = 0,
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Probe:
    """Fit a probe to most of the statements and measure it on the others.

    Args:
        model: The model.
        data: The statements, with groups where they are bound together.
        site: Where to read, such as ``L6.resid_post``.
        method: One of ``METHODS``, or ``ccs`` (of pairs, without labels) or ``mlp``.
        position: ``last``, ``mean``, ``every``, ``char:N`` or a token's index.
        held_out: Share of the statements kept for measuring; no group is on both sides.
        n_shuffles: Refits for the null, with the labels shuffled on both sides of the split.
        seed: Of the split, the shuffles and the bootstrap.
        batch_size: Statements at a time, halved on out-of-memory; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Returns:
        The probe; its ``metrics`` hold ``train``, ``held_out``, ``null``, ``baselines``, ``data``
        (what reading left out) and ``notes``.

    Raises:
        DataError: the statements cannot be split or read as asked.
        SiteError: no such site.
        FitError: no direction can be fitted.
    """
    checked_site(model, site)
    check_settings(method, n_shuffles)
    split_rows(data, held_out=held_out, seed=seed)  # fail early
    found = extract_sites(
        model, data, sites=[site], position=position, batch_size=batch_size, cache=cache
    )
    (activations,) = found.at.values()
    with progress("shuffled labels", total=n_shuffles) as advance:
        probe = fit_probe(
            activations,
            found.data,
            method=method,
            held_out=held_out,
            n_shuffles=n_shuffles,
            seed=seed,
            text=text_scores(found.data, seed=seed),
            advance=advance,
        )
    return with_reading(probe, found.data, found.skipped)


def fit_probe(
    activations: Activations,
    data: StatementSet,
    *,
    method: str = "mass-mean",
    held_out: float = 0.3,
    n_shuffles: int = 20,
    seed: int = 0,
    text: TextScores | Yardsticks | None = None,
    advance: Callable[[int], None] | None = None,
) -> Probe:
    """``train``, from activations that are there already.

    Args:
        activations: Of the statements.
        data: The statements.
        method: One of ``METHODS``, or ``ccs`` (of pairs, without labels) or ``mlp``.
        held_out: Share of the statements kept for measuring.
        n_shuffles: Refits for the null.
        seed: Of the split, the shuffles and the bootstrap.
        text: What length and words alone tell; None leaves the comparison out.
        advance: Told the number of refits just done.

    Raises:
        DataError: activations and statements differ in number, or cannot be split.
        FitError: no direction can be fitted.
    """
    check_settings(method, n_shuffles)
    if activations.n_statements != len(data):
        raise DataError(
            f"{len(data)} statements need as many activations, got {activations.n_statements}"
        )
    chosen, out = split_rows(data, held_out=held_out, seed=seed)
    known, new = data.select(chosen), data.select(out)
    x, x_new = activations.select(chosen), activations.select(out)
    rule = fit_named(method, x, known, seed=seed)
    known_scores = _numbers(x.by_statement(rule.scores(x.values)))
    scores = _numbers(x_new.by_statement(rule.scores(x_new.values)))
    null = _null(
        rule, x, known, x_new, new, method=method, n=n_shuffles, seed=seed, advance=advance
    )
    lengths = _numbers(activations.statement_lengths)
    length_auroc = auroc(lengths[chosen], known.y)
    length_sign = 1 if length_auroc >= 0.5 else -1
    measured = measure(scores, lengths[out], new, length_sign=length_sign, seed=seed)
    metrics: dict[str, Any] = {
        "train": {
            "n": len(known),
            "n_label_1": int(known.y.sum()),
            "n_groups": len(set(known.groups)),
            "auroc": auroc(known_scores, known.y),
            "accuracy": float(((known_scores > 0) == known.y).mean()),
            "length_sign": length_sign,
            "natural_gap": natural_gap(rule.direction, x.values, x.spread(known.y)),
        },
        "held_out": measured,
        "null": {
            "aurocs": null,
            "mean": float(np.mean(null)),
            "percentile_95": float(np.quantile(null, 0.95)),
            "p_value": rank_p_value(measured["auroc"], null),
        },
        "notes": notes(data),
    }
    if isinstance(text, TextScores):
        signs = signs_of(text.select(chosen), known)
        metrics["train"]["signs"] = signs
        text = yardsticks(text.select(out), new, signs=signs, seed=seed)
    if text is not None:
        metrics["baselines"] = text.against(scores, new, seed=seed)
    return freeze(rule, activations, data, method=method, rows=chosen, seed=seed, metrics=metrics)


def split_rows(data: StatementSet, *, held_out: float, seed: int) -> tuple[Rows, Rows]:
    """Return (rows to train on, rows held out), between which nothing leaks that can be seen.

    Raises:
        DataError: as ``group_split`` and ``check_split``.
    """
    known, new = group_split(data.y, data.groups, held_out=held_out, seed=seed, name=data.name)
    check_split(data, known, new)
    return known, new


def with_reading(probe: Probe, data: StatementSet, skipped: dict[str, tuple[str, ...]]) -> Probe:
    """Return the probe with what reading the statements left out or found odd in its metrics."""
    held = {
        "read": None if data.report is None else data.report.to_dict(),
        "summary": None if data.report is None else str(data.report),
        "remarks": [] if data.report is None else data.report.remarks(),
        "skipped": {reason: list(places) for reason, places in skipped.items()},
    }
    return replace(probe, metrics=dict(probe.metrics) | {"data": held})


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


def check_settings(method: str, n_shuffles: int) -> None:
    """Refuse an unknown method, or too few shuffles.

    Raises:
        FitError: it is one of these.
    """
    known_method(method)
    if n_shuffles < FEWEST_SHUFFLES:
        raise FitError(
            f"{n_shuffles} shuffles have no 95th percentile; expected at least {FEWEST_SHUFFLES}"
        )


def _null(
    rule: LinearRule | NetRule,
    x: Activations,
    known: StatementSet,
    x_new: Activations,
    new: StatementSet,
    *,
    method: str,
    n: int,
    seed: int,
    advance: Callable[[int], None] | None,
) -> list[float]:
    """AUROCs of fits to shuffled labels."""
    rng = np.random.default_rng((seed, 1))
    wrong, judged = [], []
    for _ in range(n):
        # Held-out labels too: against the true ones, a chance leaning of the direction along
        # the axis of greatest variance would score as high as the signal where that axis is it.
        wrong.append(shuffled_labels(known.y, known.groups, rng=rng))
        judged.append(shuffled_labels(new.y, new.groups, rng=rng))
    if method == "logistic":
        # All of them read the same rows: one solve.
        labels = np.stack([x.spread(one) for one in wrong], axis=1)
        (grid,) = fit_many([x.values], labels)
        scores = _numbers(x_new.by_statement(grid.scores(x_new.values)[0]))
        if advance is not None:
            advance(n)
        return [auroc(one, truth) for one, truth in zip(scores, judged, strict=True)]
    if method == "ccs":
        # Labels choose its sign and nothing else.
        before = _numbers(x.by_statement(rule.scores(x.values)))
        after = _numbers(x_new.by_statement(rule.scores(x_new.values)))
        if advance is not None:
            advance(n)
        return [
            auroc(after if auroc(before, one) >= 0.5 else -after, truth)
            for one, truth in zip(wrong, judged, strict=True)
        ]
    found = []
    for one, truth in zip(wrong, judged, strict=True):
        try:
            refit = fit_named(method, x, replace(known, labels=tuple(one.tolist())), seed=seed)
            found.append(auroc(_numbers(x_new.by_statement(refit.scores(x_new.values))), truth))
        except NoDirectionError:
            found.append(0.5)
        if advance is not None:
            advance(1)
    return found


def _numbers(values: Any) -> Scores:
    return np.asarray(values.cpu().numpy(), dtype=np.float64)
