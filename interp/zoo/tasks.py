"""Tasks whose right answers are known by construction, and a registry of them.

Every generator draws from an explicit CPU ``torch.Generator`` and nothing else, works on token ids
(random ids decoded to text and tokenised again do not come back the same), and says by ``scored``
which predictions count: q is scored where the prediction *made at* q, of ``tokens[q + 1]``, does.
In the copying tasks that is where copying determines it. In ``r r`` the end of the first ``r`` is
not scored (its token has not occurred before), nor is the last position (nothing follows).

>>> generator = torch.Generator().manual_seed(0)
>>> get_task("repeated-tokens")(32, n=4, length=10, bos_id=0, generator=generator).tokens.shape
torch.Size([4, 21])
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from interp.models.examples import Examples

Task = Callable[..., Examples]
T = TypeVar("T", bound=Task)
TASKS: dict[str, Task] = {}
"""Name to generator; filled by :func:`register_task`."""


class TaskError(ValueError):
    """A task is unknown or cannot be made as asked; the message says what to do."""


def register_task(name: str) -> Callable[[T], T]:
    """Enter the decorated generator in :data:`TASKS` under ``name``.

    Raises:
        TaskError: the name is taken.
    """

    def register(task: T) -> T:
        if name in TASKS:
            raise TaskError(f"the task {name!r} is already registered; choose another name")
        TASKS[name] = task
        return task

    return register


def get_task(name: str) -> Task:
    """Return the generator registered as ``name``.

    Raises:
        TaskError: no such task; the message names the near ones.
    """
    if name in TASKS:
        return TASKS[name]
    near = difflib.get_close_matches(name.lower().replace("_", "-"), TASKS, n=3, cutoff=0.4)
    hint = f"did you mean {' or '.join(near)}?" if near else f"known: {', '.join(sorted(TASKS))}"
    raise TaskError(f"unknown task {name!r}; {hint}")


@register_task("repeated-tokens")
def repeated_tokens(
    vocabulary: int | Sequence[int],
    *,
    n: int,
    length: int,
    repeats: int = 2,
    bos_id: int | None = None,
    exclude: Iterable[int] = (),
    distinct: bool = True,
    generator: torch.Generator,
) -> Examples:
    """``[BOS?] r r …`` with a random ``r``: what an induction head predicts (Olsson et al. 2022).

    Scored are the queries in the second and later repeats whose next token is inside the sequence:
    each token has stood ``length`` positions earlier, followed by the one to predict. Two repeats
    have ``length - 1`` such queries; every further one adds ``length``, for by then the end of
    ``r`` has been seen followed by its beginning. With ``distinct=False`` a token may stand twice
    in ``r``; then the period still determines what is scored, but the last token alone may not.

    Args:
        vocabulary: The ids to draw from: all below a number, or an explicit sequence.
        n: How many.
        length: Tokens in ``r``, at least 2.
        repeats: How often ``r`` stands, at least 2.
        bos_id: Prepended where given, and never drawn.
        exclude: Further ids never drawn, such as a model's ``special_ids``.
        distinct: Draw ``r`` without replacement, so that each token determines the next.
        generator: The only source of randomness, on the CPU; its initial seed is recorded.

    Raises:
        TaskError: an argument out of range, or too few ids.
    """
    _at_least("repeats", repeats, 2)
    _at_least("length", length, 2)
    ids = _allowed(vocabulary, bos_id, None, exclude)
    r = _draw(ids, n, length, distinct, generator)
    name = f"repeated-tokens-{length}x{repeats}"
    seed = generator.initial_seed()
    return _examples(r.repeat(1, repeats), bos_id, length, name=name, seed=seed)


def first_repeat(repeated: Examples) -> Examples:
    """The same examples, scored inside the first repeat instead, where nothing can be copied.

    The loss here minus the loss on the later repeats is what a model gains from the context.

    Args:
        repeated: What :func:`repeated_tokens` made; every row scored at the same positions.
    """
    if repeated.scored is None or not bool((repeated.scored == repeated.scored[:1]).all()):
        raise TaskError("expected examples of repeated_tokens, all scored at the same positions")
    # The first scored query holds the second repeat's first token, and the query before it
    # predicts that token, which belongs to neither.
    first = int(repeated.scored[0].int().argmax()) - 1
    scored = torch.zeros_like(repeated.scored)
    scored[:, :first] = True
    return replace(repeated, scored=scored, name=f"{repeated.name}, first repeat")


@register_task("reversed-tokens")
def reversed_tokens(
    vocabulary: int | Sequence[int],
    *,
    n: int,
    length: int,
    bos_id: int | None = None,
    sep_id: int | None = None,
    exclude: Iterable[int] = (),
    distinct: bool = True,
    generator: torch.Generator,
) -> Examples:
    """``[BOS?] s [SEP?] reversed(s)``: what a backward-copying ("anti-induction") head predicts.

    Scored are the ``length - 1`` queries inside the reversed part whose next token is in it too:
    each has stood before, *preceded* by the token to predict. The turn itself (predicting the
    reversed part's first token) is not scored: no token identity determines it.

    Args:
        vocabulary, n, bos_id, exclude, generator: As in :func:`repeated_tokens`.
        length: Tokens in ``s``, at least 2.
        sep_id: Put between the two parts where given, and never drawn.
        distinct: Draw ``s`` without replacement.

    Raises:
        TaskError: an argument out of range, or too few ids.
    """
    _at_least("length", length, 2)
    ids = _allowed(vocabulary, bos_id, sep_id, exclude)
    s = _draw(ids, n, length, distinct, generator)
    parts = [s, s.flip(1)]
    if sep_id is not None:
        parts.insert(1, torch.full((n, 1), sep_id))
    first, seed = length + (sep_id is not None), generator.initial_seed()
    body = torch.cat(parts, dim=1)
    return _examples(body, bos_id, first, name=f"reversed-tokens-{length}", seed=seed)


@register_task("text-windows")
def text_windows(
    ids: Int[Tensor, " stream"],
    *,
    n: int,
    length: int,
    bos_id: int | None = None,
    generator: torch.Generator,
) -> Examples:
    """Windows of a stream of token ids: what a language model predicts of real text.

    The stream is cut into windows that do not overlap and ``n`` of them are drawn; each is its own
    group, so that a split never shares a stretch of text. All but the last position are scored.

    Args:
        ids: The tokenised text, one-dimensional.
        n: Number of windows.
        length: Tokens from the stream in a window, at least 2, BOS not counted.
        bos_id: Prepended where given.
        generator: The only source of randomness, on the CPU.

    Raises:
        TaskError: not a one-dimensional integer tensor, or the stream is too short.
    """
    if ids.ndim != 1 or ids.is_floating_point() or ids.dtype == torch.bool:
        raise TaskError(
            f"text-windows reads integer ids of shape [stream], got {ids.dtype} of shape "
            f"{list(ids.shape)}; concatenate the documents' ids first"
        )
    _at_least("n", n, 1)
    _at_least("length", length, 2)
    _at_least("bos_id", bos_id or 0, 0)
    available = len(ids) // length
    if n > available:
        raise TaskError(
            f"{n} windows of {length} tokens asked for, but {len(ids)} ids hold only {available}; "
            "ask for fewer or shorter windows, or give more text"
        )
    _on_cpu(generator)
    chosen = torch.randperm(available, generator=generator)[:n]
    rows = ids.cpu().to(torch.int64)[: available * length].view(available, length)[chosen]
    groups = tuple(f"window-{window}" for window in chosen.tolist())
    name, seed = f"text-windows-{length}", generator.initial_seed()
    return _examples(rows, bos_id, None, name=name, seed=seed, groups=groups)


def _at_least(name: str, value: int, least: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < least:
        raise TaskError(f"{name}={value!r}: expected a whole number, at least {least}")


def _on_cpu(generator: torch.Generator) -> None:
    if generator.device.type != "cpu":
        raise TaskError(
            f"the generator is on {generator.device}, but a seed means the same everywhere only "
            "on the CPU; pass torch.Generator().manual_seed(seed)"
        )


def _allowed(
    vocabulary: int | Sequence[int], bos_id: int | None, sep_id: int | None, exclude: Iterable[int]
) -> Int[Tensor, " allowed"]:
    """The ids that may be drawn, ascending."""
    for name, value in (("bos_id", bos_id), ("sep_id", sep_id)):
        if value is not None:
            _at_least(name, value, 0)
            if isinstance(vocabulary, int) and value >= vocabulary:
                raise TaskError(f"{name}={value} is outside the vocabulary 0…{vocabulary - 1}")
    if isinstance(vocabulary, int):
        ids = set(range(vocabulary))
    else:
        ids = {int(i) for i in vocabulary}
        if len(ids) != len(vocabulary) or min(ids, default=0) < 0:
            raise TaskError("the vocabulary's ids must be non-negative and differ: pass each once")
    left = sorted(ids - {bos_id, sep_id} - {int(i) for i in exclude})
    if not left:
        raise TaskError(
            f"no id is left of a vocabulary of {len(ids)} without BOS and the excluded ones; "
            "exclude fewer, or use a larger vocabulary"
        )
    return torch.tensor(left)


def _draw(
    ids: Int[Tensor, " allowed"], n: int, width: int, distinct: bool, generator: torch.Generator
) -> Int[Tensor, "n width"]:
    _at_least("n", n, 1)
    _on_cpu(generator)
    if distinct:
        if width > len(ids):
            raise TaskError(
                f"{width} distinct tokens asked for, but only {len(ids)} ids are allowed; ask for "
                f"{len(ids)} or fewer, use a larger vocabulary, or pass distinct=False"
            )
        # Row by row: one matrix of n × vocabulary keys would be gigabytes for a real vocabulary.
        rows = [torch.randperm(len(ids), generator=generator)[:width] for _ in range(n)]
        return ids[torch.stack(rows)]
    return ids[torch.randint(len(ids), (n, width), generator=generator)]


def _examples(
    body: Int[Tensor, "n width"],
    bos_id: int | None,
    first_scored: int | None,
    *,
    name: str,
    seed: int,
    groups: tuple[str, ...] = (),
) -> Examples:
    """Prepend BOS; score from ``first_scored`` in the body (None: from the start) to the end."""
    offset = int(bos_id is not None)
    if bos_id is not None:
        body = torch.cat([torch.full((len(body), 1), bos_id), body], dim=1)
    scored: Bool[Tensor, "n pos"] = torch.zeros_like(body, dtype=torch.bool)
    scored[:, 0 if first_scored is None else offset + first_scored : -1] = True
    return Examples(tokens=body, scored=scored, groups=groups, name=name, seed=seed)


# Last, since it needs what stands above: enters the tasks of in-context learning in TASKS.
import interp.zoo.icl_ids  # noqa: E402, F401
