"""Which latents tell two kinds of text apart: differences, AUROCs, and probes of a few latents.

All on one vector a text (``features.pool_latents``). That a latent tells the kinds apart is a
signature; what depends on it, ``carrying`` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Bool, Float

from interp.sae.dictionary import SaeError
from interp.sae.features import Pooled
from interp.sae.probing_margins import score_interval

if TYPE_CHECKING:
    import pandas as pd

# Latents whose values are dense at a time.
_CHUNK = 512
# Probes of so few features need next to no penalty; this one makes the fit unique.
_C = 10.0


@dataclass(frozen=True, eq=False)
class Differential:
    """How differently each latent fires on two kinds of text.

    Attributes:
        delta: Mean on texts of label 1 less that on label 0; 0 for a latent that ignores it.
        auroc: Chance that a text of label 1 has the higher value, ties counting half; .5 for a
            latent that ignores the label, or never fires.
        n: Texts of label 0 and of label 1.
    """

    delta: Float[np.ndarray, " d_sae"]
    auroc: Float[np.ndarray, " d_sae"]
    n: tuple[int, int]

    def top(self, k: int = 10) -> list[tuple[int, float]]:
        """Return the k latents with the largest |delta| and their delta."""
        order = np.argsort(-np.abs(self.delta), kind="stable")[:k]
        return [(int(i), float(self.delta[i])) for i in order]

    def table(self) -> pd.DataFrame:
        """Lay all latents out, largest |delta| first: ``latent``, ``delta``, ``auroc``."""
        import pandas as pd

        order = np.argsort(-np.abs(self.delta), kind="stable")
        return pd.DataFrame(
            {"latent": order, "delta": self.delta[order], "auroc": self.auroc[order]}
        )


def differential(latents: Any, labels: Bool[np.ndarray, " example"]) -> Differential:
    """Compare latents between two kinds of text.

    Args:
        latents: [example, d_sae], sparse (``Pooled.latents``) or dense.
        labels: Which texts are of label 1.

    Raises:
        SaeError: another number of labels, or all the same.
    """
    from scipy import sparse
    from scipy.stats import rankdata

    labels = _checked(labels, latents.shape[0])
    held = sparse.csc_array(latents)
    n1 = int(labels.sum())
    n0 = len(labels) - n1
    delta = np.asarray(held[labels].mean(0)).ravel() - np.asarray(held[~labels].mean(0)).ravel()
    auroc = np.empty(held.shape[1])
    for start in range(0, held.shape[1], _CHUNK):
        ranks = rankdata(held[:, start : start + _CHUNK].toarray(), axis=0)
        above = ranks[labels].sum(0) - n1 * (n1 + 1) / 2
        auroc[start : start + _CHUNK] = above / (n0 * n1)
    return Differential(delta, auroc, (n0, n1))


@dataclass(frozen=True)
class SparseProbe:
    """A probe of k features.

    Attributes:
        k: Features.
        of: ``latents``, or ``residual`` dimensions.
        chosen: Which, largest |delta| first.
        accuracy: On held-out texts.
        interval: 95 %, over groups of held-out texts; None with fewer than eight.
        majority: Of always saying the commoner label there.
    """

    k: int
    of: str
    chosen: tuple[int, ...]
    accuracy: float
    interval: tuple[float, float] | None
    majority: float


def sparse_probes(
    pooled: Pooled,
    labels: Bool[np.ndarray, " example"],
    *,
    ks: Sequence[int] = (1, 2, 5),
    held_out: float = 0.3,
    seed: int,
) -> tuple[SparseProbe, ...]:
    """Probe k latents, and as a baseline k dimensions of the activation itself (SAEBench).

    The k with the largest |difference of means| on training texts go into a logistic regression
    (Karvonen et al. 2025, "SAEBench", sparse probing; Gurnee et al. 2023). Texts of one group
    never stand on both sides of the split.

    Args:
        pooled: One vector a text.
        labels: Which are of label 1.
        ks: Numbers of features.
        held_out: Share of the groups that test.
        seed: Of the split and the intervals.

    Returns:
        For each k, the probe of latents and that of the activation's dimensions.

    Raises:
        SaeError: both labels are not on both sides of the split.
    """
    labels = _checked(labels, len(pooled))
    train, test = _split(pooled.groups, labels, held_out=held_out, seed=seed)
    found = []
    for k in ks:
        for of, values in (("latents", pooled.latents), ("residual", pooled.vectors)):
            chosen = differential(values[train], labels[train]).top(k)
            columns = [i for i, _ in chosen]
            right = _right(values, columns, labels, train, test)
            majority = max(labels[test].mean(), 1 - labels[test].mean())
            interval = score_interval(
                lambda totals: float(totals[0][0] / totals[0][1]),
                [np.column_stack([right, np.ones(len(test))])],
                [[pooled.groups[i] for i in test]],
                seed=seed,
            )
            found.append(
                SparseProbe(k, of, tuple(columns), float(right.mean()), interval, float(majority))
            )
    return tuple(found)


def _right(
    values: Any,
    columns: Sequence[int],
    labels: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
) -> Float[np.ndarray, " test"]:
    """1 where a probe of some columns is right of a test text, else 0."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    def dense(rows: np.ndarray) -> np.ndarray:
        some = values[rows][:, list(columns)]
        out: np.ndarray = some.toarray() if hasattr(some, "toarray") else some
        return out

    scaler = StandardScaler().fit(dense(train))
    probe = LogisticRegression(C=_C, max_iter=1000)
    probe.fit(scaler.transform(dense(train)), labels[train])
    found: np.ndarray = (probe.predict(scaler.transform(dense(test))) == labels[test]).astype(float)
    return found


def _split(
    groups: Sequence[str], labels: np.ndarray, *, held_out: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    from sklearn.model_selection import GroupShuffleSplit

    splitter = GroupShuffleSplit(n_splits=1, test_size=held_out, random_state=seed)
    train, test = next(splitter.split(np.zeros(len(labels)), labels, list(groups)))
    for rows in (train, test):
        if labels[rows].all() or not labels[rows].any():
            raise SaeError(
                "one side of the split has texts of one label only; give more texts, or groups "
                "that hold both"
            )
    return train, test


def _checked(labels: np.ndarray, n: int) -> np.ndarray:
    labels = np.asarray(labels)
    if labels.shape != (n,) or labels.dtype != bool:
        raise SaeError(
            f"{n} texts need as many booleans as labels, got {labels.dtype} of {labels.shape}"
        )
    if labels.all() or not labels.any():
        raise SaeError("all texts have the same label; expected two kinds")
    return labels
