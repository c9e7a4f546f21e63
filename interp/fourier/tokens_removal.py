"""Does a model depend on the order of a token set's embeddings? The trend or a frequency removed.

1. X the embeddings of the set, centred; Q orthonormal functions of the place in the order (a line,
   or a cosine and a sine). What is removed is QQᵀX: each member loses its part of it, and the set
   keeps its mean and all else.
2. Judged on held-out text, by the loss of predicting what follows a member of the set.
3. Controls: the same functions of the members in shuffled orders. For a frequency that was chosen
   for its strength, the one of each shuffled order that is as strong there: the strongest for the
   strongest. (Beside the *same* frequency of shuffled orders, the strongest of an order that means
   nothing was simulated to pass p ≤ .05 up to 37 % of the time, where embeddings lie in few
   dimensions.) Where the order means nothing to the model, the true order is one of them, so that
   the rank among them is exact. Where there is an order they take less of the embeddings away: how
   much more the true one takes is part of what is weighed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import (
    Evidence,
    EvidenceTable,
    Metric,
    RandomDraws,
    correct,
    damage,
    loss,
    weigh,
)
from interp.fourier.basis import FourierError
from interp.fourier.spectra import spectrum
from interp.fourier.tokens import TokenForms
from interp.fourier.tokens_order import OrderReading, Part, part_functions, without_trend
from interp.hooks import add, session
from interp.models import Examples, Model

SHUFFLED = "shuffled-orders"


def with_members(text: Examples, forms: TokenForms) -> Examples:
    """The rows in which a member of the set is read before another token, scored there alone.

    Raises:
        FourierError: fewer than two such rows.
    """
    assert text.mask is not None
    member = torch.isin(text.tokens, torch.tensor(forms.ids)) & text.mask
    member[:, -1] = False
    member[:, :-1] &= text.mask[:, 1:]
    rows = member.any(1).nonzero()[:, 0]
    if len(rows) < 2:
        raise FourierError(
            f"{len(rows)} of {len(text)} rows of {text.name!r} have one of the {forms.name} before "
            "another token; expected two at least: give more text, or text that has them"
        )
    return dataclasses.replace(text.select(rows), scored=member[rows])


def weigh_order(
    model: Model,
    reading: OrderReading,
    parts: Sequence[Part],
    judged: Examples,
    *,
    chosen: bool = True,
    metric: Metric = loss,
    n_controls: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> EvidenceTable:
    """Remove parts of a token set's embeddings and weigh what it costs.

    Args:
        model: The model that was read.
        reading: Of its token embeddings.
        parts: ``"trend"``, or frequencies; these without the trend.
        judged: Held-out text, scored after members of the set (:func:`with_members`).
        chosen: Whether the frequencies were chosen for their strength in this reading, as those of
            ``detrended.keys()`` and ``top()`` are; False for frequencies named beforehand.
        metric: What removal is judged by.
        n_controls: Shuffled orders that each removal is set beside.
        alpha: Level, with Holm's correction over the parts.
        seed: Draws the orders and the bootstrap.

    Raises:
        FourierError: the reading is of the unembedding, no such frequency, or a model whose
            embeddings do not enter as they are.
    """
    if reading.matrix != "embedding":
        raise FourierError("what is removed is of the token embeddings; read matrix='embedding'")
    bench = _Bench(model, reading.forms, judged, metric)
    n, generator = len(reading.forms.ids), torch.Generator().manual_seed(seed)
    orders = [torch.randperm(n, generator=generator) for _ in range(n_controls)]
    table: list[Evidence] = []
    for part in parts:
        functions = part_functions(n, part)
        controls = [
            bench.without(bench.component(part_functions(n, peer)[order]))
            for order, peer in zip(orders, _peers(bench.rows, part, orders, chosen), strict=True)
        ]
        signature, null, shown = _signature(reading, part, alpha)
        table.append(
            weigh(
                f"{reading.forms.name}: {part if part == 'trend' else f'frequency {part}'}",
                signature_name="share of the variance" if part == "trend" else "share of the rest",
                signature=signature,
                signature_null=null,
                has_signature=shown,
                metric=metric,
                clean=bench.clean,
                ablated=bench.without(bench.component(functions)),
                control_effects=damage(metric, bench.clean, torch.stack(controls)),
                controls=RandomDraws(SHUFFLED, n_controls),
                groups=judged.groups,
                alpha=alpha,
                seed=seed,
            )
        )
    return EvidenceTable(correct(table))


class _Bench:
    """Some text, run once, on which changed embeddings are tried."""

    def __init__(self, model: Model, forms: TokenForms, judged: Examples, metric: Metric) -> None:
        self.model, self.judged, self.metric = model, judged, metric
        ids = torch.tensor(forms.ids)
        self.place = torch.full((model.d_vocab,), len(ids))
        self.place[ids] = torch.arange(len(ids))
        rows = model.W_E[forms.ids, :].detach().cpu().double()
        self.rows = rows - rows.mean(0)
        with session(model, capture=["embed"]) as s:
            logits = s.run(judged)
            entered = s["embed"].cpu().double()
        known = model.W_E.detach().cpu()[judged.tokens].double()
        if not torch.allclose(entered, known, rtol=1e-3, atol=1e-4):
            raise FourierError(
                f"{model.spec.name} scales or normalises its token embeddings, so removing a part "
                "of them is not removing it from what enters the model"
            )
        self.clean = metric.per_example(logits, judged).double().cpu()

    def component(self, functions: Float[Tensor, "member rank"]) -> Float[Tensor, "member d"]:
        """QQᵀX."""
        return functions @ (functions.T @ self.rows)

    def without(self, removed: Float[Tensor, "member d"]) -> Float[Tensor, " example"]:
        """The metric with that taken from the members' embeddings."""
        padded = torch.cat([removed, removed.new_zeros(1, removed.shape[1])]).float()
        change = padded[self.place[self.judged.tokens]]
        with session(self.model, intervene=add("embed", change, scale=-1.0)) as s:
            return self.metric.per_example(s.run(self.judged), self.judged).double().cpu()


def _peers(
    rows: Float[Tensor, "member d"], part: Part, orders: Sequence[Tensor], chosen: bool
) -> list[Part]:
    """What is to each shuffled order what a part is to the true one."""
    if part == "trend" or not chosen:
        return [part] * len(orders)

    def by_strength(placed: Tensor) -> list[int]:
        return [k for k, _ in spectrum(without_trend(placed)).top(len(placed) // 2)]

    place = by_strength(rows).index(part)
    return [by_strength(rows[order.argsort()])[place] for order in orders]


def _signature(reading: OrderReading, part: Part, alpha: float) -> tuple[float, float, bool]:
    n = len(reading.forms.ids)
    if part == "trend":
        return reading.trend, 1 / (n - 1), reading.trend_p <= alpha
    power = float(reading.detrended.power[part - 1])
    rank = part_functions(n, part).shape[1]
    return power, rank / (n - 2), part in reading.detrended.keys(alpha=alpha)
