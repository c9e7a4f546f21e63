"""What removing latents does to probes: SCR and TPP, by SAEBench's definitions.

Karvonen et al. 2025, "SAEBench", after Marks et al. 2024. Both remove the latents that stand for
one concept, zero-ablated with the reconstruction error kept, and ask what probes still read:

* *Spurious correlation removal* (SCR): a probe learnt a desired label where a spurious one always
  agreed with it. How much of what that cost it does removing the spurious latents bring back?
* *Targeted probe perturbation* (TPP): does removing one class's latents harm that class's probe,
  and no other's?

As in SAEBench, the biased and the unbiased probe of SCR train on equally many texts, so that what
the one lacks is not a matter of fewer texts. What is mended, so that numbers differ from SAEBench's
own:

* Padding is left out by its mask; there it is zeroed and the zeros encoded, so that latents with a
  bias leak into the ablation.
* There SCR is 0 where the clean probe leads the biased one by less than .001, and any number where
  by two texts in five hundred; here it is undefined unless the lead is told from 0, and says so.
  So is TPP where its probes are not told from chance: probes that know nothing lose nothing, but
  what removing latents does to them is noise, and larger for latents that were chosen to matter.
* There both directions are run and the one with the lower accuracy on the test texts is kept;
  here the caller says which label is spurious, so that nothing is chosen on the test texts.
* Latents are ranked and probes fitted on training texts alone, split by group; probes are logistic
  regressions fitted to the end, not so many steps of stochastic descent with a batch of 16, on
  which scores there depend.
* A score stands beside the same with as many random latents that write about as much, and with an
  interval over groups of texts; there it stands alone.

These read probes, not the model: for what the model depends on, see ``carrying``. All on one vector
a text: a mean over tokens, on which ablating before or after averaging is the same since decoding
is linear.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float, Int

from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.features import Pooled
from interp.sae.probing_margins import fit, margins_of, matched_draws, score_interval
from interp.sae.probing_splits import by_group, drawn, unbiased_and_biased

if TYPE_CHECKING:
    import pandas as pd

# Below this lead of the clean probe there is nothing to bring back (SAEBench).
_LEAST_LEAD = 0.001
COUNTS = (2, 5, 10, 20, 50)
FEW = "fewer than eight groups of test texts: what probes know is not told from chance"


@dataclass(frozen=True)
class Removal:
    """A score after removing n latents.

    Attributes:
        n: Latents removed.
        score: 1 is perfect, 0 no effect; None where it is undefined.
        reason: Why it is, or None.
        interval: 95 %, over groups of test texts; None where there is no score, or fewer than
            eight groups.
        random: The same score with random latents that write about as much in their place, one a
            draw; empty where too few others fire.
        p: Rank of the score among these; 1/(draws + 1) at the least, None without draws.
        accuracy: Of the probe in question with the latents removed.
        base: Of the same probe with nothing removed.
        others: TPP: mean accuracy that the other classes' probes lose. SCR: accuracy of the probe
            of unbiased texts, what would be perfect.
    """

    n: int
    score: float | None
    reason: str | None
    interval: tuple[float, float] | None
    random: tuple[float, ...]
    p: float | None
    accuracy: float
    base: float
    others: float


def removal_table(found: Sequence[Removal], *, others: str) -> pd.DataFrame:
    """Lay scores out, one row a number of latents.

    Args:
        found: What SCR or TPP returned.
        others: What ``Removal.others`` is called: ``clean`` of SCR, ``others_lose`` of TPP.
    """
    import pandas as pd

    return pd.DataFrame(
        {
            "n": one.n,
            "score": one.score,
            "score_low": one.interval[0] if one.interval else None,
            "score_high": one.interval[1] if one.interval else None,
            "random_mean": float(np.mean(one.random)) if one.random else None,
            "random_max": max(one.random) if one.random else None,
            "p": one.p,
            "base": one.base,
            "accuracy": one.accuracy,
            others: one.others,
            "undefined": one.reason,
        }
        for one in found
    )


def spurious_correlation_removal(
    pooled: Pooled,
    desired: Bool[np.ndarray, " example"],
    spurious: Bool[np.ndarray, " example"],
    dictionary: Dictionary,
    *,
    counts: Sequence[int] | None = None,
    n_random: int = 99,
    held_out: float = 0.4,
    seed: int,
) -> tuple[Removal, ...]:
    """Score how far removing latents frees a probe from a spurious label (SCR).

    S = (A_abl − A_base) / (A_clean − A_base): accuracies in the desired label on held-out texts in
    which the labels are independent, of the biased probe with and without the latents, and of a
    probe trained on as many texts where they are independent. Latents go by |δ_i (d_i · w)|: their
    difference between the spurious labels, times their decoder along that label's probe; those
    that tell nothing of it (0) stay.

    Zero also moves the probe's threshold, where only one side of the spurious label has a latent:
    then S may be 0 or less although the latent is the right one.

    Args:
        pooled: One vector a text.
        desired: The label to be learnt.
        spurious: The label that agrees with it in the biased training texts.
        dictionary: The autoencoder the latents are of.
        counts: Numbers of latents to remove; those of ``COUNTS`` that half the latents allow
            when omitted.
        n_random: Random sets of latents beside each.
        held_out: Share of the groups that test.
        seed: Of the splits, the random sets and the intervals.

    Raises:
        SaeError: some combination of the labels has no test text, or fewer than two to train on.
    """
    counts = fitting_counts(pooled, dictionary, counts)
    rng = np.random.default_rng(seed)
    train, test = by_group(pooled.groups, held_out=held_out, rng=rng)
    cell = 2 * desired.astype(int) + spurious.astype(int)
    test = drawn(test, cell, range(4), rng=rng)
    unbiased, biased = unbiased_and_biased(train, cell, rng=rng)
    x, y, s = pooled.vectors, desired, spurious
    probe, clean = fit(x[biased], y[biased]), fit(x[unbiased], y[unbiased])
    other = fit(x[unbiased], s[unbiased])
    own = margins_of(pooled, test, y[test], probe, dictionary)
    delta = difference(pooled.latents[unbiased], s[unbiased])
    worth = np.abs(delta * (decoder_of(dictionary) @ other.coef_[0]))
    base, best = own.right(), margins_of(pooled, test, y[test], clean, dictionary).right()
    lead = float(best.mean() - base.mean())
    groups = [pooled.groups[i] for i in test]
    reach = score_interval(_lead, [np.stack([base, best], axis=1)], [groups], seed=seed)
    why = FEW if reach is None else None
    if lead < _LEAST_LEAD or (reach is not None and reach[0] <= 0):
        why = (
            f"the probe of unbiased texts leads by {lead:.3f}, not told from 0: there is nothing "
            "to remove"
        )

    def score(after: np.ndarray) -> float:
        return float((after.mean() - base.mean()) / lead)

    found = []
    for n in counts:
        chosen = largest(worth, n)
        after = own.right(chosen)
        told = {"accuracy": float(after.mean()), "base": float(base.mean())}
        told |= {"others": float(best.mean())}
        if why is not None:
            found.append(Removal(int(n), None, why, None, (), None, **told))
            continue
        draws = matched_draws(chosen, pooled, train, dictionary, n=n_random, seed=seed)
        random = tuple(score(own.right(draw)) for draw in draws)
        columns = np.stack([after, base, best, np.ones(len(test))], axis=1)
        interval = score_interval(_scr, [columns], [groups], seed=seed)
        p = rank(score(after), random)
        found.append(Removal(int(n), score(after), None, interval, random, p, **told))
    return tuple(found)


def _lead(totals: Sequence[np.ndarray]) -> float:
    base, best = totals[0]
    return float(best - base)


def _scr(totals: Sequence[np.ndarray]) -> float:
    after, base, best, _ = totals[0]
    return float((after - base) / (best - base)) if best > base else float("nan")


def rank(score: float, random: Sequence[float]) -> float | None:
    """Where a score stands among those of random latents; None where there are none."""
    from interp.evidence import rank_p_value

    return rank_p_value(score, np.array(random)) if random else None


def largest(worth: Float[np.ndarray, " d_sae"], n: int) -> Int[np.ndarray, " latent"]:
    """The n latents of most worth, none of them of no worth at all."""
    order = np.argsort(-worth, kind="stable")
    found: np.ndarray = order[worth[order] != 0][:n]
    return found


def difference(latents: Any, label: Bool[np.ndarray, " row"]) -> Float[np.ndarray, " d_sae"]:
    """δ: mean of each latent over texts of label 1 less that over texts of label 0."""
    one, zero = latents[label].mean(0), latents[~label].mean(0)
    found: np.ndarray = np.asarray(one).ravel() - np.asarray(zero).ravel()
    return found


def decoder_of(dictionary: Dictionary) -> Float[np.ndarray, "d_sae d_in"]:
    """What a unit of each latent writes."""
    found: np.ndarray = dictionary.decoder.detach().cpu().double().numpy()
    return found


def fitting_counts(
    pooled: Pooled, dictionary: Dictionary, counts: Sequence[int] | None
) -> Sequence[int]:
    """Return the numbers of latents to remove.

    Raises:
        SaeError: vectors of another dictionary, or numbers of latents that it does not have.
    """
    if pooled.latents.shape[1] != dictionary.d_sae or pooled.vectors.shape[1] != dictionary.d_in:
        raise SaeError(f"these vectors are not of {dictionary.name}")
    if counts is None:
        return [n for n in COUNTS if 2 * n <= dictionary.d_sae] or [1]
    if not counts or min(counts) < 1 or max(counts) > dictionary.d_sae:
        raise SaeError(f"counts are {list(counts)}; expected numbers from 1 to {dictionary.d_sae}")
    return counts
