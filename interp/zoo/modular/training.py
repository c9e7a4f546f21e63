"""Full-batch training on the pairs of a table: one optimizer step, looks, checkpoints.

Works for any network that maps pairs to logits, and any :class:`interp.zoo.modular.tables.Table`.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Bool
from torch import Tensor, nn
from torch.nn import functional as F

from interp.zoo.checkpoint import load_checkpoint, save_checkpoint
from interp.zoo.code_lm_training import Clock
from interp.zoo.modular.tables import Table
from interp.zoo.world_training import torch_threads

log = logging.getLogger(__name__)


# When a training ends and what it must then reach; its path is the same.
_JUDGING = {"steps", "stop_at_test_loss", "stop_at_train_loss", "look_every"}
_JUDGING |= {"least_test_accuracy", "most_test_accuracy"}


@dataclass(frozen=True)
class TableTraining:
    """How a table is learnt: AdamW on all training pairs at once.

    The defaults make modular addition grok within some 500 steps, where the published run (learning
    rate 1e-3) took some 10,000: steps fall about as 1/(learning rate × weight decay).

    Attributes:
        train_fraction: Share of the pairs that is trained on.
        lr: Learning rate.
        weight_decay: AdamW's, on all weights.
        warmup_steps: Steps in which the learning rate rises.
        steps: Optimizer steps at most.
        stop_at_test_loss: End once the loss on held-out pairs, in nats, is below this; None never.
        stop_at_train_loss: End once the loss on training pairs is; None never.
        look_every: Steps between two looks at the losses, and two checkpoints.
        seed: Draws the split and the first weights.
        threads: Torch's number of threads while training; None for as it is. Can change the last
            bits of the weights.
    """

    train_fraction: float = 0.3
    lr: float = 1e-2
    weight_decay: float = 1.0
    warmup_steps: int = 10
    steps: int = 1000
    stop_at_test_loss: float | None = None
    stop_at_train_loss: float | None = None
    look_every: int = 25
    seed: int = 0
    threads: int | None = 1

    def __post_init__(self) -> None:
        for name, least in (("steps", 1), ("look_every", 1), ("warmup_steps", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {least}")
        if not self.lr > 0 or not self.weight_decay >= 0:
            raise ValueError(
                f"lr={self.lr}, weight_decay={self.weight_decay}: expected a rate above 0 and a "
                "decay of at least 0"
            )
        if not 0 < self.train_fraction < 1:
            raise ValueError(
                f"train_fraction is {self.train_fraction}; expected a share between 0 and 1"
            )


@dataclass(frozen=True)
class Look:
    """Where a training stands.

    Attributes:
        step: Steps done.
        train_loss: Mean cross-entropy on training pairs, nats.
        test_loss: The same on held-out pairs.
        train_accuracy: Share of training pairs answered rightly.
        test_accuracy: The same on held-out pairs.
    """

    step: int
    train_loss: float
    test_loss: float
    train_accuracy: float
    test_accuracy: float


class Training:
    """A network, its table and its optimizer, step by step.

    Attributes:
        step: Steps done.
        train: True at the pairs trained on, ``[a, b]``.
        history: A look at step 0, after every ``look_every`` steps, and at the end.
        clock: Time spent.
    """

    def __init__(self, network: nn.Module, table: Table, how: TableTraining) -> None:
        """Begin at step 0.

        Args:
            network: Maps pairs ``[pair, 2]`` to logits ``[pair, answer]``; parameters that do not
                require gradients stay as they are.
            table: What is learnt.
            how: The recipe.
        """
        self.network, self.table, self.how = network, table, how
        self.train: Bool[Tensor, "n n"] = table.split(how.train_fraction, seed=how.seed)
        learnt = [p for p in network.parameters() if p.requires_grad]
        self.optimizer = torch.optim.AdamW(
            learnt, lr=how.lr, betas=(0.9, 0.98), weight_decay=how.weight_decay, fused=True
        )
        self.pairs, self._answers = table.pairs, table.answers.flatten()
        self._train_pairs = self.train.nonzero()
        self._train_answers = table.answers[self.train]
        self.step = 0
        self.history: list[Look] = []
        self.clock = Clock()

    @property
    def done(self) -> bool:
        """Whether there is nothing left to train."""
        if self.step >= self.how.steps:
            return True
        if not self.history:
            return False
        last, how = self.history[-1], self.how
        limits = (
            (last.test_loss, how.stop_at_test_loss),
            (last.train_loss, how.stop_at_train_loss),
        )
        return any(limit is not None and loss < limit for loss, limit in limits)

    def advance(self) -> None:
        """One optimizer step on all training pairs."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.how.lr * min(1.0, (self.step + 1) / max(1, self.how.warmup_steps))
        # In float32 the softmax of a sure answer rounds to 1, and its gradient to noise.
        logits = self.network(self._train_pairs).double()
        F.cross_entropy(logits, self._train_answers).backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1

    @torch.no_grad()
    def look(self) -> Look:
        """Measure on all pairs, and enter it in the history."""
        logits = self.network(self.pairs).double()
        nll = F.cross_entropy(logits, self._answers, reduction="none")
        right = (logits.argmax(1) == self._answers).double()
        train = self.train.flatten()
        if not bool(torch.isfinite(nll).all()):
            raise ValueError(
                f"the training has diverged at step {self.step}; lower lr={self.how.lr}"
            )
        means = (float(x[w].mean()) for x in (nll, right) for w in (train, ~train))
        self.history.append(Look(self.step, *means))
        return self.history[-1]

    def run(self, seen: Callable[[Look], None] | None = None, *, until: int | None = None) -> None:
        """Train until done, looking before the first step, every ``look_every``, and at the end.

        Args:
            seen: Called after every look.
            until: Stop once this many steps are done in all; None to finish.
        """
        with torch_threads(self.how.threads):
            while True:
                last = self.step >= self.how.steps
                fresh = not self.history or self.history[-1].step < self.step
                if fresh and (self.step % self.how.look_every == 0 or last):
                    look = self.look()
                    log.info("of at most %d steps: %s", self.how.steps, look)
                    if seen is not None:
                        seen(look)
                if self.done or self.step == until:
                    return
                self.advance()

    def save(self, path: Path) -> None:
        """Write a checkpoint to go on from."""
        history = [asdict(look) for look in self.history]
        state = {"step": self.step, "history": history, "spent": self.clock.read()}
        save_checkpoint(path, state=state, **self._parts())

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it was made by another recipe.
        """
        state = load_checkpoint(path, **self._parts())
        self.step = state["step"]
        self.history = [Look(**look) for look in state["history"]]
        self.clock.add(state["spent"])

    def _parts(self) -> dict[str, Any]:
        shapes = {name: list(p.shape) for name, p in self.network.named_parameters()}
        how = {key: value for key, value in asdict(self.how).items() if key not in _JUDGING}
        made_by = {"table": self.table.name, "shapes": shapes, "how": how}
        return {
            "model": self.network,
            "optimizers": {"adamw": self.optimizer},
            "generators": {},
            "made_by": json.dumps(made_by, sort_keys=True),
        }
