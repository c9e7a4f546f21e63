"""From a signature to a verdict: which heads to test, against which others, and what came of it.

Four steps:

1. On a *selection* split, heads whose score exceeds their own score on i.i.d. input by a threshold
   carry the signature. The strongest of them together are the target; where there are none, the
   strongest heads are tested all the same, and the rows say that the signature is absent.
2. For the target, and for each of the strongest heads alone, control sets are drawn that touch no
   selected head: matched by layer, and matched by mean output norm. For a target of several heads
   null sets are drawn too, which may share heads with it (``interp.evidence.controls``).
3. On a held-out *evaluation* split, every set is removed (``interp.heads.sweep``).
4. Each subject is weighed against these, once a family (``interp.evidence.weigh``). Rows
   about single heads are corrected by Holm's method within a family; the target's is one test.
"""

from __future__ import annotations

from collections.abc import Sequence

from interp.evidence import Evidence, EvidenceTable, Metric, correct, loss, weigh
from interp.heads.ablation import Ablations, output_norms
from interp.heads.planning import Plan, Subject, plan_ablations
from interp.heads.scores import HeadScores
from interp.heads.sweep import SweepKind, sweep
from interp.models import Examples, Model


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
    together: list[Evidence] = []
    alone: list[Evidence] = []
    for subject in plan.subjects:
        rows = weigh_subject(
            subject,
            ablations,
            groups,
            signature_name=plan.signature_name,
            gain=gain,
            alpha=alpha,
            seed=seed,
        )
        # The target is a hypothesis of its own, even where it is one head.
        if subject.heads == plan.target:
            together += rows
        else:
            alone += rows
    return EvidenceTable([*together, *corrected_by_family(alone)])


def weigh_subject(
    subject: Subject,
    ablations: Ablations,
    groups: Sequence[str],
    *,
    signature_name: str = "",
    gain: float | None = None,
    alpha: float = 0.05,
    seed: int,
) -> list[Evidence]:
    """Weigh one subject against each family of its controls, without correction.

    Args:
        subject: Whose heads and control sets are among those removed.
        ablations: What came of removing them, on the evaluation split.
        groups: Which evaluation examples belong together.
        signature_name: Which score chose it, where the subject does not say.
        gain: What there is to lose in all, in the metric's units.
        alpha: Level of each verdict.
        seed: Seeds the bootstrap.
    """
    where = {heads: i for i, heads in enumerate(ablations.sets)}
    effects = ablations.effects
    return [
        weigh(
            subject.name,
            signature_name=subject.signature_name or signature_name,
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
        for controls in subject.controls
    ]


def corrected_by_family(rows: Sequence[Evidence]) -> list[Evidence]:
    """Correct rows by Holm's method within each family of controls; the order stays."""
    families: dict[str, list[int]] = {}
    for i, row in enumerate(rows):
        families.setdefault(row.control_family, []).append(i)
    found = {
        i: row
        for places in families.values()
        for i, row in zip(places, correct([rows[i] for i in places]), strict=True)
    }
    return [found[i] for i in range(len(rows))]


def weigh_heads(
    model: Model,
    score: HeadScores,
    *,
    selected_on: Examples,
    judged_on: Examples,
    metric: Metric = loss,
    kind: SweepKind = "mean",
    gain: float | None = None,
    alpha: float = 0.05,
    batch_size: int = 32,
    memory_mb: float | None = None,
    seed: int = 0,
    threshold: float = 0.3,
    top: int = 5,
    at_most: int = 4,
    n_controls: int = 99,
) -> EvidenceTable:
    """Plan, sweep and judge in one call: do the heads with this signature carry the load?

    Args:
        model: The model.
        score: The signature, measured on ``selected_on`` with a ``control``.
        selected_on: The examples that chose the heads; means for ablation are taken here too.
        judged_on: Other examples, on which the heads are removed.
        metric: What removal is judged by.
        kind: What takes a head's place (see ``sweep``).
        gain: What there is to lose in all, in the metric's units.
        alpha: Level of each verdict.
        batch_size: Rows at a time, where output norms are measured.
        memory_mb: Limit on what the sweep holds beside the model, in 10⁶ bytes.
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
    ablations = sweep(
        model,
        judged_on,
        metric,
        plan.sets,
        kind=kind,
        reference=selected_on,
        memory_mb=memory_mb,
        seed=seed,
    )
    return judge(plan, ablations, judged_on.groups, gain=gain, alpha=alpha, seed=seed)
