"""The guardrail: what removing heads does to the perplexity of natural text.

Removing a head that carries one skill should cost that skill. Where it costs ordinary text as much,
the head was carrying more than the skill, or the ablation broke the model.
"""

from __future__ import annotations

import html
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from interp.evidence import Head, loss
from interp.evidence.nested import nested_interval
from interp.heads.sweep import SweepKind, sweep
from interp.heads.sweep_job import Keep
from interp.models import Examples, Model

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class PerplexityRatio:
    """The perplexity with a set of heads removed, over the clean model's.

    Attributes:
        name: The set.
        heads: Its heads.
        perplexity: With them removed.
        ratio: Over the clean perplexity; 1 is no harm.
        interval: Of the ratio, over new text; None where there is one group of it.
    """

    name: str
    heads: frozenset[Head]
    perplexity: float
    ratio: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Perplexities:
    """The perplexity of held-out text, clean and with each set of heads removed.

    Attributes:
        clean: The unmodified model's: exp of its mean loss a token.
        ratios: One a set.
        text: The examples' name.
        kind: What took the heads' place.
        n_tokens: Predicted tokens.
        n_groups: Groups of examples that are independent of each other.
        confidence: Coverage of the intervals.
        warning: Where there are too few groups, what that means; else None.
    """

    clean: float
    ratios: tuple[PerplexityRatio, ...]
    text: str
    kind: str
    n_tokens: int
    n_groups: int
    confidence: float
    warning: str | None

    def __getitem__(self, name: str) -> PerplexityRatio:
        for ratio in self.ratios:
            if ratio.name == name:
                return ratio
        raise KeyError(f"no set {name!r}; there are {', '.join(r.name for r in self.ratios)}")

    def __str__(self) -> str:
        lines = [
            f"perplexity on {self.text} ({self.n_tokens} tokens in {self.n_groups} groups): "
            f"{self.clean:.4g}"
        ]
        for r in self.ratios:
            said = f"without {r.name} ({self.kind}): {r.perplexity:.4g}, × {r.ratio:.4g}"
            if r.interval is not None:
                said += f" [{r.interval[0]:.4g}, {r.interval[1]:.4g}]"
            lines.append(said)
        return "\n".join([*lines, *([self.warning] if self.warning else [])])

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(str(self))}</pre>"

    def frame(self) -> pd.DataFrame:
        """Return one row a set."""
        import pandas as pd

        rows = [
            {
                "set": r.name,
                "n_heads": len(r.heads),
                "clean": self.clean,
                "perplexity": r.perplexity,
                "ratio": r.ratio,
                "low": r.interval[0] if r.interval else None,
                "high": r.interval[1] if r.interval else None,
            }
            for r in self.ratios
        ]
        columns = ["set", "n_heads", "clean", "perplexity", "ratio", "low", "high"]
        types = {"set": "string", "low": "Float64", "high": "Float64"}
        return pd.DataFrame(rows, columns=columns).astype(types)


def perplexity(
    model: Model,
    held_out: Examples,
    sets: Mapping[str, Collection[Head]],
    *,
    kind: SweepKind = "mean",
    reference: Examples | None = None,
    confidence: float = 0.95,
    keep: Keep | None = None,
    seed: int = 0,
) -> Perplexities:
    """Measure the perplexity of held-out text, clean and without each set of heads.

    exp(Σ loss / tokens) over all scored positions, so that long examples weigh more. Intervals are
    of the logarithm of the ratio, over groups of examples (``nested_interval``), and exponentiated
    at the end. The empty set's ratio is exactly 1.

    Args:
        model: The model.
        held_out: Text that chose no head; rows of one document in one group.
        sets: Sets of (layer, head), by name.
        kind: What takes the heads' place, as in ``sweep``.
        reference: As there.
        confidence: Coverage of the intervals.
        keep: As there.
        seed: Seeds bootstrap and, under ``resample``, the derangement.

    Raises:
        AblationError: as ``sweep``.
        MetricError: an example without a scored position.
    """
    found = sweep(
        model,
        held_out,
        loss,
        list(sets.values()),
        kind=kind,
        reference=reference,
        seed=seed,
        keep=keep,
    )
    tokens = _scored_tokens(held_out)
    weight = tokens.numpy()
    clean = float(np.average(found.clean.double().numpy(), weights=weight))
    ratios = []
    warning: str | None = None
    for name, heads, harm in zip(sets, found.sets, found.effects.double().numpy(), strict=True):
        log_ratio = nested_interval(
            harm, {"group": held_out.groups}, weights=weight, confidence=confidence, seed=seed
        )
        ends = log_ratio.interval
        warning = log_ratio.warning
        ratios.append(
            PerplexityRatio(
                name=name,
                heads=heads,
                perplexity=math.exp(clean + log_ratio.estimate),
                ratio=math.exp(log_ratio.estimate),
                interval=None if ends is None else (math.exp(ends[0]), math.exp(ends[1])),
            )
        )
    return Perplexities(
        clean=math.exp(clean),
        ratios=tuple(ratios),
        text=held_out.name,
        kind=kind,
        n_tokens=int(tokens.sum()),
        n_groups=len(set(held_out.groups)),
        confidence=confidence,
        warning=warning,
    )


def _scored_tokens(examples: Examples) -> torch.Tensor:
    """How many predictions the loss of each example is the mean of."""
    mask = examples.mask
    assert mask is not None
    counts = mask[:, :-1] & mask[:, 1:]
    if examples.scored is not None:
        counts = counts & examples.scored[:, :-1]
    return counts.sum(dim=1).cpu()
