"""Does the model predict better late in its context than early: its in-context-learning score."""

from __future__ import annotations

import html
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import bootstrap_interval
from interp.heads.scores import HeadsError
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches

# The positions of Olsson et al. (2022), in contexts of 512 tokens.
EARLY, LATE, CONTEXT = 50, 500, 512


@dataclass(frozen=True, eq=False)
class LearningScore:
    """Loss on a late token minus loss on an early one. Negative: the context helped.

    Attributes:
        early: Index of the early token, counted over real tokens from 0.
        late: Index of the late token.
        window: How many tokens are averaged at each, from ``early`` on and up to ``late``.
        early_loss: Loss on the early token, in nats, one an example.
        late_loss: Loss on the late token.
        groups: The examples' group labels.
    """

    early: int
    late: int
    window: int
    early_loss: Float[Tensor, " example"]
    late_loss: Float[Tensor, " example"]
    groups: tuple[str, ...] = ()

    @property
    def per_example(self) -> Float[Tensor, " example"]:
        """Late minus early loss of each example, in nats."""
        return self.late_loss - self.early_loss

    @property
    def value(self) -> float:
        """The score: mean late minus early loss, in nats; 0 is its null."""
        return float(self.per_example.mean())

    def interval(self, *, confidence: float = 0.95, seed: int = 0) -> tuple[float, float]:
        """Return the bootstrap interval of the score over groups of examples."""
        return bootstrap_interval(
            self.per_example.numpy(), self.groups or None, confidence=confidence, seed=seed
        )

    def __repr__(self) -> str:
        return (
            f"LearningScore({self.value:+.4f} nats: loss {float(self.late_loss.mean()):.4f} on "
            f"token {self.late}, {float(self.early_loss.mean()):.4f} on token {self.early}, "
            f"{len(self.per_example)} examples)"
        )

    def _repr_html_(self) -> str:
        return f"<code>{html.escape(repr(self))}</code>"


@torch.no_grad()
def in_context_learning_score(
    model: Model,
    examples: Examples,
    *,
    early: int | None = None,
    late: int | None = None,
    window: int = 1,
    batch_size: int = 8,
) -> LearningScore:
    """Measure how much lower the loss is late in the context than early.

    Olsson et al. (2022): loss on the 500th token minus loss on the 50th, over contexts of 512
    tokens of text. Negative is better; Yin and Steinhardt (2025) flip the sign. On text whose
    late tokens are as hard as its early ones, a model that ignores its context scores 0.

    Args:
        model: The model.
        examples: Text, at least ``late + 1`` real tokens each. Padding is not counted.
        early: Index of the early token, from 0, BOS counting where there is one. The loss on
            token t is that of the prediction made at t − 1. By default 50 in contexts of 512, and
            the same fraction of the shortest example otherwise.
        late: Index of the late token; by default 500 of 512, likewise.
        window: Average over this many tokens at each place, which for few examples is less noisy.
        batch_size: Rows at a time; halved on out-of-memory.

    Raises:
        HeadsError: positions out of order or outside an example.
    """
    mask = examples.mask
    assert mask is not None
    shortest = int(examples.lengths.min())
    early = max(1, round(EARLY / CONTEXT * shortest)) if early is None else early
    late = min(shortest - 1, round(LATE / CONTEXT * shortest)) if late is None else late
    if window < 1 or early < 1 or late >= shortest or early + window - 1 > late - window:
        raise HeadsError(
            f"early={early}, late={late}, window={window}: expected 1 ≤ early and late ≤ "
            f"{shortest - 1} (the shortest example has {shortest} tokens), and two windows that "
            "do not overlap"
        )
    wanted = [*range(early, early + window), *range(late - window + 1, late + 1)]
    predicted = torch.tensor(wanted)
    starts = mask.int().argmax(1)
    losses = torch.zeros((len(examples), 2 * window), dtype=torch.float64)

    with progress("measuring loss", total=len(examples)) as advance:

        def work(rows: slice) -> None:
            at = starts[rows, None] + predicted
            stop = int(at.max())  # the last token is predicted, never read
            logits = model.logits(examples.tokens[rows, :stop], mask[rows, :stop])
            row = torch.arange(len(at))[:, None]
            read = logits[row, (at - 1).to(logits.device)]
            answers = examples.tokens[rows][row, at].to(logits.device)
            nats = -read.float().log_softmax(-1).gather(-1, answers[..., None])[..., 0]
            losses[rows] = nats.to("cpu", torch.float64)
            advance(len(at))

        in_batches(len(examples), batch_size, work)
    return LearningScore(
        early=early,
        late=late,
        window=window,
        early_loss=losses[:, :window].mean(1),
        late_loss=losses[:, window:].mean(1),
        groups=examples.groups,
    )
