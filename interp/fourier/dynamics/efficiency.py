"""Circuit efficiency: how large a right answer a model gets out of weights of a given size.

After Varma et al. (2023), "Explaining grokking through circuit efficiency": weight decay prefers
the circuit that gives the larger logit at the same ‖θ‖. A whole model stands for its circuit here,
so compare one that has grokked with one that has only memorised, on pairs that both know. All
weights are rescaled together to a common norm, and the mean centred logit of the right answer is
read: z_c − mean over answers of z.

It is neither signature nor load of a component: it is a property of the whole model's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.evidence import bootstrap_interval, permutation_p
from interp.fourier.basis import FourierError
from interp.fourier.dynamics.trajectory import Weights, weight_norm

LogitsOf = Callable[[Mapping[str, Tensor]], Tensor]


@dataclass(frozen=True)
class Efficiency:
    """What a model's weights give.

    Attributes:
        norm: ‖θ‖.
        logit: Mean centred logit of the right answer, as the model is.
        interval: 95 % interval of it over pairs.
        at_norm: The same with all weights rescaled to other norms.
    """

    norm: float
    logit: float
    interval: tuple[float, float]
    at_norm: dict[float, float]

    @property
    def per_norm(self) -> float:
        """Logit over ‖θ‖, as the model is."""
        return self.logit / self.norm


@dataclass(frozen=True)
class EfficiencyDifference:
    """How much more one model's weights give than another's at the same size.

    Attributes:
        norm: The size.
        first: Mean centred logit of the first model.
        second: Of the second.
        difference: First minus second.
        interval: 95 % interval of the difference over pairs.
        p_value: That pairs favour neither, by sign flips, two-sided.
    """

    norm: float
    first: float
    second: float
    difference: float
    interval: tuple[float, float]
    p_value: float


def centred_logit(
    logits: Float[Tensor, "pair answer"], answers: Int[Tensor, " pair"]
) -> Float[Tensor, " pair"]:
    """Logit of the right answer minus the mean over answers, in float64.

    Raises:
        FourierError: shapes that do not belong together, or logits that are not finite.
    """
    if logits.ndim != 2 or answers.shape != logits.shape[:1] or not len(answers):
        raise FourierError(
            f"logits of shape {list(logits.shape)} and answers of {list(answers.shape)}: expected "
            "[pair, answer] and [pair]"
        )
    wide = logits.detach().double()
    if not bool(torch.isfinite(wide).all()):
        raise FourierError("logits must be finite")
    return wide.gather(1, answers[:, None])[:, 0] - wide.mean(1)


def efficiency(
    logits_of: LogitsOf,
    weights: Weights,
    answers: Int[Tensor, " pair"],
    *,
    norms: Sequence[float] = (),
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> Efficiency:
    """Read the right answers' logits as the model is, and at other sizes of its weights.

    Args:
        logits_of: Logits ``[pair, answer]`` under given weights, on pairs that the model knows.
        weights: The learnt weights, by name.
        answers: The right ones.
        norms: Sizes to rescale all weights to.
        groups: One label a pair, such as that of (a, b) and (b, a).
        seed: Of the bootstrap.

    Raises:
        FourierError: weights that are all zero, a size that is not positive, shapes that do not
            fit.
    """
    own = centred_logit(logits_of(weights), answers)
    return Efficiency(
        norm=weight_norm(weights),
        logit=float(own.mean()),
        interval=bootstrap_interval(own.numpy(), groups, n_resamples=999, seed=seed),
        at_norm={
            float(size): float(_at_norm(logits_of, weights, answers, size).mean()) for size in norms
        },
    )


def compare_efficiency(
    logits_of: LogitsOf,
    first: Weights,
    second: Weights,
    answers: Int[Tensor, " pair"],
    *,
    norm: float,
    groups: Sequence[object] | None = None,
    seed: int = 0,
) -> EfficiencyDifference:
    """Set two models of one shape side by side at the same ‖θ‖, pair by pair.

    Args:
        logits_of: As in :func:`efficiency`, on pairs that both know.
        first: Weights of one model.
        second: Of the other.
        answers: The right ones.
        norm: The size both are brought to.
        groups: One label a pair.
        seed: Of bootstrap and sign flips.

    Raises:
        FourierError: as :func:`efficiency`.
    """
    a = _at_norm(logits_of, first, answers, norm)
    b = _at_norm(logits_of, second, answers, norm)
    more = (a - b).numpy()
    return EfficiencyDifference(
        norm=norm,
        first=float(a.mean()),
        second=float(b.mean()),
        difference=float(more.mean()),
        interval=bootstrap_interval(more, groups, n_resamples=999, seed=seed),
        p_value=permutation_p(more, groups, n_resamples=999, seed=seed),
    )


def _at_norm(logits_of: LogitsOf, weights: Weights, answers: Tensor, size: float) -> Tensor:
    own = weight_norm(weights)
    if not own > 0 or not size > 0:
        raise FourierError(f"weights of size {own:.3g} cannot be brought to size {size:.3g}")
    return centred_logit(
        logits_of({name: w * (size / own) for name, w in weights.items()}), answers
    )
