"""Finite groups as two-operand tasks: their elements in a fixed order, and what a times b is.

=========  ====================================================================================
``c12``    the cyclic group of order 12: element i is the residue i
``d6``     the dihedral group of order 12: i is the rotation rⁱ, 6 + i is rⁱs, with s a reflection
``s4``     the symmetric group on 4 points: permutations in lexicographic order, ab first b, then a
=========  ====================================================================================

Element 0 is the identity in all of them.
"""

from __future__ import annotations

import re
from itertools import permutations

import torch

from interp.zoo.modular.tables import Table, TableError

LARGEST = 240
"""Largest order of a group here: logits on all pairs are its cube."""


def group_table(name: str) -> Table:
    """The multiplication table of a group, ``a b =`` answered by the element ab.

    Args:
        name: ``cN``, ``dN`` or ``sN``, as above.

    Raises:
        TableError: another name, or a group too small or too large.
    """
    match = re.fullmatch(r"([cds])(\d+)", name)
    if match is None:
        raise TableError(f"no group {name!r}; expected cN, dN or sN, such as c12, d6 or s4")
    kind, n = match[1], int(match[2])
    least, most = {"c": (3, LARGEST), "d": (3, LARGEST // 2), "s": (3, 5)}[kind]
    if not least <= n <= most:
        raise TableError(f"{name}: expected {kind}{least} to {kind}{most}")
    if kind == "s":
        return Table(_symmetric(n), f"product in S{n}")
    turn = torch.arange(n)
    if kind == "c":
        return Table((turn[:, None] + turn) % n, f"product in C{n}")
    # rⁱsᵉ · rʲsᶠ = r^(i ± j) s^(e + f), minus where e is 1.
    i, e = turn.repeat(2), torch.arange(2).repeat_interleave(n)
    turned = (i[:, None] + (1 - 2 * e)[:, None] * i) % n
    return Table(turned + n * ((e[:, None] + e) % 2), f"product in D{n}")


def _symmetric(n: int) -> torch.Tensor:
    elements = list(permutations(range(n)))
    place = {element: i for i, element in enumerate(elements)}
    return torch.tensor([[place[tuple(a[i] for i in b)] for b in elements] for a in elements])
