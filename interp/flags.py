"""Command lines made from config dataclasses, by tyro; every mistake is one line of text."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, NoReturn, Union, get_args, get_origin, get_type_hints

from interp.configs import REQUIRED, near


class UsageError(ValueError):
    """The command line cannot be understood; the message says what was expected."""


@dataclass(frozen=True)
class Option:
    """An option of a command itself, beside the config's fields.

    Attributes:
        name: As typed, without dashes.
        help: One sentence.
        metavar: What stands for the value in the help; None for a flag without value.
    """

    name: str
    help: str
    metavar: str | None = None


class LineParser(argparse.ArgumentParser):
    """argparse, with its errors as exceptions instead of usage text and an exit."""

    def error(self, message: str) -> NoReturn:
        """Raise ``UsageError`` with argparse's message."""
        raise UsageError(f"{message} (see {self.prog} --help)")


def split_options(
    options: Sequence[Option], args: Sequence[str], *, prog: str
) -> tuple[dict[str, Any], list[str]]:
    """Return the command's own options, and the arguments that are left for the config.

    They are needed first: the preset and the file decide the defaults of all other flags.
    """
    parser = LineParser(prog=prog, add_help=False, allow_abbrev=False)
    for option in options:
        if option.metavar is None:
            parser.add_argument(f"--{option.name}", action="store_true")
        else:
            parser.add_argument(f"--{option.name}")
    known, rest = parser.parse_known_args(list(args))
    return vars(known), rest


def parse_fields(
    config_class: type,
    values: Mapping[str, Any],
    args: Sequence[str],
    *,
    options: Sequence[Option],
    prog: str,
    description: str,
) -> Any:
    """Return a config made of ``values`` and the flags in ``args``.

    Args:
        config_class: The dataclass; ``--field-name`` sets a field.
        values: A value for every field, or ``REQUIRED``.
        args: The flags, without the command's own options.
        options: The command's own options, for the help.
        prog: The command, for the help and the errors.
        description: The first lines of the help.

    Raises:
        UsageError: Unknown flag (with near matches), bad or missing value, or whatever the
            dataclass itself refused.
        SystemExit: ``--help`` was asked for, and has been printed.
    """
    import tyro

    names = [*_flag_names(config_class), *(option.name for option in options), "help"]
    # Before tyro sees them: it reports a misspelt required flag as missing, not as misspelt.
    flags = [token for token in args if token.startswith("--")]
    plain = [flag.partition("=")[0].removeprefix("--").replace("_", "-") for flag in flags]
    known = {name.replace("_", "-") for name in names}
    strange = [
        flag
        for flag, name in zip(flags, plain, strict=True)
        if name and name not in known and name.removeprefix("no-") not in known
    ]
    if strange:
        raise UsageError(_unknown(strange, names, prog))
    # Not built by calling the class: what it refuses must be judged on the final values only.
    start: Any = object.__new__(config_class)
    for name, value in values.items():
        object.__setattr__(start, name, tyro.MISSING if value is REQUIRED else value)
    whole = _with_options(config_class, start, options)
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), _registry():
            cli: Any = tyro.cli  # Its overloads do not know of classes made at run time.
            parsed, unknown = cli(
                whole,
                args=list(args),
                prog=prog,
                description=description,
                return_unknown_args=True,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            sys.stderr.write(errors.getvalue())
            raise
        raise UsageError(_unboxed(errors.getvalue())) from None
    sys.stderr.write(errors.getvalue())
    if unknown:
        raise UsageError(_unknown(unknown, names, prog))
    return parsed.fields


def _with_options(config_class: type, start: Any, options: Sequence[Option]) -> type:
    """A dataclass of the command's options and the config's fields, side by side in the help."""
    import tyro

    fields: list[Any] = []
    for option in options:
        arg = tyro.conf.arg(help=option.help, metavar=option.metavar, help_behavior_hint="")
        if option.metavar is None:
            kind: Any = Annotated[bool, arg, tyro.conf.FlagCreatePairsOff]
            fields.append((option.name, kind, False))
        else:
            fields.append((option.name, Annotated[str | None, arg], None))
    inner: Any = Annotated[config_class, tyro.conf.arg(name="")]
    fields.append(("fields", inner, dataclasses.field(default_factory=lambda: start)))
    return dataclasses.make_dataclass("options", fields)


def _registry() -> contextlib.AbstractContextManager[None]:
    """Tyro's rules and, while this is entered, one of ours: ``STR`` where they show ``{None}|STR``.

    A field that may be None is None where it is not given, as its default says; ``--field None``
    is still read, which undoes a preset's value.
    """
    from tyro.constructors import (
        ConstructorRegistry,
        PrimitiveConstructorSpec,
        PrimitiveTypeInfo,
    )

    registry = ConstructorRegistry()

    @registry.primitive_rule
    def _maybe_none(info: PrimitiveTypeInfo) -> Any:
        kinds = get_args(info.type)
        if get_origin(info.type) not in (Union, UnionType) or type(None) not in kinds:
            return None
        rest: Any = Union[tuple(kind for kind in kinds if kind is not type(None))]  # noqa: UP007
        spec = registry.get_primitive_spec(PrimitiveTypeInfo.make(rest, info.markers))
        if not isinstance(spec, PrimitiveConstructorSpec):
            return spec
        return dataclasses.replace(
            spec,
            instance_from_str=lambda words: (
                None if words == ["None"] else spec.instance_from_str(words)
            ),
            is_instance=lambda value: value is None or spec.is_instance(value),
            str_from_instance=lambda value: (
                ["None"] if value is None else spec.str_from_instance(value)
            ),
            choices=None if spec.choices is None else (*spec.choices, "None"),
        )

    return registry


def _flag_names(config_class: type, prefix: str = "") -> list[str]:
    hints = get_type_hints(config_class)
    names = []
    for field in dataclasses.fields(config_class):
        hint, name = hints[field.name], f"{prefix}{field.name}"
        if isinstance(hint, type) and dataclasses.is_dataclass(hint):
            names += _flag_names(hint, f"{name}.")
        else:
            names.append(name)
    return names


def _unknown(tokens: list[str], names: list[str], prog: str) -> str:
    flags = [token for token in tokens if token.startswith("-")]
    if not flags:
        return f"unexpected argument {tokens[0]!r} (see {prog} --help)"
    flag = flags[0].partition("=")[0]
    known = [f"--{name.replace('_', '-')}" for name in names]
    return f"unknown option {flag}: {near(flag.replace('_', '-'), known)}"


def _unboxed(text: str) -> str:
    """The sentence inside one of tyro's framed errors: after the title, up to the first rule."""
    lines = []
    for line in text.splitlines()[1:]:
        inner = line.strip("│╰╯╭╮|+ ").strip()
        if inner and not inner.strip("─-"):
            break
        lines.append(inner)
    return " ".join(" ".join(lines).split()) or " ".join(text.split())
