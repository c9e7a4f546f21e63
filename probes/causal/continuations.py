"""Prompts with a true and some false continuations: where a direction is tried on a model's words.

"True" and "false" are the truth probes' words. Of another concept, the answer is what the model
should say more often where label 1 holds, and the wrong answers what it should say less.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.evidence import bootstrap_interval
from interp.models import Examples
from interp.models.prompts import PromptSet

Place = Literal["last", "every"] | int
"""The last real token, every one up to where the answer is read, or an index among the real ones,
negative from the end."""


class ContinuationsError(ValueError):
    """These prompts cannot show what a direction does; the message says why."""


@dataclass(frozen=True, eq=False)
class NaturalGap:
    """How much higher the log-odds are after label 1 than after label 0, by the model itself.

    Attributes:
        value: In nats.
        low: Lower end of its 95 % interval, over groups.
        high: Upper end.
    """

    value: float
    low: float
    high: float

    @property
    def shown(self) -> bool:
        """Whether its interval keeps away from zero: whether there is anything to be moved."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True, eq=False)
class Continuations:
    """Prompts, what continues them truly and falsely, and where a direction is to be changed.

    Make them with ``Continuations.of``.

    Attributes:
        examples: Tokens, with ``answer``, ``answer_at`` and ``groups``.
        wrong: Tokens of the false continuations, whose logits are averaged.
        changed: Which tokens a direction is pushed or erased at.
        labels: Whether what the prompt says has label 1; None where that is not known, and then
            there is no natural gap.
        sign: 1 where label 1 makes the answer likelier, -1 where it makes it less likely.
    """

    examples: Examples
    wrong: Int[Tensor, "row wrong"]
    changed: Bool[Tensor, "row pos"]
    labels: Bool[Tensor, " row"] | None = None
    sign: int = 1

    @classmethod
    def of(
        cls,
        examples: Examples,
        *,
        wrong: Int[Tensor, "row wrong"] | Int[Tensor, " row"] | None = None,
        labels: Sequence[bool] | Bool[Tensor, " row"] | npt.NDArray[np.bool_] | None = None,
        at: Place | Int[Tensor, " row"] = "last",
        sign: int = 1,
    ) -> Continuations:
        """Check prompts and say where a direction is to be changed.

        Args:
            examples: With ``answer`` and ``answer_at``.
            wrong: False continuations, one or several a row; ``examples.wrong`` when omitted.
            labels: Whether what each prompt says has label 1.
            at: ``last``, ``every``, or an index among each row's real tokens, one for all rows or
                one a row.
            sign: 1, or -1 where label 1 makes the answer less likely.

        Raises:
            ContinuationsError: something is missing or does not fit, an answer is among its own
                wrong ones, labels are all the same, or a place stands behind where the answer is
                read, so that a change there could do nothing.
        """
        name = examples.name
        if examples.answer is None or examples.answer_at is None:
            raise ContinuationsError(f"{name!r} has no answers; give `answer` and `answer_at`")
        against = examples.wrong if wrong is None else wrong
        if against is None:
            raise ContinuationsError(
                f"{name!r} has no wrong answers; give one a row (wrong=…; in a file, a key wrong)"
            )
        if against.is_floating_point() or against.dtype == torch.bool:
            raise ContinuationsError(f"wrong answers must be token ids, got {against.dtype}")
        against = against[:, None] if against.ndim == 1 else against
        if against.ndim != 2 or len(against) != len(examples) or not against.shape[1]:
            raise ContinuationsError(
                f"{len(examples)} prompts need as many rows of wrong answers, got shape "
                f"{list(against.shape)}"
            )
        same = (against == examples.answer[:, None]).any(1).nonzero()
        if len(same):
            raise ContinuationsError(
                f"row {int(same[0])} of {name!r} has its answer among the wrong ones"
            )
        if sign not in (1, -1):
            raise ContinuationsError(f"sign is {sign}; expected 1 or -1")
        return cls(
            examples, against.to(torch.int64), places(examples, at), _labels(labels, name), sign
        ).checked()

    @classmethod
    def of_pairs(cls, prompts: PromptSet, *, at: Place = "last") -> Continuations:
        """Read prompts from a file: the corrupt ones, where there are any, have label 0.

        A prompt and its corrupt partner have the same continuations and are one group.

        Raises:
            ContinuationsError: as ``of``.
        """
        clean, corrupt = prompts.clean, prompts.corrupt
        if corrupt is None:
            return cls.of(clean, at=at)
        assert clean.answer is not None and clean.answer_at is not None
        assert clean.mask is not None and corrupt.mask is not None
        both = replace(
            clean,
            tokens=torch.cat([clean.tokens, corrupt.tokens]),
            mask=torch.cat([clean.mask, corrupt.mask]),
            scored=None,
            answer=clean.answer.repeat(2),
            wrong=None if clean.wrong is None else clean.wrong.repeat(2),
            answer_at=clean.answer_at.repeat(2),
            groups=clean.groups * 2,
        )
        return cls.of(both, labels=torch.arange(len(both)) < len(clean), at=at)

    def checked(self) -> Continuations:
        """Return these, or refuse labels that do not fit."""
        if self.labels is not None:
            if self.labels.shape != (len(self),):
                raise ContinuationsError(
                    f"{len(self)} prompts need as many labels, got {list(self.labels.shape)}"
                )
            if bool(self.labels.all()) or not bool(self.labels.any()):
                raise ContinuationsError(
                    f"all prompts of {self.name!r} have one label: leave labels out, or give both"
                )
        return self

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def name(self) -> str:
        """What the prompts are, for tables."""
        return self.examples.name

    def read(
        self, logits: Float[Tensor, "run vocab"], rows: Int[Tensor, " run"]
    ) -> Float[Tensor, " run"]:
        """Log-odds: logit of the true continuation less the mean of the false ones', in nats.

        Args:
            logits: Where the answer is read.
            rows: Which prompt each row is.

        Raises:
            ContinuationsError: a continuation outside the vocabulary, or logits not finite.
        """
        assert self.examples.answer is not None
        device, vocab = logits.device, logits.shape[-1]
        true, false = self.examples.answer[rows].to(device), self.wrong[rows].to(device)
        if int(max(true.max(), false.max())) >= vocab or int(min(true.min(), false.min())) < 0:
            raise ContinuationsError(
                f"a continuation of {self.name!r} is outside the {vocab} outputs of the model"
            )
        wide = logits.to(torch.promote_types(logits.dtype, torch.float32))
        right, wrong = wide.gather(1, true[:, None])[:, 0], wide.gather(1, false)
        found = (right - wrong.mean(dim=1)).to("cpu", torch.float64)
        if not bool(torch.isfinite(found).all()):
            raise ContinuationsError("the log-odds are not finite; load the model in float32")
        return found

    def contrast(self, values: Float[Tensor, "*runs row"]) -> Float[Tensor, "*runs row"]:
        """Spread a difference of label means over the rows: their mean is the difference.

        Each entry is the difference plus the row's influence on it, so that an interval of the
        mean of these, over groups, is one of the difference.

        Raises:
            ContinuationsError: the prompts have no labels.
        """
        if self.labels is None:
            raise ContinuationsError(f"{self.name!r} has no labels, so no difference between them")
        one = self.labels
        n, n_one = len(self), int(one.sum())
        mean_one = values[..., one].mean(-1, keepdim=True)
        mean_zero = values[..., ~one].mean(-1, keepdim=True)
        own = torch.where(one, mean_one, mean_zero)
        weight = torch.where(one, n / n_one, -n / (n - n_one)).to(values.dtype)
        return self.sign * (mean_one - mean_zero + weight * (values - own))

    def natural_gap(self, odds: Float[Tensor, " row"], *, seed: int) -> NaturalGap:
        """Log-odds of the unmodified model after label 1 less those after label 0, times sign.

        Raises:
            ContinuationsError: the prompts have no labels.
            StatisticsError: fewer than two groups.
        """
        values = self.contrast(odds)
        low, high = bootstrap_interval(values.numpy(), self.examples.groups, seed=seed)
        return NaturalGap(float(values.mean()), low, high)


def _labels(
    labels: Sequence[bool] | Tensor | npt.NDArray[np.bool_] | None, name: str
) -> Bool[Tensor, " row"] | None:
    if labels is None:
        return None
    given = torch.as_tensor(labels)
    if not bool(((given == 0) | (given == 1)).all()):
        raise ContinuationsError(f"labels of {name!r} must be 0 or 1")
    return given.to(torch.bool)


def places(examples: Examples, at: Place | Int[Tensor, " row"]) -> Bool[Tensor, "row pos"]:
    """Mark the tokens at which a direction is to be changed.

    Args:
        examples: With ``answer_at``.
        at: As for ``Continuations.of``.

    Raises:
        ContinuationsError: a row has no such token, or it stands behind where the answer is read.
    """
    mask, read = examples.mask, examples.answer_at
    assert mask is not None and read is not None
    columns = torch.arange(mask.shape[1])
    before = mask & (columns <= read[:, None])
    if isinstance(at, str):
        if at not in ("last", "every"):
            raise ContinuationsError(f"unknown place {at!r}; expected last, every or an index")
        if at == "every":
            return before
        at = -1
    index = torch.as_tensor(at)
    if index.is_floating_point() or index.dtype == torch.bool or index.ndim > 1:
        raise ContinuationsError("places must be whole numbers, one for all rows or one a row")
    if index.ndim == 1 and len(index) != len(examples):
        raise ContinuationsError(f"{len(examples)} prompts need as many places, got {len(index)}")
    index = index.to(torch.int64).expand(len(examples))
    lengths = examples.lengths
    index = torch.where(index < 0, index + lengths, index)
    outside = ((index < 0) | (index >= lengths)).nonzero()
    if len(outside):
        row = int(outside[0])
        raise ContinuationsError(
            f"row {row} of {examples.name!r} has {int(lengths[row])} tokens; there is no place "
            f"{int(index[row])}"
        )
    found = mask & (mask.cumsum(1) - 1 == index[:, None])
    behind = (~(found & before).any(1)).nonzero()
    if len(behind):
        raise ContinuationsError(
            f"row {int(behind[0])} of {examples.name!r}: the place stands behind where the answer "
            "is read, so nothing done there could change it"
        )
    return found
