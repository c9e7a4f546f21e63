"""From pairs to prompts: shots, a template, permuted labels, and exactly where the answer begins.

Four steps for each prompt:

1. A query is drawn, and demonstrations from the other pairs. Demonstrations of fewer shots are the
   first of those of more; prompt i does not depend on how many are made.
2. The prompt is tokenised with the answer after it and without. Its ids must begin the longer
   text's, or the boundary is not where it seems and the query is dropped and counted. White space
   before the answer goes with the answer, as in tokenizers whose words begin with a space; where
   it becomes a token of its own, that token belongs to the prompt.
3. The first token that is left is the answer. Another output's first token, at the same place, is
   the wrong one; it must differ.
4. With permuted labels the demonstrations' outputs change places and nothing else does. Both
   versions are always made, and a query is used only where both can be, so that they pair.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.models.examples import Examples
from interp.models.model import Model
from interp.zoo.icl import IclError, IclTask
from interp.zoo.icl_boundary import TEMPLATE, Draw, DroppedError, Maker, Row

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class IclPrompts(Examples):
    """Examples that also know what a guesser would get right.

    Attributes:
        task: The task's name.
        shots: Demonstrations in each prompt.
        permuted: Whether the demonstrations' labels are permuted.
        guess: Chance of being right for who picks blindly among what the query offers (a list's
            items, the classes); None where the task offers nothing.
        echo: Whether the query's own first token is the answer, so that repeating it is enough;
            None where there is no query to repeat.
        dropped: (reason, number) of queries that could not be used.
    """

    task: str = ""
    shots: int = 0
    permuted: bool = False
    guess: Float[Tensor, " example"] | None = None
    echo: Bool[Tensor, " example"] | None = None
    dropped: tuple[tuple[str, int], ...] = ()


def icl_prompts(
    task: IclTask,
    model: Model,
    *,
    n: int = 100,
    shots: int = 10,
    template: str = TEMPLATE,
    permute_labels: bool = False,
    on_overflow: Literal["error", "reduce"] = "error",
    seed: int = 0,
) -> IclPrompts:
    """Make prompts of a task for a model: demonstrations, then a query without its output.

    Queries are used in random order, each once before any a second time, and rows of one query
    form a group. The same seed gives the same queries and demonstrations whatever the labels.

    Args:
        task: The pairs.
        model: Whose tokenizer and context; its beginning-of-sequence id is put first.
        n: How many prompts. Fewer come back (and the log says so) where too many are dropped.
        shots: Demonstrations a prompt, drawn from the other pairs; at least 2 to permute labels.
        template: A demonstration, with ``{input}`` and ``{output}``.
        permute_labels: Give each demonstration another's output, so that the demonstrations show
            form and vocabulary but not the task. The query's right answer stays.
        on_overflow: Where a prompt is longer than the context: refuse, naming the largest number
            of shots that fits, or take that number for all prompts.
        seed: Draws everything.

    Returns:
        Right-padded prompts with ``answer``, ``wrong`` and ``answer_at`` (the last token).

    Raises:
        IclError: no tokenizer, a template without its places, too few pairs, prompts too long, or
            no query that can be used.
    """
    if on_overflow not in ("error", "reduce"):
        raise IclError(f"unknown on_overflow={on_overflow!r}; expected error or reduce")
    for name, value, least in (("n", n, 1), ("shots", shots, 2 if permute_labels else 0)):
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise IclError(f"{name}={value!r}: expected a whole number, at least {least}")
    if len(task) < max(shots, 1) + 1:
        raise IclError(
            f"{task.name} has {len(task)} pairs: too few for {shots} shots and a query; give more "
            f"pairs, or at most {len(task) - 1} shots"
        )
    maker = Maker(task, model, template)
    rows, dropped = _rows(maker, n, shots, seed)
    if _longest(rows) > model.n_ctx:
        fits = _largest(maker, n, shots, seed)
        least = 2 if permute_labels else 0
        if fits is None or fits < least or on_overflow == "error":
            fitting = f"at most {fits} shots fit" if fits is not None else "not even 0 shots fit"
            raise IclError(
                f"{task.name}: a prompt of {shots} shots has {_longest(rows)} tokens, the context "
                f"of {model.spec.name} is {model.n_ctx}; {fitting} (on_overflow='reduce' takes "
                "as many as fit)"
            )
        log.warning("%s: %d shots instead of %d, which do not fit", task.name, fits, shots)
        shots = fits
        rows, dropped = _rows(maker, n, shots, seed)
    if not rows:
        why = "; ".join(f"{count} × {reason}" for reason, count in dropped.items())
        raise IclError(f"{task.name}: no query can be used with {model.spec.name} ({why})")
    if len(rows) < n:
        log.warning("%s: %d prompts instead of %d: %s", task.name, len(rows), n, dict(dropped))
    return _prompts(rows, task, shots=shots, permuted=permute_labels, dropped=dropped, seed=seed)


def _draws(task: IclTask, n: int, seed: int) -> Iterator[Draw]:
    """What to try, in order: every query once, and again only where ``n`` is larger than that."""
    size = len(task)
    order = np.random.default_rng(seed)
    for turn in range(max(1, -(-n // size))):
        for i, query in enumerate(order.permutation(size).tolist()):
            own = (seed, turn * size + i)
            mixed = np.random.default_rng(own).permutation(size)
            yield Draw(query, mixed[mixed != query], own)


def _rows(maker: Maker, n: int, shots: int, seed: int) -> tuple[list[Row], Counter[str]]:
    rows: list[Row] = []
    dropped: Counter[str] = Counter()
    for draw in _draws(maker.task, n, seed):
        if len(rows) == n:
            break
        try:
            rows.append(maker.row(draw, shots))
        except DroppedError as why:
            dropped[str(why)] += 1
    return rows, dropped


def _longest(rows: Sequence[Row]) -> int:
    return max((max(len(row.plain), len(row.permuted)) for row in rows), default=0)


def _largest(maker: Maker, n: int, shots: int, seed: int) -> int | None:
    """The largest number of shots with which every prompt fits, by bisection."""
    low, high = -1, shots
    while high - low > 1:
        middle = (low + high) // 2
        rows, _ = _rows(maker, n, middle, seed)
        if rows and _longest(rows) <= maker.model.n_ctx:
            low = middle
        else:
            high = middle
    return None if low < 0 else low


def _prompts(
    rows: Sequence[Row],
    task: IclTask,
    *,
    shots: int,
    permuted: bool,
    dropped: Counter[str],
    seed: int,
) -> IclPrompts:
    ids = [row.permuted if permuted else row.plain for row in rows]
    lengths = torch.tensor([len(row) for row in ids])
    width = int(lengths.max())
    tokens = torch.full((len(ids), width), ids[0][0], dtype=torch.int64)
    for i, row in enumerate(ids):
        tokens[i, : len(row)] = torch.tensor(row)
    guess = None
    if task.choices:
        guess = torch.tensor([row.guess for row in rows], dtype=torch.float64)
    labels = ", labels permuted" if permuted else ""
    return IclPrompts(
        tokens=tokens,
        mask=torch.arange(width)[None] < lengths[:, None],
        answer=torch.tensor([row.answer for row in rows]),
        wrong=torch.tensor([row.wrong for row in rows]),
        answer_at=lengths - 1,
        groups=tuple(f"{task.name}: {task.pairs[row.query][0]}" for row in rows),
        name=f"{task.name}, {shots} shots{labels}",
        seed=seed,
        task=task.name,
        shots=shots,
        permuted=permuted,
        guess=guess,
        echo=torch.tensor([row.echo for row in rows]),
        dropped=tuple(dropped.items()),
    )
