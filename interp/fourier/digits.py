"""How an arithmetic model holds its digits: Fourier regression, and the pentagonal prism.

From "Why Can't Transformers Learn Multiplication?" (2025). A digit n = 0 … 9 is written on the six
functions Φ(n) = [1, cos and sin 2πn/10, cos and sin 2πn/5, (−1)ⁿ], that is frequencies 0, 1, 2 and
5 of Z_10. With frequencies 2 and 5 alone the ten digits are the corners of a pentagonal prism: the
pentagon 2πn/5 at the height (−1)ⁿ.

Both scores look impressive where there is nothing. Φ without its constant spans 5 of the 9
dimensions in which a function of a digit can vary, so that any ten numbers have an R² of 5/9 on
average; the prism spans 3 of the 9, so that any ten points score 1/3. So each comes with the same
score for the same values at shuffled digits, and its excess over that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError, fourier_basis, row_frequencies
from interp.models import Model

REGRESSION = (1, 2, 5)
"""Frequencies of Z_10 that the regression has, besides the constant."""
PRISM = (2, 5)
"""Frequencies whose energy makes a pentagonal prism."""
N_DIGITS = 10


@dataclass(frozen=True, eq=False)
class DigitScore:
    """A score of values at ten digits, with the same score in shuffled order.

    Attributes:
        name: Of what.
        each: Of every row, where rows are scored one by one; else the score alone.
        score: The median over rows, or the one score; 0 to 1.
        expected: What unstructured values have on average: 5/9 or 1/3.
        shuffled: The score for each shuffled order of the digits.
    """

    name: str
    each: Float[Tensor, " row"]
    score: float
    expected: float
    shuffled: Float[Tensor, " shuffle"]

    @property
    def excess(self) -> float:
        """The score less what shuffled orders have on average; 0 where there is no structure."""
        return self.score - float(self.shuffled.mean())

    @property
    def p_value(self) -> float:
        """How often a shuffled order scores as high: (1 + #{null ≥ score}) / (1 + #null)."""
        above = int((self.shuffled >= self.score * (1 - 1e-9)).sum())
        return (1 + above) / (1 + len(self.shuffled))

    def __repr__(self) -> str:
        return (
            f"DigitScore({self.name}: {self.score:.3f}, shuffled "
            f"{float(self.shuffled.mean()):.3f}, p {self.p_value:.3g})"
        )


def fourier_fit(
    rows: Float[Tensor, "row 10"], *, name: str = "rows", n_shuffles: int = 999, seed: int = 0
) -> DigitScore:
    """R² of each row's least-squares fit by Φ, and their median.

    The constant takes part in the fit and R² is about the row's own mean, so that R² is the share
    of the row's variation at frequencies 1, 2 and 5. Null: digits shuffled, all rows alike; the
    median of unstructured rows is near 5/9.

    Args:
        rows: One number for each digit, such as one dimension of the digits' embeddings. Rows that
            do not vary are left out.
        name: Of what.
        n_shuffles: Shuffled orders.
        seed: Draws them.

    Raises:
        FourierError: not ten columns, values that are not finite, or no row that varies.
    """
    values = _checked(rows, name)
    spread = values.square().sum(1)
    values = values[spread > 1e-20 * spread.max()]
    total = values.square().sum(1)
    basis = _functions(REGRESSION)

    def score(order: Tensor) -> Tensor:
        return (values[:, order] @ basis.T).square().sum(1) / total

    each = score(torch.arange(N_DIGITS))
    shuffled = torch.stack([score(o).median() for o in _orders(n_shuffles, seed)])
    expected = len(basis) / (N_DIGITS - 1)
    return DigitScore(name, each, float(each.median()), expected, shuffled)


def prism_score(
    means: Float[Tensor, "10 feature"],
    *,
    name: str = "digit means",
    n_shuffles: int = 999,
    seed: int = 0,
) -> DigitScore:
    """Share of the energy of centred digit means at frequencies 2 and 5: 1 is a perfect prism.

    Frequency 2 alone, a flat pentagon, scores 1 too: ``spectrum`` says where the energy is. Null:
    the same ten points at shuffled digits; 1/3 on average whatever the points are.

    Args:
        means: A point for each digit, in order (:func:`digit_means`).
        name: Of what.
        n_shuffles: Shuffled orders.
        seed: Draws them.

    Raises:
        FourierError: not ten points, values that are not finite, or all points alike.
    """
    values = _checked(means.T, name)
    gram, basis = values.T @ values, _functions(PRISM)
    total = gram.trace()

    def score(order: Tensor) -> Tensor:
        return ((basis @ gram[order][:, order]) * basis).sum() / total

    own = score(torch.arange(N_DIGITS))
    shuffled = torch.stack([score(o) for o in _orders(n_shuffles, seed)])
    return DigitScore(name, own[None], float(own), len(basis) / (N_DIGITS - 1), shuffled)


def digit_means(
    values: Float[Tensor, "row feature"], digits: Int[Tensor, " row"]
) -> Float[Tensor, "10 feature"]:
    """The mean over the rows of each digit.

    Raises:
        FourierError: a digit with no row, or labels that are not digits.
    """
    if len(digits) != len(values) or not len(digits):
        raise FourierError(f"{len(values)} rows need as many digits, got {len(digits)}")
    if int(digits.min()) < 0 or int(digits.max()) >= N_DIGITS:
        raise FourierError(f"digits must be 0…9, got {int(digits.min())}…{int(digits.max())}")
    counts = torch.bincount(digits, minlength=N_DIGITS)
    if not bool((counts > 0).all()):
        raise FourierError(f"no row has digit {int((counts == 0).nonzero()[0])}; give more rows")
    sums = torch.zeros(N_DIGITS, values.shape[1], dtype=torch.float64)
    return sums.index_add_(0, digits, values.detach().cpu().double()) / counts[:, None]


def digit_fits(
    model: Model,
    logits: Float[Tensor, "row vocab"],
    *,
    digit_ids: Sequence[int] = tuple(range(N_DIGITS)),
    n_shuffles: int = 999,
    seed: int = 0,
) -> dict[str, DigitScore]:
    """The Fourier regression of a model's weights and logits, as the paper has it.

    Args:
        model: The model.
        logits: Where a digit is predicted, one row an example.
        digit_ids: Tokens of the digits 0 … 9.
        n_shuffles: Shuffled orders for each null.
        seed: Draws them.

    Returns:
        Fits of ``embedding`` and ``unembedding`` (a row a dimension), ``neurons`` (the last MLP's
        W_out against the embeddings, a row a neuron) and ``logits`` (a row an example).

    Raises:
        FourierError: not ten digits, or as :func:`fourier_fit`.
    """
    ids = list(digit_ids)
    if len(ids) != N_DIGITS:
        raise FourierError(f"expected the tokens of 10 digits, got {len(ids)}")
    embedding = model.W_E[ids].detach().cpu().double()
    written = model.bridge.blocks[model.n_layers - 1].mlp.W_out.detach().cpu().double()
    rows = {
        "embedding": embedding.T,
        "unembedding": model.folded_unembedding()[:, ids],
        "neurons": written @ embedding.T,
        "logits": logits[:, ids],
    }
    return {
        name: fourier_fit(values, name=name, n_shuffles=n_shuffles, seed=seed)
        for name, values in rows.items()
    }


def _functions(frequencies: tuple[int, ...]) -> Float[Tensor, "function 10"]:
    basis, at = fourier_basis(N_DIGITS), row_frequencies(N_DIGITS)
    return basis[torch.isin(at, torch.tensor(frequencies))].double()


def _orders(n: int, seed: int) -> list[Int[Tensor, " 10"]]:
    if n < 1:
        raise FourierError(f"{n} shuffled orders make no null; ask for at least 1")
    generator = torch.Generator().manual_seed(seed)
    return [torch.randperm(N_DIGITS, generator=generator) for _ in range(n)]


def _checked(rows: Tensor, name: str) -> Float[Tensor, "row 10"]:
    """Rows in double, each less its mean."""
    if rows.ndim != 2 or rows.shape[1] != N_DIGITS:
        raise FourierError(
            f"{name}: expected a value for each of 10 digits, got {list(rows.shape)}"
        )
    values = rows.detach().cpu().double()
    if not bool(torch.isfinite(values).all()):
        raise FourierError(f"{name}: values must be finite")
    centred = values - values.mean(1, keepdim=True)
    if not float(centred.square().sum()) > 1e-20 * float(values.square().sum()):
        raise FourierError(f"{name}: all digits have the same values, so there is no structure")
    return centred
