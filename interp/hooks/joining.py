"""Rows that enter a running forward pass at a later layer, and a block run only where it is read.

A pass begun at one layer is joined, at every later one, by the rows that begin there: so rows of
different layers fill one pass, and each layer's weights are read once for all of them. At a
layer, rows stand in this order: those already running; those that enter before its attention;
those that enter behind it, with what the attention returns given.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from interp.hooks.borrowing import (
    SuffixError,
    first_of,
    first_rows,
    gather,
    hidden_of,
    modules_of,
    replaced,
    spread,
    with_hidden,
    wrapped,
)
from interp.models import Model


@dataclass(frozen=True, eq=False)
class Join:
    """Who is in a pass at one layer.

    Attributes:
        layer: Which layer.
        whole: Rows of the pass in the end; what its outer code was called with.
        arriving: Rows already running.
        entering: Residual streams of rows that enter here.
        attn_out: For the last of them, what attention returns; the others' attention is run.
        form: How many things the attention returns; None for a bare tensor.
    """

    layer: int
    whole: int
    arriving: int
    entering: Float[Tensor, "entering pos d_model"] | None = None
    attn_out: Float[Tensor, "given pos d_model"] | None = None
    form: int | None = None

    @property
    def rows(self) -> int:
        """Rows that leave this layer."""
        return self.arriving + (0 if self.entering is None else len(self.entering))

    @property
    def running(self) -> int:
        """Rows whose attention is run."""
        return self.rows - (0 if self.attn_out is None else len(self.attn_out))

    def stream(self, hidden: Tensor) -> Float[Tensor, "row pos d_model"]:
        """Everyone's residual stream."""
        if self.entering is None:
            return hidden[: self.arriving]
        if not self.arriving:
            return self.entering
        return torch.cat([hidden[: self.arriving], self.entering])

    def call(self, args: Any, kwargs: Any, hidden: Tensor) -> tuple[Any, Any]:
        """A block's arguments for everyone here."""
        args, kwargs = first_rows((args, kwargs), self.rows, self.whole)
        return with_hidden(args, kwargs, hidden)


def begun(model: Model, join: Join) -> Any:
    """A block's forward function in which rows enter."""
    block, attention = modules_of(model, join.layer)
    run_block, run_attention = block.forward, attention.forward

    def attend(*args: Any, **kwargs: Any) -> Any:
        if join.attn_out is None:
            return run_attention(*args, **kwargs)
        if not join.running:
            return wrapped(join.attn_out, join.form)
        args, kwargs = first_rows((args, kwargs), join.running, join.rows)
        found = first_of(run_attention(*args, **kwargs))
        return wrapped(torch.cat([found, join.attn_out]), join.form)

    def forward(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = join.call(args, kwargs, join.stream(hidden_of(args, kwargs)))
        with replaced(attention, attend):
            return run_block(*args, **kwargs)

    return forward


class _AttentionDone(Exception):
    """Raised in a block that is read at few positions, once its attention is known."""

    def __init__(self, output: Any) -> None:
        super().__init__()
        self.output = output


def read_only(model: Model, join: Join, reads: Int[Tensor, "row read"]) -> Any:
    """A block's forward function that does only what is read.

    Keys and values are computed everywhere, queries and all that comes behind the attention's
    heads at the positions read: whoever calls this also keeps no more of z (``then_read``).
    """
    block, attention = modules_of(model, join.layer)
    run_block, run_attention = block.forward, attention.forward

    def stop(*args: Any, **kwargs: Any) -> Any:
        args, kwargs = first_rows((args, kwargs), join.running, join.rows)
        with _queries(attention, reads[: join.running]):
            raise _AttentionDone(run_attention(*args, **kwargs))

    def forward(*args: Any, **kwargs: Any) -> Any:
        hidden = join.stream(hidden_of(args, kwargs))
        form, parts = join.form, []
        args, kwargs = join.call(args, kwargs, hidden)
        if join.running:
            with replaced(attention, stop):
                try:
                    run_block(*args, **kwargs)
                except _AttentionDone as done:
                    parts.append(first_of(done.output))
                    form = len(done.output) if isinstance(done.output, tuple) else None
                else:
                    raise SuffixError("a block ran without its attention")
        if join.attn_out is not None:
            parts.append(gather(join.attn_out, reads[join.running :]))
        attn_out = torch.cat(parts) if len(parts) > 1 else parts[0]
        args, kwargs = with_hidden(args, kwargs, gather(hidden, reads))
        with replaced(attention, lambda *_, **__: wrapped(attn_out, form)):
            output = run_block(*args, **kwargs)
        # As wide as the model's outer code expects; nobody reads the rest.
        found = spread(first_of(output), reads, hidden.shape[1])
        return wrapped(found, len(output) if isinstance(output, tuple) else None)

    return forward


@contextmanager
def _queries(attention: Any, reads: Int[Tensor, "row read"]) -> Iterator[None]:
    """Compute queries only where they are read, where there is a module for them."""
    query = getattr(attention, "q", None)
    if not isinstance(query, torch.nn.Module):
        yield
        return
    run = query.forward

    def forward(x: Tensor, *args: Any, **kwargs: Any) -> Any:
        if x.ndim != 3 or len(x) != len(reads):
            return run(x, *args, **kwargs)
        return spread(run(gather(x, reads), *args, **kwargs), reads, x.shape[1])

    with replaced(query, forward):
        yield
