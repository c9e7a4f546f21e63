"""The matrices of an irreducible representation, computed from a group's table.

Nothing else here needs them: projections and logit similarities are traces. They are for looking
into a single block, and for testing the characters by another way.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.fourier.groups import Group, Irrep


def representation_matrices(group: Group, irrep: Irrep | str) -> Float[Tensor, "g d d"]:
    """Orthogonal matrices ρ(g) with ρ(g)ρ(h) = ρ(gh) and trace the character; float64.

    The functions on the group that are matrix entries of ρ hold d copies of it, moved by
    f(x) ↦ f(h⁻¹x). A random symmetric sum of the moves f(x) ↦ f(xg) commutes with these, so that
    each of its eigenspaces there is one copy (Schur; Dixon 1970 does this with unitary matrices).
    Which copy, and so in which basis ρ stands, is arbitrary and always the same.

    Args:
        group: The group.
        irrep: One of its representations, or its name. A complex one and its conjugate taken
            together give real matrices of twice the dimension.

    Raises:
        FourierError: no such representation, or one that is not real and irreducible of the
            dimension that its character says.
    """
    if isinstance(irrep, str):
        irrep = group.irrep(irrep)
    size = round(float(irrep.character[0]))
    _, vectors = torch.linalg.eigh(group.projection(irrep))
    entries = vectors[:, -irrep.rank :]
    weights = torch.randn(group.order, generator=torch.Generator().manual_seed(0)).double()
    weights = weights + weights[group.inverse]
    mixed = weights[group.table[group.inverse]]  # [x, y]: of the move that brings x to y = xg
    _, within = torch.linalg.eigh(entries.T @ mixed @ entries)
    copy = entries @ within[:, :size]
    moved = copy[group.table[group.inverse]]  # [h, x, d]: at h⁻¹x
    matrices = torch.einsum("xd,hxe->hde", copy, moved)
    traces = matrices.diagonal(dim1=1, dim2=2).sum(1)
    if float((traces - irrep.character).abs().max()) > 1e-6:
        raise FourierError(
            f"{irrep.name} of {group.name} has no real matrices of dimension {size}: expected an "
            "irreducible character of real type, or a complex one with its conjugate"
        )
    return matrices
