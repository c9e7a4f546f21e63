"""Is an ordered token set a line, a circle, or in no order? A trend told apart from periods.

A number line has its spectrum at low frequencies too: on ten tokens a straight line has 61 % of its
power at frequency 1. So the line is a component of its own, and frequencies are read of what it
leaves:

* ``trend``: share of the variance along the position in the order, centred; in [0, 1]. Its null is
  the same share in shuffled orders, 1/(n − 1) on average.
* ``detrended``: the spectrum of the embeddings without their trend. Its null is shuffled orders,
  each without its own.

Of frequency 1 the trend takes most of the sine and leaves the cosine, and a bent line leaves a
cosine as well: frequency 1 alone does not tell one turn from an open arc. There the gap decides: on
a circle the last member is as near the first as neighbours are. On n members that is one step
beside n − 1 others, so it can be no rarer than 1/n.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import rank_p_value
from interp.fourier.basis import FourierError, by_frequency, fourier_basis, row_frequencies
from interp.fourier.spectra import Spectrum, check_shuffles, gini, spectrum
from interp.fourier.tokens import TokenForms, find_tokens
from interp.models import Model

Part = int | Literal["trend"]


@dataclass(frozen=True, eq=False)
class OrderReading:
    """How an ordered token set lies in a matrix; see the module.

    Attributes:
        forms: The tokens.
        matrix: ``embedding`` or ``unembedding``.
        spectrum: In the order as it is, the trend within it.
        trend: Share of the variance along the order.
        trend_p: Rank of that among shuffled orders.
        detrended: The spectrum without the trend.
        gap: Distance from the last member to the first, over neighbours' root mean square.
        gap_longest: Whether no two neighbours are as far apart as last and first.
    """

    forms: TokenForms
    matrix: str
    spectrum: Spectrum
    trend: float
    trend_p: float
    detrended: Spectrum
    gap: float
    gap_longest: bool

    def __repr__(self) -> str:
        return f"OrderReading({self.forms.name}, {self.matrix}: {self.said()})"

    def said(self, *, alpha: float = 0.05) -> str:
        """What the order is, in plain words."""
        parts = []
        if self.trend_p <= alpha:
            parts.append(f"a trend ({self.trend:.2f} of the variance, p = {self.trend_p:.2g})")
        for k in self.detrended.keys(alpha=alpha):
            share = float(self.detrended.power[k - 1])
            p = float(self.detrended.p_values[k - 1])
            what = f"frequency {k} beyond the trend ({share:.2f} of the rest, p = {p:.2g})"
            if k == 1:
                what += f", {self._turn()}"
            parts.append(what)
        return "; ".join(parts) or "not to be told from a shuffled order"

    def _turn(self) -> str:
        if self.gap_longest:
            return f"an open arc: from last to first is {self.gap:.2f} of a step, the longest"
        return f"on a circle or an open arc: from last to first is {self.gap:.2f} of a step"


def read_order(
    model: Model,
    which: str | Sequence[str],
    *,
    matrix: Literal["embedding", "unembedding"] = "embedding",
    name: str = "tokens",
    n_shuffles: int = 999,
    seed: int = 0,
) -> OrderReading:
    """Read an ordered token set in a language model.

    >>> read_order(load_model("zoo:code-lm"), "digits")

    Args:
        model: A model with a tokenizer.
        which: A name in :data:`~interp.fourier.tokens.TOKEN_SETS`, or words in their order.
        matrix: Token embeddings, or the unembedding with the final norm's gain.
        name: What such words are called.
        n_shuffles: Shuffled orders for the nulls, at least 1.
        seed: Draws them.

    Raises:
        FourierError: as :func:`~interp.fourier.tokens.find_tokens`, fewer than 5 members, no such
            matrix, or no shuffles.
    """
    if matrix not in ("embedding", "unembedding"):
        raise FourierError(f"matrix is {matrix!r}; expected embedding or unembedding")
    forms = find_tokens(model, which, name=name)
    ids = list(forms.ids)
    rows = model.W_E[ids] if matrix == "embedding" else model.folded_unembedding()[:, ids].T
    return read_rows(rows, forms, matrix=matrix, n_shuffles=n_shuffles, seed=seed)


def read_rows(
    rows: Float[Tensor, "member d"],
    forms: TokenForms,
    *,
    matrix: str,
    n_shuffles: int,
    seed: int = 0,
) -> OrderReading:
    """The same of rows from anywhere.

    Raises:
        FourierError: fewer than 5 rows, rows that do not vary, or no shuffles.
    """
    check_shuffles(n_shuffles)
    n, label = len(rows), f"{forms.name} ({matrix}, {forms.style})"
    if n < 5:
        raise FourierError(
            f"{forms.name}: {n} members are too few to tell a trend from a period; expected 5 up"
        )
    wide = rows.detach().cpu().double()
    plain = spectrum(wide, name=label, n_shuffles=n_shuffles, seed=seed)
    wide = wide - wide.mean(0)
    line = _line(n)
    left = spectrum(without_trend(wide), name=f"{label}, detrended")
    # Of each shuffled order: its trend, and what stands at each row of the basis without it.
    gram, total = wide @ wide.T, float(wide.square().sum())
    basis = fourier_basis(n)[1:]
    basis = basis - torch.outer(basis @ line, line)
    generator = torch.Generator().manual_seed(seed)
    trends, largest, ginis = [], [], []
    for _ in range(n_shuffles):
        order = torch.randperm(n, generator=generator)
        shuffled = gram[order][:, order]
        trends.append(float(line @ shuffled @ line) / total)
        energy = ((basis @ shuffled) * basis).sum(1).clamp(min=0)
        power = by_frequency(torch.cat([energy.new_zeros(1), energy]))[1:]
        largest.append(power.max() / energy.sum())
        ginis.append(gini(energy.sqrt()))
    steps = (wide.roll(-1, 0) - wide).square().sum(1)
    trend = float((line @ wide).square().sum()) / total
    return OrderReading(
        forms=forms,
        matrix=matrix,
        spectrum=plain,
        trend=trend,
        trend_p=rank_p_value(trend, trends, resolution=1e-12),
        detrended=Spectrum(
            name=left.name,
            n=n,
            power=left.power,
            constant=plain.constant,
            gini=left.gini,
            null_max=torch.stack(largest),
            null_gini=torch.tensor(ginis),
        ),
        gap=float((steps[-1] / steps[:-1].mean()).sqrt()),
        gap_longest=bool(steps[-1] > steps[:-1].max()),
    )


def without_trend(rows: Float[Tensor, "member d"]) -> Float[Tensor, "member d"]:
    """Rows in their order, without their part along the position in it."""
    line = _line(len(rows))
    return rows - torch.outer(line, line @ rows)


def part_functions(n: int, part: Part) -> Float[Tensor, "n rank"]:
    """Orthonormal functions of the place in the order that make up a trend or a frequency.

    Those of a frequency are taken at right angles to the trend, as it is read.

    Raises:
        FourierError: no such frequency.
    """
    if part == "trend":
        return _line(n)[:, None]
    if not 1 <= part <= n // 2:
        raise FourierError(f"frequency {part} over {n} members: expected one of 1…{n // 2}")
    line = _line(n)
    rows = fourier_basis(n)[row_frequencies(n) == part]
    return torch.linalg.qr((rows - torch.outer(rows @ line, line)).T).Q


def _line(n: int) -> Float[Tensor, " n"]:
    line = torch.arange(n, dtype=torch.float64) - (n - 1) / 2
    return line / line.norm()
