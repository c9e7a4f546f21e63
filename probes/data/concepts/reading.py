"""Read the user's concept sets: sentences or words, from tables, JSON or plain text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from interp.configs import near
from probes.data.checks import DataError, checked_label, checked_name, checked_text, is_missing
from probes.data.concepts.concept import Sentence, concept_statements, in_turn
from probes.data.concepts.own import own_data
from probes.data.files import TABLES, json_document, table_rows
from probes.data.statements import StatementSet

SUFFIXES = (".json", *TABLES, ".txt")
_KEYS = ("name", "positive", "negative", "templates", "about")
_TEXT_COLUMNS = ("text", "sentence", "statement")


def read_concept(
    path: Path | str,
    *,
    negatives: Path | str | None = None,
    name: str | None = None,
) -> StatementSet:
    """Read a concept: label 1 where it is there.

    * ``.json``: ``{"name": …, "positive": […], "negative": […]}`` of sentences, each a text or
      ``{"text": …, "group": …}``; with ``"templates": ["The {word} …"]`` they are words, which
      the templates take in turn.
    * ``.csv``, ``.jsonl``, ``.parquet``: columns ``label`` (1 where the concept is there) and
      ``text`` (or ``sentence``, ``statement``), with a ``group`` if you like; or ``word``, which
      the project's own templates take in turn.
    * ``.txt``: one sentence a line, or one word (no line with a full stop), blank lines and
      those that begin with # left out; all of them with the concept.

    Sentences of one template are one group. Without negatives, words get the project's own
    neutral people, and sentences its own neutral ones.

    Args:
        path: The file.
        negatives: A text file of sentences or words without the concept, where ``path`` holds
            none.
        name: What the concept is called; the file's own name for it, or the file's name,
            when omitted.

    Raises:
        DataError: a file or row that cannot be read, by name; or a concept of one label.
    """
    file = Path(path)
    suffix = file.suffix.lower()
    if suffix not in SUFFIXES:
        raise DataError(
            f"{file}: a concept is read from {', '.join(SUFFIXES)}; rename or convert the file"
        )
    templates: Sequence[str] | None
    if suffix == ".json":
        found, positive, negative, templates = _json(file)
    else:
        found = None
        positive, negative, templates = _lines(file) if suffix == ".txt" else _table(file)
    called = name or found or file.stem
    if negatives is not None:
        if negative:
            raise DataError(f"{file} has negatives of its own; leave negatives=… out")
        negative, _, other = _lines(Path(negatives))
        if (other is None) != (templates is None):
            kinds = [("sentences" if t is None else "words") for t in (templates, other)]
            raise DataError(
                f"{file} holds {kinds[0]} and {negatives} {kinds[1]}; expected the same in both"
            )
    if not negative:
        negative = _own_negatives(words=templates is not None)
    if templates is not None:
        groups = [
            in_turn(templates, [(s.text, s.place) for s in side], source=file)
            for side in (positive, negative)
            if side
        ]
        if len(groups) < 2:
            raise DataError(f"{file}: there is no word with the concept; give at least one")
        positive, negative = groups
    try:
        return concept_statements(called, positive, negative, format=suffix[1:])
    except DataError as error:
        raise DataError(f"{file}: {error}") from None


def _json(
    file: Path,
) -> tuple[str | None, list[Sentence], list[Sentence], list[str] | None]:
    held = json_document(file)
    if not isinstance(held, dict):
        raise DataError(
            f"{file}: expected an object with positive and negative, got {type(held).__name__}"
        )
    for key in held:
        if key not in _KEYS:
            raise DataError(f"{file}: unknown key {key!r}; {near(key, _KEYS)}")
    name = None if held.get("name") is None else checked_name(held["name"], "name", str(file))
    sides = []
    for key in ("positive", "negative"):
        items = held.get(key, [])
        if not isinstance(items, list):
            raise DataError(f"{file}: {key} is {type(items).__name__}; expected a list")
        sides.append([_item(item, file, f"{key} {i}") for i, item in enumerate(items, start=1)])
    templates = held.get("templates")
    if templates is not None and not isinstance(templates, list):
        raise DataError(f"{file}: templates is {type(templates).__name__}; expected a list")
    return name, sides[0], sides[1], templates


def _item(item: Any, file: Path, place: str) -> Sentence:
    where = f"{file}, {place}"
    if not isinstance(item, dict):
        return Sentence(checked_text(item, where, what="sentence"), None, place)
    for key in item:
        if key not in ("text", "group"):
            raise DataError(f"{where}: unknown key {key!r}; {near(str(key), ('text', 'group'))}")
    group = item.get("group")
    return Sentence(
        checked_text(item.get("text"), where, what="sentence"),
        None if is_missing(group) else checked_name(group, "group", where),
        place,
    )


def _table(file: Path) -> tuple[list[Sentence], list[Sentence], list[str] | None]:
    rows = table_rows(file)
    if not rows:
        raise DataError(f"{file} has no rows")
    columns = list(rows[0][1])
    texts = [column for column in (*_TEXT_COLUMNS, "word") if column in columns]
    if len(texts) != 1 or "label" not in columns:
        raise DataError(
            f"{file} has columns {', '.join(columns)}; expected label and one of "
            f"{', '.join((*_TEXT_COLUMNS, 'word'))}"
        )
    sides: dict[bool, list[Sentence]] = {True: [], False: []}
    for place, cells in rows:
        where = f"{file}, {place}"
        text = checked_text(cells.get(texts[0]), where, what=texts[0])
        group = cells.get("group")
        named = None if is_missing(group) else checked_name(group, "group", where)
        sides[checked_label(cells.get("label"), where)].append(Sentence(text, named, place))
    return sides[True], sides[False], _own_templates() if texts[0] == "word" else None


def _lines(file: Path) -> tuple[list[Sentence], list[Sentence], list[str] | None]:
    if not file.is_file():
        raise DataError(f"no file {file}; expected one sentence or word a line")
    try:
        text = file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise DataError(f"{file} is not UTF-8; save it as UTF-8") from None
    found = [
        Sentence(line.strip(), None, f"line {number}")
        for number, line in enumerate(text.split("\n"), start=1)
        if line.strip() and not line.startswith("#")
    ]
    if not found:
        raise DataError(f"{file} has no line but blank ones and comments")
    ended = [sentence.text.endswith((".", "!", "?")) for sentence in found]
    if any(ended) and not all(ended):
        odd = found[ended.index(not ended[0])]
        raise DataError(
            f"{file}, {odd.place}: {odd.text!r} is a {'word' if ended[0] else 'sentence'} among "
            f"{'sentences' if ended[0] else 'words'}; end every sentence with a mark, and no word"
        )
    return found, [], None if all(ended) else _own_templates()


def _own_templates() -> list[str]:
    return list(own_data("people")["templates"])


def _own_negatives(*, words: bool) -> list[Sentence]:
    texts = own_data("people")["neutral"] if words else own_data("neutral")
    return [Sentence(text, None, f"own neutral {i}") for i, text in enumerate(texts, start=1)]
