"""Frozen configs to plain values and back."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import pytest
import yaml

from interp.configs import (
    REQUIRED,
    ConfigError,
    build,
    differing,
    near,
    overlay,
    plain,
    short_hash,
)


class Kind(enum.Enum):
    MEAN = 1
    ZERO = 2


@dataclass(frozen=True)
class Inner:
    k: int = 3
    name: str = "a"


@dataclass(frozen=True)
class Config:
    model: str
    seed: int = 0
    lr: float = 1e-3
    heads: tuple[tuple[int, int], ...] = ((0, 1),)
    mode: Literal["mean", "zero"] = "mean"
    kind: Kind = Kind.MEAN
    limit: int | None = None
    folder: Path = Path("x")
    inner: Inner = Inner()
    tags: frozenset[str] = frozenset({"b", "a"})
    weights: dict[str, float] = field(default_factory=dict)
    strict: bool = True


FULL = Config(
    "m", 5, 2e-7, ((1, 2), (3, 4)), "zero", Kind.ZERO, 7, Path("a/b"), Inner(9), weights={"x": 1.5}
)


@pytest.mark.parametrize("config", [Config("gpt2"), FULL])
def test_yaml_and_back_is_the_same_config(config: Config) -> None:
    text = yaml.safe_dump(plain(config))
    assert build(Config, yaml.safe_load(text)) == config


def test_unknown_key_names_the_near_one() -> None:
    with pytest.raises(ConfigError, match=r"FILE: unknown key 'sead'; did you mean seed"):
        overlay(Config, ("FILE", {"sead": 1}))
    with pytest.raises(ConfigError, match=r"inner: unknown key 'kk'"):
        build(Config, {"model": "m", "inner": {"kk": 1}})


@pytest.mark.parametrize(
    ("key", "value", "expected"),
    [
        ("seed", "three", "expected int"),
        ("seed", True, "expected int"),
        ("seed", 1.5, "expected int"),
        ("model", 12, "put it in quotes"),
        ("lr", "fast", "expected a number"),
        ("lr", [1], "expected a number"),
        ("heads", "L0H1", "expected a list"),
        ("heads", [[1, 2, 3]], "expected a list of 2"),
        ("mode", "medium", "'mean' or 'zero'"),
        ("kind", "MEDIAN", "MEAN or ZERO"),
        ("limit", "no", "expected int or None"),
        ("inner", 3, "fields of Inner"),
        ("weights", {"x": "y"}, "expected a number"),
        ("strict", "yes", "expected bool"),
    ],
)
def test_a_value_of_the_wrong_type_is_refused(key: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigError, match=expected) as caught:
        overlay(Config, ("FILE", {key: value}))
    assert "\n" not in str(caught.value)
    assert key in str(caught.value)


def test_layers_override_each_other_and_merge_inner_dataclasses() -> None:
    values = overlay(
        Config, ("preset", {"seed": 1, "inner": {"k": 8}}), ("FILE", {"inner": {"name": "z"}})
    )
    assert values["model"] is REQUIRED
    assert (values["seed"], values["inner"]) == (1, Inner(8, "z"))


def test_yaml_reads_an_exponent_without_dot_as_text_and_we_as_number() -> None:
    assert build(Config, {"model": "m", **yaml.safe_load("lr: 1e-3")}).lr == 1e-3


def test_missing_required_field() -> None:
    with pytest.raises(ConfigError, match="model must be given"):
        build(Config, {})


def test_differences_are_named_and_numbers_compare_as_numbers() -> None:
    assert differing({"a": 1, "b": [1.0]}, {"a": 1.0, "b": [1]}) == ""
    assert differing({"a": 1}, {"a": True, "c": None}) == (
        "a (stored 1, asked True), c (stored absent, asked None)"
    )
    assert short_hash({"a": 1, "b": 2}) == short_hash({"b": 2.0, "a": 1}) != short_hash({"a": 1})


def test_what_yaml_cannot_keep_is_refused() -> None:
    @dataclass(frozen=True)
    class Odd:
        value: object

    with pytest.raises(ConfigError, match="config field value holds a object"):
        plain(Odd(object()))
    with pytest.raises(ConfigError, match="text keys"):
        plain(Odd({1: 2}))
    with pytest.raises(ConfigError, match="expected an instance of a dataclass"):
        plain({"a": 1})


def test_near() -> None:
    assert near("indution", ["induction", "fourier"]) == "did you mean induction?"
    assert near("zzz", ["b", "a"]) == "expected one of: a, b"
    assert near("zzz", []) == "there are none"
