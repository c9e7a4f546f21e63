"""Is a head's output the sum of a part for one digit and a part for another: a Minkowski sum?

A head that attends to two digits with fixed weights writes αA_i + (1 − α)B_j for the digits i, j
there ("Why Can't Transformers Learn Multiplication?", 2025): its outputs are the Minkowski sum of
two sets of ten points, each cluster of outputs a copy of the whole. The measure proposed here is
that of a two-way analysis of variance of the outputs' means by (i, j):

    score = 1 − interaction / total

summed over dimensions. 1 where the means are a sum, 0 where they depend on the pair in no additive
way. Unstructured means score 18/99, the additive part's share of the 99 dimensions. A score says
nothing about outputs that do not depend on the pair at all: ``between`` tells how much does.

Nor does it show that anything was learnt: with attention that does not depend on the digits, as in
an untrained model, any head is additive (measured: .95 after 40 steps of training). It is evidence
of a pair being cached only together with attention on that pair and a load.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.digits import N_DIGITS


@dataclass(frozen=True, eq=False)
class MinkowskiScore:
    """How additive outputs are in two digits.

    Attributes:
        score: 1 − interaction / total among the cells' means.
        between: Share of the outputs' variance that is between cells; the rest is within them.
        first: Share of the additive part that is the first digit's: α²-like, 0 to 1.
        likeness: Mean squared cosine of the principal angles between the planes in which the
            clusters of different first digits spread: 1 where all are copies of one another,
            2/d for random planes. None where outputs have fewer than 2 dimensions.
        shuffled: The score with the cells' means dealt out afresh; 18/99 on average.
        shuffled_between: ``between`` with the outputs dealt out afresh over rows.
    """

    score: float
    between: float
    first: float
    likeness: float | None
    shuffled: Float[Tensor, " shuffle"]
    shuffled_between: Float[Tensor, " shuffle"]

    @property
    def excess(self) -> float:
        """The score less what means dealt out afresh have."""
        return self.score - float(self.shuffled.mean())

    @property
    def p_value(self) -> float:
        """How often means dealt out afresh are as additive."""
        above = int((self.shuffled >= self.score * (1 - 1e-9)).sum())
        return (1 + above) / (1 + len(self.shuffled))

    @property
    def p_between(self) -> float:
        """How often outputs dealt out afresh over rows depend as much on the pair."""
        above = int((self.shuffled_between >= self.between * (1 - 1e-9)).sum())
        return (1 + above) / (1 + len(self.shuffled_between))


def minkowski_score(
    outputs: Float[Tensor, "row d"],
    first: Int[Tensor, " row"],
    second: Int[Tensor, " row"],
    *,
    n_shuffles: int = 99,
    seed: int = 0,
) -> MinkowskiScore:
    """How additive outputs are in two digits, all 100 pairs weighing the same.

    Sampling noise in the cells' means counts as interaction: with few rows a cell the score is too
    low, never too high.

    Args:
        outputs: Of one head at one position.
        first: The first digit of each row, such as a_i.
        second: The second, such as b_j.
        n_shuffles: Shuffles for each null.
        seed: Draws them.

    Raises:
        FourierError: a pair of digits that no row has, labels that are not digits, values that are
            not finite, or outputs all alike.
    """
    values, cell, counts = _checked(outputs, first, second)
    values = values - values.mean(0)
    whole = float(values.square().sum())
    if not whole > 1e-20:
        raise FourierError("all outputs are alike, so there is nothing to take apart")
    means = _cell_means(values, cell, counts)
    score, of_first = _additive(means)
    generator = torch.Generator().manual_seed(seed)
    shuffled, shuffled_between = [], []
    for _ in range(n_shuffles):
        dealt = means.flatten(0, 1)[torch.randperm(N_DIGITS**2, generator=generator)]
        shuffled.append(_additive(dealt.reshape(means.shape))[0])
        rows = torch.randperm(len(values), generator=generator)
        shuffled_between.append(_between(_cell_means(values[rows], cell, counts), counts) / whole)
    return MinkowskiScore(
        score=score,
        between=_between(means, counts) / whole,
        first=of_first,
        likeness=_likeness(means),
        shuffled=torch.tensor(shuffled),
        shuffled_between=torch.tensor(shuffled_between),
    )


def pair_means(
    outputs: Float[Tensor, "row d"], first: Int[Tensor, " row"], second: Int[Tensor, " row"]
) -> Float[Tensor, "10 10 d"]:
    """The mean output for each pair of digits.

    Raises:
        FourierError: as :func:`minkowski_score`.
    """
    return _cell_means(*_checked(outputs, first, second))


def _checked(
    outputs: Tensor, first: Tensor, second: Tensor
) -> tuple[Float[Tensor, "row d"], Int[Tensor, " row"], Int[Tensor, " cell"]]:
    """Outputs in double, the cell of each row, and the rows of each cell."""
    values = outputs.detach().cpu().double()
    if values.ndim != 2 or not len(values) == len(first) == len(second):
        raise FourierError(
            f"outputs {list(outputs.shape)} need one first and one second digit a row, "
            f"got {len(first)} and {len(second)}"
        )
    if not bool(torch.isfinite(values).all()):
        raise FourierError("outputs must be finite")
    both = torch.stack([first, second])
    if int(both.min()) < 0 or int(both.max()) >= N_DIGITS:
        raise FourierError(f"digits must be 0…9, got {int(both.min())}…{int(both.max())}")
    cell = first * N_DIGITS + second
    counts = torch.bincount(cell, minlength=N_DIGITS**2)
    if not bool((counts > 0).all()):
        i, j = divmod(int((counts == 0).nonzero()[0]), N_DIGITS)
        raise FourierError(f"no row has digits {i} and {j}; give more rows, some 1000 at least")
    return values, cell, counts


def _cell_means(values: Tensor, cell: Tensor, counts: Tensor) -> Float[Tensor, "10 10 d"]:
    sums = values.new_zeros((N_DIGITS**2, values.shape[1])).index_add_(0, cell, values)
    return (sums / counts[:, None]).unflatten(0, (N_DIGITS, N_DIGITS))


def _between(means: Tensor, counts: Tensor) -> float:
    return float((means.flatten(0, 1).square().sum(1) * counts).sum())


def _additive(means: Float[Tensor, "10 10 d"]) -> tuple[float, float]:
    """Share of the means' variance that is additive, and of that the first digit's share."""
    centred = means - means.mean((0, 1))
    rows, columns = centred.mean(1, keepdim=True), centred.mean(0, keepdim=True)
    total = float(centred.square().sum())
    if not total > 0:
        return 0.0, 0.0
    of_first, of_second = (N_DIGITS * float(x.square().sum()) for x in (rows, columns))
    additive = of_first + of_second
    return additive / total, of_first / additive if additive > 0 else 0.0


def _likeness(means: Float[Tensor, "10 10 d"]) -> float | None:
    if means.shape[2] < 2:
        return None
    spread = means - means.mean(1, keepdim=True)
    planes = torch.linalg.svd(spread, full_matrices=False).Vh[:, :2]
    squared = torch.einsum("ikd,jld->ijkl", planes, planes).square().sum((2, 3)) / 2
    off = ~torch.eye(N_DIGITS, dtype=torch.bool)
    return float(squared[off].mean())
