"""Which digit of the operands each digit of the answer listens to, and where heads look.

Attribution ("Why Can't Transformers Learn Multiplication?", 2025): one digit of an operand is
replaced by another, the answer written so far is kept, and the drop of the logit that was largest
is averaged over rows. True multiplication has a triangle: c_k depends on the digits of place ≤ k.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.digits import N_DIGITS
from interp.hooks import session
from interp.models import Examples, Model

_ROWS = 512  # at a time


@dataclass(frozen=True, eq=False)
class DigitAttribution:
    """Mean drop of the largest logit at each answer digit, for each operand digit.

    Attributes:
        drops: In logits.
        errors: Standard error of each over rows.
        places: Place of each operand digit: 0 for units.
    """

    drops: Float[Tensor, "operand answer"]
    errors: Float[Tensor, "operand answer"]
    places: tuple[int, ...]

    @property
    def stray(self) -> float:
        """Share of all |drops| at digits that the answer digit cannot depend on (place > k).

        0 for a model that multiplies. A model without structure has the share of such cells.
        """
        place = torch.tensor(self.places)[:, None]
        outside = place > torch.arange(self.drops.shape[1])
        size = self.drops.abs()
        total = float(size.sum())
        return float(size[outside].sum()) / total if total > 0 else 0.0


def digit_attribution(
    model: Model | Callable[[Int[Tensor, "row pos"]], Float[Tensor, "row pos vocab"]],
    rows: Int[Tensor, "row pos"],
    *,
    operands: Sequence[int],
    predicts: Sequence[int],
    seed: int = 0,
) -> DigitAttribution:
    """Replace each operand digit in turn by another and see which answer digits notice.

    Args:
        model: A model, or any function from tokens to logits. Tokens 0 … 9 must be the digits.
        rows: Whole rows, the answer included.
        operands: Positions of the operands' digits: the first operand's from units up, then the
            second's.
        predicts: Positions at which the answer's digits are predicted.
        seed: Draws the other digits, each of the nine as likely.

    Raises:
        FourierError: an operand position that holds no digit, or an odd number of them.
    """
    held = rows[:, list(operands)]
    if int(held.min()) < 0 or int(held.max()) >= N_DIGITS or len(operands) % 2:
        raise FourierError(
            f"positions {list(operands)} must hold digits 0…9 in every row, and as many for one "
            "operand as for the other"
        )
    generator = torch.Generator().manual_seed(seed)
    clean = _logits_at(model, rows, predicts)
    top = clean.argmax(-1, keepdim=True)
    before = clean.gather(-1, top)[..., 0].double()
    drops, errors = [], []
    for position in operands:
        changed = rows.clone()
        step = torch.randint(1, N_DIGITS, (len(rows),), generator=generator)
        changed[:, position] = (rows[:, position] + step) % N_DIGITS
        after = _logits_at(model, changed, predicts).gather(-1, top)[..., 0].double()
        drop = before - after
        drops.append(drop.mean(0))
        errors.append(drop.std(0) / len(rows) ** 0.5)
    half = len(operands) // 2
    return DigitAttribution(torch.stack(drops), torch.stack(errors), (*range(half), *range(half)))


@torch.no_grad()
def _logits_at(
    model: Model | Callable[[Tensor], Tensor], rows: Tensor, predicts: Sequence[int]
) -> Float[Tensor, "row answer vocab"]:
    parts = []
    for start in range(0, len(rows), _ROWS):
        batch = rows[start : start + _ROWS]
        if isinstance(model, Model):
            with session(model) as s:
                logits = s.run(batch)
        else:
            logits = model(batch)
        parts.append(logits[:, list(predicts)].cpu())
    return torch.cat(parts)


@dataclass(frozen=True)
class TreeEdge:
    """A later layer's head looking at a position that holds something an earlier layer put there.

    Attributes:
        head: (layer, head).
        to: The position that looks.
        source: The position looked at.
        weight: Mean attention.
        cached: The pair of operand digits that the first layer looks at from ``source``, by the
            head whose attention on one pair is largest; positions.
        cached_by: That head.
        cached_mass: Its attention on the pair.
    """

    head: tuple[int, int]
    to: int
    source: int
    weight: float
    cached: tuple[int, int]
    cached_by: tuple[int, int]
    cached_mass: float


@dataclass(frozen=True, eq=False)
class AttentionTree:
    """Mean attention, and what of it looks like a tree of cached digit pairs.

    Attributes:
        pattern: Mean attention over rows.
        pair_mass: The largest attention on one pair (a_i, b_j) of operand digits, for every layer,
            head and position that sees both operands; 0 elsewhere.
        pair: That pair, as positions.
        uniform: What ``pair_mass`` is under uniform attention: 2/(positions seen).
        edges: Of later layers' heads, from answer positions to caching positions, the strongest
            first: those with more than twice uniform attention.
    """

    pattern: Float[Tensor, "layer head query key"]
    pair_mass: Float[Tensor, "layer head query"]
    pair: Int[Tensor, "layer head query 2"]
    uniform: Float[Tensor, " query"]
    edges: tuple[TreeEdge, ...]


def attention_tree(
    model: Model, rows: Examples, *, operands: Sequence[int], predicts: Sequence[int]
) -> AttentionTree:
    """Read the tree off the mean attention of every head.

    A signature from attention alone: what a head moves along an edge, and whether it is used, is
    for interventions to say. A caching position is any from the second operand's first digit on:
    there both operands have begun, so that an earlier layer can have put a pair together.

    Args:
        model: The model.
        rows: Whole rows.
        operands: As in :func:`digit_attribution`.
        predicts: Positions at which the answer's digits are predicted.

    Raises:
        FourierError: an odd number of operand positions, or a model of one layer.
    """
    if len(operands) % 2 or model.n_layers < 2:
        raise FourierError(
            f"expected two operands of one length and at least 2 layers, got {len(operands)} "
            f"operand positions and {model.n_layers} layers"
        )
    pattern = _mean_pattern(model, rows)
    half = len(operands) // 2
    first, second = list(operands[:half]), list(operands[half:])
    width = pattern.shape[-1]
    best_first = pattern[..., first].max(-1)
    best_second = pattern[..., second].max(-1)
    sees = torch.arange(width) >= min(second)
    mass = (best_first.values + best_second.values) * sees
    pair = torch.stack(
        [torch.tensor(first)[best_first.indices], torch.tensor(second)[best_second.indices]], -1
    )
    uniform = 2 / (torch.arange(width) + 1.0)
    edges = []
    for layer in range(1, model.n_layers):
        for head in range(model.n_heads):
            for to in predicts:
                for source in range(min(second), to + 1):
                    weight = float(pattern[layer, head, to, source])
                    if weight <= 2 / (to + 1):
                        continue
                    by = int(mass[0, :, source].argmax())
                    i, j = pair[0, by, source].tolist()
                    cached_mass = float(mass[0, by, source])
                    edges.append(
                        TreeEdge((layer, head), to, source, weight, (i, j), (0, by), cached_mass)
                    )
    edges.sort(key=lambda edge: -edge.weight)
    return AttentionTree(pattern, mass, pair, uniform, tuple(edges))


@torch.no_grad()
def _mean_pattern(model: Model, rows: Examples) -> Float[Tensor, "layer head query key"]:
    sites = [f"L{layer}.pattern" for layer in range(model.n_layers)]
    total = None
    for start in range(0, len(rows), _ROWS):
        with session(model, capture=sites) as s:
            s.run(rows.tokens[start : start + _ROWS])
            part = torch.stack([s[site].double().sum(0).cpu() for site in sites])
        total = part if total is None else total + part
    assert total is not None
    return total / len(rows)
