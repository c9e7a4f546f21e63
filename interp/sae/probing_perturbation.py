"""Does removing one class's latents harm that class's probe, and no other's? (TPP)

Karvonen et al. 2025, "SAEBench". How it differs from SAEBench's own is said in ``probing_removal``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int

from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import Pooled
from interp.sae.probing_margins import Margins, fit, margins_of, matched_draws, score_interval
from interp.sae.probing_removal import (
    FEW,
    Removal,
    decoder_of,
    difference,
    fitting_counts,
    largest,
    rank,
)
from interp.sae.probing_splits import by_group, drawn


def targeted_probe_perturbation(
    pooled: Pooled,
    classes: Int[np.ndarray, " example"],
    dictionary: Dictionary,
    *,
    counts: Sequence[int] | None = None,
    n_random: int = 99,
    held_out: float = 0.4,
    seed: int,
) -> tuple[Removal, ...]:
    """Score whether removing a class's latents harms its own probe and no other (TPP).

    mean_i [(A_ii − A_ii^abl) − mean_{j≠i} (A_ij − A_ij^abl)], where A_ij is the accuracy of class
    j's probe, and ^abl that with the latents of class i removed. These go by
    max(δ, 0)·(d · w): what fires more on the class and writes towards its probe; latents at 0 stay.

    Args:
        pooled: One vector a text.
        classes: The class of each text.
        dictionary: The autoencoder the latents are of.
        counts: Numbers of latents to remove; those of ``COUNTS`` that half the latents allow
            when omitted.
        n_random: Random sets of latents beside each.
        held_out: Share of the groups that test.
        seed: Of the splits, the random sets and the intervals.

    Returns:
        For each number: ``accuracy`` and ``base`` are means over classes of their own probe's. No
        score where these are not told from chance, .5.

    Raises:
        SaeError: fewer than two classes, or one without training or test texts.
    """
    counts = fitting_counts(pooled, dictionary, counts)
    names = np.unique(classes)
    if len(names) < 2:
        raise SaeError("all texts are of one class; expected at least two")
    rng = np.random.default_rng(seed)
    train, test = by_group(pooled.groups, held_out=held_out, rng=rng)
    probes: list[Margins] = []
    worths, groups = [], []
    for name in names:
        mine = classes == name
        rows, held = (drawn(part, mine.astype(int), (0, 1), rng=rng) for part in (train, test))
        probe = fit(pooled.vectors[rows], mine[rows])
        delta = difference(pooled.latents[rows], mine[rows])
        worths.append(np.maximum(delta, 0) * (decoder_of(dictionary) @ probe.coef_[0]))
        probes.append(margins_of(pooled, held, mine[held], probe, dictionary))
        groups.append([pooled.groups[i] for i in held])
    base = [probe.right() for probe in probes]
    before = float(np.mean([one.mean() for one in base]))
    why = _why_undefined(base, before, groups, seed=seed)

    def losses(sets: Sequence[np.ndarray]) -> list[Float[np.ndarray, "row class"]]:
        """What each test text of each probe loses when each class's latents go."""
        return [
            np.stack([was - probe.right(one) for one in sets], axis=1)
            for was, probe in zip(base, probes, strict=True)
        ]

    found = []
    for n in counts:
        sets = [largest(worth, n) for worth in worths]
        lost = losses(sets)
        drop = np.array([one.mean(0) for one in lost])  # [probe, whose latents]
        others = (drop.sum() - np.trace(drop)) / (drop.size - len(drop))
        after = before - float(np.diag(drop).mean())
        if why is not None:
            found.append(
                Removal(int(n), None, why, None, (), None, after, base=before, others=float(others))
            )
            continue
        draws = [
            matched_draws(one, pooled, train, dictionary, n=n_random, seed=seed + i)
            for i, one in enumerate(sets)
        ]
        random = tuple(
            _tpp(np.array([one.mean(0) for one in losses(some)]))
            for some in zip(*draws, strict=False)
        )
        score = _tpp(drop)
        columns = [np.column_stack([one, np.ones(len(one))]) for one in lost]
        found.append(
            Removal(
                n=int(n),
                score=score,
                reason=None,
                interval=score_interval(_tpp_of_totals, columns, groups, seed=seed),
                random=random,
                p=rank(score, random),
                accuracy=after,
                base=before,
                others=float(others),
            )
        )
    return tuple(found)


def _why_undefined(
    base: Sequence[Float[np.ndarray, " row"]],
    mean: float,
    groups: Sequence[Sequence[str]],
    *,
    seed: int,
) -> str | None:
    """Why there is nothing to lose, or None where the probes are told from chance."""
    columns = [np.column_stack([one, np.ones(len(one))]) for one in base]
    reach = score_interval(_mean_accuracy, columns, groups, seed=seed)
    if reach is None:
        return FEW
    if reach[0] > 0.5:
        return None
    return (
        f"the classes' probes are right of {mean:.0%} of test texts, not told from chance: there "
        "is nothing to lose"
    )


def _mean_accuracy(totals: Sequence[np.ndarray]) -> float:
    return float(np.mean([right / n for right, n in totals]))


def _tpp_of_totals(totals: Sequence[np.ndarray]) -> float:
    return _tpp(np.array([one[:-1] / one[-1] for one in totals]))


def _tpp(drop: Float[np.ndarray, "probe ablated"]) -> float:
    own = np.diag(drop)
    others = (drop.sum(0) - own) / (len(drop) - 1)
    return float((own - others).mean())
