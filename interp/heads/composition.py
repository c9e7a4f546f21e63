"""Which heads read what which earlier heads write, by their weights alone.

The score of Elhage et al. (2021), "A Mathematical Framework for Transformer Circuits", as rows act
on the residual stream (TransformerLens's convention): for an earlier head a and a later head b,

    ‖W_OV^a M‖ / (‖W_OV^a‖ ‖M‖),   M = W_QK^b (Q), W_QK^bᵀ (K), W_OV^b (V)

in Frobenius norms, with W_OV = W_V W_O and W_QK = W_Q W_Kᵀ. From 0 to 1. Two random matrices score
about 1/√d_model, and matrices of low rank more or less than that by chance, so that the score alone
says little. The null here keeps both matrices as they are and turns one against the other: the
score of W_OV^a R M for random rotations R (uniform over the orthogonal group). z is how many of
the null's standard deviations the score lies above its mean.

How it is computed: with W_OV^a = V O and M = L Kᵀ, and V = Q₁S, K = Q₂T by QR, orthonormal Q₁ and
Q₂ drop out of the norm, which leaves A = S O and B = L Tᵀ of only d_head rows and columns: the
score is ‖A B‖ / (‖A‖ ‖B‖), its null ‖A R B‖ / (‖A‖ ‖B‖), for all pairs at once.

Norms are folded in (see ``interp.heads.weights``); biases, rotary angles (offset 0 is taken) and
norms after attention or on queries and keys are not.
"""

from __future__ import annotations

import difflib
import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, head_name
from interp.heads.scores import HeadsError
from interp.heads.weights import reading_weights
from interp.hooks.progress import progress
from interp.models import Model

if TYPE_CHECKING:
    import pandas as pd

CompositionKind = Literal["Q", "K", "V"]
_BLOCK_ELEMENTS = 2**24


class Composition(NamedTuple):
    """One pair of heads: its score, and where that lies among random rotations."""

    source: Head
    target: Head
    value: float
    null_mean: float
    null_sd: float
    z: float


@dataclass(frozen=True, eq=False)
class CompositionScores:
    """Composition of every pair of an earlier and a later head.

    Attributes:
        kind: Whether the later head's queries, keys or values read what the earlier one writes.
        sources: The earlier head of each pair.
        targets: The later head of each pair.
        values: The score of each pair, 0 to 1.
        null_mean: Its mean over random rotations.
        null_sd: Its standard deviation over random rotations.
        n_rotations: How many.
        undefined: Pairs left out, because a matrix of theirs is zero or because no rotation
            changes their score.
    """

    kind: CompositionKind
    sources: tuple[Head, ...]
    targets: tuple[Head, ...]
    values: Float[Tensor, " pair"]
    null_mean: Float[Tensor, " pair"]
    null_sd: Float[Tensor, " pair"]
    n_rotations: int
    undefined: tuple[tuple[Head, Head], ...] = ()

    def __len__(self) -> int:
        return len(self.sources)

    def __repr__(self) -> str:
        best = self.top(1)
        top = f", top {_arrow(best[0])} z {best[0].z:.1f}" if best else ""
        return f"CompositionScores({self.kind!r}, {len(self)} pairs{top})"

    @property
    def z(self) -> Float[Tensor, " pair"]:
        """Standard deviations above the mean over random rotations."""
        return (self.values - self.null_mean) / self.null_sd

    def at(self, source: Head, target: Head) -> Composition:
        """Return one pair.

        Raises:
            HeadsError: the pair is undefined, or not an earlier and a later head.
        """
        for i, pair in enumerate(zip(self.sources, self.targets, strict=True)):
            if pair == (source, target):
                return self._pair(i)
        names = f"{head_name(source)} and {head_name(target)}"
        if (source, target) in self.undefined:
            raise HeadsError(
                f"{self.kind}-composition of {names} is undefined: a matrix of theirs is zero, "
                "or no rotation changes it"
            )
        raise HeadsError(f"no pair {names}; give a head and one of a later layer")

    def top(self, k: int = 10) -> list[Composition]:
        """Return the k pairs farthest above their null, by z."""
        order = torch.argsort(self.z, descending=True, stable=True)
        return [self._pair(i) for i in order[:k].tolist()]

    def table(self) -> pd.DataFrame:
        """Lay the pairs out tidily.

        Returns:
            Columns ``kind``, ``source``, ``target`` (as ``L0H3``), ``value``, ``null_mean``,
            ``null_sd`` and ``z``.
        """
        import pandas as pd

        return pd.DataFrame(
            {
                "kind": pd.Series([self.kind] * len(self), dtype="string"),
                "source": pd.Series([head_name(h) for h in self.sources], dtype="string"),
                "target": pd.Series([head_name(h) for h in self.targets], dtype="string"),
                "value": self.values.numpy(),
                "null_mean": self.null_mean.numpy(),
                "null_sd": self.null_sd.numpy(),
                "z": self.z.numpy(),
            }
        )

    def _repr_html_(self) -> str:
        """Show the ten pairs farthest above their null; all text is escaped."""
        rows = "".join(
            f"<tr><td>{html.escape(_arrow(pair))}</td><td>{pair.value:.3f}</td>"
            f"<td>{pair.null_mean:.3f} ± {pair.null_sd:.3f}</td><td>{pair.z:.1f}</td></tr>"
            for pair in self.top(10)
        )
        return (
            f"<table><caption>{html.escape(self.kind)}-composition</caption><thead><tr>"
            "<th>pair</th><th>score</th><th>random rotations</th><th>z</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
        )

    def _pair(self, i: int) -> Composition:
        return Composition(
            self.sources[i],
            self.targets[i],
            float(self.values[i]),
            float(self.null_mean[i]),
            float(self.null_sd[i]),
            float(self.z[i]),
        )


@torch.no_grad()
def composition_scores(
    model: Model,
    kinds: Sequence[CompositionKind] = ("Q", "K", "V"),
    *,
    n_rotations: int = 32,
    generator: torch.Generator,
) -> dict[str, CompositionScores]:
    """Score the composition of every pair of an earlier and a later head.

    Args:
        model: The model.
        kinds: Out of Q, K and V.
        n_rotations: Random rotations in the null, at least 2; the same for every pair. With
            fewer than about 20 the largest z of many pairs is large by chance alone.
        generator: Draws them, on the CPU.

    Returns:
        For each kind, its scores; computed in float32 or wider, on the CPU at the end.

    Raises:
        HeadsError: an unknown kind, one layer only, or too few rotations.
        ModelError: the architecture keeps no per-head matrices.
    """
    for kind in kinds:
        if kind not in get_args(CompositionKind):
            near = difflib.get_close_matches(str(kind).upper()[:1], get_args(CompositionKind))
            raise HeadsError(f"unknown composition {kind!r}; expected {', '.join(near or 'QKV')}")
    if model.n_layers < 2:
        raise HeadsError(f"{model.spec.name} has one layer; composition takes two")
    if n_rotations < 2:
        raise HeadsError(f"n_rotations={n_rotations}: a null's spread needs at least 2")
    weights = [reading_weights(model, layer) for layer in range(model.n_layers)]
    writers = torch.cat([_left(w.W_V) @ w.W_O for w in weights[:-1]])
    readers = {}
    for kind in dict.fromkeys(kinds):
        ends = {
            "Q": [(w.W_Q, w.W_K) for w in weights],
            "K": [(w.W_K, w.W_Q) for w in weights],
            "V": [(w.W_V, w.W_O.mT) for w in weights],
        }[kind]
        readers[kind] = torch.cat([read @ _left(other).mT for read, other in ends[1:]])
    scored = {kind: _scores(writers, reader) for kind, reader in readers.items()}
    nulls: dict[str, list[Tensor]] = {kind: [] for kind in readers}
    with progress("turning matrices", total=n_rotations) as advance:
        for _ in range(n_rotations):
            turned = writers @ _rotation(model.d_model, generator).to(writers)
            for kind, reader in readers.items():
                nulls[kind].append(_scores(turned, reader))
            advance(1)
    return {kind: _collect(kind, scored[kind], torch.stack(nulls[kind]), model) for kind in readers}


def _left(matrix: Float[Tensor, "head row column"]) -> Float[Tensor, "head small column"]:
    """R of the QR decomposition: the same Gram matrix in as few rows as there are columns."""
    if matrix.shape[1] <= matrix.shape[2]:
        return matrix
    wide = matrix if matrix.device.type == "mps" else matrix.to(torch.float64)
    return torch.linalg.qr(wide, mode="r").R.to(matrix.dtype)


def _scores(
    writers: Float[Tensor, "source small d_model"], readers: Float[Tensor, "target d_model small"]
) -> Float[Tensor, "source target"]:
    """‖A B‖ / (‖A‖ ‖B‖) for every pair; 0 where one of them is zero."""
    sizes = writers.flatten(1).norm(dim=1)[:, None] * readers.flatten(1).norm(dim=1)[None]
    found = torch.empty_like(sizes)
    n_sources, small, _ = writers.shape
    step = max(1, _BLOCK_ELEMENTS // (n_sources * small * readers.shape[2]))
    for start in range(0, len(readers), step):
        block = readers[start : start + step]
        products = writers.flatten(0, 1) @ block.transpose(0, 1).flatten(1)
        squares = products.view(n_sources, small, len(block), -1).square()
        found[:, start : start + step] = squares.sum((1, 3)).sqrt()
    return torch.where(sizes > 0, found / sizes.clamp(min=1e-30), 0.0).to("cpu", torch.float64)


def _rotation(size: int, generator: torch.Generator) -> Float[Tensor, "size size"]:
    """A random orthogonal matrix, uniform (Haar): QR with the signs of R's diagonal put right."""
    normal = torch.randn((size, size), generator=generator, dtype=torch.float64)
    q, r = torch.linalg.qr(normal)
    return q * r.diagonal().sign()


def _collect(
    kind: CompositionKind,
    scored: Float[Tensor, "source target"],
    null: Float[Tensor, "rotation source target"],
    model: Model,
) -> CompositionScores:
    """Keep the pairs whose source is in an earlier layer and whose score is defined."""
    mean, sd = null.mean(0), null.std(0)
    heads = [(layer, h) for layer in range(model.n_layers) for h in range(model.n_heads)]
    kept: list[tuple[int, int]] = []
    undefined: list[tuple[Head, Head]] = []
    for i, source in enumerate(heads[: -model.n_heads]):
        for j, target in enumerate(heads[model.n_heads :]):
            if source[0] >= target[0]:
                continue
            # A spread this small is rounding: the null has a single value.
            if float(mean[i, j]) > 0 and float(sd[i, j]) > 1e-5 * float(mean[i, j]):
                kept.append((i, j))
            else:
                undefined.append((source, target))
    rows = torch.tensor([i for i, _ in kept], dtype=torch.int64)
    columns = torch.tensor([j for _, j in kept], dtype=torch.int64)
    return CompositionScores(
        kind=kind,
        sources=tuple(heads[i] for i, _ in kept),
        targets=tuple(heads[j + model.n_heads] for _, j in kept),
        values=scored[rows, columns],
        null_mean=mean[rows, columns],
        null_sd=sd[rows, columns],
        n_rotations=len(null),
        undefined=tuple(undefined),
    )


def _arrow(pair: Composition) -> str:
    return f"{head_name(pair.source)} → {head_name(pair.target)}"
