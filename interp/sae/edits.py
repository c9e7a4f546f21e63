"""What can be done to latents of a sparse autoencoder: pure functions of them, written as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

EditKind = Literal["zero", "set", "clamp", "scale"]


class EditError(ValueError):
    """Latents cannot be edited as asked; the message says which, and what would do."""


@dataclass(frozen=True, eq=False)
class LatentEdit:
    """One change to some latents, the same at every token. Others keep their values.

    Build one with ``zero_latents``, ``set_latents``, ``clamp_latents`` or ``scale_latents``.

    Attributes:
        latents: Which, each once.
        kind: What is done.
        value: What it is done with, one a latent: the value set, the factor, or the lower end.
        high: For ``clamp``, the upper end.
    """

    latents: tuple[int, ...]
    kind: EditKind
    value: Float[Tensor, " latent"] | None = None
    high: Float[Tensor, " latent"] | None = None

    def __post_init__(self) -> None:
        if not self.latents:
            raise EditError("no latents to edit; name at least one")
        if len(set(self.latents)) != len(self.latents) or min(self.latents) < 0:
            raise EditError(
                f"latents to edit must be different indices from 0 on, got {list(self.latents)}"
            )
        for end in (self.value, self.high):
            if end is None:
                continue
            if end.shape != (len(self.latents),) or not bool(torch.isfinite(end).all()):
                raise EditError(
                    f"{self}: {len(self.latents)} latents need as many finite values, got shape "
                    f"{list(end.shape)}"
                )
        if (
            self.high is not None
            and self.value is not None
            and bool((self.high < self.value).any())
        ):
            raise EditError(f"{self}: the upper end lies below the lower one")

    def __str__(self) -> str:
        shown = ",".join(map(str, self.latents[:4])) + (",…" if len(self.latents) > 4 else "")
        return f"{self.kind} latents {shown}"

    def change(self, values: Float[Tensor, "... latent"]) -> Float[Tensor, "... latent"]:
        """Return the new values of the edited latents, from their values in the edit's order."""
        if self.kind == "zero":
            return torch.zeros_like(values)
        assert self.value is not None
        value = self.value.to(values)
        if self.kind == "set":
            return value.expand_as(values)
        if self.kind == "scale":
            return value * values
        assert self.high is not None
        return torch.maximum(torch.minimum(values, self.high.to(values)), value)

    def apply(self, latents: Float[Tensor, "... d_sae"]) -> Float[Tensor, "... d_sae"]:
        """Return all latents with these changed; those given are left as they were.

        Raises:
            EditError: a latent that there is not.
        """
        if max(self.latents) >= latents.shape[-1]:
            raise EditError(
                f"{self}: no latent {max(self.latents)}; there are {latents.shape[-1]}, from 0 on"
            )
        which = torch.tensor(self.latents, device=latents.device)
        changed = latents.clone()
        changed[..., which] = self.change(latents[..., which]).to(latents.dtype)
        return changed


def zero_latents(latents: Sequence[int]) -> LatentEdit:
    """Set latents to zero; ``set_latents`` to their mean leaves what they hold always."""
    return LatentEdit(_indices(latents), "zero")


def set_latents(
    latents: Sequence[int], values: Float[Tensor, " d_sae"] | Float[Tensor, " latent"] | float
) -> LatentEdit:
    """Set latents to given values, such as their means, or their means on neutral text.

    Args:
        latents: Which.
        values: One for all of them, one a latent in this order, or one for every latent of the
            dictionary (as ``latent_means`` returns them), of which theirs are taken.
    """
    which = _indices(latents)
    return LatentEdit(which, "set", _values(which, values))


def clamp_latents(latents: Sequence[int], low: float, high: float) -> LatentEdit:
    """Keep latents between two ends.

    Raises:
        EditError: the upper end lies below the lower one.
    """
    which = _indices(latents)
    return LatentEdit(which, "clamp", _values(which, low), _values(which, high))


def scale_latents(latents: Sequence[int], factor: float) -> LatentEdit:
    """Multiply latents by a factor: 0 is removal, 1 nothing, above 1 steering."""
    which = _indices(latents)
    return LatentEdit(which, "scale", _values(which, factor))


def _indices(latents: Sequence[int]) -> tuple[int, ...]:
    return tuple(int(i) for i in latents)


def _values(latents: tuple[int, ...], values: Tensor | float) -> Tensor:
    given = torch.as_tensor(values, dtype=torch.float32).detach().cpu()
    if given.ndim == 0:
        return given.expand(len(latents)).clone()
    if given.ndim == 1 and len(given) != len(latents) and latents and max(latents) < len(given):
        return given[list(latents)]
    return given
