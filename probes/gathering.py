"""Several kinds of statement, read at several sites of one model: what comparisons start from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePath

import numpy as np
import numpy.typing as npt

from interp.hooks import Site
from interp.models import Model
from probes.activations import Position, extract_sites
from probes.cache import ActivationCache
from probes.data import DataError, StatementSet
from probes.domains import Domain, require_together

Lengths = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Gathered:
    """Statement sets with their activations; a set is a domain.

    Attributes:
        sets: The statements that could be read, aligned with the domains' rows.
        at: For each site the domains, in the sets' order.
        lengths: Number of tokens of each statement, by domain.
        skipped: By domain, reason to places of statements left out.
    """

    sets: tuple[StatementSet, ...]
    at: Mapping[Site, tuple[Domain, ...]]
    lengths: Mapping[str, Lengths]
    skipped: Mapping[str, Mapping[str, tuple[str, ...]]]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the domains."""
        return tuple(one.name for one in self.sets)


def named_domains(sets: Sequence[StatementSet]) -> list[StatementSet]:
    """Return one set a domain, under short names.

    Several sets are a domain each, whatever domains they name themselves; a single one is cut
    into its own. A file is called by its name without folder and ending, or with its folder where
    two would be called alike.

    Raises:
        DataError: a single set without at least two domains of its own, or two sets alike in name.
    """
    if len(sets) == 1:
        (one,) = sets
        own = list(dict.fromkeys(one.domains or ()))
        if len(own) < 2:
            raise DataError(
                f"{one.name} is one domain; a comparison needs two: give another set, or a column "
                "that names domains"
            )
        rows = [[i for i, d in enumerate(one.domains or ()) if d == name] for name in own]
        return [
            replace(one.select(chosen), name=name) for name, chosen in zip(own, rows, strict=True)
        ]
    short = [_short(one.name, 1) for one in sets]
    often = Counter(short)
    names = [
        _short(one.name, 2) if often[name] > 1 else name
        for one, name in zip(sets, short, strict=True)
    ]
    twice = sorted(name for name, n in Counter(names).items() if n > 1)
    if twice:
        raise DataError(f"two sets are called {twice[0]!r}; give each source once, or rename one")
    return [replace(one, name=name) for one, name in zip(sets, names, strict=True)]


def gather(
    model: Model,
    sets: Sequence[StatementSet],
    *,
    sites: Sequence[Site | str],
    position: Position = "last",
    batch_size: int | None = None,
    cache: ActivationCache | None = None,
) -> Gathered:
    """Read every set at every site, one pass a set.

    Args:
        model: The model.
        sets: One a domain, of different names.
        sites: Places with one vector a token.
        position: ``last``, ``mean``, ``char:N`` or a token's index; a statement is one row, so
            not ``every``.
        batch_size: Statements at a time; None for a budget of tokens.
        cache: Where activations are kept between commands.

    Raises:
        DataError: statements cannot be read as asked, or ``every`` token was asked for.
        DomainError: fewer than two sets, or one that cannot be compared.
        SiteError: no such site.
    """
    if position == "every":
        raise DataError("a comparison counts a statement once; expected last, mean or char:N")
    kept: list[StatementSet] = []
    at: dict[Site, list[Domain]] = {}
    lengths: dict[str, Lengths] = {}
    skipped: dict[str, Mapping[str, tuple[str, ...]]] = {}
    for one in sets:
        found = extract_sites(
            model, one, sites=sites, position=position, batch_size=batch_size, cache=cache
        )
        kept.append(found.data)
        skipped[one.name] = found.skipped
        for site, activations in found.at.items():
            at.setdefault(site, []).append(Domain.of(activations, found.data, name=one.name))
            lengths[one.name] = activations.lengths.numpy().astype(np.float64)
    for domains in at.values():
        require_together(domains)
    return Gathered(tuple(kept), {s: tuple(d) for s, d in at.items()}, lengths, skipped)


def _short(name: str, parts: int) -> str:
    # A framing stands behind the name: folder/claims.csv (plain).
    place, space, framing = name.partition(" (")
    path = PurePath(place)
    if path.suffix not in (".csv", ".jsonl", ".json", ".parquet") and len(path.parts) < 2:
        return name
    return "/".join([*path.parts[-parts:-1], path.stem]) + space + framing
