"""The inside of a sweep: one batch of examples, its clean pass, and every set begun in the middle.

A row is one set on one example. Rows run together, each from the layer at which its set begins,
and with its own mask of heads at every layer. There the changed heads enter as a correction to
what the clean pass's attention returned, ``attn_out + (z' − z) W_O``; at later layers their z
is replaced where it arises, since it is no longer the clean one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property, partial

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.evidence import Head, Metric
from interp.heads.ablation import AblationError
from interp.heads.changes import Change, Seen
from interp.heads.reads import reads_of
from interp.hooks import Site
from interp.hooks.suffix import Entry, Prefix, ZEdit, run_prefix, run_suffix
from interp.models import Examples, Model
from interp.models.checks import LOGIT_TOLERANCE
from interp.models.memory import in_batches

# Below this share of a clean attention's length, a difference from it is not trusted.
_LEFT = 0.05


def earliest(heads: frozenset[Head]) -> int:
    """The layer at which a set begins."""
    return min(layer for layer, _ in heads)


class Batch:
    """Some consecutive examples, run unchanged once and then from the middle on."""

    def __init__(
        self,
        model: Model,
        examples: Examples,
        *,
        rows: slice,
        metric: Metric,
        change: Change,
        layers: Sequence[int],
        freeze_patterns: bool,
    ) -> None:
        """Prepare; nothing runs yet.

        Args:
            model: The model, with no hooks on it.
            examples: All examples.
            rows: Which of them.
            metric: What is measured.
            change: What is done to heads.
            layers: Where sets begin.
            freeze_patterns: Keep all attention at its clean values.
        """
        self.model, self.metric, self.change = model, metric, change
        self.offset = rows.start
        self.examples = examples.select(range(rows.start, rows.stop))
        self.layers, self.freeze = tuple(layers), freeze_patterns
        self.reads = reads_of(metric, self.examples)
        self._lengths: dict[int, Tensor] = {}
        self.dtype = torch.promote_types(model.dtype, torch.float32)

    @cached_property
    def prefix(self) -> Prefix:
        """The clean pass."""
        kinds = ("v", "pattern") if self.freeze or self.change.needs_pattern else ()
        wanted = range(min(self.layers, default=0), self.model.n_layers) if kinds else ()
        sites = [Site(layer, kind) for layer in wanted for kind in kinds]
        found = run_prefix(
            self.model,
            self.examples.tokens,
            self.examples.mask,
            self.layers,
            reads=None if self.reads is None else self.reads.at,
            capture=sites,
        )
        if kinds:
            self._check_patterns(found)
        return found

    @cached_property
    def clean(self) -> Float[Tensor, " example"]:
        """The metric of the unmodified model."""
        found = self.metric.per_example(self.prefix.logits, self._read)
        return found.to("cpu", self.dtype)

    @property
    def _read(self) -> Examples:
        """Examples as the metric sees them, at the positions it reads."""
        return self.examples if self.reads is None else self.reads.examples

    def changed(
        self, sets: Sequence[frozenset[Head]], *, rows: int
    ) -> Float[Tensor, "set example"]:
        """Measure the metric with each set changed.

        Args:
            sets: Sets in the order of the layers at which they begin.
            rows: Rows at a time; halved on out-of-memory.
        """
        n = len(self.examples)
        values = torch.zeros(len(sets) * n, dtype=self.dtype)
        begins = torch.tensor([earliest(heads) for heads in sets])
        chosen = torch.zeros((self.model.n_layers, len(sets), self.model.n_heads), dtype=torch.bool)
        for i, heads in enumerate(sets):
            for at, head in heads:
                chosen[at, i, head] = True

        def work(part: slice) -> None:
            row = torch.arange(part.start, part.stop)
            which, example = row // n, row % n
            values[part] = self._run(begins[which], chosen[:, which], example)

        in_batches(len(values), rows, work)
        return values.unflatten(0, (len(sets), n))

    def _run(
        self,
        begins: Int[Tensor, " row"],
        chosen: Bool[Tensor, "layer row head"],
        example: Int[Tensor, " row"],
    ) -> Float[Tensor, " row"]:
        """One pass: each row enters at the layer where its set begins."""
        entries: list[Entry] = []
        order: list[Tensor] = []
        for layer in begins.unique().tolist():
            mine = (begins == layer).nonzero()[:, 0]
            attn_out = self._corrected(layer, chosen[layer, mine], example[mine])
            again = self._cancelled(layer, attn_out, example[mine])
            if bool(again.any()):
                entries.append(Entry(layer, example[mine[again]], None))
                order.append(mine[again])
                mine, attn_out = mine[~again], attn_out[~again.to(attn_out.device)]
            if len(mine):
                entries.append(Entry(layer, example[mine], attn_out))
                order.append(mine)
        values = torch.zeros(len(example), dtype=self.dtype)
        # As many rows as positions could not be told apart where rows join: one group at a time.
        split = len(entries) > 1 and len(example) == self.examples.tokens.shape[1]
        for group, rows in zip(entries, order, strict=True) if split else [(None, None)]:
            here = entries if group is None else [group]
            at = torch.cat(order) if rows is None else rows
            values[at] = self._measure(here, chosen[:, at])
        return values

    def _cancelled(
        self, layer: int, attn_out: Tensor, example: Int[Tensor, " row"]
    ) -> Bool[Tensor, " row"]:
        """Rows in which next to nothing is left somewhere, so that rounding is most of it.

        A norm after attention would blow that up: their attention is run again.
        """
        if layer not in self._lengths:
            before = self.prefix.starts[layer].attn_out
            self._lengths[layer] = before.float().norm(dim=-1)
        had = self._lengths[layer][example.to(attn_out.device)]
        return (attn_out.float().norm(dim=-1) < _LEFT * had).any(-1).cpu()

    def _measure(
        self, entries: Sequence[Entry], chosen: Bool[Tensor, "layer row head"]
    ) -> Float[Tensor, " row"]:
        """Run from the middle on, and read the metric; rows in the order of the entries."""
        seen_v: dict[int, Tensor] = {}
        seen_pattern: dict[int, Tensor] = {}
        edits: dict[int, ZEdit] = {}
        watch = {}
        example = torch.cat([entry.rows for entry in entries])
        for later in range(entries[0].layer, self.model.n_layers):
            # Rows whose attention runs at this layer: they come first.
            n = sum(
                len(entry.rows)
                for entry in entries
                if entry.layer < later or (entry.layer == later and entry.attn_out is None)
            )
            if not n or not (self.freeze or bool(chosen[later, :n].any())):
                continue
            edits[later] = self._edit(later, chosen[later, :n], example[:n], seen_v, seen_pattern)
            if self.freeze or self.change.needs_pattern:
                watch[Site(later, "v")] = partial(seen_v.__setitem__, later)
            if self.change.needs_pattern and not self.freeze:
                watch[Site(later, "pattern")] = partial(seen_pattern.__setitem__, later)
        logits = run_suffix(
            self.model,
            self.prefix,
            entries,
            reads=None if self.reads is None else self.reads.at[example],
            edits=edits,
            watch=watch,
        )
        return self.metric.per_example(logits, self._read.select(example)).to("cpu", self.dtype)

    def _corrected(
        self, layer: int, chosen: Bool[Tensor, "row head"], example: Int[Tensor, " row"]
    ) -> Float[Tensor, "row pos d_model"]:
        """What attention returns with the chosen heads changed; the others' part is as it was."""
        start = self.prefix.starts[layer]
        device = start.z.device
        at = example.to(device)
        exact = torch.promote_types(start.z.dtype, torch.float32)
        W_O = self.model.head_weights(layer).W_O
        total = start.attn_out[at].to(exact)
        one_by_one = not self.change.needs_pattern
        whole = None if one_by_one else self._target(layer, start.z[at], example)
        for head in chosen.any(0).nonzero()[:, 0].tolist():
            mine = chosen[:, head].nonzero()[:, 0]
            here = mine.to(device)
            old = start.z[at[here], :, head]
            if whole is None:
                part = old[:, :, None]
                new = self.change.target(layer, Seen(part), example[mine] + self.offset)
                new = new[:, :, head if new.shape[2] > 1 else 0]
            else:
                new = whole[here, :, head]
            total[here] += (new.to(exact) - old.to(exact)) @ W_O[head].to(exact)
        return total.to(start.attn_out.dtype)

    def _target(self, layer: int, z: Tensor, example: Tensor) -> Tensor:
        at = example.to(z.device)
        held = self.prefix.captured
        v = _to_query_heads(held[Site(layer, "v")][at], z)
        seen = Seen(z, v, held[Site(layer, "pattern")][at])
        return self.change.target(layer, seen, example + self.offset)

    def _edit(
        self,
        layer: int,
        chosen: Bool[Tensor, "row head"],
        example: Int[Tensor, " row"],
        seen_v: dict[int, Tensor],
        seen_pattern: dict[int, Tensor],
    ) -> ZEdit:
        """What happens to z at a later layer."""

        def edit(z: Tensor) -> Tensor:
            v = pattern = None
            if layer in seen_v:
                v = _to_query_heads(seen_v.pop(layer), z)
                pattern = seen_pattern.pop(layer, None)
            if self.freeze:
                held = self.prefix.captured[Site(layer, "pattern")]
                pattern = held[example.to(z.device)]
                assert v is not None
                z = torch.einsum("rhqk,rkhd->rqhd", pattern.to(v.dtype), v).to(z.dtype)
            if not bool(chosen.any()):
                return z
            new = self.change.target(layer, Seen(z, v, pattern), example + self.offset)
            return torch.where(chosen.to(z.device)[:, None, :, None], new.to(z.dtype), z)

        return edit

    def _check_patterns(self, prefix: Prefix) -> None:
        """Refuse a model whose heads' outputs are not their attention times their values."""
        mask = self.examples.mask
        assert mask is not None
        for layer, start in prefix.starts.items():
            v = _to_query_heads(prefix.captured[Site(layer, "v")], start.z)
            pattern = prefix.captured[Site(layer, "pattern")]
            z = torch.einsum("rhqk,rkhd->rqhd", pattern.to(v.dtype), v)
            error = float((z - start.z)[mask].float().abs().max())
            scale = max(float(start.z[mask].float().abs().max()), 1e-6)
            if not error <= LOGIT_TOLERANCE.get(z.dtype, 1e-1) * scale:
                raise AblationError(
                    f"{self.model.spec.name}: the output of layer {layer}'s heads is not their "
                    "attention times their values, so it cannot be worked out from a changed "
                    "pattern; use zero, mean or resample"
                )


def _to_query_heads(v: Tensor, z: Tensor) -> Float[Tensor, "row pos head d_head"]:
    """Under grouped-query attention each query head reads its group's values."""
    return v.repeat_interleave(z.shape[2] // v.shape[2], dim=2)
