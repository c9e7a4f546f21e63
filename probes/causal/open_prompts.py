"""What a direction does to a prompt without set answers: the next token, and what is written."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.models import Examples, Model
from probes.causal.continuations import Place, places
from probes.causal.directions import Direction
from probes.causal.edited import EditedRuns, Edits, Erasures, Pushes
from probes.causal.random_directions import random_units
from probes.steering import SteeringError

_SHOWN = 8


@dataclass(frozen=True, eq=False)
class OpenPrompt:
    """One prompt, read by the log-probabilities of what may follow.

    Attributes:
        examples: The prompt, one row.
        changed: Which tokens a direction is changed at.
    """

    examples: Examples
    changed: Bool[Tensor, "1 pos"]

    @classmethod
    def of(cls, examples: Examples, *, at: Place = "last") -> OpenPrompt:
        """Check a prompt and say where a direction is to be changed.

        Raises:
            SteeringError: more than one row.
            ContinuationsError: there is no such place.
        """
        if len(examples) != 1:
            raise SteeringError(f"{len(examples)} prompts were given where one is run at a time")
        ended = replace(examples, answer_at=examples.lengths - 1)
        return cls(ended, places(ended, at))

    def read(
        self, logits: Float[Tensor, "run vocab"], rows: Int[Tensor, " run"]
    ) -> Float[Tensor, "run vocab"]:
        """Log-probabilities of every token.

        Raises:
            SteeringError: they are not finite.
        """
        found = logits.to(torch.float32).log_softmax(dim=-1).cpu()
        if bool(torch.isnan(found).any()):
            raise SteeringError("the logits are not finite; load the model in float32")
        return found

    def longer(self, token: int, *, changed: bool) -> OpenPrompt:
        """Return the prompt with one more token."""
        tokens = torch.cat([self.examples.tokens, torch.tensor([[token]])], dim=1)
        more = torch.cat([self.changed, torch.tensor([[changed]])], dim=1)
        grown = Examples(tokens, answer_at=torch.tensor([tokens.shape[1] - 1]))
        return OpenPrompt(grown, more)


@dataclass(frozen=True, eq=False)
class NextToken:
    """How one change moved the distribution of the next token.

    Attributes:
        tokens: Those whose log-probability moved most among the likely ones, furthest first.
        before: Their probabilities in the unmodified model.
        after: With the change.
        random_low: The least that random directions moved each one's log-probability, in nats.
        random_high: The most.
        divergence: KL(unmodified ‖ changed) over all tokens, in nats.
        random_divergences: The same for each random direction.
    """

    tokens: tuple[int, ...]
    before: tuple[float, ...]
    after: tuple[float, ...]
    random_low: tuple[float, ...]
    random_high: tuple[float, ...]
    divergence: float
    random_divergences: tuple[float, ...]


def change_of(
    direction: Direction, *, amount: float | None, n_random: int = 0, seed: int = 0
) -> Edits:
    """Return the push along a direction, or its erasure, and then those of random directions.

    Args:
        direction: The direction; erasing needs its centre.
        amount: In natural gaps, negative away from label 1; None to erase.
        n_random: Random directions.
        seed: Draws them.

    Raises:
        SteeringError: the amount is zero or not finite, or there is no centre to erase to.
    """
    both = direction.unit[None]
    if n_random:
        both = torch.cat([both, random_units(n_random, both.shape[1], seed=seed)])
    if amount is None:
        if direction.centre is None:
            raise SteeringError(f"{direction.name} has no centre to set its component to")
        return Erasures.along(both, direction.centre)
    if not 0 < abs(amount) < float("inf"):
        raise SteeringError(f"the amount is {amount}; expected a finite number other than 0")
    return Pushes(amount * direction.gap * both)


def next_token(
    model: Model,
    prompt: OpenPrompt,
    direction: Direction,
    *,
    amount: float | None = 1.0,
    n_random: int = 99,
    seed: int = 0,
) -> NextToken:
    """Compare the next token's distribution with and without a change along a direction.

    A look, and no test: which tokens are shown is chosen by how far they moved, and isotropic
    directions, beside which they stand, rarely point where activations vary
    (``probes.causal.effects``).

    Args:
        model: The model.
        prompt: The prompt.
        direction: The direction.
        amount: In natural gaps; None to erase.
        n_random: Random directions.
        seed: Draws them.

    Raises:
        SteeringError: another model's direction, or as ``change_of``.
        SiteError: its site cannot be edited.
    """
    direction.check(model)
    runs = EditedRuns(model, prompt, direction.site)
    edits = change_of(direction, amount=amount, n_random=n_random, seed=seed)
    clean = runs.clean[0].double()
    changed = runs.read(edits)[:, 0].double()
    p = clean.exp()
    divergence = torch.where(p > 0, p * (clean - changed), 0.0).sum(dim=1).clamp_min(0)
    moved = changed - clean
    # By how much probability goes with them: a log-probability of −30 may move by 10 unseen.
    weight = (changed[0].exp() - p).abs()
    chosen = weight.topk(min(_SHOWN, len(p))).indices
    chosen = chosen[moved[0, chosen].argsort(descending=True)]
    others = moved[1:, chosen]
    return NextToken(
        tokens=tuple(chosen.tolist()),
        before=tuple(p[chosen].tolist()),
        after=tuple(changed[0, chosen].exp().tolist()),
        random_low=tuple(others.amin(0).tolist()),
        random_high=tuple(others.amax(0).tolist()),
        divergence=float(divergence[0]),
        random_divergences=tuple(divergence[1:].tolist()),
    )


def greedy(
    model: Model,
    prompt: OpenPrompt,
    direction: Direction | None,
    *,
    n_tokens: int,
    amount: float | None = 1.0,
    every: bool = False,
) -> list[int]:
    """Continue a prompt by the likeliest token, again and again, with a change along a direction.

    Args:
        model: The model.
        prompt: The prompt.
        direction: The direction; None for the unmodified model.
        n_tokens: How many; fewer where the context ends.
        amount: In natural gaps; None to erase.
        every: Change the tokens that are written as well.

    Raises:
        SteeringError: as ``next_token``.
    """
    edits = None if direction is None else change_of(direction, amount=amount)
    start = prompt.examples.tokens.shape[1]
    while prompt.examples.tokens.shape[1] < min(start + n_tokens, model.n_ctx):
        if direction is None or edits is None:
            logits = model.logits(prompt.examples.tokens)[:, -1]
            found = prompt.read(logits, torch.zeros(1, dtype=torch.int64))[0]
        else:
            found = EditedRuns(model, prompt, direction.site).read(edits)[0, 0]
        prompt = prompt.longer(int(found.argmax()), changed=every)
    return [int(token) for token in prompt.examples.tokens[0, start:]]
