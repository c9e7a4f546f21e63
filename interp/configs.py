"""Frozen config dataclasses to and from plain values: what YAML and the command line share.

A config's *plain* form holds only what YAML keeps exactly: None, bool, int, float, str, lists and
mappings with string keys. :func:`plain` goes there; :func:`overlay` and :func:`build` come back,
checking every key and every type, so that a misspelt key can never be ignored.
"""

from __future__ import annotations

import dataclasses
import difflib
import enum
import hashlib
import json
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, TypeVar, Union

T = TypeVar("T")

#: Stands for a required field that nobody has given yet.
REQUIRED = dataclasses.MISSING


class ConfigError(ValueError):
    """A config has a key or a value that it cannot have; the message says which and what it can."""


def near(name: str, options: Iterable[str], *, what: str = "expected") -> str:
    """Return the end of an error message: the nearest names if any is near, else all of them.

    Args:
        name: What was asked for.
        options: The names that exist.
        what: The word before the list of all names.
    """
    known = sorted(options)
    close = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    if close:
        return "did you mean " + " or ".join(close) + "?"
    return f"{what} one of: {', '.join(known)}" if known else "there are none"


def plain(config: Any) -> dict[str, Any]:
    """Return all fields of a config dataclass as values that YAML keeps exactly.

    Tuples become lists, paths strings, enumeration members their names, sets sorted lists, and
    dataclasses mappings.

    Raises:
        ConfigError: The config is no dataclass instance, or a field holds something else.
    """
    if not dataclasses.is_dataclass(config) or isinstance(config, type):
        raise ConfigError(
            f"config is {type(config).__name__!r}; expected an instance of a dataclass, "
            "preferably a frozen one"
        )
    return {f.name: _plain(getattr(config, f.name), f.name) for f in dataclasses.fields(config)}


def _plain(value: Any, where: str) -> Any:  # noqa: PLR0911 - one return for each kind of value
    if isinstance(value, enum.Enum):
        return value.name
    if value is None or isinstance(value, bool):
        return value
    # Subclasses such as numpy's float64 would not survive YAML's safe dumper.
    for kind in (int, float, str):
        if isinstance(value, kind):
            return kind(value)
    if isinstance(value, Path):
        return str(value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = dataclasses.fields(value)
        return {f.name: _plain(getattr(value, f.name), f"{where}.{f.name}") for f in fields}
    if isinstance(value, Mapping):
        if all(isinstance(key, str) for key in value):
            return {key: _plain(item, f"{where}.{key}") for key, item in value.items()}
        raise ConfigError(f"config field {where}: a mapping needs text keys to be kept as YAML")
    if isinstance(value, (set, frozenset)):
        items = [_plain(item, where) for item in value]
        return sorted(items, key=lambda item: json.dumps(item, sort_keys=True))
    if isinstance(value, (list, tuple)):
        return [_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    raise ConfigError(
        f"config field {where} holds a {type(value).__name__}, which YAML cannot keep; expected "
        "numbers, text, None, lists, mappings, paths or dataclasses of them"
    )


def short_hash(values: Mapping[str, Any]) -> str:
    """Return eight hexadecimal digits that depend on plain values and not on their order."""
    return hashlib.sha256(_canonical(values).encode()).hexdigest()[:8]


def _canonical(value: Any) -> str:
    """Text that is equal for equal settings: 1 and 1.0 are one setting, 1 and True are two."""

    def number(item: Any) -> Any:
        if isinstance(item, Mapping):
            return {key: number(inner) for key, inner in item.items()}
        if isinstance(item, (list, tuple)):
            return [number(inner) for inner in item]
        if isinstance(item, int) and not isinstance(item, bool) and abs(item) < 2**53:
            return float(item)
        return item

    return json.dumps(number(value), sort_keys=True, default=str)


def differing(stored: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """Return the keys in which two plain configs differ, with both values; empty if none."""
    missing = object()
    parts = []
    for key in sorted({*stored, *asked}):
        old, new = stored.get(key, missing), asked.get(key, missing)
        if old is missing or new is missing or _canonical(old) != _canonical(new):
            shown = ["absent" if v is missing else repr(v) for v in (old, new)]
            parts.append(f"{key} (stored {shown[0]}, asked {shown[1]})")
    return ", ".join(parts)


def overlay(cls: type, *layers: tuple[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return field values for ``cls``: its defaults, overlaid by each layer in turn.

    Args:
        cls: A dataclass type.
        *layers: ``(origin, values)``; the origin ("preset smoke", "FILE") is named in errors. For a
            field that is itself a dataclass, a mapping changes only the keys it has.

    Returns:
        A value of the right type for every field; ``REQUIRED`` where a field has no default and no
        layer gives one.

    Raises:
        ConfigError: An unknown key (with near matches) or a value of the wrong type.
    """
    hints = typing.get_type_hints(cls)
    values: dict[str, Any] = {}
    for field in dataclasses.fields(cls):
        made = field.default_factory
        values[field.name] = field.default if made is REQUIRED else made()
    for origin, layer in layers:
        for key, value in layer.items():
            if key not in values:
                raise ConfigError(f"{origin}: unknown key {key!r}; {near(str(key), values)}")
            try:
                values[key] = _coerce(hints[key], value, key, base=values[key])
            except ConfigError as error:
                raise ConfigError(f"{origin}: {error}") from None
    return values


def build(cls: type[T], values: Mapping[str, Any], *, origin: str = "config") -> T:
    """Return ``cls(**values)`` with keys and types checked and plain values converted.

    Raises:
        ConfigError: As :func:`overlay`; or a required field is missing.
    """
    filled = overlay(cls, (origin, values))
    if absent := [name for name, value in filled.items() if value is REQUIRED]:
        raise ConfigError(f"{origin}: {', '.join(absent)} must be given")
    return cls(**{f.name: filled[f.name] for f in dataclasses.fields(cls) if f.init})  # type: ignore[arg-type]


def _coerce(  # noqa: PLR0911 - one return for each kind of annotation
    hint: Any, value: Any, where: str, *, base: Any = REQUIRED
) -> Any:
    """Convert one plain value to its annotated type, or say what was expected."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any or isinstance(hint, TypeVar):
        return value
    if origin is typing.Annotated:
        return _coerce(args[0], value, where, base=base)
    if origin is Literal:
        # True == 1, so compare types too.
        if any(value == option and type(value) is type(option) for option in args):
            return value
        raise _wrong(where, value, " or ".join(repr(option) for option in args))
    if origin in (Union, types.UnionType):
        return _coerce_union(args, value, where, base)
    if origin in (list, tuple, set, frozenset) or hint in (list, tuple, set, frozenset):
        return _coerce_sequence(origin or hint, args, value, where)
    if isinstance(origin or hint, type) and issubclass(origin or hint, Mapping):
        if not isinstance(value, Mapping):
            raise _wrong(where, value, "a mapping")
        inner = args[1] if len(args) == 2 else Any
        return {key: _coerce(inner, item, f"{where}.{key}") for key, item in value.items()}
    return _coerce_single(hint, value, where, base)


def _coerce_single(hint: Any, value: Any, where: str, base: Any) -> Any:
    if hint is None or hint is type(None):
        if value is not None:
            raise _wrong(where, value, "None")
        return None
    if not isinstance(hint, type):
        return value
    if dataclasses.is_dataclass(hint):
        return _coerce_dataclass(hint, value, where, base)
    if issubclass(hint, enum.Enum) and isinstance(value, str):
        if value not in hint.__members__:
            raise _wrong(where, value, " or ".join(hint.__members__))
        return hint[value]
    return _coerce_scalar(hint, value, where)


def _coerce_dataclass(hint: type, value: Any, where: str, base: Any) -> Any:
    if isinstance(value, hint):
        return value
    if not isinstance(value, Mapping):
        raise _wrong(where, value, f"a mapping with the fields of {hint.__name__}")
    start = plain(base) if isinstance(base, hint) else {}
    return build(hint, {**start, **value}, origin=where)


def _coerce_scalar(hint: type, value: Any, where: str) -> Any:
    if hint is float and not isinstance(value, bool):
        try:
            return float(value)  # YAML 1.1 reads 1e-3 (no dot) as text.
        except (TypeError, ValueError):
            raise _wrong(where, value, "a number") from None
    if issubclass(hint, Path) and isinstance(value, str):
        return hint(value)
    if isinstance(value, hint) and not (isinstance(value, bool) and hint is int):
        return value
    quote = "; put it in quotes" if hint is str and isinstance(value, (bool, int, float)) else ""
    raise _wrong(where, value, hint.__name__, quote)


def _coerce_union(args: tuple[Any, ...], value: Any, where: str, base: Any) -> Any:
    # The member that the value already has wins, so that int | float keeps 1 an int.
    exact = [arg for arg in args if arg is type(value) or (arg is type(None) and value is None)]
    for arg in [*exact, *args]:
        try:
            return _coerce(arg, value, where, base=base)
        except ConfigError as error:
            last = error
    if isinstance(value, Mapping):
        raise last
    raise _wrong(where, value, " or ".join(_name(arg) for arg in args))


def _coerce_sequence(kind: type, args: tuple[Any, ...], value: Any, where: str) -> Any:
    if not isinstance(value, (list, tuple, set, frozenset)):
        raise _wrong(where, value, f"a list such as [{value!r}]")
    items = list(value)
    if kind is tuple and args and not (len(args) == 2 and args[1] is Ellipsis):
        if len(items) != len(args):
            raise _wrong(where, value, f"a list of {len(args)}")
        pairs = enumerate(zip(args, items, strict=True))
        return tuple(_coerce(kind_, item, f"{where}[{i}]") for i, (kind_, item) in pairs)
    inner = args[0] if args else Any
    return kind(_coerce(inner, item, f"{where}[{i}]") for i, item in enumerate(items))


def _name(hint: Any) -> str:
    if hint is type(None):
        return "None"
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")


def _wrong(where: str, value: Any, expected: str, hint: str = "") -> ConfigError:
    return ConfigError(f"{where} is {value!r}; expected {expected}{hint}")
