"""Training a soft suffix: vectors, the same for every prompt, that are to fool a monitor."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.hooks import session
from interp.models import Model
from probes.attack.monitors import Monitor
from probes.attack.prompts import EMBED, AttackError, AttackPrompts, Suffix
from probes.data.split import Rows


class LossError(AttackError):
    """A suffix could not be trained: its loss is not finite."""


@dataclass(frozen=True)
class Budget:
    """What an attacker may spend.

    Attributes:
        steps: Optimizer steps; with none the suffix stays where it began.
        suffix_length: Vectors of the suffix.
        weight: Of the behaviour in the loss, λ; the monitor has 1 − λ. 1 ignores the monitor.
        batch: Prompts in a step.
        lr: Adam's learning rate, in root mean squares of a number of the model's embeddings.
    """

    steps: int = 200
    suffix_length: int = 4
    weight: float = 0.1
    batch: int = 32
    lr: float = 1.0

    def __post_init__(self) -> None:
        if self.steps < 0 or self.suffix_length < 1 or self.batch < 1:
            raise AttackError(
                "expected 0 steps or more, and at least one vector of suffix and prompt a step; "
                f"got {self.steps}, {self.suffix_length} and {self.batch}"
            )
        if not 0 <= self.weight <= 1:
            raise AttackError(f"the behaviour's weight is {self.weight}; expected 0 to 1")
        if not 0 < self.lr < float("inf"):
            raise AttackError(f"the learning rate is {self.lr}; expected a positive number")


def first_suffix(
    model: Model, prompts: AttackPrompts, rows: Rows, *, length: int, seed: int
) -> Suffix:
    """Return the embeddings of random tokens of the prompts: where an attack begins."""
    rng = np.random.default_rng(seed)
    flat = [token for row in rows for token in prompts.ids[row][: prompts.judged[row]]]
    drawn = torch.tensor([[flat[i] for i in rng.integers(len(flat), size=length)]])
    with session(model, capture=EMBED) as s:
        s.run_until_captured(drawn)
        return s[EMBED][0].detach().cpu().float()


def random_like(suffix: Suffix, *, generator: torch.Generator) -> Suffix:
    """Return random vectors, each as long as the suffix's own at that place."""
    drawn = torch.randn(suffix.shape, generator=generator)
    return drawn / drawn.norm(dim=1, keepdim=True) * suffix.norm(dim=1, keepdim=True)


def train_suffix(
    model: Model,
    prompts: AttackPrompts,
    rows: Rows,
    *,
    clean: Float[Tensor, "row next vocab"],
    monitor: Monitor | None,
    budget: Budget,
    seed: int,
    advance: Callable[[int], None] | None = None,
) -> Suffix:
    """Train a suffix by Adam on λ · KL(clean ‖ attacked) + (1 − λ) · the monitor's alarm.

    The loss of Bailey et al. (2024), §3.1, with the behaviour in place of a target answer: that
    the model goes on as it does without the suffix. KL is the cross-entropy to the clean
    predictions but for a constant.

    Args:
        model: The model; neither its weights nor their gradients are touched.
        prompts: The prompts.
        rows: Which of them to train on.
        clean: What the model predicts after each of those, without a suffix, as log-probabilities.
        monitor: What to fool; None trains for behaviour alone.
        budget: What may be spent.
        seed: Of where the suffix begins, and which prompts each step takes.
        advance: Told the number of steps just done.

    Raises:
        LossError: a loss that is not finite.
    """
    start = first_suffix(model, prompts, rows, length=budget.suffix_length, seed=seed)
    suffix = start.requires_grad_()
    size = float(start.detach().pow(2).mean().sqrt()) or 1.0
    optimizer = torch.optim.Adam([suffix], lr=budget.lr * size)
    rng = np.random.default_rng((seed, 1))
    weight = 1.0 if monitor is None else budget.weight
    sites = () if monitor is None else monitor.sites
    at = np.arange(0)
    for step in range(budget.steps):
        if len(at) < min(budget.batch, len(rows)):
            at = rng.permutation(len(rows))
        chosen, at = at[: budget.batch], at[budget.batch :]
        found = prompts.run(model, rows[chosen], sites, suffix)
        wanted = clean[torch.from_numpy(chosen)]
        # p log p is 0 where p is.
        gap = torch.where(wanted > -torch.inf, wanted - found.log_probs, 0.0)
        loss = weight * (wanted.exp() * gap).sum(-1).mean()
        if monitor is not None:
            loss = loss + (1 - weight) * monitor.alarm(found.view).mean()
        if not bool(torch.isfinite(loss)):
            raise LossError(
                f"the attack's loss is not finite at step {step} of {budget.steps}; lower its "
                f"learning rate (lr, now {budget.lr:g}), or begin elsewhere with another seed"
            )
        for group in optimizer.param_groups:
            group["lr"] = budget.lr * size * (1 - step / budget.steps)
        (suffix.grad,) = torch.autograd.grad(loss, [suffix])
        optimizer.step()
        if advance is not None:
            advance(1)
    return suffix.detach()
