"""What a probe finds where there is nothing to find: the yardsticks of its own numbers.

Four controls. Shuffled labels: nothing to learn. Random labels of types (Hewitt & Liang 2019):
nothing to learn but the types by heart. A re-initialised network (``probes.reinitialised``):
nothing that training put there. Online code length (Voita & Titov 2020): how early in the data
the labels are learnt.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt
from jaxtyping import Float
from torch import Tensor

from probes.fit.rule import Labels, LinearRule, NetRule, NoDirectionError
from probes.measures import auroc

Fit = Callable[[Tensor, Labels], LinearRule | NetRule]
Scores = npt.NDArray[np.float64]

# Shares of the data after which the code is learnt anew (Voita & Titov 2020, §3.2).
PORTIONS = (0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.0625, 0.125, 0.25, 0.5, 1.0)


class ControlError(ValueError):
    """A control cannot be made from these rows; the message says why."""


@dataclass(frozen=True)
class Null:
    """AUROCs of fits to shuffled labels, against labels shuffled the same way.

    Attributes:
        aurocs: One a shuffle.
    """

    aurocs: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Their mean; far from .5 it means a leak."""
        return float(np.mean(self.aurocs))

    @property
    def percentile_95(self) -> float:
        """What a probe has to beat."""
        return float(np.quantile(self.aurocs, 0.95))


@dataclass(frozen=True)
class Selectivity:
    """Accuracy on a task beside that on labels that can only be learnt by heart.

    Attributes:
        task: Accuracy with the true labels.
        controls: Accuracies with a random label for every type.
    """

    task: float
    controls: tuple[float, ...]

    @property
    def control(self) -> float:
        """Mean accuracy of the control tasks."""
        return float(np.mean(self.controls))

    @property
    def selectivity(self) -> float:
        """Task accuracy less control accuracy (Hewitt & Liang 2019, §2.3)."""
        return self.task - self.control


@dataclass(frozen=True)
class CodeLength:
    """Bits to send the labels to someone who has the activations.

    Attributes:
        bits: Length of the online code.
        uniform_bits: One a label: the length without activations.
    """

    bits: float
    uniform_bits: float

    @property
    def compression(self) -> float:
        """How many times shorter; at most 1 where the activations say nothing."""
        return self.uniform_bits / self.bits


def shuffled_label_null(
    fit: Fit,
    activations: Float[Tensor, "row d"],
    labels: Labels,
    groups: Sequence[str],
    *,
    n: int = 20,
    held_out: float = 0.3,
    seed: int = 0,
) -> Null:
    """Fit to labels shuffled by groups, and score on held-out groups' labels, shuffled as well.

    Args:
        fit: A method, such as ``METHODS["logistic"]``.
        activations: One row a statement.
        labels: The true labels.
        groups: One name a row; none straddles the split, and labels hang together in them as the
            true ones do.
        n: Shuffles, each with a split of its own.
        held_out: Share of the rows to score.
        seed: Seeds splits and shuffles.

    Raises:
        DataError: the rows cannot be split.
        FitError: a fit failed for another reason than that there is nothing to find.
    """
    from probes.data import group_split, shuffled_labels

    rng = np.random.default_rng(seed)
    found = []
    for _ in range(n):
        inside, outside = group_split(
            labels, groups, held_out=held_out, seed=int(rng.integers(2**31))
        )
        wrong = shuffled_labels(labels[inside], [groups[i] for i in inside], rng=rng)
        judged = shuffled_labels(labels[outside], [groups[i] for i in outside], rng=rng)
        try:
            rule = fit(activations[inside], wrong)
        except NoDirectionError:
            found.append(0.5)
            continue
        found.append(auroc(_scores(rule, activations[outside]), judged))
    return Null(tuple(found))


def control_task(
    fit: Fit,
    activations: Float[Tensor, "row d"],
    labels: Labels,
    types: Sequence[Hashable],
    *,
    n: int = 5,
    held_out: float = 0.3,
    seed: int = 0,
) -> Selectivity:
    """Compare a task with control tasks: every type gets a random label, the same wherever it is.

    A type is what could be learnt by heart: the word read, or the question. Both tasks are fitted
    and scored on the same rows, and held-out rows are of types that were seen, so this split is
    meant to leak; the task's accuracy here is no measure of how it generalises.

    Args:
        fit: A method.
        activations: One row a statement or token.
        labels: The true labels.
        types: One name a row.
        n: Control tasks.
        held_out: Share of each type's rows to score.
        seed: Seeds the split and the labels.

    Raises:
        ControlError: too few types occur twice.
        FitError: a fit failed.
    """
    names = list(dict.fromkeys(types))
    index = {name: i for i, name in enumerate(names)}
    of = np.array([index[name] for name in types])
    if len(of) != len(labels):
        raise ControlError(f"{len(labels)} labels need as many types, got {len(of)}")
    rng = np.random.default_rng(seed)
    outside = np.zeros(len(of), dtype=bool)
    for rows in np.split(np.argsort(of, kind="stable"), np.cumsum(np.bincount(of))[:-1]):
        if len(rows) > 1:
            n_out = min(len(rows) - 1, max(1, round(held_out * len(rows))))
            outside[rng.permutation(rows)[:n_out]] = True
    if len(np.unique(of[outside])) < 2:
        raise ControlError(
            "fewer than two types occur on two rows or more, so nothing could be learnt by heart; "
            "name as types what rows share, such as the token read"
        )

    def accuracy(target: Labels) -> float:
        rule = fit(activations[~outside], target[~outside])
        said = _scores(rule, activations[outside]) > 0
        return float((said == target[outside]).mean())

    target = np.asarray(labels, dtype=bool)
    own = accuracy(target)
    # At the labels' own rate, or guessing the commoner one would pass for selectivity.
    rate = float(target.mean())
    controls = []
    for _ in range(n):
        while True:
            given = (rng.random(len(names)) < rate)[of]
            if 0 < given[~outside].sum() < (~outside).sum():
                break
        controls.append(accuracy(given))
    return Selectivity(own, tuple(controls))


def online_code_length(
    fit: Fit,
    activations: Float[Tensor, "row d"],
    labels: Labels,
    groups: Sequence[str],
    *,
    seed: int = 0,
) -> CodeLength:
    """Length of the labels' online code (Voita & Titov 2020, eq. 3).

    Rows are sent in portions, each coded by a probe fitted to all portions before it; the first,
    and any before both labels have come, cost a bit a label. Groups are sent whole and in random
    order, so that a portion is not coded by knowing its rows' partners.

    Args:
        fit: A method whose scores are log-odds: logistic, LDA or the network. Others' codes are
            longer than they need be.
        activations: One row a statement.
        labels: The labels.
        groups: One name a row.
        seed: Seeds the order of the groups.

    Raises:
        ControlError: fewer than four rows.
        FitError: a fit failed.
    """
    n = len(labels)
    if n < 4 or len(groups) != n:
        raise ControlError(
            f"expected at least four rows, each with a group; got {n}, {len(groups)}"
        )
    members: dict[str, list[int]] = {}
    for row, name in enumerate(groups):
        members.setdefault(name, []).append(row)
    rng = np.random.default_rng(seed)
    rows = list(members.values())
    sent = [rows[i] for i in rng.permutation(len(rows))]
    order = [row for group in sent for row in group]
    ends = np.cumsum([len(group) for group in sent])  # a portion ends where a group does
    cuts = sorted({int(ends[np.searchsorted(ends, max(1, share * n))]) for share in PORTIONS})
    y = np.asarray(labels, dtype=bool)
    bits = float(cuts[0])
    for start, end in pairwise(cuts):
        known, new = order[:start], order[start:end]
        try:
            if not 0 < y[known].sum() < len(known):
                raise NoDirectionError("one label so far")
            scores = _scores(fit(activations[known], y[known]), activations[new])
        except NoDirectionError:
            bits += len(new)
            continue
        signed = np.where(y[new], scores, -scores)
        bits += float(np.logaddexp(0, -signed).sum() / np.log(2))
    return CodeLength(bits, float(n))


def _scores(rule: LinearRule | NetRule, activations: Tensor) -> Scores:
    return np.asarray(rule.scores(activations).numpy(), dtype=np.float64)
