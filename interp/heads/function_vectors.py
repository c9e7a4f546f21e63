"""Function-vector heads: which heads carry *what* a task is, apart from its demonstrations.

Todd et al. (2024), "Function Vectors in Large Language Models", §2.3, average indirect effect:

1. On prompts of a task, average each head's output z at the last token.
2. On prompts whose demonstrations' labels are permuted, so that nothing says what the task is,
   put that average in the head's place, at the last token and nowhere else.
3. The effect is how much more probable that makes the right answer's first token,
   AIE = E[p(y | z_h := mean) − p(y)], averaged over prompts, then over tasks.

Such heads overlap with induction heads, so an arm of a study that removes them first tells the two
apart (Yin & Steinhardt 2025). Any average in a head's place may raise p(y), since it may carry the
look of an answer rather than the task: the control takes the average over prompts with permuted
labels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.evidence import Head, answer_nll
from interp.heads.batching import TOKENS_PER_FORWARD
from interp.heads.changes import Change, Seen
from interp.heads.rules import choose_heads
from interp.heads.scores import HeadScores, HeadsError
from interp.heads.sweep_job import Job, Keep
from interp.hooks import Site, capture
from interp.models import Examples, Model


@dataclass(frozen=True, eq=False)
class FunctionPrompts:
    """What one task's function-vector score is measured on.

    Attributes:
        name: The task's.
        correct: Prompts whose demonstrations show the task: the averages are taken here.
        permuted: Prompts whose demonstrations' labels are permuted: the effect is measured here.
        permuted_reference: More of those, for the control's averages; None for no control.
    """

    name: str
    correct: Examples
    permuted: Examples
    permuted_reference: Examples | None = None

    def __post_init__(self) -> None:
        shared = set(self.correct.groups) & set(self.permuted.groups)
        if self.permuted_reference is not None:
            shared |= set(self.permuted_reference.groups) & set(self.permuted.groups)
        if shared:
            raise HeadsError(
                f"{self.name}: {len(shared)} queries are in the averages and in what is measured "
                f"(such as {min(shared)!r}); take them apart, as FunctionPrompts.split does"
            )

    @classmethod
    def split(cls, correct: Examples, permuted: Examples, *, n: int = 25) -> FunctionPrompts:
        """Take apart the two versions of the same prompts: measure on ``n``, average on the rest.

        Args:
            correct: Prompts of a task.
            permuted: The same queries in the same order, with permuted labels.
            n: Prompts to measure on; all rows of a query go where its first row goes.

        Raises:
            HeadsError: the two do not pair, or too few queries are left for the averages.
        """
        if correct.groups != permuted.groups:
            raise HeadsError(
                f"{correct.name} and {permuted.name} are not of the same queries; make them with "
                "the same seed"
            )
        measured = set(permuted.groups[:n])
        rest = [i for i, group in enumerate(permuted.groups) if group not in measured]
        if not rest or len(permuted) < n:
            raise HeadsError(
                f"{correct.name}: {len(set(permuted.groups))} queries are too few to measure on "
                f"{n} and to average over others; give more, or a smaller n"
            )
        return cls(
            name=correct.name,
            correct=correct.select(rest),
            permuted=permuted.select(range(n)),
            permuted_reference=permuted.select(rest),
        )


@dataclass(frozen=True, eq=False)
class Put(Change):
    """Put a given output in a head's place, at one position of each example.

    Attributes:
        values: By layer, one for each head.
        at: The position, for each example.
    """

    values: Mapping[int, Float[Tensor, "head d_head"]] | None = None
    at: Int[Tensor, " example"] | None = None

    def target(self, layer: int, seen: Seen, examples: Tensor) -> Tensor:
        """Return z, with the value at the examples' position."""
        assert self.values is not None and self.at is not None
        z = seen.z
        columns = torch.arange(z.shape[1], device=z.device)
        here = columns[None] == self.at[examples].to(z.device)[:, None]
        return torch.where(here[:, :, None, None], self.values[layer].to(z.device, z.dtype), z)


def function_vector_scores(
    model: Model,
    prompts: Sequence[FunctionPrompts],
    *,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    memory_mb: float | None = None,
    keep: Keep | None = None,
) -> HeadScores:
    """Score every head's average indirect effect on label-permuted prompts (Todd et al. 2024).

    Exact: every head is changed on its own and the model run on from there, as in ``sweep``.

    Args:
        model: The model.
        prompts: One entry a task, all measured on equally many prompts, so that every task
            counts alike. ``FunctionPrompts.split`` takes a task's two versions apart.
        tokens_per_forward: As in ``sweep``.
        memory_mb: As there.
        keep: As there.

    Returns:
        Scores in probability, −1 to 1, with ``per_example``; and, where every task has a
        reference for it, the control.

    Raises:
        HeadsError: no tasks, tasks of different size, or an architecture that cannot be begun in
            the middle.
    """
    if not prompts:
        raise HeadsError("no prompts given; expected FunctionPrompts of at least one task")
    sizes = {each.name: len(each.permuted) for each in prompts}
    if len(set(sizes.values())) > 1:
        raise HeadsError(
            f"tasks are measured on different numbers of prompts ({sizes}); give each as many, so "
            "that they count alike"
        )
    effects = partial(
        _effects, model, tokens_per_forward=tokens_per_forward, memory_mb=memory_mb, keep=keep
    )
    per_example = torch.cat([effects(each.permuted, each.correct) for each in prompts])
    references = [e.permuted_reference for e in prompts if e.permuted_reference is not None]
    controls = None
    if len(references) == len(prompts):
        pairs = zip(prompts, references, strict=True)
        found = [effects(each.permuted, reference) for each, reference in pairs]
        controls = torch.cat(found)
    tasks = ", ".join(each.name for each in prompts)
    return HeadScores(
        name="function-vector",
        values=per_example.mean(0),
        units="probability",
        null=0.0,
        description=(
            "Gain in p(answer) on prompts with permuted labels when the head's output at the last "
            f"token is its mean over prompts of the task (Todd et al. 2024). Tasks: {tasks}. "
            "Control: the mean over other prompts with permuted labels."
        ),
        about_null="a head whose output does not reach the answer, or is the same on all prompts",
        per_example=per_example,
        control=None if controls is None else controls.mean(0),
        control_per_example=controls,
        groups=tuple(f"{e.name}: {group}" for e in prompts for group in e.permuted.groups),
    )


def function_vector_heads(
    scores: HeadScores, *, share: float = 0.02, above_control: bool = False
) -> frozenset[Head]:
    """Name the heads with the highest function-vector scores, to be removed first or left out.

    Args:
        scores: From ``function_vector_scores``.
        share: Of all heads of the model, rounded up, and never none.
        above_control: Order by score minus control. The score alone, as published, also finds
            heads that merely stop copying a permuted label once anything constant is in their
            place, induction heads among them.

    Raises:
        HeadsError: ``above_control`` without a control.
        RuleError: a share outside 0 to 1.
    """
    values = scores.values
    if above_control:
        if scores.control is None:
            raise HeadsError(f"{scores.name} has no control; score with a permuted_reference")
        values = values - scores.control
    (found,) = choose_heads(f"top:{100 * share:.6f}%", values)
    return found.heads


@torch.no_grad()
def _effects(
    model: Model,
    examples: Examples,
    reference: Examples,
    *,
    tokens_per_forward: int,
    memory_mb: float | None,
    keep: Keep | None,
) -> Float[Tensor, "example layer head"]:
    """Gain in the answer's probability, each head changed alone."""
    at = _answer_at(examples)
    heads = [(i, j) for i in range(model.n_layers) for j in range(model.n_heads)]
    job = Job(
        model, examples, answer_nll, [[head] for head in heads], tokens_per_forward, memory_mb, keep
    )
    if problem := job.problem:
        raise HeadsError(f"{model.spec.name} cannot be begun in the middle: {problem}")
    values = last_means(model, reference)
    found = job.run(Put(f"mean over {reference.hash} at the answer", values, at))
    gains = (-found.ablated).exp() - (-found.clean).exp()
    return gains.T.unflatten(1, (model.n_layers, model.n_heads))


def last_means(
    model: Model, examples: Examples, *, batch_size: int = 32
) -> dict[int, Float[Tensor, "head d_head"]]:
    """Mean of every head's z where the answer is read, by layer.

    Raises:
        HeadsError: the examples do not say where the answer is read.
    """
    assert examples.mask is not None
    # Counted over real tokens, as capture wants it.
    at = _answer_at(examples) - examples.mask.int().argmax(dim=1)
    sites = [Site(layer, "z") for layer in range(model.n_layers)]
    held = capture(model, examples, sites, positions=at, batch_size=batch_size)
    return {i: held[site].double().mean(0) for i, site in enumerate(sites)}


def _answer_at(examples: Examples) -> Int[Tensor, " example"]:
    if examples.answer is None or examples.answer_at is None:
        raise HeadsError(
            f"{examples.name!r} has no answer or answer_at; make prompts with icl_prompts"
        )
    return examples.answer_at
