"""In-context learning scored: hits, loss and log-odds of each prompt's answer.

One forward pass gives all numbers, and only the answer's position is unembedded. Whether a task is
at chance is for :mod:`interp.heads.chance` to say.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.evidence import answer_nll, bootstrap_interval, hits_at, log_odds
from interp.heads.reads import reads_of
from interp.heads.scores import HeadsError
from interp.hooks.borrowing import gather, replaced
from interp.hooks.progress import progress
from interp.hooks.suffix_check import has_hooks, suffix_problem
from interp.models import Examples, Model
from interp.models.memory import in_batches

METRICS = (hits_at(1), hits_at(3), answer_nll, log_odds)


@dataclass(frozen=True, eq=False)
class IclScore:
    """How well a model answers the prompts of one task, item by item.

    Attributes:
        task: The task's name.
        shots: Demonstrations in each prompt.
        permuted: Whether their labels were permuted.
        values: By metric (``hits@1``, ``hits@3``, ``answer-nll`` in nats, ``log-odds`` in nats),
            one number an item.
        answer: The answers' first tokens.
        groups: One label an item; items of one label are the same query.
        guess: Chance of being right, item by item, for who picks blindly among what the query
            offers; None where nothing is offered.
        echo: Whether repeating the query's first token is right; None where that is unknown.
        dropped: (reason, number) of queries that could not be made into prompts.
    """

    task: str
    shots: int
    permuted: bool
    values: dict[str, Float[Tensor, " item"]]
    answer: Int[Tensor, " item"]
    groups: tuple[str, ...]
    guess: Float[Tensor, " item"] | None = None
    echo: Bool[Tensor, " item"] | None = None
    dropped: tuple[tuple[str, int], ...] = ()

    def __len__(self) -> int:
        return len(self.groups)

    def mean(self, metric: str) -> float:
        """Mean over items of ``hits@1``, ``hits@3``, ``answer-nll`` or ``log-odds``."""
        return float(self._of(metric).mean())

    def interval(
        self, metric: str, *, confidence: float = 0.95, seed: int = 0
    ) -> tuple[float, float]:
        """Bootstrap interval of a mean, over queries."""
        values = self._of(metric).numpy()
        return bootstrap_interval(values, self.groups, confidence=confidence, seed=seed)

    def __repr__(self) -> str:
        labels = ", labels permuted" if self.permuted else ""
        means = ", ".join(f"{name} {self.mean(name):.3f}" for name in self.values)
        return f"IclScore({self.task!r}, {self.shots} shots{labels}, {len(self)} items: {means})"

    @property
    def first_of_group(self) -> Bool[Tensor, " item"]:
        """True at each query's first item: items that are independent of each other."""
        place = {group: i for i, group in reversed(list(enumerate(self.groups)))}
        return torch.tensor([place[group] == i for i, group in enumerate(self.groups)])

    def _of(self, metric: str) -> Float[Tensor, " item"]:
        if metric not in self.values:
            raise HeadsError(f"no {metric!r} here; there are {', '.join(self.values)}")
        return self.values[metric]


@torch.no_grad()
def score_icl(model: Model, examples: Examples, *, batch_size: int = 16) -> IclScore:
    """Score a model's answers to in-context prompts in one pass.

    Args:
        model: The model.
        examples: With ``answer`` and ``answer_at``; from ``interp.zoo.icl_prompts`` or
            ``interp.zoo.icl_ids`` they also know what a guesser would get right.
        batch_size: Rows at a time, of like length; halved on out-of-memory.

    Raises:
        HeadsError: the examples have no answers.
    """
    if examples.answer is None or examples.answer_at is None:
        raise HeadsError(
            f"{examples.name!r} has no answer or answer_at; make prompts with icl_prompts"
        )
    order = torch.argsort(examples.lengths, stable=True)
    values = {metric.name: torch.zeros(len(examples)) for metric in METRICS}
    with progress("scoring in context", total=len(examples)) as advance:

        def work(rows: slice) -> None:
            chosen = order[rows]
            batch = examples.select(chosen)
            logits = _answer_logits(model, batch)
            reads = reads_of(answer_nll, batch)
            assert reads is not None
            for metric in METRICS:
                found = metric.per_example(logits, reads.examples)
                values[metric.name][chosen] = found.to("cpu", torch.float32)
            advance(len(chosen))

        in_batches(len(examples), batch_size, work)
    return IclScore(
        task=getattr(examples, "task", "") or examples.name,
        shots=getattr(examples, "shots", 0),
        permuted=getattr(examples, "permuted", False),
        values=values,
        answer=examples.answer,
        groups=examples.groups,
        guess=getattr(examples, "guess", None),
        echo=getattr(examples, "echo", None),
        dropped=getattr(examples, "dropped", ()),
    )


def _answer_logits(model: Model, batch: Examples) -> Float[Tensor, "item 1 vocab"]:
    """Logits where the answer is read; no others where the architecture lets it."""
    assert batch.mask is not None and batch.answer_at is not None
    wanted = batch.mask.any(0).nonzero()[:, 0]
    columns = slice(int(wanted[0]), int(wanted[-1]) + 1)  # padding of longer batches is cut
    tokens, mask = batch.tokens[:, columns], batch.mask[:, columns]
    at = (batch.answer_at - columns.start)[:, None]
    if has_hooks(model) or suffix_problem(model) is not None:
        logits = model.logits(tokens, mask)
        return gather(logits, at.to(logits.device))
    unembed = model.bridge.unembed
    run_unembed = unembed.forward
    with replaced(unembed, lambda h, *a, **k: run_unembed(gather(h, at.to(h.device)), *a, **k)):
        return model.forward(tokens, mask)
