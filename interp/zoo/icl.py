"""In-context learning tasks: pairs of an input and an output, and a registry of their makers.

A task is only the pairs. How they become prompts (shots, template, permuted labels) is
:mod:`interp.zoo.icl_prompts`; makers of pairs are :mod:`interp.zoo.icl_generators` and, for
published files, :mod:`interp.zoo.icl_files`. Kinds and their names follow Todd et al. (2024),
"Function Vectors in Large Language Models".

>>> icl_task("singular-plural", n=2, seed=0).pairs[0][1].endswith("s")
True
"""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeVar, get_args

Kind = Literal["lexical", "character", "list-position", "classification", "recall", "copy", "file"]
Pair = tuple[str, str]


class IclError(ValueError):
    """A task or a prompt cannot be made as asked; the message says what to do."""


@dataclass(frozen=True)
class IclTask:
    """Pairs of an input and the output that belongs to it.

    Attributes:
        name: What it is called in tables.
        kind: What has to be known or done.
        pairs: (input, output), no input twice.
        choices: For each pair the outputs that the input itself offers, the right one among them:
            a list's items, the values in a context, the classes. Who picks one blindly is right
            so often. Empty where the input offers none.
        source: Where the pairs are from.
        dropped: (reason, number) of what was given and is not among the pairs.
        seed: The seed that made them, or None where none did.
    """

    name: str
    kind: Kind
    pairs: tuple[Pair, ...]
    choices: tuple[tuple[str, ...], ...] = ()
    source: str = "generated"
    dropped: tuple[tuple[str, int], ...] = ()
    seed: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in get_args(Kind):
            raise IclError(
                f"{self.name}: unknown kind {self.kind!r}; expected one of "
                f"{', '.join(get_args(Kind))}"
            )
        if not self.pairs:
            why = "; ".join(f"{count} {reason}" for reason, count in self.dropped)
            raise IclError(f"{self.name}: no pair is left ({why or 'none was given'})")
        seen: set[str] = set()
        for i, (given, output) in enumerate(self.pairs):
            if not given.strip() or not output.strip():
                raise IclError(f"{self.name}: pair {i} has an empty input or output; leave it out")
            if given in seen:
                raise IclError(f"{self.name}: the input {given!r} stands twice; give each once")
            seen.add(given)
        if self.choices and len(self.choices) != len(self.pairs):
            raise IclError(
                f"{self.name}: {len(self.pairs)} pairs need as many choices, got "
                f"{len(self.choices)}"
            )
        for (given, output), offered in zip(self.pairs, self.choices, strict=False):
            if output not in offered:
                raise IclError(
                    f"{self.name}: the output {output!r} of {given!r} is not among its choices"
                )

    def __len__(self) -> int:
        return len(self.pairs)

    def __repr__(self) -> str:
        lost = sum(count for _, count in self.dropped)
        return (
            f"IclTask({self.name!r}, {self.kind}, {len(self)} pairs, {lost} dropped, "
            f"hash {self.hash[:12]})"
        )

    @property
    def n_dropped(self) -> int:
        """How many of what was given are not among the pairs."""
        return sum(count for _, count in self.dropped)

    @cached_property
    def hash(self) -> str:
        """SHA-256 over kind, pairs and choices: two tasks are the same data iff equal."""
        told = json.dumps([self.kind, self.pairs, self.choices], ensure_ascii=True)
        return hashlib.sha256(told.encode()).hexdigest()


Maker = Callable[..., IclTask]
M = TypeVar("M", bound=Maker)
ICL_TASKS: dict[str, Maker] = {}
"""Name to maker; filled when :func:`icl_task` or :func:`icl_task_names` is first called."""


def register_icl_task(name: str) -> Callable[[M], M]:
    """Enter the decorated maker ``(*, n, seed) -> IclTask`` in :data:`ICL_TASKS`.

    Raises:
        IclError: the name is taken.
    """

    def register(make: M) -> M:
        if name in ICL_TASKS:
            raise IclError(f"the task {name!r} is already registered; choose another name")
        ICL_TASKS[name] = make
        return make

    return register


def icl_task_names() -> list[str]:
    """Names of the tasks this project makes itself."""
    import interp.zoo.icl_generators  # noqa: F401 - fills the registry

    return sorted(ICL_TASKS)


def icl_task(name: str, *, n: int = 200, seed: int = 0) -> IclTask:
    """Make one of the project's own tasks.

    Args:
        name: As in :func:`icl_task_names`.
        n: Number of pairs.
        seed: Decides which; the same seed gives the same pairs.

    Raises:
        IclError: no such task, with near matches; or fewer pairs than ``n`` can be made.
    """
    names = icl_task_names()
    if name not in ICL_TASKS:
        near = difflib.get_close_matches(name.lower().replace("_", "-"), names, n=3, cutoff=0.4)
        hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(names)}"
        raise IclError(f"unknown in-context task {name!r}; {hint}")
    if isinstance(n, bool) or not isinstance(n, int) or n < 1:
        raise IclError(f"n={n!r}: expected a whole number, at least 1")
    return ICL_TASKS[name](n=n, seed=seed)
