"""Whether a model depends on a direction: signature, steering and erasure in rows of evidence.

The signature of a direction is its AUROC on statements it was not fitted to, beside shuffled
labels. It decides nothing. The load is read off what the model says next: of the push along the
direction, how far it moves the log-odds of true against false continuations; of the direction
itself, how much of the model's own difference between labels is gone when it is erased. Both stand
beside directions that mean nothing, fitted to shuffled labels (``probes.causal.effects``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch

from interp.evidence import Evidence, EvidenceTable, Metric, RandomDraws, correct, weigh
from interp.evidence.evidence import short, span
from interp.models import Model
from probes.causal.continuations import Continuations
from probes.causal.directions import Direction, require_together
from probes.causal.edited import TOKENS_PER_FORWARD, EditedRuns
from probes.causal.effects import Effect, Kind, erase, erase_leace, require_unseen, steer
from probes.domains import Domain
from probes.steering import SteeringError

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

CALLED: dict[Kind, str] = {
    "push": "the push along {}",
    "erasure": "{}",
    "leace": "{} (LEACE)",
}


@dataclass(frozen=True, eq=False)
class DirectionEvidence:
    """What directions are to a model: rows of evidence, and the effects they were read from.

    Attributes:
        rows: For each direction its push and, where prompts have labels, its erasure, corrected
            by Holm's method among all rows of one kind.
        effects: The same, prompt by prompt, in the same order.
    """

    rows: tuple[Evidence, ...]
    effects: tuple[Effect, ...]

    @property
    def table(self) -> EvidenceTable:
        """The rows, as a table that shows itself."""
        return EvidenceTable(self.rows)

    def __str__(self) -> str:
        return str(self.table)

    def _repr_html_(self) -> str:
        return self.table._repr_html_()

    def of(self, direction: str, kind: Kind = "push") -> tuple[Evidence, Effect]:
        """Return one direction's row and effect.

        Raises:
            SteeringError: there is none.
        """
        for row, effect in zip(self.rows, self.effects, strict=True):
            if (effect.direction, effect.kind) == (direction, kind):
                return row, effect
        raise SteeringError(f"there is no {kind} of {direction!r} among these")

    def frame(self) -> pd.DataFrame:
        """One row a direction and kind of intervention, in nats.

        Columns: ``direction, kind, prompts, auroc, auroc_null, separates, effect, low, high,
        natural_gap, gap_low, gap_high, share, control_mean, control_largest, random_mean,
        random_largest, p_value, p_holm, verdict, reason``. Controls are those p is read from;
        ``random_`` is of isotropic directions, the largest in either sense. Shares and gaps are
        null where prompts have no labels.
        """
        import numpy as np
        import pandas as pd

        made = [
            {
                "direction": effect.direction,
                "kind": effect.kind,
                "prompts": effect.prompts,
                "auroc": row.signature,
                "auroc_null": row.signature_null,
                "separates": row.has_signature,
                "effect": row.effect,
                "low": row.interval[0],
                "high": row.interval[1],
                "natural_gap": None if effect.gap is None else effect.gap.value,
                "gap_low": None if effect.gap is None else effect.gap.low,
                "gap_high": None if effect.gap is None else effect.gap.high,
                "share": effect.share,
                "control_mean": float(np.mean(row.controls)),
                "control_largest": max(row.controls),
                "random_mean": float(effect.isotropic_effects.mean()),
                "random_largest": effect.largest_random,
                "p_value": row.p_value,
                "p_holm": row.p_holm,
                "verdict": row.verdict,
                "reason": row.reason,
            }
            for row, effect in zip(self.rows, self.effects, strict=True)
        ]
        numbers = ("natural_gap", "gap_low", "gap_high", "share", "p_holm")
        return pd.DataFrame(made).astype(dict.fromkeys(numbers, "Float64"))

    def figure(self, kind: Kind = "push") -> Figure:
        """Draw every direction's effect beside its controls and the natural gap.

        Raises:
            SteeringError: nothing of this kind was measured.
        """
        from interp.plots.steering import effect_bars

        chosen = [
            (row, effect)
            for row, effect in zip(self.rows, self.effects, strict=True)
            if effect.kind == kind
        ]
        if not chosen:
            raise SteeringError(f"nothing of kind {kind!r} was measured")
        what = "moved by the push" if kind == "push" else "of the natural gap erased"
        return effect_bars(
            [effect.direction for _, effect in chosen],
            [row.effect for row, _ in chosen],
            intervals=[row.interval for row, _ in chosen],
            random=[row.controls for row, _ in chosen],
            gaps=[None if effect.gap is None else effect.gap.value for _, effect in chosen],
            label=f"log-odds {what}, nats",
        )


def direction_evidence(
    model: Model,
    directions: Direction | Sequence[Direction],
    prompts: Continuations | Mapping[str, Continuations],
    *,
    training: Mapping[str, Domain] | None = None,
    amount: float = 1.0,
    n_random: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
) -> DirectionEvidence:
    """Weigh what pushing along directions, and erasing them, does to a model's answers.

    Args:
        model: The model.
        directions: One or several, each with its own site, and with rows to shuffle labels on.
        prompts: For all of them, or by direction's name. No statement a direction was fitted to
            should be among them. With labels there is a natural gap, and so erasure.
        training: Activations with labels, by direction's name, for those that are to be erased by
            LEACE as well.
        amount: How far to push, in natural gaps of each direction.
        n_random: Controls each. p cannot be below 1/(n + 1), and with Holm's correction m
            directions need some m/α.
        alpha: Level of the verdicts.
        seed: Draws the random directions and seeds the bootstrap.
        tokens_per_forward: Size of a forward pass.

    Raises:
        SteeringError: no directions, two of one name, of another model, without prompts or rows
            to shuffle labels on, or with prompts that share a group with what they were fitted to.
        SiteError: a site cannot be edited.
        StatisticsError: prompts of fewer than two groups.
    """
    several = [directions] if isinstance(directions, Direction) else list(directions)
    require_together(several, model)
    names = [one.name for one in several]
    for what, given in (("prompts", prompts), ("training rows", training)):
        if isinstance(given, Mapping) and (strange := [n for n in given if n not in names]):
            raise SteeringError(f"{what} of {strange[0]!r}, but directions are {', '.join(names)}")
    found: list[tuple[Direction, Effect]] = []
    for one in several:
        own = prompts if isinstance(prompts, Continuations) else prompts.get(one.name)
        if own is None:
            raise SteeringError(f"no prompts for {one.name!r}; give some, or one set for all")
        if one.training is None:
            raise SteeringError(
                f"{one.name}: a verdict needs the statements it was fitted to, or others like "
                "them, since it is judged beside directions fitted to shuffled labels; give "
                "training=… (on the command line --data)"
            )
        require_unseen(one.name, one.training, own)
        runs = EditedRuns(model, own, one.site, tokens_per_forward=tokens_per_forward)
        pushed = steer(runs, one, amount=amount, n_random=n_random, seed=seed)
        found.append((one, pushed))
        if own.labels is not None:
            erased = erase(runs, one, n_random=n_random, seed=seed)
            found.append((one, erased))
        if training is not None and one.name in training:
            by_leace = erase_leace(runs, one, training[one.name], n_random=n_random, seed=seed)
            found.append((one, by_leace))
    rows = [_weighed(*pair, alpha=alpha, seed=seed) for pair in found]
    for kind in CALLED:
        of_kind = [i for i, (_, effect) in enumerate(found) if effect.kind == kind]
        for i, row in zip(of_kind, correct([rows[i] for i in of_kind]), strict=True):
            rows[i] = replace(row, reason=_worded(row, kind))
    return DirectionEvidence(tuple(rows), tuple(effect for _, effect in found))


def _worded(row: Evidence, kind: Kind) -> str:
    """The row's reason, in words for what was done: nothing is removed where something is added."""
    if kind != "push":
        return row.reason.replace(f"Removing {row.subject}", f"Erasing {row.subject}").replace(
            f"removing {row.subject}", f"erasing {row.subject}"
        )
    push = row.subject[0].upper() + row.subject[1:]
    if row.interval[1] < -row.resolution:
        return (
            f"{push} moves the log-odds away from what label 1 should make "
            f"likelier: {short(row.effect)} {row.units}, {row.confidence:.0%} interval "
            f"{span(row.interval)}."
        )
    for said, instead in (
        (
            f"Removing {row.subject} does not measurably worsen {row.metric}:",
            f"{push} does not measurably move the log-odds:",
        ),
        (
            f"Removing {row.subject} does not measurably cost more than",
            f"{push} does not measurably move them further than",
        ),
        (f"Removing {row.subject} costs", f"{push} moves the log-odds further than others:"),
        (
            f"cost at least as much as removing {row.subject}",
            f"move the log-odds at least as far as {row.subject}",
        ),
    ):
        if said in row.reason:
            return row.reason.replace(said, instead)
    return row.reason


def _weighed(direction: Direction, effect: Effect, *, alpha: float, seed: int) -> Evidence:
    gap = effect.gap
    return weigh(
        CALLED[effect.kind].format(direction.name),
        signature_name="AUROC",
        signature=direction.auroc,
        signature_null=direction.auroc_null,
        has_signature=direction.separates,
        metric=_MOVED if effect.kind == "push" else _GAP,
        # What there is with the intervention's subject, and without it nothing: so that the
        # damage of going without is the effect.
        clean=effect.values,
        ablated=torch.zeros_like(effect.values),
        control_effects=effect.controls,
        controls=RandomDraws(effect.family, len(effect.controls)),
        groups=effect.groups,
        alpha=alpha,
        gain=gap.value if gap is not None and gap.shown else None,
        resolution=_resolution(effect),
        seed=seed,
    )


def _resolution(effect: Effect) -> float:
    """Eight roundings of single precision, at the largest log-odds."""
    largest = max(1.0, float(effect.clean.abs().max()))
    return 8 * torch.finfo(torch.float32).eps * largest


def _never(*_: object) -> torch.Tensor:
    raise SteeringError("this is measured by probes.causal.effects, not read off logits")


_MOVED = Metric("log-odds moved", "nats", higher_is_better=True, per_example=_never)
_GAP = Metric("natural gap in log-odds", "nats", higher_is_better=True, per_example=_never)
