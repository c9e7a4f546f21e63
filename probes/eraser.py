"""Taking out of activations what a linear probe can read there.

An eraser knows the rows that it was fitted to. What it returns carries them along
(``Domain.spent``), and no score in this package counts a row bound to them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from probes.domains import Domain, RowIndex


class ErasureError(ValueError):
    """Nothing can be erased, or scored after it; the message says why."""


@dataclass(frozen=True, eq=False)
class Eraser:
    """The affine map x − left · right · (x − centre), and the rows that it was fitted to.

    Attributes:
        left: What is taken away, as columns.
        right: What is read to know how much, as rows.
        centre: The activation that stays as it is.
        fitted_to: Groups and keys of the rows it was fitted to.
        place: Model, site and position of these.
        name: What was erased.
    """

    left: Float[Tensor, "d k"]
    right: Float[Tensor, "k d"]
    centre: Float[Tensor, " d"]
    fitted_to: frozenset[str]
    place: str
    name: str

    def values(self, activations: Float[Tensor, "row d"]) -> Float[Tensor, "row d"]:
        """Return activations without what is erased, in their own precision.

        Raises:
            ErasureError: of another width.
        """
        if activations.ndim != 2 or activations.shape[1] != len(self.centre):
            raise ErasureError(
                f"the eraser of {self.name} takes {len(self.centre)} numbers a row, "
                f"got shape {list(activations.shape)}"
            )
        x = activations.to(torch.float64)
        return (x - (x - self.centre) @ self.right.T @ self.left.T).to(activations.dtype)

    def __call__(self, domain: Domain) -> Domain:
        """Return the domain without what is erased; the eraser's own rows can no more be scored.

        Raises:
            ErasureError: of another place or width.
            DomainError: nothing that varies is left.
        """
        if domain.place != self.place:
            raise ErasureError(
                f"the eraser of {self.name} was fitted at {self.place}, {domain.name} was read "
                f"from {domain.place}"
            )
        return replace(
            domain, values=self.values(domain.values), spent=domain.spent | self.fitted_to
        )

    def raw_direction(self, direction: Float[Tensor, " d"]) -> Float[Tensor, " d"]:
        """Return the direction in the raw space that scores as this one does after erasure."""
        w = direction.to(torch.float64)
        return w - self.right.T @ (self.left.T @ w)


def leace(domain: Domain, *, rows: RowIndex | None = None) -> Eraser:
    """Least-squares concept erasure (Belrose et al. 2023, §4), by ``concept-erasure``.

    x' = x − W⁺UU'W(x − x̄), W = (Σ_xx^½)⁺, U the left singular vectors of W·Σ_xz. Afterwards both
    labels have the same mean on the rows fitted to, and no linear probe tells them apart there.
    The covariance is shrunk (Bodnar et al. 2014, as the package does), so that it can be inverted
    with fewer rows than features.

    Args:
        domain: What to erase the label of.
        rows: Rows to fit to; all when omitted.

    Raises:
        ErasureError: nothing linear tells the labels apart, or they cannot be fitted.
        DomainError: the rows have one label or too few groups.
    """
    from concept_erasure import LeaceEraser

    chosen = domain if rows is None else domain.select(np.asarray(rows))
    x = chosen.values.to(torch.float64)
    try:
        found = LeaceEraser.fit(x, torch.from_numpy(chosen.labels).to(torch.float64)[:, None])
    except RuntimeError as error:  # torch's LinAlgError is one
        raise ErasureError(f"{domain.name}: LEACE could not be fitted: {error}") from error
    left, right = found.proj_left, found.proj_right
    assert found.bias is not None
    if not (bool(torch.isfinite(left).all()) and bool(torch.isfinite(right).all())):
        raise ErasureError(f"{domain.name}: LEACE came out not finite; give more rows")
    if not bool(right.any()):  # the package returns the identity without a word
        raise ErasureError(
            f"{domain.name}: the labels have the same mean activation, so there is nothing to erase"
        )
    return Eraser(left, right, found.bias, chosen.bonds, domain.place, domain.name)


def projection(
    directions: Float[Tensor, "k d"], *, fitted_to: frozenset[str], place: str, name: str
) -> Eraser:
    """Return the orthogonal projection off the span of directions, as an eraser.

    Args:
        directions: As rows; they need not be orthogonal.
        fitted_to: Groups and keys of the rows that they were fitted to.
        place: Model, site and position of these.
        name: What they are.

    Raises:
        ErasureError: zero, not finite, or not linearly independent.
    """
    w = torch.atleast_2d(directions).to(torch.float64)
    sizes = w.norm(dim=1, keepdim=True)
    good = w.ndim == 2 and len(w) <= w.shape[1] and bool(torch.isfinite(w).all())
    if not good or not bool((sizes > 0).all()):
        raise ErasureError(f"{name}: directions are zero, not finite, or more than there are axes")
    q, r = torch.linalg.qr((w / sizes).T)
    if float(r.diagonal().abs().min()) <= 1e-8:
        raise ErasureError(f"{name}: the directions are not linearly independent")
    return Eraser(q, q.T, torch.zeros(w.shape[1], dtype=torch.float64), fitted_to, place, name)
