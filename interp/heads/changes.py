"""What is done to a head's output: a function of it, the same at every layer.

Each change says what the chosen heads' z becomes; the others' stays. ``Replace`` ignores what was
there, ``KnockOut`` keeps the head but takes keys away from it, ``Steer`` adds to it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.heads.ablation import AblationError
from interp.models import Examples


@dataclass(frozen=True, eq=False)
class Seen:
    """What a change may look at, at one layer.

    Attributes:
        z: Heads' outputs before W_O.
        v: Their values, one a query head.
        pattern: Their attention.
    """

    z: Float[Tensor, "row pos head d_head"]
    v: Float[Tensor, "row pos head d_head"] | None = None
    pattern: Float[Tensor, "row head query key"] | None = None


@dataclass(frozen=True, eq=False)
class Change:
    """Base of all changes.

    Attributes:
        key: Says which change this is; equal keys are the same change.
    """

    key: str

    @property
    def needs_pattern(self) -> bool:
        """Whether it looks at patterns and values."""
        return False

    def target(
        self, layer: int, seen: Seen, examples: Int[Tensor, " row"]
    ) -> Float[Tensor, "#row #pos #head #d_head"]:
        """What every head's z would become; ``examples`` says which example each row is."""
        raise NotImplementedError


@dataclass(frozen=True, eq=False)
class Replace(Change):
    """Put something else in a head's place.

    Attributes:
        values: By layer: [head d_head], [pos head d_head], or for all examples
            [example pos head d_head] where there is a ``source``. Zero where there is none.
        source: For each example, whose value it takes.
    """

    values: Mapping[int, Tensor] | None = None
    source: Int[Tensor, " example"] | None = None

    def target(self, layer: int, seen: Seen, examples: Tensor) -> Tensor:
        """Return the value, cut to the rows' length."""
        if self.values is None:
            return seen.z.new_zeros((1, 1, 1, 1))
        value = self.values[layer]
        if self.source is not None:
            value = value[self.source[examples]]
        elif value.ndim == 3:
            value = value[None, : seen.z.shape[1]]
        else:
            value = value[None, None]
        return value.to(seen.z.device, seen.z.dtype)


@dataclass(frozen=True, eq=False)
class KnockOut(Change):
    """Forbid keys to queries; what attention is left is normalised again.

    The same as setting those scores to −∞ before the softmax.

    Attributes:
        pairs: True where a query may not attend to a key.
    """

    pairs: Bool[Tensor, "example query key"] | None = None

    @property
    def needs_pattern(self) -> bool:
        """It does: z is worked out again from what attention is left."""
        return True

    def target(self, layer: int, seen: Seen, examples: Tensor) -> Tensor:
        """Return z with the remaining keys' attention scaled up to sum to one."""
        assert self.pairs is not None and seen.v is not None
        if seen.pattern is None:
            raise AblationError(
                f"the pattern of layer {layer} shows only after its heads' outputs in this "
                "architecture; knock keys out in heads of one layer at a time"
            )
        pattern = seen.pattern.to(torch.promote_types(seen.pattern.dtype, torch.float32))
        gone = self.pairs[examples].to(pattern.device)
        left = pattern.masked_fill(gone[:, None], 0.0)
        total = left.sum(-1, keepdim=True)
        touched = gone.any(-1)[:, None]
        if not bool((total[..., 0] > 0)[touched.expand(total.shape[:-1])].all()):
            raise AblationError(
                "the keys left to a query have no attention at all (it underflowed); "
                "forbid fewer keys, or use a wider dtype"
            )
        share = (left / total).to(seen.v.dtype)
        changed = torch.einsum("rhqk,rkhd->rqhd", share, seen.v)
        # Queries without forbidden keys keep what they had, bit for bit, padding as well.
        return torch.where(touched[:, 0, :, None, None], changed, seen.z)


@dataclass(frozen=True, eq=False)
class Steer(Change):
    """Add a vector to a head's output.

    Attributes:
        vectors: By layer, one for each head.
        scale: What multiple is added.
    """

    vectors: Mapping[int, Float[Tensor, "head d_head"]] | None = None
    scale: float = 1.0

    def target(self, layer: int, seen: Seen, examples: Tensor) -> Tensor:
        """Return z and the vector together."""
        assert self.vectors is not None
        exact = torch.promote_types(seen.z.dtype, torch.float32)
        moved = seen.z.to(exact) + self.scale * self.vectors[layer].to(seen.z.device, exact)
        return moved.to(seen.z.dtype)


def knock_out_pairs(pairs: Bool[Tensor, "example query key"], examples: Examples) -> KnockOut:
    """Make a knock-out of given pairs.

    Raises:
        AblationError: the pairs do not fit the examples, or leave a query without any key.
    """
    n, width = examples.tokens.shape
    if pairs.dtype != torch.bool or tuple(pairs.shape) != (n, width, width):
        raise AblationError(
            f"pairs must be booleans of shape {[n, width, width]} (example, query, key), got "
            f"{pairs.dtype} of shape {list(pairs.shape)}"
        )
    within = _keys(examples)
    alone = (pairs.any(-1) & ~(within & ~pairs).any(-1) & within.any(-1)).nonzero()
    if len(alone):
        row, query = alone[0].tolist()
        raise AblationError(
            f"every key of query {query} in example {row} is forbidden; leave it at least one"
        )
    digest = hashlib.sha256(pairs.contiguous().cpu().numpy().tobytes()).hexdigest()
    return KnockOut(f"knock-out {digest}", pairs & within)


def random_pairs(
    pairs: Bool[Tensor, "example query key"], examples: Examples, *, seed: int
) -> Bool[Tensor, "example query key"]:
    """Draw as many other keys for each query: the control of a knock-out.

    Keys are drawn alike from those the query can see, without those in ``pairs``.

    Raises:
        AblationError: a query has too few other keys.
    """
    within = _keys(examples)
    chosen = pairs & within
    free = within & ~chosen
    short = (free.sum(-1) < chosen.sum(-1)).nonzero()
    if len(short):
        row, query = short[0].tolist()
        raise AblationError(
            f"query {query} of example {row} sees only {int(free[row, query].sum())} other keys, "
            f"expected at least {int(chosen[row, query].sum())} to draw from"
        )
    draw = torch.rand(pairs.shape, generator=torch.Generator().manual_seed(seed))
    order = draw.masked_fill(~free, 2.0).argsort(-1).argsort(-1)
    return order < chosen.sum(-1, keepdim=True)


def _keys(examples: Examples) -> Bool[Tensor, "example query key"]:
    """Which keys each real query sees."""
    mask = examples.mask
    assert mask is not None
    width = mask.shape[1]
    causal = torch.ones((width, width), dtype=torch.bool).tril()
    return causal & mask[:, :, None] & mask[:, None, :]
