"""From given columns to a set: rows checked, repeats left out, groups and pairs kept whole."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from probes.data.checks import DataError, checked_label, checked_name, checked_text, same_text

if TYPE_CHECKING:
    from probes.data.statements import StatementSet

# Begins the names of groups that nobody gave, so that no given name can meet them.
PREFIX = "\N{SYMBOL FOR UNIT SEPARATOR}"


class Columns(NamedTuple):
    """The columns that ``StatementSet.build`` is given, each as long as the labels, or None."""

    texts: Sequence[str] | None
    labels: Sequence[Any]
    groups: Sequence[Any] | None
    domains: Sequence[Any] | None
    places: Sequence[str] | None
    pairs: Sequence[Any] | None
    spans: Sequence[Any] | None
    prompts: Sequence[Any] | None
    ids: Sequence[Sequence[int]] | None


def without_repeats(given: Columns, name: str) -> tuple[dict[str, Any], list[str], list[str]]:
    """Check rows and leave exact repeats out.

    Args:
        given: The columns.
        name: What the set is called.

    Returns:
        The columns of the set; the places left out; the places whose partner is missing.

    Raises:
        DataError: see ``StatementSet.build``.
    """
    texts, ids = _texts_and_ids(given, name)
    n = len(texts)
    places = [f"row {i + 1}" for i in range(n)] if given.places is None else list(given.places)
    for field, column in given._asdict().items():
        if column is not None and field != "texts" and len(column) != n:
            raise DataError(f"{name}: {n} texts need as many {field}: {len(column)}")
    if not n:
        raise DataError(f"{name} has no rows; expected statements of both labels")
    where = [f"{name}, {place}" for place in places]
    prompts = None if given.prompts is None else [tuple(turns) for turns in given.prompts]
    names = {
        "group": _names(given.groups, "group", where, may_miss=True),
        "domain": _names(given.domains, "domain", where),
        "pair": _names(given.pairs, "pair", where, may_miss=True),
    }
    kept, truth, same_as = _distinct(texts, given.labels, prompts, places, where)
    spans = (
        None
        if given.spans is None
        else [
            _span(span, text, at) for span, text, at in zip(given.spans, texts, where, strict=True)
        ]
    )
    pairs = names["pair"]
    bound = names["group"] if names["group"] is not None else pairs
    grouped = bound is not None and any(value is not None for value in bound)
    groups = places
    if grouped:
        assert bound is not None
        named = [
            f"{PREFIX}{place}" if value is None else value
            for value, place in zip(bound, places, strict=True)
        ]
        groups = _merged(named, same_as, pairs)
    one = {truth[i] for i in kept}
    if len(one) == 1:
        raise DataError(
            f"{name}: all {len(kept)} statements have label {int(one.pop())}; "
            "expected both labels, 0 and 1"
        )
    unpaired: list[str] = []
    if pairs is not None:
        pairs, lonely = _whole_pairs(pairs, kept, truth, where)
        unpaired = [places[i] for i in lonely]

    def of(column: Sequence[Any] | None) -> tuple[Any, ...] | None:
        return None if column is None else tuple(column[i] for i in kept)

    columns = {
        "texts": of(texts),
        "labels": tuple(truth[i] for i in kept),
        "groups": of(groups),
        "domains": of(names["domain"]),
        "places": of(places),
        "grouped": grouped,
        "pairs": of(pairs),
        "spans": of(spans),
        "prompts": of(prompts),
        "ids": of(ids),
    }
    return columns, [places[i] for i in same_as], unpaired


def checked_rows(made: StatementSet) -> None:
    """Check a set as a whole: columns of one length, spans inside their texts, pairs whole.

    Raises:
        DataError: which row does not fit, and why.
    """
    n = len(made.texts)
    for field in ("labels", "groups", "places", "domains", "pairs", "spans", "prompts", "ids"):
        column = getattr(made, field)
        if column is not None and len(column) != n:
            raise DataError(f"{made.name}: {n} texts need as many {field}: {len(column)}")
    for row, label in enumerate(made.labels):
        if not isinstance(label, bool):
            raise DataError(
                f"{made.name}, {made.places[row]}: the label is {label!r}; expected True or False"
            )
    for row, (text, spans) in enumerate(zip(made.texts, made.spans or (), strict=False)):
        for start, end in spans:
            if not 0 <= start < end <= len(text):
                raise DataError(
                    f"{made.name}, {made.places[row]}: the span {(start, end)} does not lie in "
                    f"the statement's {len(text)} characters, or is empty"
                )
    group_of: dict[str, str] = {}
    for row, pair in enumerate(made.pairs or ()):
        if pair is not None and group_of.setdefault(pair, made.groups[row]) != made.groups[row]:
            raise DataError(
                f"{made.name}, {made.places[row]}: the pair {pair!r} lies in two groups "
                f"({group_of[pair]!r} and {made.groups[row]!r}); a pair belongs to one"
            )


def _texts_and_ids(given: Columns, name: str) -> tuple[list[str], list[tuple[int, ...]] | None]:
    if given.ids is None:
        if given.texts is None:
            raise DataError(f"{name}: neither texts nor ids are given")
        return list(given.texts), None
    if given.texts is not None:
        raise DataError(f"{name}: both texts and ids are given; the ids alone are fed to a model")
    rows = []
    for i, row in enumerate(given.ids):
        ids = [int(token) for token in row]
        if not ids or min(ids) < 0:
            raise DataError(f"{name}, row {i + 1}: expected token ids of 0 or more, at least one")
        rows.append(tuple(ids))
    return [" ".join(map(str, row)) for row in rows], rows


def _names(
    column: Sequence[Any] | None, field: str, where: Sequence[str], *, may_miss: bool = False
) -> list[Any] | None:
    if column is None:
        return None
    return [
        None if may_miss and value is None else checked_name(value, field, at)
        for value, at in zip(column, where, strict=True)
    ]


def _distinct(
    texts: Sequence[str],
    labels: Sequence[Any],
    prompts: Sequence[Any] | None,
    places: Sequence[str],
    where: Sequence[str],
) -> tuple[list[int], dict[int, bool], dict[int, int]]:
    """Rows kept; the label of each; of every repeat, the row it repeats."""
    seen: dict[Any, int] = {}
    kept: list[int] = []
    truth: dict[int, bool] = {}
    same_as: dict[int, int] = {}
    for i, text in enumerate(texts):
        key: Any = same_text(checked_text(text, where[i]))
        if prompts is not None:
            key = (key, *((turn.role, same_text(turn.content)) for turn in prompts[i]))
        label = checked_label(labels[i], where[i])
        first = seen.setdefault(key, i)
        if first == i:
            kept.append(i)
            truth[i] = label
        elif truth[first] != label:
            raise DataError(
                f"{where[i]}: the statement of {places[first]} again, with label {int(label)} "
                f"instead of {int(truth[first])}; keep one of them"
            )
        else:
            same_as[i] = first
    return kept, truth, same_as


def _span(span: Any, text: str, at: str) -> tuple[tuple[int, int], ...]:
    if span is None:
        return ((0, len(text)),)
    several = [span] if span and isinstance(span[0], int) else list(span)
    if not several:
        raise DataError(f"{at}: the span is empty; expected a start and an end")
    return tuple((int(start), int(end)) for start, end in several)


def _merged(
    groups: Sequence[str], same_as: dict[int, int], pairs: Sequence[Any] | None
) -> list[str]:
    """Groups made one where a repeat, or a pair, binds two of them; the first name is kept."""
    of: dict[str, str] = {}

    def root(name: str) -> str:
        while of.get(name, name) != name:
            name = of[name]
        return name

    order = {name: i for i, name in reversed(list(enumerate(groups)))}

    def bind(one: str, other: str) -> None:
        first, second = sorted((root(one), root(other)), key=order.__getitem__)
        of[second] = first

    for repeat, first in same_as.items():
        bind(groups[first], groups[repeat])
    held: dict[Any, int] = {}
    for row, pair in enumerate(pairs or ()):
        if pair is not None:
            bind(groups[held.setdefault(pair, row)], groups[row])
    return [root(name) for name in groups]


def _whole_pairs(
    pairs: Sequence[Any], kept: Sequence[int], truth: dict[int, bool], where: Sequence[str]
) -> tuple[list[Any], list[int]]:
    """The pairs with those that lost a row undone, and the rows left alone."""
    rows: dict[Any, list[int]] = defaultdict(list)
    for i in kept:
        if pairs[i] is not None:
            rows[pairs[i]].append(i)
    for pair, members in rows.items():
        by_label = Counter(truth[i] for i in members)
        if max(by_label.values()) > 1:
            raise DataError(
                f"{where[members[-1]]}: the pair {pair!r} has {len(members)} statements, "
                f"{by_label[True]} of label 1; expected one of each label"
            )
    alone = {pair for pair, members in rows.items() if len(members) == 1}
    return [None if p in alone else p for p in pairs], [
        i for i in kept if pairs[i] is None or pairs[i] in alone
    ]
