"""Prompts from a file: one JSON object a line, with what is right and what is wrong.

    {"clean": "The Eiffel Tower is in", "answer": " Paris", "wrong": " Rome",
     "corrupt": "The Colosseum is in", "group": "towers"}

``clean`` and ``answer`` are needed. Where a model has no tokenizer, and where exact ids are meant,
lists of ids stand in place of texts (then nothing is put before them). A text is tokenised together
with its answer, so that the answer is what really follows; if that changes the prompt's own tokens,
the row is refused.
"""

from __future__ import annotations

import difflib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from interp.models.examples import Examples
from interp.models.model import Model

log = logging.getLogger(__name__)

_KEYS = ("clean", "answer", "wrong", "corrupt", "group")


class PromptsError(ValueError):
    """A file of prompts cannot be used; the message names the file, the row and what to do."""


@dataclass(frozen=True, eq=False)
class PromptSet:
    """What a file of prompts holds, as tokens.

    Attributes:
        clean: The prompts, padded on the right, with ``answer``, ``answer_at`` (the last token)
            and, where every row has one, ``wrong``. Rows of one prompt are one group, unless the
            file names groups.
        corrupt: The counterfactual prompts, row by row of the same length; None where not asked
            for.
        n_duplicates: Rows that stand in the file more than once, not counting the first.
        n_cut: Answers and wrong answers of which only the first token is used.
        n_unequal: Rows left out because clean and corrupt differ in length.
    """

    clean: Examples
    corrupt: Examples | None
    n_duplicates: int
    n_cut: int
    n_unequal: int

    def split(self, fraction: float, *, seed: int) -> tuple[PromptSet, PromptSet]:
        """Split by group, as ``Examples.split``; clean and corrupt stay together."""
        first, second = self.clean.split(fraction, seed=seed)
        one = two = None
        if self.corrupt is not None:  # the same groups, so the same rows
            one, two = self.corrupt.split(fraction, seed=seed)
        return replace(self, clean=first, corrupt=one), replace(self, clean=second, corrupt=two)


@dataclass(frozen=True)
class _Row:
    number: int
    clean: list[int]
    answer: int
    wrong: int | None
    corrupt: list[int] | None
    group: str
    n_cut: int


def read_prompts(
    path: Path | str,
    model: Model,
    *,
    first_token: bool = False,
    with_corrupt: bool = False,
    skip_unequal: bool = False,
) -> PromptSet:
    """Read prompts and tokenise them for a model.

    Args:
        path: The file; blank lines are passed over.
        model: Whose tokenizer, vocabulary and context. Its beginning-of-sequence id is put before
            texts, where it has one.
        first_token: Where an answer has several tokens, use its first; otherwise that is an error.
        with_corrupt: Read the counterfactual prompts, which every row then needs.
        skip_unequal: Leave out rows whose clean and corrupt prompts differ in length, and count
            them; otherwise that is an error.

    Raises:
        PromptsError: naming the first row that cannot be used, and why.
    """
    path = Path(path)
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise PromptsError(f"{path} cannot be read as UTF-8 text: {error}") from None
    reader = _Reader(path, model, first_token, with_corrupt)
    rows: list[_Row] = []
    seen: set[str] = set()
    n_duplicates = n_unequal = 0
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        held = reader.parse(number, line)
        told = json.dumps(held, sort_keys=True)
        n_duplicates += told in seen
        seen.add(told)
        row = reader.row(number, held)
        if row.corrupt is not None and len(row.corrupt) != len(row.clean):
            if not skip_unequal:
                raise reader.error(
                    number,
                    f"clean has {len(row.clean)} tokens and corrupt {len(row.corrupt)}, but they "
                    "must pair position by position; make them equally long, or skip such rows",
                )
            n_unequal += 1
            continue
        rows.append(row)
    if not rows:
        left = f"; all {n_unequal} rows differ in length" if n_unequal else ""
        raise PromptsError(f"{path} holds no prompts{left}; expected one JSON object a line")
    reader.check_groups(rows)
    n_cut = sum(row.n_cut for row in rows)
    odd = (
        (n_duplicates, "rows repeat others"),
        (n_cut, "answers are cut to a token"),
        (n_unequal, "rows are left out"),
    )
    if any(count for count, _ in odd):
        said = ", ".join(f"{count} {what}" for count, what in odd if count)
        log.warning("%s: %s", path.name, said)
    return _prompt_set(rows, path.name, (n_duplicates, n_cut, n_unequal))


class _Reader:
    """One file, read row by row."""

    def __init__(self, path: Path, model: Model, first_token: bool, with_corrupt: bool) -> None:
        self.path, self.model = path, model
        self.first_token, self.with_corrupt = first_token, with_corrupt
        self.has_wrong: bool | None = None

    def error(self, number: int, reason: str) -> PromptsError:
        return PromptsError(f"{self.path}:{number}: {reason}")

    def parse(self, number: int, line: str) -> dict[str, Any]:
        """Check a row's form, without looking at tokens."""
        try:
            held = json.loads(line)
        except ValueError as why:
            raise self.error(number, f"no JSON ({why}); expected one object a line") from None
        if not isinstance(held, dict):
            raise self.error(number, f"a JSON {type(held).__name__}; expected an object")
        for key in held:
            if key not in _KEYS:
                near = difflib.get_close_matches(key, _KEYS, n=1)
                hint = f"did you mean {near[0]!r}?" if near else f"expected {', '.join(_KEYS)}"
                raise self.error(number, f"unknown key {key!r}; {hint}")
        needed = ["clean", "answer", *(["corrupt"] if self.with_corrupt else [])]
        if missing := [key for key in needed if key not in held]:
            raise self.error(number, f"{missing[0]!r} is missing; every row needs {needed}")
        if self.has_wrong is None:
            self.has_wrong = "wrong" in held
        if self.has_wrong != ("wrong" in held):
            raise self.error(number, "'wrong' must be given in every row or in none")
        return held

    def row(self, number: int, held: Mapping[str, Any]) -> _Row:
        """Tokenise one row."""
        clean = self._prompt(number, "clean", held["clean"])
        answer, cut = self._answer(number, "answer", held)
        wrong = None
        if "wrong" in held:
            wrong, cut_too = self._answer(number, "wrong", held)
            cut += cut_too
            if wrong == answer:
                raise self.error(
                    number,
                    "answer and wrong begin with the same token, so nothing tells them"
                    " apart; give others",
                )
        corrupt = None
        if self.with_corrupt:
            corrupt = self._prompt(number, "corrupt", held["corrupt"])
        group = held.get("group")
        if group is not None and not isinstance(group, str | int):
            raise self.error(number, f"'group' is a {type(group).__name__}; expected text")
        named = str(group) if group is not None else json.dumps(clean)
        return _Row(number, clean, answer, wrong, corrupt, named, cut)

    def check_groups(self, rows: Sequence[_Row]) -> None:
        """One prompt in two groups could be chosen on and judged on."""
        of: dict[tuple[int, ...], str] = {}
        for row in rows:
            before = of.setdefault(tuple(row.clean), row.group)
            if before != row.group:
                raise self.error(
                    row.number,
                    f"this prompt stands in group {before!r} already, here in "
                    f"{row.group!r}; rows of one prompt belong to one group",
                )

    def _prompt(self, number: int, key: str, value: Any) -> list[int]:
        bos = self.model.bos_id
        ids = self._ids(number, key, value)
        if isinstance(value, str) and bos is not None:
            ids = [bos, *ids]
        if len(ids) > self.model.n_ctx:
            raise self.error(
                number,
                f"{key!r} has {len(ids)} tokens, the context of {self.model.spec.name} "
                f"is {self.model.n_ctx}; shorten it",
            )
        return ids

    def _answer(self, number: int, key: str, held: Mapping[str, Any]) -> tuple[int, int]:
        """The answer's token, and whether it was cut to it."""
        clean, value = held["clean"], held[key]
        value = [value] if isinstance(value, int) and not isinstance(value, bool) else value
        if isinstance(clean, str) and isinstance(value, str):
            if not value:
                raise self.error(number, f"{key!r} is empty")
            before = self._ids(number, "clean", clean)
            whole = self._ids(number, key, clean + value)
            ids = whole[len(before) :]
            if whole[: len(before)] != before or not ids:
                raise self.error(
                    number,
                    f"{key!r} runs together with the prompt's last token; move white space "
                    "between them to the answer's beginning",
                )
        else:
            ids = self._ids(number, key, value)
        if len(ids) > 1 and not self.first_token:
            raise self.error(
                number,
                f"{key!r} is {len(ids)} tokens; expected one. Take only the first of each "
                "(first_token; on a command line --first-token) if these tell the answers apart",
            )
        return ids[0], int(len(ids) > 1)

    def _ids(self, number: int, key: str, value: Any) -> list[int]:
        tokenizer = self.model.tokenizer
        if isinstance(value, str):
            if tokenizer is None:
                raise self.error(
                    number,
                    f"{self.model.spec.name} has no tokenizer; give {key!r} as a list of token ids",
                )
            ids = list(tokenizer.encode(value, add_special_tokens=False))
            unknown = tokenizer.unk_token_id
            if unknown is not None and unknown in ids and tokenizer.unk_token not in value:
                raise self.error(number, f"{key!r} holds a token unknown to the tokenizer")
        elif isinstance(value, list) and all(type(i) is int for i in value):
            ids = value
        else:
            raise self.error(
                number, f"{key!r} is a {type(value).__name__}; expected text or a list of token ids"
            )
        if not ids:
            raise self.error(number, f"{key!r} gives no token")
        if bad := [i for i in ids if not 0 <= i < self.model.d_vocab]:
            raise self.error(
                number,
                f"{key!r} has id {bad[0]}, outside the vocabulary 0…{self.model.d_vocab - 1}",
            )
        return ids


def _prompt_set(rows: Sequence[_Row], name: str, counts: tuple[int, int, int]) -> PromptSet:
    lengths = torch.tensor([len(row.clean) for row in rows])
    width = int(lengths.max())
    mask = torch.arange(width)[None] < lengths[:, None]

    def padded(ids: Sequence[Sequence[int]]) -> torch.Tensor:
        tokens = torch.full((len(rows), width), ids[0][0], dtype=torch.int64)
        for i, row in enumerate(ids):
            tokens[i, : len(row)] = torch.tensor(row)
        return tokens

    wrong = [row.wrong for row in rows if row.wrong is not None]
    groups = tuple(row.group for row in rows)
    clean = Examples(
        tokens=padded([row.clean for row in rows]),
        mask=mask,
        answer=torch.tensor([row.answer for row in rows]),
        wrong=torch.tensor(wrong) if wrong else None,
        answer_at=lengths - 1,
        groups=groups,
        name=name,
    )
    corrupt = None
    others = [row.corrupt for row in rows if row.corrupt is not None]
    if others:
        corrupt = Examples(padded(others), mask, groups=groups, name=f"{name}, corrupt")
    return PromptSet(clean, corrupt, *counts)
