"""Which heads to test, and against which others: decided before any is removed.

A *subject* is a set of heads that are tested together, with its control sets: matched by layer,
and matched by mean output norm. For a set of several heads null sets are drawn too, which may share
heads with it (``interp.evidence.controls``).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import (
    ControlSets,
    Head,
    NoControlsError,
    head_name,
    layer_matched,
    norm_matched,
)


@dataclass(frozen=True)
class Subject:
    """Heads to be tested together.

    Attributes:
        name: Written as the field does, ``L3H7`` or ``L2H1+L3H7``.
        heads: The heads.
        signature: Mean score of its heads on the selection split.
        null: Mean score of the same heads where the signature cannot be.
        has_signature: Whether every head in it carries the signature.
        controls: One family or two of matched sets.
        signature_name: Which score, where a plan has several.
    """

    name: str
    heads: frozenset[Head]
    signature: float
    null: float
    has_signature: bool
    controls: tuple[ControlSets, ...]
    signature_name: str | None = None


@dataclass(frozen=True)
class Plan:
    """What to remove, decided before the evaluation split is looked at.

    Attributes:
        signature_name: The score that chose the heads.
        threshold: By how much a head's score must exceed its null to count as a signature.
        target: The heads tested together.
        present: Whether the target carries the signature.
        subjects: The target first, then the strongest heads one by one.
        untested: Subjects or families without a single control set, and why.
    """

    signature_name: str
    threshold: float
    target: frozenset[Head]
    present: bool
    subjects: tuple[Subject, ...]
    untested: tuple[str, ...]

    @property
    def sets(self) -> tuple[frozenset[Head], ...]:
        """Every set to remove, once: the subjects, then their controls."""
        return sets_to_remove(self.subjects)


def plan_ablations(
    signature_name: str,
    scores: Float[Tensor, "layer head"],
    null: Float[Tensor, "layer head"],
    norms: Float[Tensor, "layer head"],
    *,
    threshold: float = 0.3,
    top: int = 5,
    at_most: int = 4,
    n_controls: int = 99,
    seed: int,
) -> Plan:
    """Choose heads by their signature and draw their controls.

    Args:
        signature_name: What the score is called.
        scores: Of every head, on the selection split.
        null: The same score where the signature cannot be, such as on i.i.d. input.
        norms: Mean output norm of every head, on the selection split.
        threshold: By how much a score must exceed its null for the head to carry the signature.
        top: How many of the strongest heads are also tested alone.
        at_most: How many heads the target may have. Fewer are taken where so many would leave
            no layer-matched set to compare with.
        n_controls: Control sets a family; all there are where there are fewer.
        seed: Draws them.

    Returns:
        The plan; nothing has been removed yet.

    Raises:
        NoControlsError: no head leaves others to be compared with.
        ValueError: shapes that do not agree, a count or threshold out of range.
    """
    if not scores.shape == null.shape == norms.shape:
        raise ValueError(
            f"scores, null and norms must each be [layer, head], got {list(scores.shape)}, "
            f"{list(null.shape)} and {list(norms.shape)}"
        )
    if min(top, at_most, n_controls) < 1:
        raise ValueError("top, at_most and n_controls must each be at least 1")
    if not 0 < threshold < math.inf:
        raise ValueError(f"threshold is {threshold}; expected how far above its null, more than 0")
    n_heads = scores.shape[1]
    order = torch.argsort((scores - null).flatten(), descending=True, stable=True).tolist()
    ranked: list[Head] = [divmod(i, n_heads) for i in order]
    carrying = [h for h in ranked if float(scores[h] - null[h]) >= threshold]
    present = bool(carrying)
    target = _target(carrying, n_heads, at_most) if present else frozenset(ranked[:1])
    selected = {*target, *carrying}
    untested: list[str] = []
    subjects: list[Subject] = []
    for heads in dict.fromkeys([target, *(frozenset([head]) for head in ranked[:top])]):
        # Heads that carry the signature are no one's control: they may share the work.
        families, missing = matched_families(
            heads, norms, n=n_controls, seed=seed, exclude=selected - heads
        )
        untested += missing
        if families:
            subjects.append(
                Subject(
                    name=joined(heads),
                    heads=heads,
                    signature=mean_of(scores, heads),
                    null=mean_of(null, heads),
                    has_signature=heads <= set(carrying),
                    controls=families,
                )
            )
    if not subjects:
        raise NoControlsError(
            f"no head of this model can be compared with another: {untested[0]}"
            + (f"; likewise {len(untested) - 1} more" if len(untested) > 1 else "")
        )
    return Plan(
        signature_name=signature_name,
        threshold=threshold,
        target=target,
        present=present,
        subjects=tuple(subjects),
        untested=tuple(untested),
    )


def matched_families(
    heads: frozenset[Head],
    norms: Float[Tensor, "layer head"],
    *,
    n: int,
    seed: int,
    exclude: Collection[Head] = (),
) -> tuple[tuple[ControlSets, ...], list[str]]:
    """Draw both families of control sets for a set of heads.

    Args:
        heads: The heads in question.
        norms: Mean output norm of every head, on the selection split.
        n: Control sets a family; all there are where there are fewer.
        seed: Draws them.
        exclude: Heads that are no controls.

    Returns:
        The families there are, and for each that has no set the reason.
    """
    n_layers, n_heads = norms.shape
    families: list[ControlSets] = []
    missing = []
    for family in ("layer-matched", "norm-matched"):
        try:
            families.append(
                layer_matched(heads, n_layers, n_heads, n=n, seed=seed, exclude=exclude)
                if family == "layer-matched"
                else norm_matched(heads, norms, n=n, seed=seed, exclude=exclude)
            )
        except NoControlsError as error:
            missing.append(f"{joined(heads)}, {family}: {error}")
    return tuple(families), missing


def sets_to_remove(subjects: Iterable[Subject]) -> tuple[frozenset[Head], ...]:
    """Return every set to remove, once: subjects first, then their controls."""
    subjects = list(subjects)
    sets = dict.fromkeys(s.heads for s in subjects)
    for subject in subjects:
        for family in subject.controls:
            sets.update(dict.fromkeys((*family.sets, *family.null_sets)))
    return tuple(sets)


def mean_of(scores: Float[Tensor, "layer head"], heads: Collection[Head]) -> float:
    """Return the mean score of some heads."""
    return float(torch.stack([scores[head] for head in sorted(heads)]).mean())


def joined(heads: Iterable[Head]) -> str:
    """Write a set of heads as one subject: ``L2H1+L3H7``."""
    return "+".join(head_name(head) for head in sorted(heads))


def _target(carrying: Sequence[Head], n_heads: int, at_most: int) -> frozenset[Head]:
    """The strongest heads in turn, leaving out any that would leave its layer no control set."""
    kept: list[Head] = []
    for head in carrying:
        in_layer = sum(1 for layer, _ in kept if layer == head[0]) + 1
        free = n_heads - sum(1 for layer, _ in carrying if layer == head[0])
        if in_layer <= free and len(kept) < at_most:
            kept.append(head)
    return frozenset(kept or carrying[:1])
