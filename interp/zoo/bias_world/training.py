"""How ``bias-world`` is trained: its settings, one optimizer step, its checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from interp.zoo.bias_world.world import WIDTH, World
from interp.zoo.checkpoint import load_checkpoint, save_checkpoint
from interp.zoo.code_lm_training import Clock
from interp.zoo.small_gpt import Network


@dataclass(frozen=True)
class BiasWorldConfig:
    """All that decides the weights; the defaults made the bundled ones.

    Attributes:
        seed: Decides which target has which log-odds, the first weights and the documents. 0, 1
            and 2 pass the gate; of these 2 has the highest correlations after the last block. By
            the latents of a sparse autoencoder they vary more: .69, .96 and .95 there, one
            autoencoder each, in a trial that was made before 2 was taken.
        n_targets: Targets.
        spread: Planted log-odds run evenly from ``-spread`` to ``spread``; 0 for a world without
            bias, which fails the gate by design.
        n_reference: Words of each reference.
        n_neutral: Words that say nothing.
        n_verbs: Verbs.
        n_adverbs: Adverbs.
        n_sentences: Sentences of a document.
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads of each block.
        steps: Optimizer steps.
        batch: Documents in a step.
        lr: Peak learning rate of AdamW.
        ramp_steps: Steps in which it rises.
        decay_share: Share of the steps, at the end, in which it falls linearly to zero.
        look_every: Steps between two entries in the history, and two checkpoints.
        least_behaviour: Gate: least Spearman correlation of behaviour with what is planted.
        least_concept: Gate: least Spearman correlation of bias in concept space with it, by
            concept vectors and by mean differences, at the site that the gate looks at.
        threads: Torch's number of threads while training; None for as it is. Can change the last
            bits of the weights.
        write_failed: Write the model even if it fails its gate.
    """

    seed: int = 2
    n_targets: int = 20
    spread: float = 3.0
    n_reference: int = 8
    n_neutral: int = 16
    n_verbs: int = 8
    n_adverbs: int = 8
    n_sentences: int = 4
    n_layers: int = 3
    d_model: int = 64
    n_heads: int = 4
    steps: int = 2500
    batch: int = 64
    lr: float = 4e-3
    ramp_steps: int = 100
    decay_share: float = 0.4
    look_every: int = 100
    least_behaviour: float = 0.90
    least_concept: float = 0.80
    threads: int | None = 1
    write_failed: bool = False

    def __post_init__(self) -> None:
        counts = (self.n_sentences, self.n_layers, self.n_heads, self.batch, self.steps)
        if min(*counts, self.look_every) < 1:
            raise ValueError(
                "expected at least 1 sentence, layer, head, document, step and step between looks"
            )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model}: expected a multiple of n_heads={self.n_heads}"
            )
        if not 0.0 < self.decay_share <= 1.0:
            raise ValueError(f"decay_share={self.decay_share}: expected a share of the steps")
        _ = self.world  # which checks its own fields

    @property
    def world(self) -> World:
        """The targets and their tokens."""
        fields = {name: getattr(self, name) for name in World.__dataclass_fields__}
        return World(**fields)

    def scale_at(self, step: int) -> float:
        """Share of the peak learning rate at a step, counted from 0."""
        rise = (step + 1) / max(1, self.ramp_steps)
        return min(1.0, rise, (self.steps - step) / (self.decay_share * self.steps))

    @property
    def name(self) -> str:
        """What the model is called: ``bias-world`` with that one's seed and odds."""
        if not self.spread:
            return "bias-world-null"
        return "bias-world" if self.seed == BiasWorldConfig.seed else f"bias-world-{self.seed}"

    def decides(self) -> dict[str, Any]:
        """The fields that decide the weights: all but those that judge and keep them."""
        judging = {"least_behaviour", "least_concept", "write_failed"}
        return {key: value for key, value in asdict(self).items() if key not in judging}


@dataclass(frozen=True)
class SecondConfig(BiasWorldConfig):
    """The defaults made ``bias-world-1``: other odds for every target, weights and documents."""

    seed: int = 1


def new_network(config: BiasWorldConfig) -> Network:
    """The network before training."""
    return Network(
        vocab_size=config.world.vocab_size,
        n_ctx=1 + WIDTH * config.n_sentences,
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        seed=config.seed,
    )


class Training:
    """What changes from step to step, and its checkpoint."""

    def __init__(self, config: BiasWorldConfig) -> None:
        """Begin at step 0."""
        self.config = config
        self.world = config.world
        self.model = new_network(config).train()
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=config.lr, fused=True)
        self.generator = torch.Generator().manual_seed(config.seed + 2**32)
        self.step = 0
        self.history: list[dict[str, Any]] = []

    @property
    def last(self) -> int:
        """Steps after which the training ends."""
        return self.config.steps

    def look(self, loss: float) -> None:
        """Enter the loss in the history."""
        self.history.append({"step": self.step, "loss": round(loss, 4)})

    def advance(self) -> float:
        """One optimizer step; returns the mean loss in nats a token."""
        config = self.config
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * config.scale_at(self.step)
        drawn = self.world.documents(
            config.batch, generator=self.generator, n_sentences=config.n_sentences
        )
        logits = self.model(drawn.tokens[:, :-1])
        loss = F.cross_entropy(logits.flatten(0, 1), drawn.tokens[:, 1:].flatten())
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path, clock: Clock) -> None:
        """Write the checkpoint."""
        state = {"step": self.step, "history": self.history, "spent": clock.read()}
        save_checkpoint(path, state=state, **self._parts())

    def load(self, path: Path, clock: Clock) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it was made by another recipe.
        """
        state = load_checkpoint(path, **self._parts())
        self.step, self.history = state["step"], state["history"]
        clock.add(state["spent"])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizers": {"adamw": self.optimizer},
            "generators": {"documents": self.generator},
            "made_by": json.dumps(self.config.decides(), sort_keys=True),
        }
