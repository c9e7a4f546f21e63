"""A sweep from beginning to end: cut into pieces, each kept as it is done."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from interp.evidence import Head, Metric
from interp.heads.ablation import Ablations, ablate
from interp.heads.batching import batching
from interp.heads.changes import Change
from interp.heads.reads import reads_of
from interp.heads.sweeping import Batch, earliest
from interp.hooks.progress import progress
from interp.hooks.suffix_check import has_hooks, suffix_problem
from interp.models import Examples, Model

Keep = Callable[[str, Callable[[], Any]], Any]

# Sets between two saves, so that an interruption costs little.
_PIECE = 64


@dataclass(frozen=True, eq=False)
class Job:
    """What is swept, and within which limits; see ``interp.heads.sweep``."""

    model: Model
    examples: Examples
    metric: Metric
    given: Sequence[Collection[Head]]
    tokens_per_forward: int
    memory_mb: float | None = None
    keep: Keep | None = None

    @cached_property
    def sets(self) -> tuple[frozenset[Head], ...]:
        """The sets, in the order given."""
        return tuple(frozenset((int(layer), int(head)) for layer, head in s) for s in self.given)

    @property
    def layers(self) -> list[int]:
        """Layers in which any set has a head."""
        return sorted({layer for heads in self.sets for layer, _ in heads})

    @property
    def problem(self) -> str | None:
        """Why the model cannot be begun in the middle, or None."""
        return "there are hooks on it" if has_hooks(self.model) else suffix_problem(self.model)

    def run(self, change: Change, *, freeze_patterns: bool = False) -> Ablations:
        """Measure every set, begun in the middle."""
        todo = sorted(dict.fromkeys(s for s in self.sets if s), key=earliest)
        starts = sorted({earliest(s) for s in todo})
        n, length = self.examples.tokens.shape
        reads = reads_of(self.metric, self.examples)
        size = batching(
            self.model,
            n=n,
            length=length,
            sets_a_layer=[sum(earliest(s) == layer for s in todo) for layer in starts],
            reads=length if reads is None else reads.at.shape[1],
            keeps_patterns=freeze_patterns or change.needs_pattern,
            tokens_per_forward=self.tokens_per_forward,
            memory_mb=self.memory_mb,
        )
        name = self._name(todo, change.key, freeze_patterns, size.examples, size.rows)
        clean = torch.zeros(n, dtype=torch.promote_types(self.model.dtype, torch.float32))
        results = {heads: torch.zeros_like(clean) for heads in todo}

        def measure(batch: Batch, part: Sequence[frozenset[Head]]) -> dict[str, Tensor]:
            none = batch.clean[None][:0]
            changed = batch.changed(part, rows=size.rows) if part else none
            return {"clean": batch.clean, "changed": changed}

        # No piece ends in the middle of a pass.
        together = max(1, size.rows // size.examples)
        piece = -(-_PIECE // together) * together
        with progress("sweeping", total=n * max(1, len(todo))) as advance:
            for start in range(0, n, size.examples):
                rows = slice(start, min(start + size.examples, n))
                batch = Batch(
                    self.model,
                    self.examples,
                    rows=rows,
                    metric=self.metric,
                    change=change,
                    layers=starts,
                    freeze_patterns=freeze_patterns,
                )
                for first in range(0, max(1, len(todo)), piece):
                    part = todo[first : first + piece]
                    done = self._kept(
                        f"{name}/{start:06d}-{first:05d}", partial(measure, batch, part)
                    )
                    clean[rows] = done["clean"]
                    for heads, values in zip(part, done["changed"], strict=True):
                        results[heads][rows] = values
                    advance(max(1, len(part)) * (rows.stop - rows.start))
        ablated = clean.new_zeros((len(self.sets), n))
        for i, heads in enumerate(self.sets):
            ablated[i] = results[heads] if heads else clean
        return Ablations(self.metric, self.sets, clean, ablated)

    def loop(self, *, kind: Any, reference: Examples | None, seed: int) -> Ablations:
        """Measure every set by running the whole model, in pieces as well."""
        name = self._name(self.sets, "loop", kind, None if not reference else reference.hash, seed)

        def measure(part: Sequence[frozenset[Head]]) -> dict[str, Tensor]:
            found = ablate(
                self.model,
                self.examples,
                self.metric,
                part,
                kind=kind,
                reference=reference,
                batch_size=max(1, self.tokens_per_forward // self.examples.tokens.shape[1]),
                seed=seed,
            )
            return {"clean": found.clean, "changed": found.ablated}

        parts = [
            self._kept(f"{name}/{first:05d}", partial(measure, self.sets[first : first + _PIECE]))
            for first in range(0, max(1, len(self.sets)), _PIECE)
        ]
        changed = torch.cat([part["changed"] for part in parts])
        return Ablations(self.metric, self.sets, parts[0]["clean"], changed)

    def _kept(self, name: str, compute: Callable[[], Any]) -> Any:
        return compute() if self.keep is None else self.keep(name, compute)

    def _name(self, sets: Sequence[frozenset[Head]], *told: Any) -> str:
        """One name for one sweep: two that differ in anything never share a piece."""
        what = [self.model.fingerprint, str(self.model.dtype), self.examples.hash, self.metric.name]
        told = (*what, [sorted(heads) for heads in sets], *told)
        return f"sweep-{hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]}"
