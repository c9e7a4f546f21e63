"""Cheaper equals of some modules, for passes in which nobody looks inside them.

The bridge computes each norm in seven steps, so that hooks can see between them, and transformers
writes GPT-2's activation out in eight. PyTorch has both in one. An MLP over many tokens makes
tensors too large for the caches, and for the allocator to keep; a slice of rows at a time gives
the same numbers. Equal up to float rounding; ``suffix_check`` tries it before it is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from interp.hooks.borrowing import replaced
from interp.models import Model

# Tokens an MLP takes at a time on a CPU, where matrix products gain nothing from more.
_TOKENS = 512

_Swap = tuple[Any, Callable[..., Any]]


@contextmanager
def quickly(model: Model) -> Iterator[None]:
    """Run a model's modules by their cheaper equals, inside this block.

    Hooks between a norm's input and output do not fire.
    """
    with ExitStack() as stack:
        for module, forward in _swaps(model):
            stack.enter_context(replaced(module, forward))
        yield


def plainly(model: Model) -> bool:
    """Give up the cheaper equals on this model, which differ from its own modules.

    Returns:
        Whether there were any to give up.
    """
    had = bool(_swaps(model))
    model.__dict__["_quick"] = []
    return had


def _swaps(model: Model) -> list[_Swap]:
    """Found once a model."""
    known: list[_Swap] | None = model.__dict__.get("_quick")
    if known is None:
        known = [swap for module in model.bridge.modules() if (swap := _swap(module))]
        for block in model.bridge.blocks:
            mlp = getattr(block, "mlp", None)
            if isinstance(mlp, torch.nn.Module) and model.device.type == "cpu":
                known.append((mlp, _sliced(mlp.forward)))
        model.__dict__["_quick"] = known
    return known


def _swap(module: Any) -> _Swap | None:
    kind = type(module).__name__
    if kind == "NewGELUActivation":
        return module, _gelu
    if kind == "NormalizationBridge":
        norm = module.original_component
        if type(norm) is torch.nn.LayerNorm and norm.eps == getattr(module.config, "eps", None):
            return module, norm.forward
    return None


def _gelu(x: Tensor) -> Tensor:
    return functional.gelu(x, approximate="tanh")


def _sliced(run: Callable[..., Any]) -> Callable[..., Any]:
    """Run a module over a batch, a slice of rows at a time."""

    def forward(*args: Any, **kwargs: Any) -> Any:
        alone = len(args) == 1 and not kwargs and isinstance(args[0], Tensor)
        if not alone or args[0].ndim != 3 or args[0].shape[:2].numel() <= _TOKENS:
            return run(*args, **kwargs)
        x = args[0]
        # Slices of equal size: a short last one would cost as much as a long one.
        rows = max(1, _TOKENS // x.shape[1])
        parts = -(-len(x) // rows)
        whole: Tensor | None = None
        start = 0
        for part in x.tensor_split(parts):
            found = run(part)
            if not isinstance(found, Tensor):
                return run(x)
            if whole is None:
                whole = found.new_empty((len(x), *found.shape[1:]))
            whole[start : start + len(part)] = found
            start += len(part)
        return whole

    return forward
