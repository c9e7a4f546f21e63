"""Which keys count as the right ones for a query, by token identity, and what is on them.

For a query q let prev(q) be the earlier positions that hold the same token. The targets are

    after     p + 1 for p in prev(q): what followed the token last time (induction)
    before    p - 1 for p in prev(q): what preceded it (anti-induction)
    same      p in prev(q) (duplicate token)
    previous  q - 1, whatever its token (previous token)

A diagonal at a fixed offset comes near the first three on repeated sequences, and is wrong at the
edges: with ``[BOS, r, r]`` and 50 tokens in r, the usual one has 52 entries of which 2 are no
targets, so that a perfect induction head scores 0.981 and one that rests on BOS scores 0.019.

Three things are no targets. Padding is none, and neither is the query itself: in ``x x`` the
second x has p + 1 = q, and attending to oneself is not looking back (Olsson et al. 2022: "attending
from a given token *back*"; TransformerLens's detector counts it). Nor, except for ``previous``, is
a special token such as BOS, where heads rest when they have nothing to do; nor is a special token
a query. A query left without a target does not count.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.heads.scores import HeadsError
from interp.models import Examples

TargetKind = Literal["after", "before", "same", "previous"]
Per = Literal["query", "pair"]


class NoTargetsError(HeadsError):
    """An example has nothing to attend to; which one is ``example``."""

    def __init__(self, example: int, name: str, what: str) -> None:
        self.example, self.name, self.what = example, name, what
        super().__init__(
            f"example {example} of {name!r} {what}, so there is nothing to attend to; leave it "
            "out, use repeated tokens, or measure a control with targets_of=the repeated examples"
        )


@dataclass(frozen=True, eq=False)
class Targets:
    """The target keys of every query of some examples.

    Attributes:
        mask: True where the key is a target of the query.
        real: True at real tokens, for the length of each query's row.
        per: What attention on targets is divided by: the number of queries that have a target
            (so that a perfect head scores 1), or of (query, target) pairs.
    """

    mask: Bool[Tensor, "example query key"]
    real: Bool[Tensor, "example pos"]
    per: Per = "query"

    @cached_property
    def counts(self) -> Int[Tensor, " example"]:
        """How many queries, or pairs, each example has; what its attention is divided by."""
        return self.mask.any(-1).sum(-1) if self.per == "query" else self.mask.sum((-1, -2))

    @cached_property
    def cells(self) -> tuple[tuple[Tensor, Tensor], ...]:
        """For each example, the (queries, keys) that are targets: few, where the mask is large."""
        found = [example.nonzero(as_tuple=True) for example in self.mask]
        return tuple((queries, keys) for queries, keys in found)

    @property
    def uniform(self) -> Float[Tensor, " example"]:
        """What a head scores that attends alike to every real token up to the query: exact."""
        length = self.real.cumsum(-1).clamp(min=1).to(torch.float64)
        return (self.mask.sum(-1) / length).sum(-1) / self.counts

    def to(self, device: torch.device) -> Targets:
        """Return the same targets on a device."""
        return Targets(self.mask.to(device), self.real.to(device), self.per)


def find_targets(
    examples: Examples,
    kind: TargetKind,
    *,
    special: Collection[int] = (),
    per: Per = "query",
    scored_only: bool = False,
) -> Targets:
    """Find the targets of every query from the tokens alone.

    Args:
        examples: The examples; padding on either side is no target and no query.
        kind: Which keys count, as above.
        special: Ids that are marks rather than text, such as ``model.special_ids``.
        per: What attention will be divided by.
        scored_only: Only queries that the examples score count, where they say which. These are
            where the task determines the next token, so that attention and loss are then read
            at the same positions.

    Raises:
        HeadsError: an unknown kind.
        NoTargetsError: an example without a single target.
    """
    if kind not in get_args(TargetKind) or per not in get_args(Per):
        wrong, known = (
            (kind, get_args(TargetKind))
            if kind not in get_args(TargetKind)
            else (per, get_args(Per))
        )
        near = difflib.get_close_matches(wrong, known, n=1)
        raise HeadsError(f"unknown {wrong!r}; expected one of {', '.join(near or known)}")
    tokens, real = examples.tokens, examples.mask
    assert real is not None
    if kind == "previous":
        mask = torch.zeros((*tokens.shape, tokens.shape[1]), dtype=torch.bool)
        both = real[:, 1:] & real[:, :-1]
        mask.diagonal(offset=-1, dim1=1, dim2=2).copy_(both)
    else:
        marks = torch.tensor(sorted(special), dtype=tokens.dtype)
        text = real & ~torch.isin(tokens, marks)
        same = tokens[:, :, None] == tokens[:, None, :]
        same &= text[:, :, None] & text[:, None, :]
        same = same.tril(-1)
        mask = same if kind == "same" else torch.zeros_like(same)
        if kind == "after":
            mask[:, :, 1:] = same[:, :, :-1]
            # p + 1 may be the query itself, which is not looking back.
            mask = mask.tril(-1) & text[:, None, :]
        elif kind == "before":
            mask[:, :, :-1] = same[:, :, 1:]
            mask &= text[:, None, :]
    if scored_only and examples.scored is not None:
        mask = mask & examples.scored[:, :, None]
    targets = Targets(mask, real, per)
    empty = (targets.counts == 0).nonzero()
    if len(empty):
        what = "has a single token" if kind == "previous" else "repeats no token where it counts"
        raise NoTargetsError(int(empty[0]), examples.name, what)
    return targets


def reduce_pattern(
    pattern: Float[Tensor, "example head query key"], targets: Targets
) -> Float[Tensor, "example head"]:
    """Return each head's attention on its targets, summed and divided by the targets' count.

    Only the target cells are read, and summed in float64 (float32 on MPS, which has no more).

    Raises:
        HeadsError: pattern and targets are not of the same examples.
    """
    n, _, n_queries, n_keys = pattern.shape
    if (n, n_queries, n_keys) != tuple(targets.mask.shape):
        raise HeadsError(
            f"a pattern of shape {list(pattern.shape)} does not belong to targets of shape "
            f"{list(targets.mask.shape)}; expected [example, head, query, key] of the same batch"
        )
    wide = torch.float32 if pattern.device.type == "mps" else torch.float64
    sums = [
        pattern[i][:, queries, keys].sum(-1, dtype=wide)
        for i, (queries, keys) in enumerate(targets.cells)
    ]
    return torch.stack(sums) / targets.counts[:, None]


def iid_control(
    examples: Examples, vocabulary: Sequence[int], *, generator: torch.Generator
) -> Examples:
    """Replace every token by a random one, so that nothing repeats: the control of a score.

    Ids that are not in the vocabulary, such as BOS, stay where they are, as do mask, scored
    positions and groups. A row's new tokens all differ where the vocabulary is large enough;
    otherwise they are drawn independently and a few repeat by accident.

    Args:
        examples: What the control is of.
        vocabulary: Ids to draw from, such as ``model.ordinary_ids``.
        generator: The only source of randomness, on the CPU.
    """
    assert examples.mask is not None
    ids = torch.tensor(sorted(set(vocabulary)), dtype=torch.int64)
    if len(ids) == 0:
        raise HeadsError("no ids to draw from; pass model.ordinary_ids")
    tokens = examples.tokens.clone()
    replaced = examples.mask & torch.isin(tokens, ids)
    for row, places in zip(tokens, replaced, strict=True):
        n = int(places.sum())
        if n <= len(ids):
            row[places] = ids[torch.randperm(len(ids), generator=generator)[:n]]
        else:
            row[places] = ids[torch.randint(len(ids), (n,), generator=generator)]
    # The answers were those of the old tokens.
    return dataclasses.replace(
        examples,
        tokens=tokens,
        answer=None,
        wrong=None,
        answer_at=None,
        name=f"iid of {examples.name}",
        seed=generator.initial_seed(),
    )
