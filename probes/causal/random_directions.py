"""Directions that mean nothing: any at all, or ones fitted to shuffled labels."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import NoControlsError, draws
from probes.data.split import shuffled_labels
from probes.domains import Domain
from probes.steering import SteeringError


def random_units(
    n: int, d: int, *, seed: int, like: Float[Tensor, "row d"] | None = None
) -> Float[Tensor, "draw d"]:
    """Draw random directions of length 1, as ``interp.evidence.random_units`` does.

    Raises:
        SteeringError: fewer than one, activations of another width, or ones that never vary.
    """
    try:
        return draws.random_units(n, d, seed=seed, like=like)
    except NoControlsError as error:
        raise SteeringError(str(error)) from error


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
