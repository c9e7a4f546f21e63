"""Training one arm of Bi-Induct: the same network, windows and number of tokens for every arm.

For one seed all arms begin with the same weights and draw the same natural windows in the same
order; they differ in the snippets put into them (:mod:`interp.zoo.bi_induct.rewrite`).

The weights they begin with are warmed up on repeated random tokens, the period drawn afresh for
every batch, until a head's induction score reaches a threshold: the head has then begun to form and
is far from done. From random weights the natural stream did not form one within the tokens of an
arm, though the loss with one is lower (``ArmConfig(warm_up_until=None)`` shows the curve).
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from interp.zoo.bi_induct.rewrite import Arm, batch, mixing_rate
from interp.zoo.bi_induct.streams import BOS, Stream
from interp.zoo.cards import replace_file
from interp.zoo.checkpoint import load_checkpoint, save_checkpoint


@dataclass(frozen=True)
class ArmConfig:
    """All that decides an arm's weights, beside the stream.

    The learning rates ramp up over ``ramp_steps``, then fall linearly to a twentieth.

    Attributes:
        arm: Which rewrite of the data.
        seed: Seeds the initialisation and the draws; arms of one seed share both.
        n_layers: Layers.
        n_heads: Query heads a layer.
        n_kv_heads: Key/value heads a layer; as many as query heads if None.
        d_head: Width of a head.
        d_model: Width of the residual stream.
        d_mlp: Width of the gated MLP.
        context: Tokens in a row, BOS included.
        rows: Rows in a batch.
        steps: Optimizer steps.
        lr: Peak learning rate of AdamW.
        ramp_steps: Steps in which the learning rates rise.
        start_rate: Share of snippet tokens at the beginning; linearly to 0 at the end.
        shortest: Fewest tokens in a snippet's S.
        longest: Most.
        warm_up_until: Largest induction score of a head at which the warm-up stops; None for no
            warm-up. It is not counted among the arm's tokens, being the same for all.
        warm_up_heads: Heads of each layer that may write meanwhile; the others are silent. Were all
            free, all heads of a layer would turn into induction heads, and none be left to compare
            them with.
        warm_up_at_most: Steps after which it is given up, with an error.
    """

    arm: Arm = "natural"
    seed: int = 0
    n_layers: int = 2
    n_heads: int = 8
    n_kv_heads: int | None = None
    d_head: int = 16
    d_model: int = 128
    d_mlp: int = 256
    context: int = 128
    rows: int = 32
    steps: int = 1200
    lr: float = 3e-3
    ramp_steps: int = 50
    start_rate: float = 0.5
    shortest: int = 8
    longest: int = 32
    warm_up_until: float | None = 0.3
    warm_up_heads: int = 2
    warm_up_at_most: int = 1000

    @property
    def tokens(self) -> int:
        """Tokens seen in all, the same for every arm."""
        return self.steps * self.rows * self.context


def new_model(config: ArmConfig, vocab_size: int) -> LlamaForCausalLM:
    """The network before training; the same for all arms of a seed."""
    llama = LlamaConfig(
        vocab_size=vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_kv_heads or config.n_heads,
        head_dim=config.d_head,
        max_position_embeddings=2 * config.context,  # room for tests longer than a row
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=BOS,
        pad_token_id=None,  # torch gives the embedding of a padding id no gradient
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        return LlamaForCausalLM(llama)


class Training:
    """One arm as it is trained: advances step by step, saves and takes up again."""

    def __init__(
        self,
        config: ArmConfig,
        stream: Stream,
        *,
        start: Mapping[str, Tensor] | None = None,
        device: str = "cpu",
    ) -> None:
        """Begin at step 0, from the weights in ``start`` or from random ones."""
        self.config = config
        self.stream = stream
        self.device = device
        made_by = {"config": asdict(config), "stream": stream.sha256, "vocab": stream.vocab_size}
        self.model = new_model(config, stream.vocab_size)
        nn.Module.to(self.model, device)
        if start is not None:
            self.model.load_state_dict(
                dict(start), strict=False
            )  # the output is the tied embedding
            digest = hashlib.sha256()
            for name in sorted(start):
                digest.update(start[name].cpu().contiguous().numpy().tobytes())
            made_by["start"] = digest.hexdigest()
        self.made_by = json.dumps(made_by, sort_keys=True)
        self.optimizer = new_optimizer(self.model, config.lr)
        self.generators = {
            "natural": torch.Generator().manual_seed(config.seed),
            "snippets": torch.Generator().manual_seed(config.seed + 2**32),
        }
        self.step = 0
        self.covered = 0.0
        self.history: list[dict[str, Any]] = []

    @property
    def coverage(self) -> float:
        """Mean share of snippet tokens so far."""
        return self.covered / max(1, self.step)

    def advance(self) -> float:
        """One optimizer step; returns the loss in nats per token."""
        config = self.config
        fall = max(0.05, 1 - self.step / config.steps)
        scale = min(1.0, (self.step + 1) / max(1, config.ramp_steps)) * fall
        for group in self.optimizer.param_groups:
            group["lr"] = config.lr * scale
        drawn = batch(
            self.stream,
            config.arm,
            n=config.rows,
            context=config.context,
            rate=mixing_rate(self.step, config.steps, start=config.start_rate),
            lengths=(config.shortest, config.longest),
            natural=self.generators["natural"],
            snippets=self.generators["snippets"],
        )
        rows = drawn.rows.to(self.device)
        logits = self.model(input_ids=rows, use_cache=False).logits[:, :-1]
        loss = F.cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        self.covered += drawn.coverage
        return float(loss.detach())

    def save(self, path: Path) -> None:
        """Write a checkpoint."""
        save_checkpoint(
            path,
            model=self.model,
            optimizers={"adamw": self.optimizer},
            generators=self.generators,
            made_by=self.made_by,
            state={"step": self.step, "covered": self.covered, "history": self.history},
        )

    def load(self, path: Path) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it is of another arm, seed, recipe or stream.
        """
        state = load_checkpoint(
            path,
            model=self.model,
            optimizers={"adamw": self.optimizer},
            generators=self.generators,
            made_by=self.made_by,
        )
        self.step, self.covered = state["step"], state["covered"]
        self.history = state["history"]


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Write a transformers folder without a tokenizer, which these models do not have."""
    with tempfile.TemporaryDirectory() as partial:
        model.config.architectures = [type(model).__name__]
        model.config.save_pretrained(partial)
        # The tied output matrix is no parameter of its own, so it is left out.
        weights = {name: p.detach().cpu() for name, p in model.named_parameters()}
        save_file(weights, Path(partial) / "model.safetensors", metadata={"format": "pt"})
        for path in sorted(Path(partial).iterdir()):
            replace_file(folder / path.name, path.read_bytes())


def new_optimizer(model: LlamaForCausalLM, lr: float) -> torch.optim.AdamW:
    """AdamW with the settings of every stage."""
    return torch.optim.AdamW(
        model.parameters(), lr=lr, betas=(0.9, 0.98), weight_decay=0.01, fused=True
    )


def train_arm(
    config: ArmConfig,
    stream: Stream,
    *,
    start: Mapping[str, Tensor] | None = None,
    checkpoint: Path | None = None,
    every: int = 100,
    look: Callable[[LlamaForCausalLM], dict[str, Any]] | None = None,
    device: str = "cpu",
) -> Iterator[Training]:
    """Train an arm, yielding after every ``every`` steps and at the end.

    Args:
        config: The recipe.
        stream: What to train on.
        start: The weights to begin with, from :func:`warm_up`; random ones if None.
        checkpoint: Where to go on from, if it exists, and what to keep up to date; removed by
            nobody.
        every: Steps between two looks and saves.
        look: Called at the beginning, then every so many steps; what it returns is kept in
            ``history`` with the step, the tokens seen and the training loss.
        device: A torch device.

    Yields:
        The training, its ``history`` the telemetry so far.
    """
    training = Training(config, stream, start=start, device=device)
    if checkpoint is not None and checkpoint.exists():
        training.load(checkpoint)
    losses: list[float] = []
    while True:
        at = training.step
        if at % every == 0 or at == config.steps:
            if not training.history or training.history[-1]["step"] < at:
                seen = {"step": at, "tokens": at * config.rows * config.context}
                mean = sum(losses) / len(losses) if losses else None
                found = look(training.model) if look else {}
                training.history.append({**seen, "train_loss": mean, **found})
                losses = []
                if checkpoint is not None:
                    training.save(checkpoint)
            yield training
        if at == config.steps:
            return
        losses.append(training.advance())
