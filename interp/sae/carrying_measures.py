"""What a bias is, how much of it an edit takes away, and what that costs: numbers and their tables.

For targets k with bias b_k, the mean of a signed metric over their prompts, and scores s_k:

* the *slope* of b on s. It ignores an offset that all targets share.
* the *SD* of b over targets. It ignores which way they lean.

Mean |b| mixes slope and offset, so it is not used: an edit that takes nearly all of the slope away
can leave it as large as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float
from torch import Tensor

from interp.models import Examples
from interp.sae.dictionary import SaeError

Tokens = Callable[[Examples], Bool[Tensor, "example pos"]]
"""Says which tokens of some examples are touched."""


class NoLatentError(SaeError):
    """Edited alone, no latent lowers the slope: there is none to edit."""


class NoBiasError(SaeError):
    """There is no bias to take away, so no share of it can be said to be gone."""


@dataclass(frozen=True, eq=False)
class BiasSplit:
    """One split of everything that is measured.

    Attributes:
        biased: Prompts about targets.
        targets: Which target each of them is about.
        neutral: Text that no edit should harm; its loss is measured.
        recognition: Prompts that name a concept, or None: what an erased concept would harm and
            a removed bias should not.
    """

    biased: Examples
    targets: tuple[str, ...]
    neutral: Examples
    recognition: Examples | None = None

    def __post_init__(self) -> None:
        if len(self.targets) != len(self.biased):
            raise SaeError(
                f"{len(self.biased)} prompts need as many targets, got {len(self.targets)}"
            )


@dataclass(frozen=True, eq=False)
class Slopes:
    """How the slope and the SD are read off the bias of every prompt; made by ``slopes_over``.

    Attributes:
        names: The targets.
        score: What their biases are laid against.
        member: Share of each prompt in its target's mean.
        weight: The slope of any numbers over the prompts is ``weight @ numbers``.
    """

    names: tuple[str, ...]
    score: Float[np.ndarray, " target"]
    member: Float[np.ndarray, "target example"]
    weight: Float[np.ndarray, " example"]

    def biases(self, values: Float[np.ndarray, "*any example"]) -> Float[np.ndarray, "*any target"]:
        """Mean over each target's prompts."""
        found: np.ndarray = values @ self.member.T
        return found

    def parts(self, values: Float[np.ndarray, "*any example"]) -> Float[np.ndarray, "*any example"]:
        """Each prompt's part in the slope: numbers whose mean is the slope."""
        centred = values - self.biases(values).mean(-1, keepdims=True)
        found: np.ndarray = centred * self.weight * values.shape[-1]
        return found

    def interval(
        self,
        before: Float[np.ndarray, " target"],
        after: Float[np.ndarray, " target"] | None = None,
        *,
        seed: int,
        confidence: float = 0.95,
        n_resamples: int = 1999,
    ) -> tuple[float, float]:
        """Percentile bootstrap over whole targets.

        Args:
            before: Each target's bias.
            after: The same under an edit: then of the share of the slope that is gone, both taken
                on the same targets; else of the slope before.
            seed: Seeds the resampling.
            confidence: Coverage.
            n_resamples: Resamples; those of fewer than three different scores are left out.
        """
        rng = np.random.default_rng(seed)
        drawn = rng.integers(len(self.names), size=(n_resamples, len(self.names)))
        drawn = drawn[[len(np.unique(self.score[row])) > 2 for row in drawn]]
        score = self.score[drawn]
        centred = score - score.mean(1, keepdims=True)
        was = (centred * before[drawn]).sum(1)
        if after is None:
            values = was / (centred**2).sum(1)
        else:
            now = (centred * after[drawn]).sum(1)
            values = 1 - now[was != 0] / was[was != 0]
        low, high = np.quantile(values, [(1 - confidence) / 2, (1 + confidence) / 2])
        return float(low), float(high)


def slopes_over(targets: Sequence[str], scores: Mapping[str, float]) -> Slopes:
    """Prepare the slope of bias on scores, every target counting the same.

    Raises:
        SaeError: a target without a score, fewer than three targets, or scores all equal.
    """
    names = tuple(dict.fromkeys(targets))
    missing = [name for name in names if name not in scores]
    if missing:
        raise SaeError(f"no score for {', '.join(missing[:3])}; give one for every target")
    score = np.array([float(scores[name]) for name in names])
    if len(names) < 3 or not np.isfinite(score).all() or np.ptp(score) == 0:
        raise SaeError(
            f"a slope needs at least three targets of different, finite scores; got {len(names)}"
        )
    index = {name: i for i, name in enumerate(names)}
    of = np.array([index[name] for name in targets])
    member = (of[None] == np.arange(len(names))[:, None]).astype(float)
    member /= member.sum(1, keepdims=True)
    centred = score - score.mean()
    return Slopes(names, score, member, (centred / (centred**2).sum()) @ member)


@dataclass(frozen=True)
class Reduction:
    """What one change does to the bias, and what it costs.

    Attributes:
        name: What was done.
        n: Latents edited, or None where it is no edit of latents.
        slope: Share of the slope that is gone: 1 is all, below 0 is more bias than before.
        interval: Of ``slope``, over targets.
        sd: Share of the SD over targets that is gone.
        overshoot: How far the slope leans the other way, as a share of what it was.
        ce: Added loss on neutral text, in nats a token.
        ce_interval: Of ``ce``, over groups of texts.
        kl: KL(clean ‖ changed) on neutral text, in nats a token.
        recognition: Recognition under the change, or None where it was not measured.
    """

    name: str
    n: int | None
    slope: float
    interval: tuple[float, float]
    sd: float
    overshoot: float
    ce: float
    ce_interval: tuple[float, float]
    kl: float
    recognition: float | None


def share_of_slope_gone(
    slopes: Slopes,
    clean: Float[np.ndarray, " example"],
    changed: Float[np.ndarray, "*any example"],
) -> Float[np.ndarray, "*any"]:
    """1 − slope under the change / slope of the model as it is."""
    found: np.ndarray = 1 - (changed @ slopes.weight) / float(clean @ slopes.weight)
    return found
