"""What a probe says of texts when some latents are taken out of them, and how sure that is.

Taking latent i out of a vector, its error kept, moves a linear probe's margin by −f_i (d_i · w): so
a probe's margins and one number a latent give every removal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from interp.evidence import NoControlsError, norm_matched
from interp.sae.dictionary import Dictionary
from interp.sae.features import Pooled

_C = 1.0
_RESAMPLES = 1999
_FEWEST_GROUPS = 8
"""Below it a bootstrap over groups is far too narrow."""


@dataclass(frozen=True, eq=False)
class Margins:
    """A probe on some texts.

    Attributes:
        clean: Its margin on each, with nothing removed; positive says label 1.
        latents: The texts' latents, sparse.
        along: What one unit of each latent adds to the margin.
        labels: The texts' labels.
    """

    clean: Float[np.ndarray, " row"]
    latents: Any
    along: Float[np.ndarray, " d_sae"]
    labels: Bool[np.ndarray, " row"]

    def right(self, removed: Int[np.ndarray, " latent"] | None = None) -> Float[np.ndarray, " row"]:
        """1 where the probe is right of a text, with some latents removed, else 0."""
        margin = self.clean
        if removed is not None and len(removed):
            margin = margin - self.latents[:, removed] @ self.along[removed]
        found: np.ndarray = ((margin > 0) == self.labels).astype(float)
        return found


def fit(x: Float[np.ndarray, "row d"], y: Bool[np.ndarray, " row"]) -> Any:
    """A logistic regression of unstandardised vectors, fitted to the end."""
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_C, max_iter=3000).fit(x, y)


def margins_of(
    pooled: Pooled,
    rows: Int[np.ndarray, " row"],
    labels: Bool[np.ndarray, " row"],
    probe: Any,
    dictionary: Dictionary,
) -> Margins:
    """Run a probe on some texts.

    Args:
        pooled: One vector a text.
        rows: Which texts.
        labels: Theirs.
        probe: From ``fit``.
        dictionary: The autoencoder the latents are of.
    """
    decoder = dictionary.decoder.detach().cpu().double().numpy()
    return Margins(
        clean=probe.decision_function(pooled.vectors[rows]),
        latents=pooled.latents[rows].tocsc(),
        along=decoder @ probe.coef_[0],
        labels=labels,
    )


def matched_draws(
    latents: Int[np.ndarray, " latent"],
    pooled: Pooled,
    rows: Int[np.ndarray, " row"],
    dictionary: Dictionary,
    *,
    n: int,
    seed: int,
) -> list[np.ndarray]:
    """Draw as many other latents, each writing within a factor 2 of what one of these writes.

    What a latent writes is its mean value over texts times the length of its decoder; where too few
    others write as much, the nearest are taken (``norm_matched``). None that never fires is drawn.

    Args:
        latents: Those to be matched.
        pooled: One vector a text.
        rows: The texts to match on.
        dictionary: The autoencoder.
        n: Draws.
        seed: Draws them.

    Returns:
        The draws; none where there is nothing to match, or fewer others are left than these.
    """
    if not len(latents) or n < 1:
        return []
    mean = np.abs(np.asarray(pooled.latents[rows].mean(0))).ravel()
    mass = mean * dictionary.decoder.detach().cpu().double().norm(dim=1).numpy()
    dead = [(0, int(i)) for i in (mass == 0).nonzero()[0] if i not in set(latents.tolist())]
    target = [(0, int(i)) for i in latents]
    try:
        found = norm_matched(target, torch.from_numpy(mass)[None], n=n, seed=seed, exclude=dead)
    except NoControlsError:
        return []
    return [np.array(sorted(i for _, i in one)) for one in found.sets]


def score_interval(
    score: Callable[[Sequence[np.ndarray]], float],
    columns: Sequence[Float[np.ndarray, "row column"]],
    groups: Sequence[Sequence[str]],
    *,
    seed: int,
) -> tuple[float, float] | None:
    """A percentile interval of 95 % of a score of sums, over groups of texts drawn anew.

    At a level that allows for the number of groups, as in ``bootstrap_interval`` (Hesterberg 2015).

    Args:
        score: From the totals of each table's columns to a number; NaN where it is undefined.
        columns: Tables of one row a text; a text may stand in several.
        groups: The groups of their rows.
        seed: Seeds the resampling.

    Returns:
        The ends; None with fewer than eight groups, or a score that more than one resample in
        twenty leaves undefined.
    """
    from scipy import stats

    names = sorted({name for some in groups for name in some})
    n = len(names)
    if n < _FEWEST_GROUPS:
        return None
    at = {name: i for i, name in enumerate(names)}
    sums = []
    for table, some in zip(columns, groups, strict=True):
        held = np.zeros((n, table.shape[1]))
        np.add.at(held, [at[name] for name in some], table)
        sums.append(held)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
    totals = [counts @ held for held in sums]
    drawn = np.array([score([one[i] for one in totals]) for i in range(_RESAMPLES)])
    drawn = drawn[np.isfinite(drawn)]
    if len(drawn) < 0.95 * _RESAMPLES:
        return None
    tail = stats.norm.sf(np.sqrt(n / (n - 1)) * stats.t.ppf(0.975, n - 1))
    low, high = np.quantile(drawn, [tail, 1 - tail])
    return float(low), float(high)
