"""Activations of one kind of statement, with labels and what binds its rows to others."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from probes.activations import Activations
from probes.data import StatementSet, same_text
from probes.data.building import PREFIX
from probes.fit.rule import Labels, varying

RowIndex = npt.NDArray[np.intp]
# With one group of a label there is no telling the label from the group.
_FEWEST_GROUPS = 2


class DomainError(ValueError):
    """These activations cannot be compared between domains; the message says why."""


@dataclass(frozen=True, eq=False)
class Domain:
    """Activations of the statements of one domain.

    Make one with ``Domain.of`` from a statement set, or with ``Domain.build`` from arrays.

    Attributes:
        name: What it is called in tables.
        values: One row a statement, at least single precision.
        labels: True for label 1.
        groups: One name a row; rows of one name never stand on both sides of a score. Names
            are shared between domains: the same statement in two framings is one group.
        rows: One key a row; rows of one key are the same statement, whatever their groups.
        place: Model, site and position; domains of different places are not compared.
        spent: Groups and keys of rows that an eraser or a projection was fitted to. Rows bound
            to them are never scored.
    """

    name: str
    values: Float[Tensor, "row d"]
    labels: Labels
    groups: tuple[str, ...]
    rows: tuple[str, ...]
    place: str = "arrays"
    spent: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        n = len(self.values)
        if self.values.ndim != 2 or not self.values.is_floating_point():
            raise DomainError(
                f"{self.name}: activations must be numbers of shape [row, d], got "
                f"{self.values.dtype} of shape {list(self.values.shape)}"
            )
        if not len(self.labels) == len(self.groups) == len(self.rows) == n:
            raise DomainError(
                f"{self.name}: {n} activations need as many labels, groups and keys, got "
                f"{len(self.labels)}, {len(self.groups)} and {len(self.rows)}"
            )
        if not bool(torch.isfinite(self.values).all()):
            bad = int((~torch.isfinite(self.values)).any(1).nonzero()[0])
            raise DomainError(
                f"{self.name}: the activation of row {bad} is not finite; load the model in float32"
            )
        require_groups(self.name, self.labels, self.groups)
        try:
            varying(self.values.to(torch.float64).numpy())
        except ValueError as error:
            raise DomainError(f"{self.name}: {error}") from error

    @classmethod
    def of(cls, activations: Activations, data: StatementSet, *, name: str | None = None) -> Domain:
        """Return a statement set's activations as one domain.

        Where no groups were given, statements of the same words are one group. Where every token
        was kept, each is a row with its statement's label and group.

        Args:
            activations: Of the statements.
            data: The statements.
            name: What it is called; the set's name when omitted.

        Raises:
            DomainError: another number of statements, one label, too few groups, or activations
                that are the same everywhere.
        """
        called = name or data.name
        _require_aligned(activations, data, called)
        keys = [_key(text) for text in data.texts]
        groups = [
            group if data.grouped and not group.startswith(PREFIX) else key
            for group, key in zip(data.groups, keys, strict=True)
        ]
        site, position = activations.site, activations.position
        of = np.arange(len(data))
        if activations.owners is not None:
            of = activations.owners.numpy()
        return cls(
            name=called,
            values=_precise(activations.values),
            labels=data.y[of],
            groups=tuple(groups[i] for i in of),
            rows=tuple(keys[i] for i in of),
            place=f"{activations.model} [{activations.fingerprint[:12]}] {site} at {position}",
        )

    @classmethod
    def build(
        cls,
        name: str,
        values: Float[Tensor, "row d"] | npt.NDArray[np.floating],
        labels: Sequence[bool] | Bool[Tensor, " row"] | npt.NDArray[np.bool_],
        *,
        groups: Sequence[str] | None = None,
    ) -> Domain:
        """Return arrays as a domain, every row a group of its own where none are given.

        Raises:
            DomainError: labels other than 0 and 1, or as ``of``.
        """
        given = np.asarray(labels)
        if given.ndim != 1 or not np.isin(given, (0, 1)).all():
            raise DomainError(f"{name}: labels must be 0 or 1, one a row")
        own = tuple(f"{PREFIX}{name}:{row}" for row in range(len(given)))
        return cls(
            name=name,
            values=_precise(torch.as_tensor(values)),
            labels=given.astype(bool),
            groups=own if groups is None else tuple(map(str, groups)),
            rows=own,
        )

    def __len__(self) -> int:
        return len(self.labels)

    def __repr__(self) -> str:
        return (
            f"Domain({self.name!r}: {len(self)} rows of {self.values.shape[1]} numbers, "
            f"{int(self.labels.sum())} of label 1, {len(set(self.groups))} groups)"
        )

    @property
    def bonds(self) -> frozenset[str]:
        """Groups and keys of all rows: whatever shares one of them is bound to this domain."""
        return frozenset(self.groups) | frozenset(self.rows)

    def bound(self, bonds: frozenset[str] | set[str]) -> npt.NDArray[np.bool_]:
        """Which rows share a group or a key with ``bonds``."""
        pairs = zip(self.groups, self.rows, strict=True)
        return np.array([g in bonds or r in bonds for g, r in pairs], dtype=bool)

    def bonds_of(self, rows: RowIndex) -> frozenset[str]:
        """Groups and keys of some rows."""
        return frozenset(x for i in rows for x in (self.groups[i], self.rows[i]))

    def select(self, rows: RowIndex) -> Domain:
        """Return the chosen rows, in the order given.

        Raises:
            DomainError: what is left has one label, or too few groups.
        """
        return replace(
            self,
            values=self.values[torch.from_numpy(np.asarray(rows, dtype=np.int64))],
            labels=self.labels[rows],
            groups=tuple(self.groups[i] for i in rows),
            rows=tuple(self.rows[i] for i in rows),
        )

    def scorable(self, *, besides: frozenset[str] = frozenset()) -> RowIndex:
        """Rows that may be scored: those not bound to what was spent, or to ``besides``.

        Raises:
            DomainError: they do not have two groups of each label.
        """
        kept = np.flatnonzero(~self.bound(self.spent | besides))
        what = f"{self.name}: {len(self) - len(kept)} of {len(self)} rows are bound to those fitted"
        require_groups(what, self.labels[kept], [self.groups[i] for i in kept])
        return kept


def domains_of(activations: Activations, data: StatementSet) -> list[Domain]:
    """Return one domain for each of a statement set's own, in order of their first rows.

    Raises:
        DomainError: the set names no domains, or one of them has one label or too few groups.
    """
    if data.domains is None:
        raise DomainError(f"{data.name} names no domains; give a column that does, or several sets")
    _require_aligned(activations, data, data.name)
    found = []
    for name in dict.fromkeys(data.domains):
        rows = [i for i, domain in enumerate(data.domains) if domain == name]
        found.append(Domain.of(activations.select(rows), data.select(rows), name=name))
    return found


def require_together(domains: Sequence[Domain], *, fewest: int = 2) -> None:
    """Refuse domains that cannot be compared.

    Raises:
        DomainError: too few of them, two of one name, or of different places or widths.
    """
    if len(domains) < fewest:
        raise DomainError(f"expected at least {fewest} domains, got {len(domains)}")
    names = [domain.name for domain in domains]
    if len(set(names)) < len(names):
        raise DomainError(f"two domains have one name: {', '.join(sorted(names))}")
    first = domains[0]
    for other in domains[1:]:
        if other.place != first.place:
            raise DomainError(
                f"{first.name} was read from {first.place}, {other.name} from {other.place}; "
                "directions compare at one site of one model"
            )
        if other.values.shape[1] != first.values.shape[1]:
            raise DomainError(
                f"{first.name} has {first.values.shape[1]} numbers a row, "
                f"{other.name} {other.values.shape[1]}"
            )


def pooled(domains: Sequence[Domain], rows: Iterable[RowIndex], *, name: str) -> Domain:
    """Return rows of several domains as one, each as heavy as its rows are many."""
    parts = [d.select(r) for d, r in zip(domains, rows, strict=True) if len(r)]
    return Domain(
        name=name,
        values=torch.cat([p.values for p in parts]),
        labels=np.concatenate([p.labels for p in parts]),
        groups=tuple(g for p in parts for g in p.groups),
        rows=tuple(r for p in parts for r in p.rows),
        place=parts[0].place,
    )


def require_groups(what: str, labels: Labels, groups: Sequence[str]) -> None:
    """Refuse rows without two groups of each label.

    Raises:
        DomainError: there are fewer.
    """
    for label in (True, False):
        n = len({g for g, y in zip(groups, labels, strict=True) if bool(y) is label})
        if n < _FEWEST_GROUPS:
            raise DomainError(
                f"{what}: {n} groups with label {int(label)} left; expected at least "
                f"{_FEWEST_GROUPS}: give more statements, or groups that do not bind them all"
            )


def _require_aligned(activations: Activations, data: StatementSet, name: str) -> None:
    if activations.n_statements != len(data):
        raise DomainError(
            f"{name}: {len(data)} statements need as many activations, "
            f"got those of {activations.n_statements}"
        )


def _key(text: str) -> str:
    return PREFIX + hashlib.sha256(same_text(text).encode()).hexdigest()[:16]


def _precise(values: Tensor) -> Tensor:
    held = values.detach().cpu()
    if held.is_floating_point() and held.dtype not in (torch.float32, torch.float64):
        return held.to(torch.float32)
    return held if held.is_floating_point() else held.to(torch.float64)
