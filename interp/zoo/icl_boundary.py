"""One prompt: its text, its ids, and the token with which the answer begins.

See :mod:`interp.zoo.icl_prompts` for what is done and why.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain

import numpy as np
from jaxtyping import Int

from interp.models.model import Model
from interp.zoo.icl import IclError, IclTask

TEMPLATE = "Q: {input}\nA: {output}\n\n"
"""How a demonstration is written (Todd et al. 2024); the query ends before its output."""


@dataclass(frozen=True)
class Row:
    """One prompt, in both versions."""

    query: int
    plain: list[int]
    permuted: list[int]
    answer: int
    wrong: int
    guess: float | None
    echo: bool


@dataclass(frozen=True)
class Draw:
    """What one prompt is made of, before any text."""

    query: int
    others: Int[np.ndarray, " pair"]
    seed: tuple[int, int]


class DroppedError(Exception):
    """This query cannot be used; the message is the reason."""


class Maker:
    """Makes rows of one task for one model."""

    def __init__(self, task: IclTask, model: Model, template: str) -> None:
        self.task, self.model = task, model
        if model.tokenizer is None:
            raise IclError(
                f"{model.spec.name} has no tokenizer; use the tasks in token ids "
                "(interp.zoo.icl_ids)"
            )
        self.encode = model.tokenizer.encode
        if any(template.count(part) != 1 for part in ("{input}", "{output}")) or template.index(
            "{input}"
        ) > template.index("{output}"):
            raise IclError(
                f"template {template!r}: expected {{input}} once and then {{output}} once, as in "
                f"{TEMPLATE!r}"
            )
        before, self.after = template.split("{output}")
        self.before = before.rstrip(" ")
        self.gap = before[len(self.before) :]
        self.bos = [] if model.bos_id is None else [model.bos_id]

    def row(self, draw: Draw, shots: int) -> Row:
        """Make one prompt with both kinds of labels.

        Raises:
            DroppedError: it cannot be made.
        """
        rng = np.random.default_rng([*draw.seed, 1])
        demos = [self.task.pairs[i] for i in draw.others[:shots].tolist()]
        labels = [output for _, output in demos]
        plain = self._text(draw.query, demos)
        moved = [labels[i] for i in deranged(labels, rng)]
        permuted = self._text(
            draw.query, [(given, label) for (given, _), label in zip(demos, moved, strict=True)]
        )
        given, output = self.task.pairs[draw.query]
        prompt, answer = self._first(plain, output)
        other_prompt, other_answer = self._first(permuted, output)
        if answer != other_answer:
            raise DroppedError("the answer begins with another token when labels are permuted")
        offered = self.task.choices[draw.query] if self.task.choices else ()
        wrong = self._wrong(plain, prompt, answer, self._others(draw, offered, rng))
        guess = None
        if offered:
            same = sum(self._at(plain, prompt, choice) == answer for choice in offered)
            guess = same / len(offered)
        echo = self._at(plain, prompt, given) == answer
        return Row(
            draw.query,
            [*self.bos, *prompt],
            [*self.bos, *other_prompt],
            answer,
            wrong,
            guess,
            echo,
        )

    def _text(self, query: int, demos: Sequence[tuple[str, str]]) -> str:
        shown = [
            self.before.replace("{input}", given) + self.gap + output + self.after
            for given, output in demos
        ]
        return "".join(shown) + self.before.replace("{input}", self.task.pairs[query][0])

    def _first(self, text: str, output: str) -> tuple[list[int], int]:
        """The prompt's ids and the first of the answer's."""
        prompt = self._ids(text)
        whole = self._ids(text + self.gap + output)
        if whole[: len(prompt)] != prompt:
            raise DroppedError("prompt and answer share a token")
        at = len(prompt)
        while at < len(whole) and self._blank(whole[at]):
            at += 1
        if at == len(whole):
            raise DroppedError("the answer has no token of its own")
        return whole[:at], whole[at]

    def _at(self, text: str, prompt: list[int], output: str) -> int | None:
        """First token of another output in the same place; None where it does not fit there."""
        whole = self._ids(text + self.gap + output)
        at = len(prompt)
        fits = len(whole) > at and whole[:at] == prompt and not self._blank(whole[at])
        return whole[at] if fits else None

    def _blank(self, token: int) -> bool:
        assert self.model.tokenizer is not None
        return not self.model.tokenizer.decode([token]).strip()

    def _wrong(self, text: str, prompt: list[int], answer: int, outputs: Iterable[str]) -> int:
        """First token of the first of some outputs that begins otherwise than the answer."""
        for other in outputs:
            token = self._at(text, prompt, other)
            if token is not None and token != answer:
                return token
        raise DroppedError("no other output begins with another token")

    def _others(
        self, draw: Draw, offered: Sequence[str], rng: np.random.Generator
    ) -> Iterator[str]:
        """Other outputs: those the query offers, then those demonstrated, then all."""
        shuffled = (offered[i] for i in rng.permutation(len(offered)).tolist())
        labels = (self.task.pairs[i][1] for i in draw.others.tolist())
        seen = {self.task.pairs[draw.query][1]}
        for other in chain(shuffled, labels):
            if other not in seen:
                seen.add(other)
                yield other

    def _ids(self, text: str) -> list[int]:
        return list(self.encode(text, add_special_tokens=False))


def deranged(labels: Sequence[str], rng: np.random.Generator) -> list[int]:
    """A random order in which as many as possible get a label other than their own.

    Equal labels are put together and all moved on by the size of the largest lot: then only what
    one label's majority makes unavoidable stays.
    """
    if not labels:
        return []
    kinds = list(dict.fromkeys(labels))
    ranks = dict(zip(kinds, rng.permutation(len(kinds)).tolist(), strict=True))
    mixed = [int(i) for i in rng.permutation(len(labels))]
    together = sorted(mixed, key=lambda i: ranks[labels[i]])
    step = max(Counter(labels).values())
    source = list(range(len(labels)))
    for place, i in enumerate(together):
        source[i] = together[(place + step) % len(together)]
    return source
