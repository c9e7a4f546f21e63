"""What is timed: one model twice, and the same questions asked of it in several ways."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Examples, Model

Heads = frozenset[tuple[int, int]]


@dataclass(frozen=True, eq=False)
class Subject:
    """A GPT-2 with random weights: as transformers has it, and as this toolkit loads it."""

    plain: Any
    model: Model

    @property
    def sites(self) -> list[str]:
        """The residual stream behind each layer."""
        return [f"L{layer}.resid_post" for layer in range(self.model.n_layers)]

    def by_sweep(self, examples: Examples, sets: list[Heads]) -> Tensor:
        """Metric of each set, by the engine."""
        from interp.evidence import logit_difference
        from interp.heads import sweep

        return sweep(self.model, examples, logit_difference, sets, kind="zero").ablated

    def by_bridge(self, examples: Examples, sets: list[Heads]) -> Tensor:
        """The same by TransformerBridge.run_with_hooks."""
        import torch

        def zero(heads: list[int]) -> Callable[..., Tensor]:
            def hook(z: Tensor, hook: Any) -> Tensor:
                z[:, :, heads] = 0.0
                return z

            return hook

        found = []
        for heads in sets:
            hooks = [
                (f"blocks.{layer}.attn.hook_z", zero(mine)) for layer, mine in _by_layer(heads)
            ]
            with torch.no_grad():
                logits = self.model.bridge.run_with_hooks(examples.tokens, fwd_hooks=hooks)
            found.append(_difference(logits, examples))
        return torch.stack(found)

    def by_hooks(self, examples: Examples, sets: list[Heads]) -> Tensor:
        """The same by plain PyTorch hooks on the transformers model."""
        import torch

        width = self.model.d_head

        def zero(heads: list[int]) -> Callable[..., Any]:
            def hook(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
                z = args[0].clone()
                for head in heads:
                    z[..., head * width : (head + 1) * width] = 0.0
                return (z,)

            return hook

        found = []
        for heads in sets:
            blocks = self.plain.transformer.h
            handles = [
                blocks[layer].attn.c_proj.register_forward_pre_hook(zero(mine))
                for layer, mine in _by_layer(heads)
            ]
            try:
                with torch.no_grad():
                    logits = self.plain(examples.tokens, use_cache=False).logits
            finally:
                for handle in handles:
                    handle.remove()
            found.append(_difference(logits, examples))
        return torch.stack(found)

    def attribution(self, examples: Examples) -> Tensor:
        """What each head's removal would cost, by its gradient alone."""
        from interp.evidence import logit_difference
        from interp.heads import attribute

        found = attribute(self.model, examples, logit_difference, kind="zero", check=0)
        return found.per_example

    def trunk(self, tokens: Tensor, rows: int) -> None:
        """Run the transformers model without its unembedding, some rows at a time."""
        import torch

        for part in tokens.split(rows):
            with torch.no_grad():
                self.plain.transformer(part, use_cache=False)

    def capture(self, examples: Examples) -> Tensor:
        """Last-token residual streams behind each layer, by this toolkit."""
        import torch

        from interp.hooks import capture

        found = capture(self.model, examples, self.sites, positions="last")
        return torch.stack(list(found.values()))

    def capture_in_order(self, examples: Examples, rows: int) -> Tensor:
        """The same, some examples at a time in the order given, padded to the longest of them."""
        import torch

        from interp.hooks import capture

        parts = []
        for first in range(0, len(examples), rows):
            some = examples.select(range(first, min(first + rows, len(examples))))
            found = capture(self.model, some, self.sites, positions="last", batch_size=rows)
            parts.append(torch.stack(list(found.values())))
        return torch.cat(parts, dim=1)

    def run_with_cache(self, tokens: Tensor, rows: int) -> Tensor:
        """The same by the bridge, whose filter keeps every position."""
        import torch

        names = [f"blocks.{layer}.hook_resid_post" for layer in range(self.model.n_layers)]
        parts = []
        for part in tokens.split(rows):
            with torch.no_grad():
                _, cache = self.model.bridge.run_with_cache(part, names_filter=names)
            parts.append(torch.stack([cache[name][:, -1] for name in names]))
        return torch.cat(parts, dim=1)


def make_subject(*, n_layers: int, n_heads: int, d_model: int, d_vocab: int, seed: int) -> Subject:
    """Make a model of a shape."""
    import torch
    import transformers

    from interp.models import load_model

    shape = transformers.GPT2Config(
        vocab_size=d_vocab,
        n_positions=1024,
        n_embd=d_model,
        n_layer=n_layers,
        n_head=n_heads,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # transformers draws weights from the global generator
        plain = transformers.GPT2LMHeadModel(shape).eval()
    name = f"gpt2-{n_layers}x{n_heads}x{d_model}-random"
    return Subject(plain, load_model(name, hf_model=copy.deepcopy(plain)))


def questions(n: int, length: int, *, d_vocab: int, seed: int) -> Examples:
    """Random prompts, each with a right and a wrong token behind it."""
    import torch

    from interp.models import Examples

    generator = torch.Generator().manual_seed(seed)
    return Examples(
        tokens=torch.randint(d_vocab, (n, length), generator=generator),
        answer=torch.randint(d_vocab, (n,), generator=generator),
        wrong=torch.randint(d_vocab, (n,), generator=generator),
        answer_at=torch.full((n,), length - 1),
        seed=seed,
    )


def of_mixed_length(n: int, *, d_vocab: int, seed: int) -> Examples:
    """Random prompts of 4 to 128 tokens, log-normal, half of them below 24."""
    import torch

    from interp.models import Examples

    generator = torch.Generator().manual_seed(seed)
    draw = torch.randn(n, generator=generator).mul(0.8).exp() * 24
    lengths = draw.long().clamp(4, 128)
    width = int(lengths.max())
    mask = torch.arange(width)[None, :] < lengths[:, None]
    tokens = torch.randint(d_vocab, (n, width), generator=generator) * mask
    return Examples(tokens, mask, seed=seed)


def one_head_a_layer(n: int, model: Model, *, seed: int) -> list[Heads]:
    """Random control sets."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(model.n_heads, (n, model.n_layers), generator=generator)
    return [frozenset(enumerate(heads)) for heads in drawn.tolist()]


def _by_layer(heads: Heads) -> Iterator[tuple[int, list[int]]]:
    for layer in sorted({layer for layer, _ in heads}):
        yield layer, [head for at, head in heads if at == layer]


def _difference(logits: Tensor, examples: Examples) -> Tensor:
    at = logits[:, -1]
    assert examples.answer is not None and examples.wrong is not None
    right = at.gather(1, examples.answer[:, None])
    return (right - at.gather(1, examples.wrong[:, None]))[:, 0]
