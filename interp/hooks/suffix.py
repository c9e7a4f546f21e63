"""Running a model from the middle on, whatever its architecture.

A head's output enters the residual stream after its layer's attention, so everything up to there
is the same whichever head is changed. Transformer-lens has no way to start at a layer; here the
model's own outer code runs all the same (embedding, masks, rotary angles, final norm, soft caps),
with the forward functions of a few modules replaced for the time of one call:

1. Blocks before the layer hand on what they get.
2. The layer's block starts from the residual stream that a clean pass kept, and its attention
   returns a given output, so that norms after attention and parallel MLPs are the model's own.
3. Rows that begin at later layers join there (see ``interp.hooks.joining``).
4. The last block computes keys and values everywhere, the rest only where logits are read.
5. The unembedding gets only the positions that are read.

``suffix_problem`` tries all of this on a probe before it is relied on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks.borrowing import (
    SuffixError,
    first_of,
    forgetful,
    gather,
    hidden_of,
    modules_of,
    replaced,
    wrapped,
)
from interp.hooks.interventions import Intervention
from interp.hooks.joining import Join, begun, read_only
from interp.hooks.quick import quickly
from interp.hooks.session import Watcher, session
from interp.hooks.sites import Site
from interp.models import Model

ZEdit = Callable[[Float[Tensor, "row pos head d_head"]], Float[Tensor, "row pos head d_head"]]


@dataclass(frozen=True, eq=False)
class Start:
    """What a clean pass held at one layer.

    Attributes:
        resid: The residual stream into the block.
        attn_out: What its attention module returned, before any norm after attention.
        z: Its heads' outputs before W_O.
    """

    resid: Float[Tensor, "batch pos d_model"]
    attn_out: Float[Tensor, "batch pos d_model"]
    z: Float[Tensor, "batch pos head d_head"]


class _Forms(NamedTuple):
    """How many things a block and its attention return; None for a bare tensor."""

    block: int | None
    attention: int | None


@dataclass(frozen=True, eq=False)
class Prefix:
    """A clean pass, kept to start from.

    Attributes:
        tokens: What was run.
        mask: Its real tokens.
        logits: The model's, at every position or where they are read.
        starts: By layer.
        captured: What else was asked for.
        forms: Of every layer.
    """

    tokens: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"] | None
    logits: Float[Tensor, "batch read vocab"]
    starts: Mapping[int, Start]
    captured: Mapping[Site, Tensor]
    forms: Mapping[int, _Forms]


@dataclass(frozen=True, eq=False)
class Rewrite(Intervention):
    """A change at z by any function of it."""

    function: ZEdit | None = None

    def apply(self, activation: Tensor, rows: slice | None = None) -> Tensor:
        """Return what the function makes of the activation."""
        assert self.function is not None
        return self.function(activation)

    def require_fit(self, mask: Tensor) -> None:
        """Accept any rows: whoever wrote the function knows them."""


class Entry(NamedTuple):
    """Rows that are begun at one layer.

    Attributes:
        layer: Where.
        rows: Which row of the prefix each continues.
        attn_out: What the layer's attention returns for them; None to run it again.
    """

    layer: int
    rows: Int[Tensor, " row"]
    attn_out: Float[Tensor, "row pos d_model"] | None


@torch.no_grad()
def run_prefix(
    model: Model,
    tokens: Int[Tensor, "batch pos"],
    mask: Bool[Tensor, "batch pos"] | None,
    layers: Sequence[int],
    *,
    reads: Int[Tensor, "batch read"] | None = None,
    capture: Sequence[Site] = (),
) -> Prefix:
    """Run the unmodified model once and keep what is needed to start again at ``layers``.

    Logits are computed at ``reads``, or everywhere.

    Raises:
        SuffixError: blocks of this architecture cannot be skipped.
    """
    forms: dict[int, _Forms] = {}
    resid: dict[int, Tensor] = {}
    attn_out: dict[int, Tensor] = {}

    def look(layer: int, stack: ExitStack) -> None:
        block, attention = modules_of(model, layer)
        run_block, run_attention = block.forward, attention.forward
        form: dict[str, int | None] = {}

        def on_attention(*args: Any, **kwargs: Any) -> Any:
            output = run_attention(*args, **kwargs)
            form["attention"] = len(output) if isinstance(output, tuple) else None
            if layer in layers:
                attn_out[layer] = first_of(output).clone()  # later layers may write over it
            return output

        def on_block(*args: Any, **kwargs: Any) -> Any:
            if layer in layers:
                resid[layer] = hidden_of(args, kwargs).clone()
            output = run_block(*args, **kwargs)
            size = len(output) if isinstance(output, tuple) else None
            if "attention" not in form:
                raise SuffixError(f"layer {layer} has no attention of its own")
            forms[layer] = _Forms(size, form["attention"])
            return output

        stack.enter_context(replaced(block, on_block))
        stack.enter_context(replaced(attention, on_attention))

    sites = [Site(layer, "z") for layer in layers]
    with ExitStack() as stack, session(model, capture=[*sites, *capture]) as s:
        stack.enter_context(forgetful(model))
        if reads is not None:
            stack.enter_context(_reading(model, reads.to(model.device)))
        for layer in range(model.n_layers):
            look(layer, stack)
        logits = s.run(tokens, mask)
        captured = dict(s.captured)
    starts = {
        layer: Start(resid[layer], attn_out[layer], captured[site])
        for layer, site in zip(layers, sites, strict=True)
    }
    return Prefix(tokens, mask, logits, starts, {s: captured[s] for s in capture}, forms)


@torch.no_grad()
def run_suffix(
    model: Model,
    prefix: Prefix,
    entries: Sequence[Entry],
    *,
    reads: Int[Tensor, "row read"] | None = None,
    edits: Mapping[int, ZEdit] | None = None,
    watch: Mapping[Site, Watcher] | None = None,
) -> Float[Tensor, "row read vocab"]:
    """Run what comes after a layer's attention, for several rows a prompt and of several layers.

    Args:
        model: The model, with no other hooks on it.
        prefix: A clean pass that kept the layers.
        entries: Which rows begin where, by layer; at one layer, rows whose attention is run
            before those whose is given. Rows of the whole pass stand in this order. Where they
            begin at several layers, there must not be as many as positions.
        reads: Positions to read logits at, or None for all.
        edits: A function of all heads' z, at layers whose attention runs, for the rows whose
            does: those that begin before it or that run it again.
        watch: As in ``session``, at such layers.

    Returns:
        Logits where they are read.
    """
    edits = dict(edits or {})
    last = model.n_layers - 1
    device = next(iter(prefix.starts.values())).resid.device
    rows = torch.cat([entry.rows for entry in entries])
    first = entries[0].layer
    mask = None if prefix.mask is None else prefix.mask[rows]
    with ExitStack() as stack:
        stack.enter_context(forgetful(model))
        stack.enter_context(quickly(model))
        for before in range(first):
            stack.enter_context(replaced(modules_of(model, before)[0], _skip(prefix.forms[before])))
        if reads is not None:
            reads = reads.to(device)
            stack.enter_context(_reading(model, reads))
        for join in _joins(model, prefix, entries):
            block = modules_of(model, join.layer)[0]
            if join.layer == last and reads is not None:
                stack.enter_context(replaced(block, read_only(model, join, reads)))
                if join.running:
                    edits[last] = then_read(edits.get(last), reads[: join.running])
            elif join.arriving < join.whole:
                stack.enter_context(replaced(block, begun(model, join)))
        rewrites = [Rewrite(Site(at, "z"), "set", function=f) for at, f in edits.items()]
        with session(model, intervene=rewrites, watch=watch) as s:
            return s.run(prefix.tokens[rows], mask)


def _joins(model: Model, prefix: Prefix, entries: Sequence[Entry]) -> Iterator[Join]:
    """Who is in the pass, at each layer from the first on."""
    whole, arriving = sum(len(entry.rows) for entry in entries), 0
    for layer in range(entries[0].layer, model.n_layers):
        here = [entry for entry in entries if entry.layer == layer]
        entering = given = None
        if here:
            resid = prefix.starts[layer].resid
            entering = resid[torch.cat([entry.rows for entry in here]).to(resid.device)]
            given = here[-1].attn_out
        form = prefix.forms[layer].attention
        join = Join(layer, whole, arriving, entering, given, form)
        arriving = join.rows
        yield join


def then_read(edit: ZEdit | None, reads: Tensor) -> ZEdit:
    """Edit z, then keep it only where it is read: W_O runs on no more."""

    def both(z: Tensor) -> Tensor:
        changed = z if edit is None else edit(z)
        return changed.gather(1, reads[:, :, None, None].expand(-1, -1, *z.shape[2:]))

    return both


def _skip(form: _Forms) -> Any:
    def forward(*args: Any, **kwargs: Any) -> Any:
        return wrapped(hidden_of(args, kwargs), form.block)

    return forward


@contextmanager
def _reading(model: Model, reads: Tensor) -> Iterator[None]:
    """Let the unembedding see only the positions that are read."""
    unembed = model.bridge.unembed
    run_unembed = unembed.forward

    def forward(hidden: Tensor, *args: Any, **kwargs: Any) -> Any:
        return run_unembed(gather(hidden, reads), *args, **kwargs)

    with replaced(unembed, forward):
        yield
