"""Prompts with a place for a soft suffix: how they are run, and what monitors then read.

The suffix is a few vectors put in at the embedding just before the token that the monitor reads,
or, where it reads all tokens, before the last one: what is read stays a token of the prompt's own,
and the model answers from it. Tokens before the suffix cannot see it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.hooks import Site, session
from interp.hooks.capture import TOKENS_PER_FORWARD
from interp.hooks.packing import in_packs
from interp.hooks.suffix import Rewrite
from interp.models import Model
from probes.attack.monitor_parts import Seen, joined
from probes.data import StatementSet
from probes.extraction import Position, parse_position, read

EMBED = Site(None, "embed")
Suffix = Float[Tensor, "vector d_model"]


class AttackError(ValueError):
    """These prompts or settings allow no attack; the message says why."""


class Pass(NamedTuple):
    """What one pass over some prompts gave.

    Attributes:
        view: What is read at each site, on the CPU.
        log_probs: Of the next token, where the behaviour is judged.
    """

    view: dict[Site, Seen]
    log_probs: Float[Tensor, "row next vocab"]


@dataclass(frozen=True, eq=False)
class AttackPrompts:
    """Labelled prompts, as token ids, with the place of the suffix in each.

    Attributes:
        ids: Of each prompt, without padding; then the continuation on which behaviour is judged.
        start: Where the suffix is put in: before this token.
        judged: Tokens before the continuation: from the last of them on, predictions count.
        pooled: Of each prompt, its tokens that are read.
        one: Whether one token of each prompt is read, rather than several.
        average: Whether the vectors read are averaged, rather than their scores.
        data: The statements, aligned.
        skipped: Reason to places, of statements that could not be read.
    """

    ids: tuple[tuple[int, ...], ...]
    start: tuple[int, ...]
    judged: tuple[int, ...]
    pooled: tuple[tuple[bool, ...], ...]
    one: bool
    average: bool
    data: StatementSet
    skipped: dict[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def n_next(self) -> int:
        """Predictions on which behaviour is judged."""
        return len(self.ids[0]) - self.judged[0] + 1

    def run(
        self,
        model: Model,
        rows: Sequence[int] | npt.NDArray[np.intp],
        sites: Sequence[Site],
        suffix: Suffix | None = None,
    ) -> Pass:
        """Run some prompts in one pass, gradients to the suffix kept where it asks for them.

        Args:
            model: The model.
            rows: Which prompts.
            sites: Where monitors read.
            suffix: The vectors; None for the prompts as they are.
        """
        k = 0 if suffix is None else len(suffix)
        batch = _batch(self, [int(row) for row in rows], k)
        edits = []
        if suffix is not None:
            edits = [Rewrite(EMBED, "set", function=_putting(suffix, batch.slots))]
        grad = suffix is not None and suffix.requires_grad
        with session(model, capture=sites, intervene=edits, keep_graph=grad) as s:
            logits = s.run(batch.tokens, batch.mask, grad=grad)
            held = {site: s[site] for site in sites}
        at = batch.judged.to(logits.device)[:, :, None].expand(-1, -1, logits.shape[-1])
        log_probs = logits.gather(1, at).float().log_softmax(-1)
        view = {site: self._seen(values.cpu(), batch.read) for site, values in held.items()}
        return Pass(view, log_probs.cpu())

    def run_all(
        self,
        model: Model,
        rows: Sequence[int] | npt.NDArray[np.intp],
        sites: Sequence[Site],
        suffix: Suffix | None = None,
    ) -> Pass:
        """``run`` without gradients, a budget of tokens at a time, in the order of ``rows``."""
        suffix = None if suffix is None else suffix.detach()
        chosen = np.asarray(rows, dtype=np.intp)
        lengths = np.array([len(self.ids[row]) for row in chosen])
        order = np.argsort(lengths, kind="stable")
        found: list[Pass] = []

        def work(part: slice) -> None:
            with torch.no_grad():
                found.append(self.run(model, chosen[order[part]], sites, suffix))

        extra = 0 if suffix is None else len(suffix)
        in_packs([int(n) + extra for n in lengths[order]], TOKENS_PER_FORWARD, work)
        back = np.argsort(order)
        view = {site: joined([part.view[site] for part in found]).select(back) for site in sites}
        return Pass(view, torch.cat([part.log_probs for part in found])[torch.from_numpy(back)])

    def _seen(self, values: Tensor, picked: Bool[Tensor, "row pos"]) -> Seen:
        if self.average:
            weights = picked.to(values.dtype)[:, :, None]
            mean = (values * weights).sum(1, keepdim=True) / weights.sum(1, keepdim=True)
            return Seen(mean, torch.ones((len(values), 1), dtype=torch.bool))
        if self.one:
            at = picked.int().argmax(1)
            rows = torch.arange(len(values))
            return Seen(values[rows, at][:, None], torch.ones((len(values), 1), dtype=torch.bool))
        return Seen(values, picked)


def attack_prompts(
    model: Model,
    data: StatementSet,
    *,
    position: Position = "last",
    suffix_length: int = 4,
    n_next: int = 1,
) -> AttackPrompts:
    """Tokenise statements and find where a suffix can be put into them.

    Args:
        model: The model.
        data: The statements.
        position: Which tokens monitors read, as for ``extract``. Where they read several, they
            read the suffix too.
        suffix_length: Vectors of the suffix.
        n_next: Predictions on which behaviour is judged. Past the first, they are made on the
            model's own most probable continuation of the prompt without a suffix.

    Raises:
        AttackError: a statement has no token before the one that is read, or there is no room for
            the suffix in the model's context.
        DataError: the statements cannot be read.
    """
    if suffix_length < 1 or n_next < 1:
        raise AttackError("expected at least one vector of suffix and one prediction")
    reading = read(model, data, parse_position(position))
    kind, lengths = reading.position, reading.lengths.tolist()
    pooled = [row[:n].tolist() for row, n in zip(reading.encoded.pooled, lengths, strict=True)]
    one = kind not in ("mean", "every")
    start = []
    for row, length in enumerate(lengths):
        if isinstance(kind, int):
            at = kind if kind >= 0 else length + kind
            pooled[row] = [i == at for i in range(length)]
        elif one:  # the last of the span, or of the tokens that share a character
            at = max(i for i, over in enumerate(pooled[row]) if over)
            pooled[row] = [i == at for i in range(length)]
        else:
            at = length - 1
        if at < 1:
            raise AttackError(
                f"{data.name}, {reading.data.places[row]}: the monitor reads the first token, "
                "which no suffix can come before; read a later one"
            )
        start.append(at)
    longest = max(lengths) + suffix_length + n_next - 1
    if longest > model.n_ctx:
        raise AttackError(
            f"the longest statement with {suffix_length} vectors of suffix and {n_next} "
            f"predictions takes {longest} positions, the context of {model.spec.name} has "
            f"{model.n_ctx}; use shorter statements or a shorter suffix"
        )
    tokens = reading.examples.tokens.tolist()
    ids = [row[:n] for row, n in zip(tokens, lengths, strict=True)]
    return AttackPrompts(
        ids=tuple(map(tuple, _continued(model, ids, n_next - 1))),
        start=tuple(start),
        judged=tuple(lengths),
        pooled=tuple(map(tuple, pooled)),
        one=one,
        average=kind == "mean",
        data=reading.data,
        skipped=reading.skipped,
    )


class _Batch(NamedTuple):
    tokens: Int[Tensor, "row pos"]
    mask: Bool[Tensor, "row pos"]
    read: Bool[Tensor, "row pos"]
    slots: Int[Tensor, "row vector"]
    judged: Int[Tensor, "row next"]


def _batch(prompts: AttackPrompts, rows: Sequence[int], k: int) -> _Batch:
    """Right-padded ids with ``k`` places in each row."""
    inputs, reads, slots, judged = [], [], [], []
    for row in rows:
        ids, over, start = list(prompts.ids[row]), list(prompts.pooled[row]), prompts.start[row]
        # Any id will do where the vectors go: its embedding is replaced.
        inputs.append([*ids[:start], *([ids[start]] * k), *ids[start:]])
        read_too = not prompts.one and over[start - 1]
        reads.append([*over[:start], *([read_too] * k), *over[start:]])
        slots.append(range(start, start + k))
        judged.append(range(prompts.judged[row] + k - 1, len(inputs[-1])))
    tokens, mask = _padded(inputs)
    # No place of the continuation is read, nor of the padding.
    picked = torch.zeros_like(mask)
    for i, over in enumerate(reads):
        picked[i, : len(over)] = torch.tensor(over)
    slot_ids = torch.tensor([list(r) for r in slots], dtype=torch.int64)
    return _Batch(tokens, mask, picked, slot_ids, torch.tensor([list(r) for r in judged]))


def _padded(
    rows: Sequence[Sequence[int]],
) -> tuple[Int[Tensor, "row pos"], Bool[Tensor, "row pos"]]:
    """Ids padded on the right, and where they are."""
    lengths = torch.tensor([len(row) for row in rows])
    mask = torch.arange(int(lengths.max()))[None] < lengths[:, None]
    tokens = torch.zeros(mask.shape, dtype=torch.int64)
    tokens[mask] = torch.tensor([token for row in rows for token in row])
    return tokens, mask


def _putting(suffix: Suffix, slots: Int[Tensor, "row vector"]) -> Callable[[Tensor], Tensor]:
    def put(embedded: Tensor) -> Tensor:
        changed = embedded.clone()
        rows = torch.arange(len(slots), device=embedded.device)[:, None]
        changed[rows, slots.to(embedded.device)] = suffix.to(embedded.device, embedded.dtype)
        return changed

    return put


def _continued(model: Model, ids: list[list[int]], n: int) -> list[list[int]]:
    """The model's own most probable ``n`` next tokens after each row."""
    rows = [list(row) for row in ids]
    order = sorted(range(len(rows)), key=lambda i: len(rows[i]))
    for _ in range(n):

        def work(part: slice) -> None:
            chosen = order[part]
            tokens, mask = _padded([rows[i] for i in chosen])
            logits = model.logits(tokens, mask)
            ends = mask.sum(1) - 1
            said = logits[torch.arange(len(chosen)), ends.to(logits.device)].argmax(-1)
            for i, token in zip(chosen, said.tolist(), strict=True):
                rows[i].append(token)

        in_packs([len(rows[i]) for i in order], TOKENS_PER_FORWARD, work)
    return rows
