"""From a signature to a verdict: which heads to test, against which others, and what came of it.

Four steps:

1. On a *selection* split, heads whose score exceeds their own score on i.i.d. input by a threshold
   carry the signature. The strongest of them together are the target; where there are none, the
   strongest heads are tested all the same, and the rows say that the signature is absent.
2. For the target, and for each of the strongest heads alone, control sets are drawn that touch no
   selected head: matched by layer, and matched by mean output norm. For a target of several heads
   null sets are drawn too, which may share heads with it (``interp.evidence.controls``).
3. On a held-out *evaluation* split, every set is removed in turn (``interp.heads.ablate``).
4. Each subject is weighed against these, once a family (``interp.evidence.weigh``). Rows
   about single heads are corrected by Holm's method within a family; the target's is one test.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import (
    ControlSets,
    Evidence,
    EvidenceTable,
    Head,
    Metric,
    NoControlsError,
    correct,
    head_name,
    layer_matched,
    loss,
    norm_matched,
    weigh,
)
from interp.heads.ablation import AblationKind, Ablations, ablate, output_norms
from interp.heads.scores import HeadScores
from interp.models import Examples, Model


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
    """

    name: str
    heads: frozenset[Head]
    signature: float
    null: float
    has_signature: bool
    controls: tuple[ControlSets, ...]


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
        sets: Every set to remove: subjects, their controls, and each head of the model alone.
    """

    signature_name: str
    threshold: float
    target: frozenset[Head]
    present: bool
    subjects: tuple[Subject, ...]
    untested: tuple[str, ...]
    sets: tuple[frozenset[Head], ...]


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
        ValueError: shapes that do not agree, a count or threshold out of range, or nothing to
            test.
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
    n_layers, n_heads = scores.shape
    order = torch.argsort((scores - null).flatten(), descending=True, stable=True).tolist()
    ranked: list[Head] = [divmod(i, n_heads) for i in order]
    carrying = [h for h in ranked if float(scores[h] - null[h]) >= threshold]
    present = bool(carrying)
    target = _target(carrying, n_heads, at_most) if present else frozenset(ranked[:1])
    selected = {*target, *carrying}
    untested: list[str] = []
    subjects: list[Subject] = []
    for heads in dict.fromkeys([target, *(frozenset([head]) for head in ranked[:top])]):
        families = []
        for family in ("layer-matched", "norm-matched"):
            try:
                # Heads that carry the signature are no one's control: they may share the work.
                exclude = selected - heads
                families.append(
                    layer_matched(
                        heads, n_layers, n_heads, n=n_controls, seed=seed, exclude=exclude
                    )
                    if family == "layer-matched"
                    else norm_matched(heads, norms, n=n_controls, seed=seed, exclude=exclude)
                )
            except NoControlsError as error:
                untested.append(f"{_name(heads)}, {family}: {error}")
        if families:
            listed = sorted(heads)
            subjects.append(
                Subject(
                    name=_name(heads),
                    heads=heads,
                    signature=float(torch.stack([scores[h] for h in listed]).mean()),
                    null=float(torch.stack([null[h] for h in listed]).mean()),
                    has_signature=heads <= set(carrying),
                    controls=tuple(families),
                )
            )
    if not subjects:
        raise ValueError(
            f"no head of this model can be compared with another: {'; '.join(untested)}"
        )
    sets = dict.fromkeys(s.heads for s in subjects)
    for subject in subjects:
        for family_sets in subject.controls:
            sets.update(dict.fromkeys((*family_sets.sets, *family_sets.null_sets)))
    sets.update(dict.fromkeys(frozenset([h]) for h in sorted(ranked)))
    return Plan(
        signature_name=signature_name,
        threshold=threshold,
        target=target,
        present=present,
        subjects=tuple(subjects),
        untested=tuple(untested),
        sets=tuple(sets),
    )


def judge(
    plan: Plan,
    ablations: Ablations,
    groups: Sequence[str],
    *,
    gain: float | None = None,
    alpha: float = 0.05,
    seed: int,
) -> EvidenceTable:
    """Weigh every subject of a plan against its controls.

    Args:
        plan: What was to be removed.
        ablations: What came of removing it, on the evaluation split.
        groups: Which evaluation examples belong together.
        gain: What there is to lose in all, in the metric's units.
        alpha: Level of each verdict, after Holm's correction among the single heads.
        seed: Seeds the bootstrap.

    Returns:
        One row for each subject and family, the target's first.
    """
    where = {heads: i for i, heads in enumerate(ablations.sets)}
    effects = ablations.effects
    together: list[Evidence] = []
    alone: dict[str, list[Evidence]] = {}
    for subject in plan.subjects:
        for controls in subject.controls:
            row = weigh(
                subject.name,
                signature_name=plan.signature_name,
                signature=subject.signature,
                signature_null=subject.null,
                has_signature=subject.has_signature,
                metric=ablations.metric,
                clean=ablations.clean,
                ablated=ablations.ablated[where[subject.heads]],
                control_effects=effects[[where[s] for s in controls.sets]],
                controls=controls,
                null_effects=effects[[where[s] for s in controls.null_sets]],
                groups=groups,
                alpha=alpha,
                gain=gain,
                seed=seed,
            )
            # The target is a hypothesis of its own, even where it is one head.
            if subject.heads == plan.target:
                together.append(row)
            else:
                alone.setdefault(controls.family, []).append(row)
    corrected = [row for rows in alone.values() for row in correct(rows)]
    order = {subject.name: i for i, subject in enumerate(plan.subjects)}
    return EvidenceTable([*together, *sorted(corrected, key=lambda row: order[row.subject])])


def weigh_heads(
    model: Model,
    score: HeadScores,
    *,
    selected_on: Examples,
    judged_on: Examples,
    metric: Metric = loss,
    kind: AblationKind = "mean",
    gain: float | None = None,
    alpha: float = 0.05,
    batch_size: int = 32,
    seed: int = 0,
    threshold: float = 0.3,
    top: int = 5,
    at_most: int = 4,
    n_controls: int = 99,
) -> EvidenceTable:
    """Plan, ablate and judge in one call: do the heads with this signature carry the load?

    Args:
        model: The model.
        score: The signature, measured on ``selected_on`` with a ``control``.
        selected_on: The examples that chose the heads; means for ablation are taken here too.
        judged_on: Other examples, on which the heads are removed.
        metric: What removal is judged by.
        kind: What takes a head's place (see ``ablate``).
        gain: What there is to lose in all, in the metric's units.
        alpha: Level of each verdict.
        batch_size: Rows at a time.
        seed: Draws controls and bootstrap.
        threshold: As in ``plan_ablations``, like the three that follow.
        top: As there.
        at_most: As there.
        n_controls: As there.

    Raises:
        ValueError: the two sets share examples, or the score has no control.
    """
    if score.control is None:
        raise ValueError(
            f"the score {score.name} has no control to be compared with; measure it with "
            "head_scores(…, control=iid_control(…))"
        )
    shared = set(map(tuple, selected_on.tokens.tolist())) & set(
        map(tuple, judged_on.tokens.tolist())
    )
    if shared:
        raise ValueError(
            f"{len(shared)} examples both chose the heads and judge them; "
            "use the two parts of examples.split(0.5, seed=…)"
        )
    plan = plan_ablations(
        score.name,
        score.values,
        score.control,
        output_norms(model, selected_on, batch_size=batch_size),
        threshold=threshold,
        top=top,
        at_most=at_most,
        n_controls=n_controls,
        seed=seed,
    )
    ablations = ablate(
        model,
        judged_on,
        metric,
        plan.sets,
        kind=kind,
        reference=selected_on,
        batch_size=batch_size,
        seed=seed,
    )
    return judge(plan, ablations, judged_on.groups, gain=gain, alpha=alpha, seed=seed)


def _name(heads: frozenset[Head]) -> str:
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
