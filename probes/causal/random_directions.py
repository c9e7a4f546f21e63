"""Directions that mean nothing: any at all, or ones fitted to shuffled labels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.data.split import shuffled_labels
from probes.domains import Domain
from probes.steering import SteeringError


def random_units(
    n: int, d: int, *, seed: int, like: Float[Tensor, "row d"] | None = None
) -> Float[Tensor, "draw d"]:
    """Draw random directions of length 1.

    Args:
        n: How many.
        d: Their width.
        seed: Decides which.
        like: Activations; directions are then drawn with their covariance, so that they point
            where activations vary. It is shrunk towards the same in every direction by as much as
            so few rows need (Bodnar et al. 2014, clipped to 0 … 1). All directions are alike when
            omitted.

    Raises:
        SteeringError: fewer than one, activations of another width, or ones that never vary.
    """
    if n < 1 or d < 2:
        raise SteeringError(f"{n} random directions of width {d}; expected at least 1 of 2")
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn((n, d), generator=generator, dtype=torch.float64)
    if like is not None:
        if like.ndim != 2 or like.shape[1] != d:
            raise SteeringError(f"activations have shape {list(like.shape)}; expected [row, {d}]")
        centred = (like.double() - like.double().mean(0)) / len(like) ** 0.5
        trace = float((centred**2).sum())
        if trace == 0:
            raise SteeringError("the activations are the same everywhere, so nothing is like them")
        smaller = centred @ centred.T if len(centred) < d else centred.T @ centred
        beyond = float((smaller**2).sum()) - trace**2 / d  # how far from the same everywhere
        kept = 0.0 if beyond <= 0 else min(1.0, max(0.0, 1 - trace**2 / len(like) / beyond))
        weights = torch.randn((n, len(centred)), generator=generator, dtype=torch.float64)
        drawn = kept**0.5 * (weights @ centred) + ((1 - kept) * trace / d) ** 0.5 * drawn
    return drawn / drawn.norm(dim=1, keepdim=True)


def shuffled_units(training: Domain, n: int, *, seed: int) -> Float[Tensor, "draw d"]:
    """Draw directions that mean nothing: differences of means under shuffled labels, of length 1.

    Labels are shuffled as they hang together (``probes.data.split.shuffled_labels``).

    Args:
        training: Activations with labels and groups.
        n: How many.
        seed: Of the shuffles.

    Raises:
        SteeringError: fewer than one, or activations that never vary.
    """
    if n < 1:
        raise SteeringError(f"{n} shuffled directions; expected at least 1")
    rng = np.random.default_rng(seed)
    labels = [shuffled_labels(training.labels, training.groups, rng=rng) for _ in range(n)]
    one = torch.from_numpy(np.stack(labels)).to(torch.float64)
    x = training.values.double()
    zero = 1 - one
    drawn = one @ x / one.sum(1, keepdim=True) - zero @ x / zero.sum(1, keepdim=True)
    lengths = drawn.norm(dim=1, keepdim=True)
    if not bool((lengths > 0).all()):
        raise SteeringError(f"{training.name}: shuffled labels give no direction; give more rows")
    return drawn / lengths
