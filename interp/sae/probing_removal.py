"""What removing latents does to probes: SCR and TPP, by SAEBench's definitions.

Karvonen et al. 2025, "SAEBench", after Marks et al. 2024. Both remove the latents that stand for
one concept, zero-ablated with the reconstruction error kept, and ask what probes still read:

* *Spurious correlation removal* (SCR): a probe learnt a desired label where a spurious one always
  agreed with it. How much of what that cost it does removing the spurious latents bring back?
* *Targeted probe perturbation* (TPP): does removing one class's latents harm that class's probe,
  and no other's?

What is mended, so that numbers differ from SAEBench's own:

* Padding is left out by its mask; there it is zeroed and the zeros encoded, so that latents with a
  bias leak into the ablation.
* There SCR is 0 where the clean probe hardly leads the biased one (by .001); here it is undefined,
  with the reason.
* There both directions are run and the one with the lower accuracy on the test texts is kept;
  here the caller says which label is spurious, so that nothing is chosen on the test texts.
* Latents are ranked and probes fitted on training texts alone, split by group; probes are logistic
  regressions fitted to the end, not so many steps of stochastic descent with a batch of 16, on
  which scores there depend.

These read probes, not the model: for what the model depends on, see ``carrying``. All on one vector
a text: a mean over tokens, on which ablating before or after averaging is the same since decoding
is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import Pooled

# Below this lead of the clean probe there is nothing to bring back (SAEBench).
_LEAST_LEAD = 0.001
_C = 1.0


@dataclass(frozen=True)
class Removal:
    """A score after removing n latents.

    Attributes:
        n: Latents removed.
        score: 1 is perfect, 0 no effect; None where it is undefined.
        reason: Why it is, or None.
        accuracy: Of the probe in question with the latents removed.
        base: Of the same probe with nothing removed.
    """

    n: int
    score: float | None
    reason: str | None
    accuracy: float
    base: float


def spurious_correlation_removal(
    pooled: Pooled,
    desired: Bool[np.ndarray, " example"],
    spurious: Bool[np.ndarray, " example"],
    dictionary: Dictionary,
    *,
    counts: Sequence[int] = (2, 5, 10, 20, 50),
    held_out: float = 0.4,
    seed: int,
) -> tuple[Removal, ...]:
    """Score how far removing latents frees a probe from a spurious label (SCR).

    S = (A_abl − A_base) / (A_clean − A_base): accuracies in the desired label on held-out texts in
    which the labels are independent, of the biased probe with and without the latents, and of a
    probe trained where they are independent. Latents go by |δ_i (d_i · w)|: their difference
    between the spurious labels, times their decoder along that label's probe.

    Zero also moves the probe's threshold, where only one side of the spurious label has a latent:
    then S may be 0 or less although the latent is the right one.

    Args:
        pooled: One vector a text.
        desired: The label to be learnt.
        spurious: The label that agrees with it in the biased training texts.
        dictionary: The autoencoder the latents are of.
        counts: Numbers of latents to remove.
        held_out: Share of the groups that test.
        seed: Of the splits.

    Raises:
        SaeError: some combination of the labels has no training or no test text.
    """
    _check(pooled, dictionary)
    rng = np.random.default_rng(seed)
    train, test = _by_group(pooled.groups, held_out=held_out, rng=rng)
    cell = 2 * desired.astype(int) + spurious.astype(int)
    train, test = (_balanced(rows, cell, range(4), rng=rng) for rows in (train, test))
    x, y, s = pooled.vectors, desired, spurious
    biased = train[y[train] == s[train]]
    probe, clean = _fit(x[biased], y[biased]), _fit(x[train], y[train])
    other = _fit(x[train], s[train])
    delta = _difference(pooled.latents[train], s[train])
    order = np.argsort(-np.abs(delta * (_decoder(dictionary) @ other.coef_[0])), kind="stable")
    base, best = probe.score(x[test], y[test]), clean.score(x[test], y[test])
    found = []
    for n in counts:
        after = probe.score(_without(pooled, test, order[:n], dictionary), y[test])
        lead = best - base
        score = (after - base) / lead if lead >= _LEAST_LEAD else None
        reason = None
        if score is None:
            reason = f"the probe of unbiased texts leads by {lead:.3f}: there is nothing to remove"
        found.append(Removal(int(n), score, reason, float(after), float(base)))
    return tuple(found)


def targeted_probe_perturbation(
    pooled: Pooled,
    classes: Int[np.ndarray, " example"],
    dictionary: Dictionary,
    *,
    counts: Sequence[int] = (2, 5, 10, 20, 50),
    held_out: float = 0.4,
    seed: int,
) -> tuple[Removal, ...]:
    """Score whether removing a class's latents harms its own probe and no other (TPP).

    mean_i [(A_ii − A_ii^abl) − mean_{j≠i} (A_ij − A_ij^abl)], where A_ij is the accuracy of class
    j's probe, and ^abl that with the latents of class i removed. These go by
    max(δ, 0)·(d · w): what fires more on the class and writes towards its probe.

    Args:
        pooled: One vector a text.
        classes: The class of each text.
        dictionary: The autoencoder the latents are of.
        counts: Numbers of latents to remove.
        held_out: Share of the groups that test.
        seed: Of the splits.

    Returns:
        For each number: ``accuracy`` and ``base`` are means over classes of their own probe's.

    Raises:
        SaeError: fewer than two classes, or one without training or test texts.
    """
    _check(pooled, dictionary)
    names = np.unique(classes)
    if len(names) < 2:
        raise SaeError("all texts are of one class; expected at least two")
    rng = np.random.default_rng(seed)
    train, test = _by_group(pooled.groups, held_out=held_out, rng=rng)
    x, decoder = pooled.vectors, _decoder(dictionary)
    probes, orders, tests = [], [], []
    for name in names:
        mine = classes == name
        rows, held = (
            _balanced(part, mine.astype(int), range(2), rng=rng) for part in (train, test)
        )
        probe = _fit(x[rows], mine[rows])
        delta = _difference(pooled.latents[rows], mine[rows])
        worth = np.maximum(delta, 0) * (decoder @ probe.coef_[0])
        probes.append(probe)
        orders.append(np.argsort(-worth, kind="stable"))
        tests.append((held, mine[held]))
    base = np.array([p.score(x[rows], y) for p, (rows, y) in zip(probes, tests, strict=True)])
    found = []
    for n in counts:
        drop = np.zeros((len(names), len(names)))
        for i, order in enumerate(orders):
            for j, (probe, (rows, y)) in enumerate(zip(probes, tests, strict=True)):
                after = probe.score(_without(pooled, rows, order[:n], dictionary), y)
                drop[i, j] = base[j] - after
        own = np.diag(drop)
        others = (drop.sum(1) - own) / (len(names) - 1)
        score = float((own - others).mean())
        found.append(Removal(int(n), score, None, float((base - own).mean()), float(base.mean())))
    return tuple(found)


def _fit(x: Float[np.ndarray, "row d"], y: np.ndarray) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(C=_C, max_iter=3000).fit(x, y)


def _difference(latents: Any, label: np.ndarray) -> Float[np.ndarray, " d_sae"]:
    one, zero = latents[label].mean(0), latents[~label].mean(0)
    found: np.ndarray = np.asarray(one).ravel() - np.asarray(zero).ravel()
    return found


def _decoder(dictionary: Dictionary) -> Float[np.ndarray, "d_sae d_in"]:
    found: np.ndarray = dictionary.decoder.detach().cpu().double().numpy()
    return found


def _without(
    pooled: Pooled, rows: np.ndarray, latents: np.ndarray, dictionary: Dictionary
) -> Float[np.ndarray, "row d"]:
    """Vectors with some latents at zero and the error kept."""
    part = pooled.latents[rows][:, latents].toarray()
    found: np.ndarray = pooled.vectors[rows] - part @ _decoder(dictionary)[latents]
    return found


def _by_group(
    groups: Sequence[str], *, held_out: float, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    labels = np.array(groups)
    names = rng.permutation(np.unique(labels))
    n = min(max(round(held_out * len(names)), 1), len(names) - 1)
    if len(names) < 2:
        raise SaeError("all texts are of one group; a split needs two")
    test = np.isin(labels, names[:n])
    return (~test).nonzero()[0], test.nonzero()[0]


def _balanced(
    rows: np.ndarray, cell: np.ndarray, cells: Sequence[int], *, rng: np.random.Generator
) -> np.ndarray:
    """As many rows of every cell."""
    parts = [rows[cell[rows] == c] for c in cells]
    n = min(map(len, parts))
    if n == 0:
        raise SaeError("some combination of labels has no text on one side of the split")
    return np.sort(np.concatenate([rng.choice(part, n, replace=False) for part in parts]))


def _check(pooled: Pooled, dictionary: Dictionary) -> None:
    if pooled.latents.shape[1] != dictionary.d_sae or pooled.vectors.shape[1] != dictionary.d_in:
        raise SaeError(f"these vectors are not of {dictionary.name}")
