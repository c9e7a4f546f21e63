"""Minimal pairs: how much likelier a causal model finds the one text than the other.

Two forms. The *whole-text* gap is Δ = Σ log p(more) − Σ log p(less), over all tokens. The share of
pairs with Δ > 0 is how CrowS-Pairs (Nangia et al. 2020) is reported for causal models; it also
counts how frequent the differing words are. The *conditional* gap is the same sum over the tokens
that both texts share after their first difference: what the differing words do to the rest. Where
the texts differ at their end there is no such token, and the pair has no conditional gap.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from interp.models import Model
from probes.behaviour.estimates import Estimate, mean_of
from probes.behaviour.items import BehaviourError, Pair, PairSet, Skipped, reasons
from probes.behaviour.likelihood import Likelihood, compare, encode, likelihoods, why_not
from probes.behaviour.report import Report

if TYPE_CHECKING:
    import pandas as pd

ALL = "all"


@dataclass(frozen=True)
class PairGap:
    """One pair, measured.

    Attributes:
        pair: The pair.
        more: Log-probability of the whole first text, in nats.
        less: Of the second.
        sign: 1 where the first is likelier, -1 where the second is, 0 for a tie.
        conditional: Conditional gap, in nats; None where nothing is shared after the difference.
        n_shared: Tokens that it is over.
        n_more: Tokens of the first text.
        n_less: Tokens of the second.
    """

    pair: Pair
    more: float
    less: float
    sign: int
    conditional: float | None
    n_shared: int
    n_more: int
    n_less: int

    @property
    def gap(self) -> float:
        """Δ over the whole texts, in nats."""
        return self.more - self.less


@dataclass(frozen=True)
class GapRow:
    """The pairs of one kind, or all.

    Attributes:
        kind: Which.
        n: Pairs.
        share_more: Share of pairs whose first text is likelier, 0 to 1; ties count as not. Without
            a bias it is .5.
        gap: Mean Δ, in nats.
        size: Mean |Δ| ("likelihood difference"), in nats; above 0 for any model.
        conditional: Mean conditional gap, in nats.
        ties: Pairs with a tie.
        n_conditional: Pairs with a conditional gap.
        unequal: Share of pairs whose texts differ in their number of tokens.
        extra_tokens: Tokens that the first text has more than the second, in the mean: where it
            is above 0, the whole-text gap is lower for this alone.
    """

    kind: str
    n: int
    share_more: Estimate
    gap: Estimate
    size: float
    conditional: Estimate
    ties: int
    n_conditional: int
    unequal: float
    extra_tokens: float


@dataclass(frozen=True, repr=False)
class PairGaps(Report):
    """How much likelier a model finds the first texts of pairs.

    Attributes:
        name: What the pairs are called.
        model: The model's name.
        rows: One a kind, and ``all``.
        items: Every pair measured.
        skipped: Pairs left out, in reading or in measuring.
        confidence: Coverage of the intervals.
    """

    name: str
    model: str
    rows: tuple[GapRow, ...]
    items: tuple[PairGap, ...]
    skipped: tuple[Skipped, ...]
    confidence: float

    def __getitem__(self, kind: str) -> GapRow:
        for row in self.rows:
            if row.kind == kind:
                return row
        raise KeyError(f"no kind {kind!r}; there are {', '.join(r.kind for r in self.rows)}")

    @property
    def title(self) -> str:
        """What was measured, on what."""
        return f"{self.name} on {self.model}: {len(self.items)} pairs"

    @property
    def remarks(self) -> tuple[str, ...]:
        """What has to be known to read the table."""
        whole = self[ALL]
        said = [
            f"share_more: pairs whose first text is likelier, .5 without a bias; "
            f"{whole.ties} ties count as not. Intervals hold {self.confidence:.0%} over "
            f"{whole.gap.n_groups} groups of pairs; kinds are not corrected for their number.",
            f"{whole.unequal:.0%} of the pairs differ in their number of tokens; the first text "
            f"has {whole.extra_tokens:+.2f} in the mean, which the whole-text gap counts and the "
            f"conditional one does not. {whole.n - whole.n_conditional} pairs share nothing after "
            "their difference and have no conditional gap.",
        ]
        return (*said, *([left] if (left := reasons(self.skipped)) else []))

    def table(self) -> pd.DataFrame:
        """One row a kind; gaps in nats."""
        import pandas as pd

        return pd.DataFrame(
            {
                "kind": row.kind,
                "n": row.n,
                **row.share_more.columns("share_more"),
                **row.gap.columns("gap"),
                "size": row.size,
                **row.conditional.columns("conditional"),
                "n_conditional": row.n_conditional,
                "ties": row.ties,
                "unequal": row.unequal,
                "extra_tokens": row.extra_tokens,
            }
            for row in self.rows
        )

    def items_table(self) -> pd.DataFrame:
        """One row a pair."""
        import pandas as pd

        return pd.DataFrame(
            {
                "place": item.pair.place,
                "kind": item.pair.kind,
                "group": item.pair.group,
                "gap": item.gap,
                "sign": item.sign,
                "conditional": item.conditional,
                "n_more": item.n_more,
                "n_less": item.n_less,
            }
            for item in self.items
        )


def pair_gaps(model: Model, pairs: PairSet, *, confidence: float = 0.95, seed: int = 0) -> PairGaps:
    """Measure minimal pairs, by kind and all together; one forward pass a distinct text.

    Pairs with a text that the model cannot score (longer than its context, a single token that
    nothing predicts) or whose texts are the same tokens are left out and counted.

    Args:
        model: Any causal model.
        pairs: The pairs; texts, or token ids for a model without a tokenizer.
        confidence: Coverage of the intervals.
        seed: Seeds the bootstrap.

    Raises:
        BehaviourError: no pair can be measured, or a text gives no token.
    """
    kept: list[tuple[Pair, tuple[int, ...], tuple[int, ...]]] = []
    skipped = list(pairs.skipped)
    for pair in pairs.pairs:
        try:
            more, less = encode(model, pair.more), encode(model, pair.less)
        except BehaviourError as error:
            raise BehaviourError(f"{pairs.name}, {pair.place or pair.group}: {error}") from None
        why = why_not(model, more) or why_not(model, less)
        why = why or ("both texts are the same tokens" if more == less else None)
        if why is not None:
            skipped.append(Skipped(pair.place or pair.group, why))
            continue
        kept.append((pair, more, less))
    if not kept:
        raise BehaviourError(f"{pairs.name}: no pair can be measured; {reasons(skipped)}")
    found = likelihoods(model, [ids for _, more, less in kept for ids in (more, less)])
    items = tuple(
        _measured(pair, found[2 * i], found[2 * i + 1]) for i, (pair, _, _) in enumerate(kept)
    )
    kinds = sorted({item.pair.kind for item in items})
    rows = [
        _row(kind, [item for item in items if item.pair.kind == kind], confidence, seed)
        for kind in (kinds if len(kinds) > 1 else ())
    ]
    return PairGaps(
        name=pairs.name,
        model=model.spec.name,
        rows=(_row(ALL, items, confidence, seed), *rows),
        items=items,
        skipped=tuple(skipped),
        confidence=confidence,
    )


def shared_after(
    more: Sequence[int], less: Sequence[int]
) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Positions in each of two texts of the tokens that they share after their first difference.

    Alignment by ``difflib.SequenceMatcher``, as in the published CrowS-Pairs code.
    """
    first = next(
        (i for i, (a, b) in enumerate(zip(more, less, strict=False)) if a != b),
        min(len(more), len(less)),
    )
    matcher = difflib.SequenceMatcher(a=more[first:], b=less[first:], autojunk=False)
    blocks = matcher.get_matching_blocks()
    ours = tuple(first + block.a + k for block in blocks for k in range(block.size))
    theirs = tuple(first + block.b + k for block in blocks for k in range(block.size))
    return ours, theirs


def _measured(pair: Pair, more: Likelihood, less: Likelihood) -> PairGap:
    ours, theirs = shared_after(more.ids, less.ids)
    # What stands first in either text has nothing before it that could differ.
    both = [(a, b) for a, b in zip(ours, theirs, strict=True) if a > 0 and b > 0]
    conditional = None
    if both:
        conditional = more.at([a for a, _ in both]) - less.at([b for _, b in both])
    n_more, n_less = len(more.ids), len(less.ids)
    return PairGap(
        pair=pair,
        more=more.total,
        less=less.total,
        sign=compare(more.total, less.total, n_tokens=max(n_more, n_less)),
        conditional=conditional,
        n_shared=len(both),
        n_more=n_more,
        n_less=n_less,
    )


def _row(kind: str, items: Sequence[PairGap], confidence: float, seed: int) -> GapRow:
    groups = [item.pair.group for item in items]
    gaps = np.array([item.gap for item in items])
    extra = np.array([item.n_more - item.n_less for item in items])
    conditional = [item for item in items if item.conditional is not None]
    none = "no pair shares a token after its difference"

    def over(values: Sequence[float] | np.ndarray, labels: Sequence[str]) -> Estimate:
        return mean_of(values, labels, none=none, confidence=confidence, seed=seed)

    return GapRow(
        kind=kind,
        n=len(items),
        share_more=over([float(item.sign > 0) for item in items], groups),
        gap=over(gaps, groups),
        size=float(np.abs(gaps).mean()),
        conditional=over(
            [item.conditional for item in conditional if item.conditional is not None],
            [item.pair.group for item in conditional],
        ),
        ties=sum(item.sign == 0 for item in items),
        n_conditional=len(conditional),
        unequal=float((extra != 0).mean()),
        extra_tokens=float(extra.mean()),
    )
