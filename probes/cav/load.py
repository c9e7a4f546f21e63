"""Does the model use a concept's direction? Taking it away, or pushing along it, beside others.

A metric's gradient says what an infinitely small step would do. Here the step is made: the
component along the direction is set to its mean over the prompts, or something is added to it, on
prompts that the direction was not fitted to; and the same is done with directions that could have
mattered as much. ``probes.causal.edited`` runs them all from what stands at the site.

The effect is the metric's *damage*: for a metric that is larger the more biased the model is, how
much less biased it gets. (``probes.causal.evidence`` weighs directions of statements by the
log-odds of true and false continuations; this is for any metric that reads one position.)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Evidence, Metric, RandomDraws, damage, weigh
from interp.heads.reads import Reads, reads_of
from interp.hooks import Site
from interp.models import Examples, Model
from probes.causal.edited import EditedRuns, Edits, Erasures, Pushes
from probes.cav.vectors import CAVError

if TYPE_CHECKING:
    from probes.cav.tcav import TCAV

Where = Literal["every", "last", "answer"] | int


@dataclass(frozen=True, eq=False)
class Measured:
    """Prompts, where they are changed, and the metric that is read of them.

    Attributes:
        examples: The prompts, with ``answer_at``.
        metric: What is read there.
        changed: Which tokens are changed.
    """

    examples: Examples
    metric: Metric
    changed: Bool[Tensor, "row pos"]

    @classmethod
    def of(cls, examples: Examples, metric: Metric, where: Where) -> Measured:
        """Check that the metric reads one position, and say which tokens are changed.

        Raises:
            CAVError: it reads others, or a prompt has no such token.
        """
        if metric.reads != "answer" or examples.answer_at is None:
            raise CAVError(
                f"{metric.name} on {examples.name!r}: expected a metric that reads the answer's "
                "position, such as logit_difference, and prompts with answer_at"
            )
        return cls(examples, metric, _touched(examples, where))

    @cached_property
    def _reads(self) -> Reads:
        found = reads_of(self.metric, self.examples)
        assert found is not None
        return found

    def read(self, logits: Float[Tensor, "run vocab"], rows: Tensor) -> Float[Tensor, " run"]:
        """Return the metric of some prompts, from the logits at their answers' positions."""
        values = self.metric.per_example(logits[:, None], self._reads.examples.select(rows))
        return values.cpu().double()


def weigh_direction(
    model: Model,
    examples: Examples,
    metric: Metric,
    direction: Float[Tensor, " d"],
    controls: Float[Tensor, "control d"],
    *,
    site: Site | str,
    subject: str,
    signature_name: str,
    signature: float,
    signature_null: float,
    has_signature: bool,
    amount: float | None = None,
    where: Where = "every",
    family: str = "random direction",
    gain: float | None = None,
    alpha: float = 0.05,
    seed: int,
) -> Evidence:
    """Weigh what a direction is worth to a metric against other directions at the same site.

    Args:
        model: The model.
        examples: Prompts that the direction was not fitted to, with groups and ``answer_at``.
        metric: What is read there.
        direction: In the raw activation space.
        controls: Others to treat alike, of any length.
        site: A place with one vector a token.
        subject: What the direction is called.
        signature_name: Which score singled it out.
        signature: Its value, measured elsewhere.
        signature_null: The same score where there is nothing to find.
        has_signature: Whether it counts as present.
        amount: How far to push along the unit direction, negative for backwards; None to set the
            component along it to its mean over the prompts.
        where: At which real tokens of each prompt: every one, the last, where the answer is read,
            or an index, negative from the end.
        family: What the controls are.
        gain: The most there is to lose, in the metric's units; the effect's share is of that.
        alpha: Level of the verdict.
        seed: Seeds the intervals.

    Raises:
        CAVError: a direction is zero or of another width, the amount is not finite, or the metric
            reads more than one position.
        SiteError: no such site, or it cannot be edited.
        EvidenceError: no controls.
        StatisticsError: fewer than two groups.
    """
    directions = torch.cat([direction[None].double(), controls.double()])
    clean, changed = changed_metric(
        model, examples, metric, directions, site=site, amount=amount, where=where
    )
    return weigh(
        subject,
        signature_name=signature_name,
        signature=signature,
        signature_null=signature_null,
        has_signature=has_signature,
        metric=metric,
        clean=clean,
        ablated=changed[0],
        control_effects=damage(metric, clean, changed[1:]),
        controls=RandomDraws(family, len(controls)),
        groups=examples.groups,
        alpha=alpha,
        gain=gain,
        # What is read comes in double precision, but was computed in the model's.
        resolution=8 * torch.finfo(torch.float32).eps * max(1.0, float(clean.abs().max())),
        seed=seed,
    )


def concept_evidence(
    model: Model,
    found: TCAV,
    examples: Examples,
    metric: Metric,
    *,
    site: Site | str,
    concept: str,
    target: str,
    amount: float | None = None,
    where: Where = "every",
    seed: int,
) -> Evidence:
    """Weigh a tested concept's vector against those of the random concepts it was tested beside.

    Args:
        model: The model.
        found: Its test.
        examples: Prompts other than the test's, with groups and ``answer_at``.
        metric: What is read there.
        site: Where it was tested.
        concept: Which concept.
        target: The test that is the signature.
        amount: How far to push along the vector, negative for away from the concept; None to set
            the component along it to its mean.
        where: At which tokens, as in ``weigh_direction``.
        seed: Seeds the intervals.

    Raises:
        CAVError: there was no such test, or the vector is not above chance.
    """
    place = str(Site.parse(site))
    test = found.test(place, concept, target)
    if not test.above_chance:
        raise CAVError(
            f"{concept} at {place} is no concept vector: held-out accuracy "
            f"{test.accuracy:.2f}, interval from {test.accuracy_low:.2f}"
        )
    done = "taken out" if amount is None else f"pushed by {amount:g}"
    return weigh_direction(
        model,
        examples,
        metric,
        found.vectors[place, concept],
        found.random_vectors[place],
        site=site,
        subject=f"{concept} at {place}, {done}",
        signature_name="mean cosine with the gradient",
        signature=test.magnitude,
        signature_null=0.0,
        has_signature=test.p_holm <= found.alpha,
        amount=amount,
        where=where,
        family="random concept",
        alpha=found.alpha,
        seed=seed,
    )


def changed_metric(
    model: Model,
    examples: Examples,
    metric: Metric,
    directions: Float[Tensor, "direction d"],
    *,
    site: Site | str,
    amount: float | None = None,
    where: Where = "every",
) -> tuple[Float[Tensor, " example"], Float[Tensor, "direction example"]]:
    """Measure a metric with each direction taken out, or pushed along.

    Args:
        model: The model.
        examples: The prompts, with ``answer_at``.
        metric: What is read there.
        directions: Each is treated on its own.
        site: A place with one vector a token.
        amount: As in ``weigh_direction``.
        where: As there.

    Returns:
        (the metric of the unmodified model, the metric with each direction changed).

    Raises:
        CAVError: a direction is zero or of another width, the amount is not finite, or the metric
            reads more than one position.
        SiteError: no such site, or it cannot be edited.
    """
    if amount is not None and not abs(amount) < float("inf"):
        raise CAVError(f"the amount is {amount}; expected a finite number")
    lengths = directions.double().norm(dim=-1, keepdim=True)
    if directions.ndim != 2 or not bool(((lengths > 0) & torch.isfinite(lengths)).all()):
        raise CAVError("a direction is zero or not finite; expected shape [direction, d]")
    units = directions.double() / lengths
    runs = EditedRuns(model, Measured.of(examples, metric, where), site)
    if runs.d != units.shape[1]:
        raise CAVError(f"{site} is {runs.d} wide, directions {units.shape[1]}")
    edits: Edits = (
        Erasures.along(units, runs.activations.mean(0))
        if amount is None
        else Pushes(amount * units)
    )
    return runs.clean, runs.read(edits)


def _touched(examples: Examples, where: Where) -> Bool[Tensor, "row pos"]:
    assert examples.mask is not None and examples.answer_at is not None
    mask = examples.mask
    if where == "every":
        return mask
    order = mask.cumsum(1) - 1
    if where == "answer":
        return torch.arange(mask.shape[1]) == examples.answer_at[:, None]
    if isinstance(where, str) and where != "last":
        raise CAVError(f"where is {where!r}; expected every, last, answer or an index")
    index = -1 if isinstance(where, str) else where
    at = torch.full_like(examples.lengths, index) + (examples.lengths if index < 0 else 0)
    found = mask & (order == at[:, None])
    if not bool(found.any(1).all()):
        row = int((~found.any(1)).nonzero()[0])
        raise CAVError(f"example {row} of {examples.name!r} has no token at {index}")
    return found
