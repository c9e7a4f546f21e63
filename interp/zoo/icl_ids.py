"""In-context learning in token ids, for models without a tokenizer.

A function of unseen inputs cannot be learned from random ids, so these ask for what the context
does hold: the value that stood beside a key, or the item at a place of a list. Each entry in
:data:`interp.zoo.tasks.TASKS` takes ids and an explicit generator, like the other tasks there.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import torch
from jaxtyping import Int
from torch import Tensor

from interp.zoo.icl_prompts import IclPrompts
from interp.zoo.tasks import TaskError, _allowed, _at_least, _draw, register_task


@register_task("key-value-recall")
def key_value_recall(
    vocabulary: int | Sequence[int],
    *,
    n: int,
    keys: int,
    repeats: int = 1,
    bos_id: int | None = None,
    sep_id: int | None = None,
    end_id: int | None = None,
    exclude: Iterable[int] = (),
    permute_labels: bool = False,
    generator: torch.Generator,
) -> IclPrompts:
    """``[BOS?] k [SEP?] v [END?] k' [SEP?] v' [END?] … k [SEP?]``: which value was that key's?

    Keys and values are drawn without replacement, the key asked for at random. Without marks one
    induction head answers it: the key has stood before, followed by the answer. The wrong answer
    is another key's value; who picks among the values blindly is right in 1 of ``keys``.

    Args:
        vocabulary, n, bos_id, exclude: As in :func:`interp.zoo.tasks.repeated_tokens`.
        keys: Different keys in a prompt, at least 2.
        repeats: How often every key stands with its value, each time in another order.
        sep_id: Put between key and value, where given.
        end_id: Put after each value, where given.
        permute_labels: Move every key's values on to the next key, while the answer stays what it
            was: from the context it is wrong. Otherwise the same draws.
        generator: The only source of randomness, on the CPU; its initial seed is recorded.

    Raises:
        TaskError: an argument out of range, or too few ids.
    """
    _at_least("keys", keys, 2)
    _at_least("repeats", repeats, 1)
    ids = _allowed(vocabulary, bos_id, sep_id, [*exclude, *_given(end_id)])
    drawn = _draw(ids, n, 2 * keys, True, generator)
    key, value = drawn[:, :keys], drawn[:, keys:]
    told = value.roll(1, dims=1) if permute_labels else value
    rows = torch.arange(n)[:, None]
    order = torch.stack(
        [
            torch.cat([torch.randperm(keys, generator=generator) for _ in range(repeats)])
            for _ in range(n)
        ]
    )
    asked = torch.randint(keys, (n,), generator=generator)
    each = torch.arange(n)
    parts = _between([key[rows, order], told[rows, order]], [sep_id, end_id])
    body = torch.stack(parts, dim=2).flatten(1)
    query = [key[each, asked][:, None], *_column(n, sep_id)]
    # Another key's value: any but the asked one, by a step of 1 to keys − 1.
    step = torch.randint(1, keys, (n,), generator=generator)
    return _prompts(
        [*_column(n, bos_id), body, *query],
        answer=value[each, asked],
        wrong=value[each, (asked + step) % keys],
        task=f"key-value-recall-{keys}" + (f"x{repeats}" if repeats > 1 else ""),
        shots=keys * repeats,
        choices=keys,
        permuted=permute_labels,
        seed=generator.initial_seed(),
    )


@register_task("list-position")
def list_position(
    vocabulary: int | Sequence[int],
    *,
    n: int,
    shots: int,
    items: int = 3,
    position: Literal["first", "last"] = "first",
    sep_id: int,
    end_id: int,
    bos_id: int | None = None,
    exclude: Iterable[int] = (),
    permute_labels: bool = False,
    generator: torch.Generator,
) -> IclPrompts:
    """``[BOS?] a b c SEP a END d e f SEP d END … x y z SEP``: which item is at that place?

    All items of a prompt differ, so that none has been an answer before. The wrong answer is
    another item of the query's list; who picks one blindly is right in 1 of ``items``.

    Args:
        vocabulary, n, bos_id, exclude: As in :func:`interp.zoo.tasks.repeated_tokens`.
        shots: Lists that are answered, before the one that is not.
        items: Items of a list, at least 2.
        position: Which item is asked for.
        sep_id: Stands between a list and its answer, never drawn.
        end_id: Stands after an answer, never drawn.
        permute_labels: Give each answered list the next one's answer. Otherwise the same draws.
        generator: The only source of randomness, on the CPU; its initial seed is recorded.

    Raises:
        TaskError: an argument out of range, or too few ids.
    """
    _at_least("items", items, 2)
    _at_least("shots", shots, 2 if permute_labels else 0)
    if position not in ("first", "last"):
        raise TaskError(f"position={position!r}: expected first or last")
    ids = _allowed(vocabulary, bos_id, sep_id, [*exclude, end_id])
    lists = _draw(ids, n, items * (shots + 1), True, generator).unflatten(1, (shots + 1, items))
    place = 0 if position == "first" else items - 1
    answers = lists[:, :, place]
    told = answers[:, :-1].roll(1, dims=1) if permute_labels else answers[:, :-1]
    marks = torch.full((n, shots, 1), sep_id), torch.full((n, shots, 1), end_id)
    shown = torch.cat([lists[:, :-1], marks[0], told[:, :, None], marks[1]], dim=2).flatten(1)
    others = [i for i in range(items) if i != place]
    other = torch.tensor(others)[torch.randint(len(others), (n,), generator=generator)]
    return _prompts(
        [*_column(n, bos_id), shown, lists[:, -1], *_column(n, sep_id)],
        answer=answers[:, -1],
        wrong=lists[torch.arange(n), -1, other],
        task=f"list-position-{position}-of-{items}",
        shots=shots,
        choices=items,
        permuted=permute_labels,
        seed=generator.initial_seed(),
    )


def _given(mark: int | None) -> list[int]:
    if mark is not None:
        _at_least("end_id", mark, 0)
    return [] if mark is None else [mark]


def _column(n: int, mark: int | None) -> list[Int[Tensor, "n 1"]]:
    return [] if mark is None else [torch.full((n, 1), mark)]


def _between(parts: Sequence[Tensor], marks: Sequence[int | None]) -> list[Tensor]:
    """Each part with its mark after it, where there is one."""
    found: list[Tensor] = []
    for part, mark in zip(parts, marks, strict=True):
        found += [part] if mark is None else [part, torch.full_like(part, mark)]
    return found


def _prompts(
    columns: Sequence[Int[Tensor, "n width"]],
    *,
    answer: Int[Tensor, " n"],
    wrong: Int[Tensor, " n"],
    task: str,
    shots: int,
    choices: int,
    permuted: bool,
    seed: int,
) -> IclPrompts:
    tokens = torch.cat(list(columns), dim=1)
    n, width = tokens.shape
    return IclPrompts(
        tokens=tokens,
        answer=answer,
        wrong=wrong,
        answer_at=torch.full((n,), width - 1),
        # Row i holds the same draws whatever the labels, and so the same group.
        groups=tuple(f"{task} {seed}-{i}" for i in range(n)),
        name=f"{task}, {shots} shots{', labels permuted' if permuted else ''}",
        seed=seed,
        task=task,
        shots=shots,
        permuted=permuted,
        guess=torch.full((n,), 1 / choices, dtype=torch.float64),
    )
