"""How ``truth-world`` is trained: its settings, one optimizer step, its checkpoint."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from interp.zoo.checkpoint import load_checkpoint, save_checkpoint
from interp.zoo.code_lm_training import Clock
from interp.zoo.small_gpt import Network
from interp.zoo.truth_world.measures import losses
from interp.zoo.truth_world.world import WIDTH, Variant, World


@dataclass(frozen=True)
class TruthWorldConfig:
    """All that decides the weights; the defaults made the bundled ones.

    The learning rates ramp up over ``ramp_steps`` and stay until the model has found the
    reliability bits, looked at every ``look_every`` steps; then they fall linearly to zero over
    ``decay_steps``. Where they fall before, it never finds them; how long it takes, and whether it
    finds them at all, depends on the seed, which is why there is a gate.

    Attributes:
        variant: Which domains share a reliability bit.
        seed: Decides the facts, the first weights and the documents. 0 passes the gate too, but
            uses one direction for both bits, so that every transfer is 0 or 1; 3 has degrees
            between, which comparing directions needs.
        n_subjects: Subjects of each domain.
        n_objects: Objects of each domain.
        n_neutral: Words of statements that say nothing.
        n_statements: Statements of a document.
        neutral_share: Chance that a statement says nothing.
        focused_share: Chance that a document speaks of the domains of one bit only. The others
            teach that bits are independent.
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads of each block.
        steps: Optimizer steps at most; the rates fall in the last ``decay_steps`` in any case.
        batch: Documents in a step.
        muon_lr: Peak learning rate of Muon, which trains the blocks' matrices. Neither optimizer
            decays weights: with torch's own decay (0.1 and 0.01) and betas, seed 0 had not found
            the bits by step 1800.
        adamw_lr: Peak learning rate of AdamW, which trains all else.
        ramp_steps: Steps in which the learning rates rise.
        decay_steps: Steps in which they fall.
        decay_from: Nats on true objects whose bit has been told, at which they begin to fall.
        look_every: Steps between two looks at that, and two checkpoints.
        elsewhere: Weight of the loss on tokens that are no statement's object.
        least_diagonal: Gate: least AUROC of a domain's own probe for truth.
        most_late_ce: Gate: most nats on true objects whose bit has been told.
        threads: Torch's number of threads while training; None for as it is. Can change the last
            bits of the weights.
        write_failed: Write the model even if it fails its gate.
    """

    variant: Variant = "anti"
    seed: int = 3
    n_subjects: int = 24
    n_objects: int = 4
    n_neutral: int = 16
    n_statements: int = 8
    neutral_share: float = 0.1
    focused_share: float = 0.5
    n_layers: int = 3
    d_model: int = 64
    n_heads: int = 4
    steps: int = 2500
    batch: int = 48
    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    ramp_steps: int = 100
    decay_steps: int = 500
    decay_from: float = 0.12
    look_every: int = 50
    elsewhere: float = 0.1
    least_diagonal: float = 0.95
    most_late_ce: float = 0.1
    threads: int | None = 1
    write_failed: bool = False

    def __post_init__(self) -> None:
        counts = (self.n_statements, self.n_layers, self.n_heads, self.batch, self.look_every)
        if min(counts) < 1 or not 1 <= self.decay_steps <= self.steps:
            raise ValueError(
                "expected at least 1 statement, layer, head, document and step between looks, and "
                f"1 to steps={self.steps} decay_steps, got {self.decay_steps}"
            )
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model}: expected a multiple of n_heads={self.n_heads}"
            )
        for name in ("neutral_share", "focused_share", "elsewhere"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name}={getattr(self, name)}: expected a share from 0 to 1")
        _ = self.world  # which checks its own fields

    @property
    def world(self) -> World:
        """The facts and their tokens."""
        return World(self.variant, self.n_subjects, self.n_objects, self.n_neutral, self.seed)

    def scale_at(self, step: int, *, falls_at: int) -> float:
        """Share of the peak learning rates.

        Args:
            step: Which, counted from 0.
            falls_at: The step at which they begin to fall.
        """
        rise = (step + 1) / max(1, self.ramp_steps)
        return max(0.0, min(1.0, rise, 1 - (step - falls_at) / self.decay_steps))

    def decides(self) -> dict[str, Any]:
        """The fields that decide the weights: all but those that judge and keep them."""
        judging = {"least_diagonal", "most_late_ce", "write_failed"}
        return {key: value for key, value in asdict(self).items() if key not in judging}


def new_network(config: TruthWorldConfig) -> Network:
    """The network before training."""
    return Network(
        vocab_size=config.world.vocab_size,
        n_ctx=1 + WIDTH * config.n_statements,
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        seed=config.seed,
    )


class Training:
    """What changes from step to step, and its checkpoint."""

    def __init__(self, config: TruthWorldConfig) -> None:
        """Begin at step 0.

        Raises:
            RuntimeError: this torch has no Muon.
        """
        if not hasattr(torch.optim, "Muon"):
            raise RuntimeError(
                f"torch {torch.__version__} has no Muon, which truth-world is trained with; "
                "training needs torch 2.9 or later, the bundled model does not"
            )
        self.config = config
        self.world = config.world
        self.model = new_network(config)
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                self.model.block_matrices(), lr=config.muon_lr, weight_decay=0.0
            ),
            "adamw": torch.optim.AdamW(
                self.model.other_parameters(),
                lr=config.adamw_lr,
                betas=(0.9, 0.95),
                weight_decay=0.0,
                fused=True,
            ),
        }
        self.generator = torch.Generator().manual_seed(config.seed + 2**32)
        self.step = 0
        self.falls_at = max(0, config.steps - config.decay_steps)
        self.history: list[dict[str, Any]] = []

    @property
    def last(self) -> int:
        """Steps after which the training ends, as things stand."""
        return self.falls_at + self.config.decay_steps

    def look(self, loss: float) -> None:
        """Enter where the training stands in its history; let the rates fall if it is time."""
        found = losses(self.model, self.world, seed=self.config.seed + 1, n=128)
        late = round(found["late_true_ce"], 4)
        self.history.append({"step": self.step, "loss": round(loss, 4), "late_true_ce": late})
        if late <= self.config.decay_from:
            self.falls_at = min(self.falls_at, self.step)

    def advance(self) -> float:
        """One optimizer step; returns the weighted mean loss in nats a token."""
        config, scale = self.config, self.config.scale_at(self.step, falls_at=self.falls_at)
        peaks = {"muon": config.muon_lr, "adamw": config.adamw_lr}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peaks[name] * scale
        drawn = self.world.documents(
            config.batch,
            generator=self.generator,
            n_statements=config.n_statements,
            neutral_share=config.neutral_share,
            focused_share=config.focused_share,
        )
        logits = self.model(drawn.tokens[:, :-1])
        nll = F.cross_entropy(logits.flatten(0, 1), drawn.tokens[:, 1:].flatten(), reduction="none")
        weights = drawn.weights(elsewhere=config.elsewhere).flatten()
        loss = (nll * weights).sum() / weights.sum()
        loss.backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(loss.detach())

    def save(self, path: Path, clock: Clock) -> None:
        """Write the checkpoint."""
        state = {"step": self.step, "falls_at": self.falls_at, "history": self.history}
        state["spent"] = clock.read()
        save_checkpoint(path, state=state, **self._parts())

    def load(self, path: Path, clock: Clock) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it was made by another recipe.
        """
        state = load_checkpoint(path, **self._parts())
        self.step, self.falls_at = state["step"], state["falls_at"]
        self.history = state["history"]
        clock.add(state["spent"])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizers": self.optimizers,
            "generators": {"documents": self.generator},
            "made_by": json.dumps(self.config.decides(), sort_keys=True),
        }
