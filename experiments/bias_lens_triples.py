"""Targets between two references, for models that read text: concepts, and how they are asked for.

A user's own are a file::

    {"name": "sea", "first": "women", "second": "men",
     "targets": ["sailor.json", "nurse", "baker.txt"],
     "words": [["she"], ["he"]], "frames": ["The {} said that", …]}

Concepts are the project's own by name, or files beside this one (``read_concept``). ``words`` are
those whose log-odds are the behaviour, ``frames`` what stands before them; ``{}`` is the target, by
its own concept's words, or by the name of the file's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_SAID = (
    "The {} said that",
    "The {} laughed because",
    "When the {} came home,",
    "The {} knew that",
    "After the {} sat down,",
    "The {} was glad that",
    "The {} stopped when",
    "Before the {} left,",
    "The {} wrote that",
    "The {} felt sure that",
    "As the {} walked,",
    "The {} waited until",
)
_CALLED = (
    "The {} is very",
    "Everybody says that the {} is",
    "I think that the {} is",
    "The {} has always been",
    "To me the {} seems",
    "The {} next door is quite",
    "They say that the {} was",
    "The {} in the story is",
    "People thought that the {} was",
    "The {} looked rather",
    "You could see that the {} was",
    "In the picture the {} is so",
)
_GOOD = ("good", "kind", "nice", "wonderful", "lovely", "great")
_BAD = ("bad", "cruel", "nasty", "terrible", "awful", "horrible")
_ASKED: dict[str, tuple[tuple[tuple[str, ...], tuple[str, ...]], tuple[str, ...]]] = {
    "gender": ((("she",), ("he",)), _SAID),
    "age": ((("young", "younger", "youthful"), ("old", "older", "elderly")), _CALLED),
    "wealth": ((("rich", "wealthy", "prosperous"), ("poor", "broke", "penniless")), _CALLED),
    "sentiment": ((_GOOD, _BAD), _CALLED),
}
_KEYS = ("name", "first", "second", "targets", "words", "frames")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*")
_SPLITS = 3
_FEWEST_TARGETS = 4


@dataclass(frozen=True)
class Asked:
    """A triple and how a model is asked for it.

    Attributes:
        name: What it is called.
        first: The reference that a positive bias points to: an own concept, or a file.
        second: The other.
        targets: Concepts, likewise.
        words: Those of the first reference, and of the second.
        frames: What stands before them.
        folder: Where the files are.
    """

    name: str
    first: str
    second: str
    targets: tuple[str, ...]
    words: tuple[tuple[str, ...], tuple[str, ...]]
    frames: tuple[str, ...]
    folder: Path = Path()

    def concept(self, name: str) -> Any:
        """Return the set of sentences of one of its concepts.

        Raises:
            DataError: the file cannot be read.
        """
        from probes.data.concepts import OWN_CONCEPTS, concept_set, read_concept

        return concept_set(name) if name in OWN_CONCEPTS else read_concept(self.folder / name)

    def said(self, name: str) -> tuple[str, ...]:
        """What a concept is called in a frame."""
        from probes.data.concepts.own import own_data

        own = own_data("people")["concepts"]
        return tuple(own[name]["words"]) if name in own else (Path(name).stem,)


def read_triples(names: str | None) -> tuple[Asked, ...]:
    """Return the triples that a list names, all their files read once.

    Args:
        names: With commas between; gender when None.

    Raises:
        ValueError: no such triple, or a file that is none.
    """
    from experiments.bias_lens import split
    from interp.configs import near
    from probes.data.concepts import TRIPLES

    found = []
    for name in split("gender" if names is None else names):
        if name.endswith(".json"):
            found.append(_read(Path(name)))
        elif name in TRIPLES:
            triple = TRIPLES[name]
            words, frames = _ASKED[name]
            found.append(Asked(name, triple.first, triple.second, triple.targets, words, frames))
        else:
            raise ValueError(f"no triple {name!r}; {near(name, TRIPLES)}, or FILE.json")
    called = [one.name for one in found]
    if not found or len(set(called)) < len(called):
        raise ValueError(f"triples {', '.join(called) or 'is empty'}: expected different names")
    return tuple(found)


def _read(path: Path) -> Asked:
    from interp.configs import near
    from probes.data.files import json_document

    held = json_document(path)
    if not isinstance(held, dict):
        raise ValueError(f"{path}: expected an object with {', '.join(_KEYS)}")
    for key in held:
        if key not in _KEYS:
            raise ValueError(f"{path}: unknown key {key!r}; {near(key, _KEYS)}")
    for key in _KEYS[1:]:
        if key not in held:
            raise ValueError(f"{path}: no {key!r}; expected {', '.join(_KEYS[1:])}")
    words = held["words"]
    if not isinstance(words, list) or len(words) != len(("first", "second")):
        raise ValueError(f"{path}: words must be two lists, of the first reference and the second")
    name = str(held.get("name", path.stem))
    if not _NAME.fullmatch(name):
        raise ValueError(f"{path}: name {name!r}; expected letters, digits, - and _ (files get it)")
    asked = Asked(
        name=name,
        first=str(held["first"]),
        second=str(held["second"]),
        targets=_texts(held["targets"], path, "targets", least=_FEWEST_TARGETS),
        words=(_texts(words[0], path, "words"), _texts(words[1], path, "words")),
        frames=_texts(held["frames"], path, "frames", least=_SPLITS),
        folder=path.parent,
    )
    for frame in asked.frames:
        if frame.count("{}") != 1 or frame != frame.rstrip():
            raise ValueError(f"{path}: frame {frame!r} must hold {{}} once and end in no space")
    for name in (asked.first, asked.second, *asked.targets):
        asked.concept(name)
    return asked


def _texts(value: Any, path: Path, key: str, *, least: int = 1) -> tuple[str, ...]:
    if not isinstance(value, list) or len(value) < least or not all(map(_is_text, value)):
        raise ValueError(f"{path}: {key} must be a list of {least} or more texts")
    if len(set(value)) < len(value):
        raise ValueError(f"{path}: {key} names one twice")
    return tuple(value)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())
