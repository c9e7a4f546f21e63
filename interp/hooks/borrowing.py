"""Borrowing the forward functions of a model's modules for the time of one call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.models import Model


class SuffixError(RuntimeError):
    """This architecture cannot be begun in the middle; the message says why."""


@contextmanager
def replaced(module: Any, forward: Any) -> Iterator[None]:
    """Give one module another forward function for a while.

    Through ``__dict__``, since bridge components pass attributes on to what they wrap.
    """
    had, before = "forward" in module.__dict__, module.__dict__.get("forward")
    module.__dict__["forward"] = forward
    try:
        yield
    finally:
        if had:
            module.__dict__["forward"] = before
        else:
            del module.__dict__["forward"]


@contextmanager
def forgetful(model: Model) -> Iterator[None]:
    """Keep transformer-lens from holding each layer's latest pattern, all layers' at once."""
    held = []
    for block in model.bridge.blocks:
        attention: Any = getattr(block, "attn", None)
        if hasattr(attention, "_pattern"):
            handle = attention.register_forward_hook(
                lambda module, *_: setattr(module, "_pattern", None)
            )
            held.append((attention, attention._pattern, handle))
    try:
        yield
    finally:
        for attention, pattern, handle in held:
            handle.remove()
            attention._pattern = pattern


def modules_of(model: Model, layer: int) -> tuple[Any, Any]:
    """Return a layer's block and its attention module."""
    block = model.bridge.blocks[layer]
    attention = getattr(block, "attn", None)
    if not isinstance(attention, torch.nn.Module):
        raise SuffixError(f"layer {layer} has no attention of its own")
    return block, attention


def first_of(output: Any) -> Tensor:
    """Return the tensor among what a block or its attention returns."""
    first = output[0] if isinstance(output, tuple) else output
    if not isinstance(first, Tensor):
        raise SuffixError("a block or its attention returns no tensor")
    return first


def wrapped(first: Tensor, size: int | None) -> Any:
    """Return a tensor in the form a module returns it: bare, or first of ``size`` things."""
    return first if size is None else (first, *[None] * (size - 1))


def hidden_of(args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Tensor:
    """Return the residual stream among a block's arguments."""
    hidden = args[0] if args else kwargs.get("hidden_states")
    if not isinstance(hidden, Tensor):
        raise SuffixError("its blocks do not take the residual stream first")
    return hidden


def with_hidden(
    args: tuple[Any, ...], kwargs: dict[str, Any], hidden: Tensor
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return a block's arguments with another residual stream."""
    return ((hidden, *args[1:]), kwargs) if args else ((), {**kwargs, "hidden_states": hidden})


def gather(
    x: Float[Tensor, "row pos d"], reads: Int[Tensor, "row read"]
) -> Float[Tensor, "row read d"]:
    """Return each row's own positions."""
    return x.gather(1, reads[:, :, None].expand(-1, -1, x.shape[-1]))


def spread(
    x: Float[Tensor, "row read ..."], reads: Int[Tensor, "row read"], width: int
) -> Float[Tensor, "row pos ..."]:
    """Put each row's positions back where they stood, zeros elsewhere; undoes ``gather``."""
    whole = x.new_zeros((len(x), width, *x.shape[2:]))
    index = reads.reshape(*reads.shape, *[1] * (x.ndim - 2)).expand_as(x)
    return whole.scatter_(1, index, x)


def first_rows(value: Any, n: int, whole: int) -> Any:
    """Cut whatever has ``whole`` rows to the first ``n``, inside tuples, lists and dicts as well.

    Tensors of one axis have no rows: they go by position. Where ``whole`` is the sequence's
    length too, one of two axes could be either; do not call it with that.
    """
    if n == whole:
        return value
    if isinstance(value, Tensor):
        return value[:n] if value.ndim > 1 and len(value) == whole else value
    if isinstance(value, dict):
        return {key: first_rows(item, n, whole) for key, item in value.items()}
    if type(value) in (tuple, list):
        return type(value)(first_rows(item, n, whole) for item in value)
    return value
