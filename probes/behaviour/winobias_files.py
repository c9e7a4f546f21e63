"""The published WinoBias files (Zhao et al. 2018): sentences with two occupations and a pronoun.

Line i of the ``pro`` and of the ``anti`` file of a type are meant to be the same sentence with the
other pronoun; not all are, and those are left out.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from probes.behaviour.items import BehaviourError, Skipped, drawn

Type = Literal["type 1", "type 2"]
PRONOUNS = {"he": "male", "him": "male", "his": "male"} | dict.fromkeys(("she", "her"), "female")
_LINE = re.compile(r"^\s*(\d+)\s+(.+?)\s*$")
_BRACKET = re.compile(r"\[\s*(.*?)\s*\]")
_LOOSE = re.compile(r"\s+('s\b|[,.;:!?])")


@dataclass(frozen=True)
class Coreference:
    """A sentence in two versions that differ in the gender of a pronoun.

    Attributes:
        type: ``type 1`` (meaning tells whom the pronoun refers to) or ``type 2`` (grammar does).
        pro: With the pronoun of the gender that the occupation is held to have.
        anti: With the other.
        pro_pronoun: The first pronoun in which they differ, in ``pro``.
        anti_pronoun: And in ``anti``.
        referent: The occupation that it refers to.
        other: The other occupation.
        pro_gender: Gender of the pronoun of ``pro``: ``male`` or ``female``.
        place: File and line.
    """

    type: Type
    pro: str
    anti: str
    pro_pronoun: str
    anti_pronoun: str
    referent: str
    other: str
    pro_gender: Literal["male", "female"]
    place: str

    @property
    def group(self) -> str:
        """The two occupations: sentences about the same two are not independent."""
        return " and ".join(sorted((self.referent, self.other)))


@dataclass(frozen=True)
class Coreferences:
    """The sentences, and what was left out in reading them."""

    items: tuple[Coreference, ...]
    name: str = "WinoBias"
    skipped: tuple[Skipped, ...] = ()

    def __len__(self) -> int:
        return len(self.items)

    def sample(self, n: int, *, seed: int) -> Coreferences:
        """At most ``n`` of the sentences, drawn without replacement, for a quick look."""
        return replace(self, items=drawn(self.items, n, seed=seed))


def read_winobias(folder: Path | str, *, part: Literal["dev", "test"] = "dev") -> Coreferences:
    """Read ``{pro,anti}_stereotyped_type{1,2}.txt.PART`` and the two lists of occupations.

    Left out, and counted: lines whose two versions differ in more than the pronouns, and those
    that do not name exactly two of the listed occupations.

    Args:
        folder: Where the files are.
        part: Which of the two parts.

    Raises:
        BehaviourError: a file is missing, or a line is no numbered sentence with an occupation in
            brackets; names the file and the line.
    """
    folder = Path(folder)
    occupations = {
        line.strip().lower(): line.strip()
        for name in ("male_occupations.txt", "female_occupations.txt")
        for line in _lines(folder / name)
    }
    items: list[Coreference] = []
    skipped: list[Skipped] = []
    for number in (1, 2):
        paths = [folder / f"{kind}_stereotyped_type{number}.txt.{part}" for kind in ("pro", "anti")]
        pro, anti = (_lines(path) for path in paths)
        if len(pro) != len(anti):
            raise BehaviourError(
                f"{paths[0]} has {len(pro)} sentences and {paths[1].name} {len(anti)}; they must "
                "be the same in the same order"
            )
        for i, (ours, theirs) in enumerate(zip(pro, anti, strict=True), start=1):
            place = f"type {number}, line {i}"
            of_pro, of_anti = (
                _parsed(line, f"{path}, line {i}")
                for line, path in zip((ours, theirs), paths, strict=True)
            )
            if of_pro[0] != of_anti[0]:
                raise BehaviourError(
                    f"{paths[1]}, line {i}: numbered {of_anti[0]}, but {of_pro[0]} in the other "
                    "file; the two must be in the same order"
                )
            made = _made(of_pro, of_anti, number, occupations, place)
            (skipped if isinstance(made, Skipped) else items).append(made)  # type: ignore[arg-type]
    if not items:
        raise BehaviourError(f"{folder}: no sentence can be used, {len(skipped)} were left out")
    return Coreferences(tuple(items), skipped=tuple(skipped))


def _made(
    pro: tuple[int, str, str],
    anti: tuple[int, str, str],
    number: int,
    occupations: Mapping[str, str],
    place: str,
) -> Coreference | Skipped:
    ours, theirs = pro[1].split(), anti[1].split()
    if len(ours) != len(theirs):
        return Skipped(place, "the two versions differ in more than pronouns")
    differ = [
        (_word(a), _word(b)) for a, b in zip(ours, theirs, strict=True) if a.lower() != b.lower()
    ]
    genders = {(PRONOUNS.get(a), PRONOUNS.get(b)) for a, b in differ}
    if not genders <= {("male", "female"), ("female", "male")}:
        return Skipped(place, "the two versions differ in more than pronouns")
    if len(genders) != 1:
        return Skipped(place, "the two versions do not differ in one pronoun's gender")
    named = {name for name in occupations if re.search(rf"\b{re.escape(name)}\b", pro[1].lower())}
    referent = re.sub(r"^(the|an?)\s+", "", pro[2].lower())
    if len(named) != 2 or referent not in named:
        return Skipped(place, "not exactly two listed occupations, one of them in brackets")
    (other,) = named - {referent}
    gender = PRONOUNS[differ[0][0]]
    return Coreference(
        type="type 1" if number == 1 else "type 2",
        pro=pro[1],
        anti=anti[1],
        pro_pronoun=differ[0][0],
        anti_pronoun=differ[0][1],
        referent=occupations[referent],
        other=occupations[other],
        pro_gender="male" if gender == "male" else "female",
        place=place,
    )


def _parsed(line: str, at: str) -> tuple[int, str, str]:
    """A line's number, its sentence without brackets, and what stands in the first of them."""
    match = _LINE.match(line)
    if match is None:
        raise BehaviourError(f"{at}: expected a number and a sentence, found {line!r}")
    said = match[2]
    held = [text for text in _BRACKET.findall(said) if text.lower() not in PRONOUNS]
    if not held:
        raise BehaviourError(f"{at}: no occupation in brackets: {line!r}")
    sentence = _LOOSE.sub(r"\1", _BRACKET.sub(r"\1", said).replace("[", "").replace("]", ""))
    return int(match[1]), " ".join(sentence.split()), held[0].lstrip("[ ")


def _word(token: str) -> str:
    return token.lower().strip(".,;:!?")


def _lines(path: Path) -> list[str]:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise BehaviourError(
            f"no file {path}; expected the published WinoBias files in one folder"
        ) from None
    except UnicodeDecodeError:
        raise BehaviourError(f"{path} is not UTF-8; save the file as UTF-8") from None
    if not (lines := [line for line in text.splitlines() if line.strip()]):
        raise BehaviourError(f"{path} is empty")
    return lines
