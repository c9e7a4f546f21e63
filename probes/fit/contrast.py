"""Contrast-consistent search: a direction from pairs of a statement and its negation."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from scipy.optimize import minimize
from scipy.special import expit
from torch import Tensor

from probes.fit.rule import (
    FitError,
    Labels,
    LinearRule,
    NoDirectionError,
    Rows,
    checked,
    linear_rule,
    varying,
)

# Keeps the optimum finite where the pairs can be told apart perfectly.
_PENALTY = 1e-3
# The loss of p = ½ for everything, which needs no direction.
_KNOWS_NOTHING = 0.25
_MAX_ITERATIONS = 2000


def ccs(
    activations: Float[Tensor, "row d"],
    labels: Labels,
    pairs: Sequence[Hashable],
    *,
    n_starts: int = 10,
    seed: int = 0,
) -> LinearRule:
    """Contrast-consistent search (Burns et al. 2023, "Discovering Latent Knowledge", eq. 1–3).

    Without labels: the probabilities of a statement and of its negation should add up to one and
    be far from ½, mean[(p⁺ + p⁻ − 1)² + min(p⁺, p⁻)²]. Statements and negations are centred
    apart, so that the negation itself cannot be what is found. The best of several random starts
    is kept; labels choose its sign only.

    Args:
        activations: One row a statement.
        labels: True for label 1. One of each in every pair.
        pairs: One name a row, each on exactly two rows: the statement first, then its negation.
        n_starts: Random starts.
        seed: Seeds the starts.

    Raises:
        FitError: rows that are not pairs, or pairs whose first row always has the same label,
            so that centring would take the labels with it.
        NoDirectionError: no start found more than p = ½ for everything.
    """
    x, _ = checked(activations, labels)
    first, second = pair_rows(pairs, labels)
    if labels[first].all() or not labels[first].any():
        raise FitError(
            "the first statement of every pair has the same label, so that centring statements "
            "and negations apart would take the labels with it; let some pairs begin with a "
            "false statement"
        )
    means = x[first].mean(0), x[second].mean(0)
    plus, minus = x[first] - means[0], x[second] - means[1]
    both = np.concatenate([plus, minus])
    scale = np.where(varying(both), both.std(0), np.inf)
    plus, minus = plus / scale, minus / scale
    rng = np.random.default_rng(seed)
    best: tuple[float, Rows] | None = None
    for _ in range(n_starts):
        start = np.append(rng.normal(size=x.shape[1]) / np.sqrt(x.shape[1]), 0.0)
        found = minimize(
            _loss,
            start,
            args=(plus, minus),
            jac=True,
            method="L-BFGS-B",
            options={"maxiter": _MAX_ITERATIONS, "maxfun": 2 * _MAX_ITERATIONS},
        )
        # Status 1 is a limit reached; others end where the loss cannot be lowered, kink or not.
        if found.status != 1 and (best is None or found.fun < best[0]):
            best = float(found.fun), found.x
    if best is None:
        raise FitError(f"no start of CCS converged in {_MAX_ITERATIONS} iterations")
    if best[0] > _KNOWS_NOTHING - 1e-4:
        raise NoDirectionError("CCS found nothing better than probability ½ for every statement")
    weights, bias = best[1][:-1], float(best[1][-1])
    right = (plus @ weights > minus @ weights) == labels[first]
    sign = 1.0 if right.mean() >= 0.5 else -1.0
    return linear_rule(
        sign * weights / scale, centre=(means[0] + means[1]) / 2, bias=sign * bias, scale=scale
    )


def pair_rows(
    pairs: Sequence[Hashable], labels: Labels
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows of the first and of the second statement of every pair.

    Raises:
        FitError: a name is not on exactly two rows, or a pair has the same label twice.
    """
    if len(pairs) != len(labels):
        raise FitError(f"{len(labels)} rows need as many names of pairs, got {len(pairs)}")
    rows: dict[Hashable, list[int]] = {}
    for i, name in enumerate(pairs):
        rows.setdefault(name, []).append(i)
    for name, held in rows.items():
        if len(held) != 2:
            raise FitError(f"pair {name} has {len(held)} rows; expected a statement and another")
        if labels[held[0]] == labels[held[1]]:
            raise FitError(
                f"both statements of pair {name} have label {int(labels[held[0]])}; "
                "expected one of each"
            )
    index = np.array(list(rows.values()))
    return index[:, 0], index[:, 1]


def _loss(parameters: Rows, plus: Rows, minus: Rows) -> tuple[float, Rows]:
    weights, bias = parameters[:-1], parameters[-1]
    p, q = expit(plus @ weights + bias), expit(minus @ weights + bias)
    gap, low = p + q - 1, np.minimum(p, q)
    n = len(p)
    value = float((gap**2 + low**2).mean()) + 0.5 * _PENALTY * float(weights @ weights)
    by_p = 2 * (gap + low * (p <= q)) * p * (1 - p) / n
    by_q = 2 * (gap + low * (p > q)) * q * (1 - q) / n
    slope = by_p @ plus + by_q @ minus + _PENALTY * weights
    return value, np.append(slope, by_p.sum() + by_q.sum())
