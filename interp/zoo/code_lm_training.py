"""How ``code-lm`` is trained: its settings, its batches, one optimizer step, its checkpoint."""

from __future__ import annotations

import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Int
from tokenizers import Tokenizer
from torch import Tensor
from torch.nn import functional as F
from transformers import LlamaConfig, LlamaForCausalLM

from interp.zoo.checkpoint import load_checkpoint, save_checkpoint
from interp.zoo.code_lm_measures import BOS
from interp.zoo.silencing import silent_outputs


@dataclass(frozen=True)
class Stage:
    """Some optimizer steps on batches of one shape.

    ``text_share`` of the rows are text, the others repeated random tokens. Only each layer's first
    ``heads`` heads write to the residual stream; the others are silent until a later stage.
    """

    steps: int
    batch: int
    context: int
    text_share: float
    heads: int = 12


@dataclass(frozen=True)
class CodeLMConfig:
    """All that decides the weights; the defaults made the bundled ones.

    There are 12 heads a layer, since 8 with two induction heads in one layer leave few matched
    sets to compare with.

    Contexts are in tokens, ``<|endoftext|>`` included. The learning rate ramps up over
    ``ramp_steps``, stays at ``lr`` until the end of the first stage, then falls linearly to zero.
    ``max_bytes`` limits the corpus (None: all of it); ``threads`` is torch's number of threads
    while training (None: as it is) and can change the last bits of the weights.
    """

    seed: int = 0
    vocab_size: int = 1024
    n_layers: int = 4
    n_heads: int = 12
    d_head: int = 16
    d_model: int = 120
    d_mlp: int = 320
    n_positions: int = 256
    stages: tuple[Stage, ...] = (
        Stage(steps=400, batch=64, context=32, text_share=0.0, heads=2),
        Stage(steps=300, batch=16, context=128, text_share=0.5, heads=2),
        Stage(steps=2600, batch=16, context=128, text_share=0.8),
        Stage(steps=1000, batch=8, context=256, text_share=0.75),
    )
    lr: float = 3e-3
    betas: tuple[float, float] = (0.9, 0.98)
    weight_decay: float = 0.01
    clip: float = 1.0
    ramp_steps: int = 50
    held_out_share: float = 0.02
    max_bytes: int | None = None
    checkpoint_every: int = 200
    threads: int | None = 1

    def __post_init__(self) -> None:
        for stage in self.stages:
            if not 8 <= stage.context <= self.n_positions or min(stage.steps, stage.batch) < 1:
                raise ValueError(
                    f"{stage}: expected steps and batch of at least 1 and a context from 8 to "
                    f"n_positions={self.n_positions}; change the stage or n_positions."
                )
            if not 0.0 <= stage.text_share <= 1.0:
                raise ValueError(f"{stage}: expected a text_share from 0 to 1, e.g. 0.7.")
        heads = [stage.heads for stage in self.stages]
        if not heads or heads != sorted(heads) or heads[0] < 1 or heads[-1] != self.n_heads:
            raise ValueError(
                f"heads={heads} over the stages: expected at least one stage and numbers from 1 "
                f"that never fall and end at n_heads={self.n_heads}; change the stages' heads."
            )
        if self.d_head % 2 or self.d_model % self.n_heads:
            raise ValueError(
                f"d_head={self.d_head}, d_model={self.d_model}, n_heads={self.n_heads}: expected "
                "an even d_head, as rotary embeddings turn pairs, and, as transformers insists, a "
                "d_model that is a multiple of n_heads."
            )

    @classmethod
    def smoke(cls, **changes: Any) -> CodeLMConfig:
        """A recipe of seconds, which shows that everything runs and learns next to nothing."""
        stages = (Stage(8, 8, 32, 0.0, 2), Stage(8, 8, 64, 0.7, 4), Stage(4, 4, 128, 0.7, 4))
        small = {
            "vocab_size": 300,
            "n_layers": 2,
            "n_heads": 4,
            "d_head": 8,
            "d_model": 32,
            "d_mlp": 64,
        }
        small |= {"n_positions": 128, "ramp_steps": 4, "checkpoint_every": 5, "max_bytes": 400_000}
        small |= {"threads": 1}
        return cls(**{**small, "stages": stages, **changes})

    @property
    def n_steps(self) -> int:
        """Optimizer steps in all."""
        return sum(stage.steps for stage in self.stages)

    def stage_at(self, step: int) -> Stage:
        """The stage that a step (counted from 0) belongs to."""
        for stage in self.stages:
            if step < stage.steps:
                return stage
            step -= stage.steps
        raise ValueError(f"No such step: expected one below {self.n_steps}; check the count.")

    def lr_at(self, step: int) -> float:
        """Learning rate of a step (counted from 0)."""
        first = self.stages[0].steps if len(self.stages) > 1 else 0
        decay = (self.n_steps - step) / (self.n_steps - first) if step >= first else 1.0
        return self.lr * min(1.0, (step + 1) / max(1, self.ramp_steps)) * decay


class Clock:
    """Wall and CPU seconds, those of earlier parts of an interrupted training included."""

    def __init__(self) -> None:
        self._wall, self._cpu = -time.perf_counter(), -time.process_time()

    def read(self) -> dict[str, float]:
        """Seconds so far: ``wall`` and ``cpu``."""
        return {
            "wall": self._wall + time.perf_counter(),
            "cpu": self._cpu + time.process_time(),
        }

    def add(self, earlier: dict[str, float]) -> None:
        """Count in the seconds of an earlier part."""
        self._wall += earlier["wall"]
        self._cpu += earlier["cpu"]


class Training:
    """What changes from step to step, and its checkpoint."""

    def __init__(self, config: CodeLMConfig, corpus_sha256: str) -> None:
        self.config = config
        made_by = {"config": asdict(config), "corpus": corpus_sha256}
        self.made_by = json.dumps(made_by, sort_keys=True)
        self.model = _new_model(config)
        self.optimizer = torch.optim.AdamW(
            self.model.parameters(),
            lr=config.lr,
            betas=config.betas,
            weight_decay=config.weight_decay,
            fused=True,
        )
        self.generator = torch.Generator().manual_seed(config.seed)
        self.step = 0
        self.history: list[dict[str, Any]] = []

    def advance(self, tokens: Int[Tensor, " token"]) -> dict[str, float | None]:
        """One optimizer step; returns the mean loss of each kind of row, in nats per token."""
        stage = self.config.stage_at(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.config.lr_at(self.step)
        rows, targets, n_text = _batch(
            stage, tokens, vocab_size=self.config.vocab_size, generator=self.generator
        )
        logits = self.model(input_ids=rows, use_cache=False).logits[:, :-1]
        nll = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none")
        nll, counted = nll.view_as(targets), targets != -100
        (nll.sum() / counted.sum()).backward()
        for gradient in silent_outputs(self.model, stage.heads, grad=True):
            gradient.zero_()  # zero weights without a gradient stay zero: the head writes nothing
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.step += 1
        losses: dict[str, float | None] = {}
        for kind, part in {"text": slice(n_text), "repeat": slice(n_text, None)}.items():
            n = int(counted[part].sum())
            losses[kind] = round(nll[part].sum().item() / n, 4) if n else None
        return losses

    def save(self, path: Path, clock: Clock) -> None:
        """Write the checkpoint."""
        state = {"step": self.step, "history": self.history, "spent": clock.read()}
        save_checkpoint(path, state=state, **self._parts())

    def load(self, path: Path, clock: Clock) -> None:
        """Go on from a checkpoint.

        Raises:
            ValueError: it was made by another recipe or corpus.
        """
        state = load_checkpoint(path, **self._parts())
        self.step, self.history = state["step"], state["history"]
        clock.add(state["spent"])

    def _parts(self) -> dict[str, Any]:
        return {
            "model": self.model,
            "optimizers": {"adamw": self.optimizer},
            "generators": {"rows": self.generator},
            "made_by": self.made_by,
        }


def encode(tokenizer: Tokenizer, texts: tuple[str, ...]) -> Int[Tensor, " token"]:
    """All documents in one row, ``<|endoftext|>`` after each, as 16-bit ids."""
    parts: list[Tensor] = []
    for start in range(0, len(texts), 64):  # in slices, since lists of ids take much room
        for encoding in tokenizer.encode_batch(list(texts[start : start + 64])):
            parts.append(torch.tensor([*encoding.ids, BOS], dtype=torch.int16))
    return torch.cat(parts)


def repeated_random(
    n_rows: int, context: int, period: int, *, vocab_size: int, generator: torch.Generator
) -> Int[Tensor, "row position"]:
    """``<|endoftext|> r r r ...`` of uniformly random ordinary tokens, cut at ``context``."""
    r = torch.randint(BOS + 1, vocab_size, (n_rows, period), generator=generator)
    return F.pad(r[:, torch.arange(context - 1) % period], (1, 0), value=BOS)


def _batch(
    stage: Stage, tokens: Tensor, *, vocab_size: int, generator: torch.Generator
) -> tuple[Int[Tensor, "row position"], Int[Tensor, "row target"], int]:
    """Inputs, targets (-100: no loss) and the number of rows of text, which come first."""
    n_text, context = round(stage.batch * stage.text_share), stage.context
    starts = torch.randint(len(tokens) - context, (n_text, 1), generator=generator)
    text = F.pad(tokens[starts + torch.arange(context - 1)].long(), (1, 0), value=BOS)
    period = int(torch.randint(4, context // 2 + 1, (1,), generator=generator))
    repeats = repeated_random(
        stage.batch - n_text, context, period, vocab_size=vocab_size, generator=generator
    )
    rows = torch.cat([text, repeats])
    targets = rows[:, 1:].clone()
    targets[n_text:, :period] = -100  # the first period is chance; its loss would be noise
    return rows, targets, n_text


def _new_model(config: CodeLMConfig) -> LlamaForCausalLM:
    llama = LlamaConfig(
        vocab_size=config.vocab_size,
        hidden_size=config.d_model,
        intermediate_size=config.d_mlp,
        num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads,
        num_key_value_heads=config.n_heads,
        head_dim=config.d_head,
        max_position_embeddings=config.n_positions,
        tie_word_embeddings=True,
        bos_token_id=BOS,
        eos_token_id=BOS,
        # Set when saving only: torch gives the embedding of a padding id no gradient; ours is BOS.
        pad_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        model = LlamaForCausalLM(llama).float()
    with torch.no_grad():
        for weight in silent_outputs(model, config.stages[0].heads):
            weight.zero_()
    return model
