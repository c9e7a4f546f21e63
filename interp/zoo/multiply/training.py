"""How a multiplication model is trained: its settings, one optimizer step, its checkpoint.

The auxiliary loss of "Why Can't Transformers Learn Multiplication?" (2025): linear maps of the
last layer's heads are to read off the running sum ĉ_k where c_k is predicted,
λ · mean_{h,k} (w_h · z_h − ĉ_k/scale)². Without it the same training is plain fine-tuning.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from interp.zoo.checkpoint import load_checkpoint, save_checkpoint
from interp.zoo.code_lm_training import Clock
from interp.zoo.multiply.task import D_VOCAB, Multiplication
from interp.zoo.small_gpt import Network


@dataclass(frozen=True)
class MultiplyConfig:
    """All that decides the weights; the defaults made ``multiply-2x2``.

    Attributes:
        n: Digits of each operand.
        auxiliary: Weight λ of the running-sum loss; 0 for plain fine-tuning.
        held_out: Share of the pairs of operands that training never sees.
        seed: Draws the first weights and the rows.
        n_layers: Blocks.
        d_model: Width of the residual stream.
        n_heads: Heads of each block.
        steps: Optimizer steps.
        batch: Fresh rows in a step.
        muon_lr: Peak learning rate of Muon, which trains the blocks' matrices.
        adamw_lr: Peak learning rate of AdamW, which trains all else.
        weight_decay: Of both. There are only 10⁴ pairs at 2×2: without it they are learnt by heart.
        ramp_steps: Steps in which the learning rates rise.
        decay_share: Last share of the steps, in which they fall linearly to zero.
        look_every: Steps between two looks, and two checkpoints.
        judged: Held-out rows at a look.
        least_exact: Gate: least share of held-out products right in all digits.
        threads: Torch's number of threads while training; None for as it is. Can change the last
            bits of the weights.
        device: Where it trains.
        write_failed: Write the model even if it fails its gate.
    """

    n: int = 2
    auxiliary: float = 1.0
    held_out: float = 0.1
    seed: int = 0
    n_layers: int = 2
    d_model: int = 64
    n_heads: int = 4
    steps: int = 7000
    batch: int = 256
    muon_lr: float = 0.02
    adamw_lr: float = 3e-3
    weight_decay: float = 0.2
    ramp_steps: int = 100
    decay_share: float = 0.5
    look_every: int = 250
    judged: int = 1000
    least_exact: float = 0.95
    threads: int | None = 1
    device: str = "cpu"
    write_failed: bool = False

    def __post_init__(self) -> None:
        least = {"n_layers": 2, "n_heads": 1, "steps": 1, "batch": 1, "look_every": 1, "judged": 1}
        for name, value in least.items():
            if getattr(self, name) < value:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least {value}")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model}: expected a multiple of n_heads={self.n_heads}"
            )
        if min(self.auxiliary, self.weight_decay) < 0 or min(self.muon_lr, self.adamw_lr) <= 0:
            raise ValueError(
                f"auxiliary={self.auxiliary}, weight_decay={self.weight_decay}, "
                f"muon_lr={self.muon_lr}, adamw_lr={self.adamw_lr}: "
                "expected weights of at least 0 and learning rates above 0"
            )
        if not 0 <= self.decay_share <= 1:
            raise ValueError(f"decay_share is {self.decay_share}; expected a share from 0 to 1")
        _ = self.task  # which checks its own fields

    @property
    def task(self) -> Multiplication:
        """What is learnt."""
        return Multiplication(self.n, self.held_out)

    @property
    def name(self) -> str:
        """What the model is called."""
        plain = "" if self.auxiliary else "-plain"
        return f"multiply-{self.n}x{self.n}{plain}"

    @property
    def sum_scale(self) -> float:
        """What running sums are divided by in the loss: half of the largest s_k, 81·n/2."""
        return 81 * self.n / 2

    def scale_at(self, step: int) -> float:
        """Share of the peak learning rates at a step, counted from 0."""
        rise = (step + 1) / max(1, self.ramp_steps)
        fall = (self.steps - step) / max(1.0, self.decay_share * self.steps)
        return min(1.0, rise, fall)

    def decides(self) -> dict[str, Any]:
        """The fields that decide the weights: all but those that judge and keep them."""
        judging = {"least_exact", "write_failed", "device"}
        return {key: value for key, value in asdict(self).items() if key not in judging}


def new_network(config: MultiplyConfig) -> Network:
    """The network before training."""
    return Network(
        vocab_size=D_VOCAB,
        n_ctx=config.task.width,
        n_layers=config.n_layers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        seed=config.seed,
    )


def heads_and_logits(
    network: Network, tokens: Int[Tensor, "row pos"], n_answers: int
) -> tuple[Float[Tensor, "row digit d_model"], Float[Tensor, "row digit vocab"]]:
    """Where the answer is predicted: what the last layer's heads mix, side by side, and the logits.

    Args:
        network: The model.
        tokens: Rows without their last digit.
        n_answers: Digits of the answer: the last so many positions.
    """
    mixed: list[Tensor] = []
    last = network.get_submodule(f"layers.{len(network.layers) - 1}.attn.o")
    hook = last.register_forward_pre_hook(lambda _, inputs: mixed.append(inputs[0][:, -n_answers:]))
    try:
        stream = network.residuals(tokens)[-1][:, -n_answers:]
    finally:
        hook.remove()
    return mixed[0], network.head(network.ln_out(stream))


class Training:
    """What changes from step to step, and its checkpoint."""

    def __init__(self, config: MultiplyConfig) -> None:
        """Begin at step 0."""
        self.config, self.task = config, config.task
        self.model = new_network(config).to(config.device)
        d_head = config.d_model // config.n_heads
        self.readers = nn.Parameter(torch.zeros(config.n_heads, d_head, device=config.device))
        everything = nn.ParameterDict({"readers": self.readers})
        self.whole = nn.ModuleDict({"network": self.model, "auxiliary": everything})
        self.optimizers: dict[str, torch.optim.Optimizer] = {
            "muon": torch.optim.Muon(
                self.model.block_matrices(),
                lr=config.muon_lr,
                weight_decay=config.weight_decay,
            ),
            "adamw": torch.optim.AdamW(
                [*self.model.other_parameters(), self.readers],
                lr=config.adamw_lr,
                betas=(0.9, 0.95),
                weight_decay=config.weight_decay,
                fused=True,
            ),
        }
        self.generator = torch.Generator().manual_seed(config.seed + 2**32)
        judge = torch.Generator().manual_seed(config.seed + 2**33)
        self.judged = self.task.draw(config.judged, generator=judge, held_out=True)
        self.step = 0
        self.history: list[dict[str, Any]] = []

    @property
    def last(self) -> int:
        """Steps after which the training ends."""
        return self.config.steps

    def losses(
        self, rows: Int[Tensor, "row pos"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, ""], Float[Tensor, "row digit vocab"]]:
        """Cross-entropy in nats a digit, the auxiliary loss, and the logits."""
        rows = rows.to(self.config.device)
        n = self.task.n_answers
        mixed, logits = heads_and_logits(self.model, rows[:, :-1], n)
        entropy = F.cross_entropy(logits.flatten(0, 1), rows[:, -n:].flatten())
        read = (mixed.unflatten(-1, self.readers.shape) * self.readers).sum(-1)
        sums = self.task.running_sums(rows).float() / self.config.sum_scale
        return entropy, (read - sums[:, :, None]).square().mean(), logits

    @torch.no_grad()
    def look(self, loss: float) -> None:
        """Enter in its history where the training stands on held-out products."""
        entropy, auxiliary, logits = self.losses(self.judged)
        right = logits.argmax(-1).cpu() == self.judged[:, -self.task.n_answers :]
        found = {
            "loss": loss,
            "held_out_ce": float(entropy),
            "running_sum_mse": float(auxiliary),
            "digits_right": float(right.float().mean()),
            "exact": float(right.all(1).float().mean()),
        }
        rounded = {key: float(f"{value:.4g}") for key, value in found.items()}
        by_digit = [round(float(v), 4) for v in right.float().mean(0)]
        self.history.append({"step": self.step, **rounded, "right_by_digit": by_digit})

    def advance(self) -> float:
        """One optimizer step on fresh rows; returns the cross-entropy in nats a digit."""
        config, scale = self.config, self.config.scale_at(self.step)
        peaks = {"muon": config.muon_lr, "adamw": config.adamw_lr}
        for name, optimizer in self.optimizers.items():
            for group in optimizer.param_groups:
                group["lr"] = peaks[name] * scale
        rows = self.task.draw(config.batch, generator=self.generator)
        entropy, auxiliary, _ = self.losses(rows)
        (entropy + config.auxiliary * auxiliary).backward()
        for optimizer in self.optimizers.values():
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        self.step += 1
        return float(entropy.detach())

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
        for optimizer in self.optimizers.values():
            for parameter, kept in optimizer.state.items():
                for key, value in kept.items():
                    kept[key] = value.to(parameter.device)
        clock.add(state["spent"])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.whole,
            "optimizers": self.optimizers,
            "generators": {"rows": self.generator},
            "made_by": json.dumps(self.config.decides(), sort_keys=True),
        }
