"""The published StereoSet file (Nadeem et al. 2021): a context and three ways to go on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

from probes.behaviour.items import BehaviourError, drawn
from probes.data.checks import DataError, checked_text
from probes.data.files import json_document

Task = Literal["intrasentence", "intersentence"]
LABELS = {"stereotype": "stereotype", "anti-stereotype": "anti", "unrelated": "unrelated"}


@dataclass(frozen=True)
class Association:
    """One item: about whom it is, and three sentences.

    Attributes:
        task: ``intrasentence``: three sentences that differ in a word; ``intersentence``: three
            sentences that may follow the context.
        target: The target term.
        bias_type: What it is about.
        context: What stands before the sentences; empty within a sentence.
        stereotype: The stereotyped sentence.
        anti: The one against the stereotype.
        unrelated: The one that makes no sense.
        place: Where it stands, for messages.
    """

    task: Task
    target: str
    bias_type: str
    context: str
    stereotype: str
    anti: str
    unrelated: str
    place: str


@dataclass(frozen=True)
class Associations:
    """The items of a file."""

    items: tuple[Association, ...]
    name: str = "StereoSet"

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, n: int, *, seed: int) -> Associations:
        """At most ``n`` of the items, drawn without replacement, for a quick look."""
        return replace(self, items=drawn(self.items, n, seed=seed))


def read_stereoset(path: Path | str) -> Associations:
    """Read ``dev.json``: ``{"data": {"intrasentence": [...], "intersentence": [...]}}``.

    Args:
        path: The file.

    Raises:
        BehaviourError: the file or one of its items cannot be read; names the item and says why.
    """
    path = Path(path)
    try:
        held = json_document(path)
        tasks = held.get("data") if isinstance(held, dict) else None
        if not isinstance(tasks, dict) or not set(tasks) & set(get_args(Task)):
            raise BehaviourError(
                f"{path}: expected an object with 'data', and in it 'intrasentence' and "
                "'intersentence'"
            )
        items = [
            _item(task, item, f"{path}, {task}, item {i}")
            for task in get_args(Task)
            for i, item in enumerate(_list(tasks.get(task, []), f"{path}, {task}"), start=1)
        ]
    except DataError as error:
        raise BehaviourError(str(error)) from None
    if not items:
        raise BehaviourError(f"{path} holds no items")
    return Associations(tuple(items))


def _item(task: Task, item: Any, at: str) -> Association:
    if not isinstance(item, Mapping):
        raise BehaviourError(f"{at}: expected an object, got {type(item).__name__}")
    texts: dict[str, str] = {}
    for sentence in _list(item.get("sentences"), f"{at}, sentences"):
        if not isinstance(sentence, Mapping):
            raise BehaviourError(f"{at}: a sentence is no object but {type(sentence).__name__}")
        label = sentence.get("gold_label")
        if label not in LABELS:
            raise BehaviourError(
                f"{at}: gold_label is {label!r}; expected {', '.join(LABELS)} (the hidden test "
                "set has none)"
            )
        if LABELS[label] in texts:
            raise BehaviourError(f"{at}: two sentences are labelled {label!r}")
        texts[LABELS[label]] = checked_text(sentence.get("sentence"), at, what="sentence")
    if missing := [label for label, key in LABELS.items() if key not in texts]:
        raise BehaviourError(f"{at}: no sentence is labelled {missing[0]!r}")
    context = checked_text(item.get("context"), at, what="context")
    return Association(
        task=task,
        target=checked_text(item.get("target"), at, what="target").strip(),
        bias_type=checked_text(item.get("bias_type"), at, what="bias_type").strip(),
        context=context.strip() if task == "intersentence" else "",
        place=at.split(", ", 1)[1],
        **texts,
    )


def _list(value: Any, at: str) -> list[Any]:
    if not isinstance(value, list):
        raise BehaviourError(f"{at}: expected a list, got {type(value).__name__}")
    return value
