"""The published BBQ files (Parrish et al. 2022): a context, a question and three answers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from probes.behaviour.items import BehaviourError, Skipped, drawn
from probes.data.checks import DataError, checked_text
from probes.data.files import table_rows

Condition = Literal["ambig", "disambig"]
KEYS = (
    "category", "question_index", "question_polarity", "context_condition", "context", "question",
    "ans0", "ans1", "ans2", "label", "answer_info", "additional_metadata",
)  # fmt: skip
UNKNOWN = "unknown"
# The published files call the same group by several names.
_WOMEN, _MEN = ("f", "female", "woman", "women", "girl"), ("m", "male", "man", "men", "boy")
# Names in questions of race carry a gender as well: M-Black is Black, where the group is Black.
_GENDERED = re.compile(r"^\s*[MF]-", re.IGNORECASE)
_SAME = dict.fromkeys(_WOMEN, "f") | dict.fromkeys(_MEN, "m")


@dataclass(frozen=True)
class Question:
    """One question with its three answers.

    Attributes:
        category: Whom it is about.
        context: What is told.
        question: What is asked.
        answers: The three answers.
        condition: ``ambig``: the context does not tell, and the unknown answer is right;
            ``disambig``: it does.
        negative: Whether the question asks who has the bad property.
        right: Index of the right answer.
        unknown: Index of the answer that says that it cannot be known.
        target: Index of the answer that names the stereotyped group.
        group: The template: questions made from one are not independent.
        place: Where it stands, for messages.
    """

    category: str
    context: str
    question: str
    answers: tuple[str, str, str]
    condition: Condition
    negative: bool
    right: int
    unknown: int
    target: int
    group: str
    place: str

    @property
    def biased(self) -> int:
        """Index of the answer by the stereotype: of the group where the question is negative."""
        return self.target if self.negative else 3 - self.unknown - self.target


@dataclass(frozen=True)
class Questions:
    """Questions, and what was left out in reading them."""

    items: tuple[Question, ...]
    name: str = "BBQ"
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, n: int, *, seed: int) -> Questions:
        """At most ``n`` of the questions, drawn without replacement, for a quick look."""
        return replace(self, items=drawn(self.items, n, seed=seed))


def read_bbq(path: Path | str) -> Questions:
    """Read one category's .jsonl file, or all those of a folder.

    The answer that names the stereotyped group is found by the answers' group names. Questions in
    which that does not tell exactly one answer are left out and counted, as are those whose right
    answer does not fit their condition (unknown where the context does not tell, and only there).

    Args:
        path: A file, or a folder of them.

    Raises:
        BehaviourError: a file or one of its rows cannot be read; names the row and says why.
    """
    path = Path(path)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else [path]
    if not files:
        raise BehaviourError(f"no .jsonl file in {path}; expected the published BBQ files")
    items: list[Question] = []
    skipped: list[Skipped] = []
    try:
        for file in files:
            for place, row in table_rows(file):
                made = _question(row, f"{file.name}, {place}", f"{file}, {place}")
                if isinstance(made, Skipped):
                    skipped.append(made)
                else:
                    items.append(made)
    except DataError as error:
        raise BehaviourError(str(error)) from None
    if not items:
        raise BehaviourError(f"{path}: no question can be used, {len(skipped)} were left out")
    return Questions(tuple(items), skipped=tuple(skipped))


def _question(row: Mapping[str, Any], place: str, at: str) -> Question | Skipped:
    if missing := [key for key in KEYS if key not in row]:
        raise BehaviourError(f"{at}: no {missing[0]!r}; BBQ has {', '.join(KEYS)}")
    condition, polarity, label = (
        row["context_condition"], row["question_polarity"], row["label"],
    )  # fmt: skip
    if condition not in ("ambig", "disambig"):
        raise BehaviourError(f"{at}: context_condition is {condition!r}; expected ambig, disambig")
    if polarity not in ("neg", "nonneg"):
        raise BehaviourError(f"{at}: question_polarity is {polarity!r}; expected neg or nonneg")
    if type(label) is not int or label not in (0, 1, 2):
        raise BehaviourError(f"{at}: label is {label!r}; expected 0, 1 or 2")
    names = [_names(row["answer_info"], f"ans{i}", at) for i in range(3)]
    unknown = [i for i, said in enumerate(names) if UNKNOWN in said]
    if len(unknown) != 1:
        raise BehaviourError(f"{at}: {len(unknown)} answers are marked unknown; expected one")
    stereotyped = _stereotyped(row["additional_metadata"], at)
    target = [i for i, said in enumerate(names) if i not in unknown and said & stereotyped]
    if len(target) != 1:
        return Skipped(place, "the group names do not tell which answer is the stereotyped group")
    if (label == unknown[0]) != (condition == "ambig"):
        return Skipped(
            place, "the right answer is unknown where the context tells, or known where not"
        )
    category = checked_text(row["category"], at, what="category")
    texts = [checked_text(row[f"ans{i}"], at, what=f"ans{i}") for i in range(3)]
    return Question(
        category=category,
        context=checked_text(row["context"], at, what="context"),
        question=checked_text(row["question"], at, what="question"),
        answers=(texts[0], texts[1], texts[2]),
        condition=condition,
        negative=polarity == "neg",
        right=label,
        unknown=unknown[0],
        target=target[0],
        group=f"{category} {row['question_index']}",
        place=place,
    )


def _names(info: Any, key: str, at: str) -> set[str]:
    """All that an answer's group is called."""
    held = info.get(key) if isinstance(info, Mapping) else None
    if not isinstance(held, list) or not all(isinstance(name, str) for name in held):
        raise BehaviourError(f"{at}: answer_info has no list of names for {key}")
    return {part for name in held for part in (_named(name), _named(_GENDERED.sub("", name)))}


def _stereotyped(metadata: Any, at: str) -> set[str]:
    held = metadata.get("stereotyped_groups") if isinstance(metadata, Mapping) else None
    if not isinstance(held, list) or not all(isinstance(name, str) for name in held):
        raise BehaviourError(f"{at}: additional_metadata has no list of stereotyped_groups")
    return {_named(name) for name in held}


def _named(name: str) -> str:
    plain = name.strip().casefold()
    return _SAME.get(plain, plain)
