"""What says which model is meant: a name, and how to read it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

Source = Literal["auto", "hub", "folder", "native", "zoo"]
DTYPES = ("float32", "bfloat16", "float16", "float64")


class ModelError(ValueError):
    """A model cannot be had as asked; the message says what to do about it."""


@dataclass(frozen=True)
class ModelSpec:
    """How to get one model; part of every run's configuration.

    Attributes:
        name: A Hugging Face id (``gpt2``), a local folder, ``zoo:NAME``, or any label for a
            native model.
        source: Where ``name`` is looked up. ``auto`` decides: ``zoo:`` prefix, then an existing
            folder, then the Hub.
        revision: Branch, tag or commit on the Hub.
        dtype: One of float32, bfloat16, float16, float64.
        device: A torch device, such as ``cpu`` or ``cuda:0``.
        seed: Seeds the initial weights of a native model; unused otherwise.
        native: Fields of a TransformerLens native configuration; given, the model is built
            from it with random weights.
        trust_remote_code: Run Python that comes with the model. Off unless asked for.
    """

    name: str
    source: Source = "auto"
    revision: str | None = None
    dtype: str = "float32"
    device: str = "cpu"
    seed: int = 0
    native: Mapping[str, Any] | None = None
    trust_remote_code: bool = False

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise ModelError(
                "the model name is empty; expected a Hugging Face id, a folder or zoo:NAME"
            )
        if self.source not in get_args(Source):
            raise ModelError(
                f"unknown source {self.source!r}; expected one of {', '.join(get_args(Source))}"
            )
        if self.source == "native" and self.native is None:
            raise ModelError(
                f"{self.name}: source 'native' needs native=, a configuration; a native folder's "
                "path is read with source 'auto' or 'folder'"
            )
        if self.dtype not in DTYPES:
            raise ModelError(f"unknown dtype {self.dtype!r}; expected one of {', '.join(DTYPES)}")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain JSON-safe values."""
        return dataclasses.asdict(self)
