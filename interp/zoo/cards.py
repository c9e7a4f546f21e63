"""Model cards: what each bundled model is, how it came to be, and what is known about it.

A card is ``card.json`` in the model's folder. Reading is tolerant: a card may lack fields, and
fields that :class:`Card` does not know are kept in ``extra`` and written back. Only the standard
library is imported here, so that listing models is instant.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import logging
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

CARD_FILE = "card.json"
WEIGHTS = Path(__file__).resolve().parent / "weights"
"""The bundled models, one folder each."""

LOSSES = ("loss", "text_ce_nats_per_token")
"""Keys under ``measured`` that stand in for a card's missing ``loss``, in this order."""


class CardError(ValueError):
    """A card is missing or cannot be read; the message says which and what to do."""


@dataclass(frozen=True)
class Card:
    """What is known about one bundled model.

    Attributes:
        name: Its name after ``zoo:``.
        summary: What it is, in a sentence or two.
        kind: ``trained`` or ``hand-built``.
        data: What it was trained on; text, or named facts (sources, counts, hashes).
        recipe: What made it: the fields of the recipe's configuration.
        steps: Optimizer steps, or None where nothing was trained.
        seed: The seed that decided it.
        loss: Held-out loss in nats a token, or None where none was measured.
        fingerprint: Hash of configuration and weights, as ``Model.fingerprint`` gives it; None
            until stamped.
        known: What is known about it, and what is not; a sentence each.
        measured: Numbers by name. Signatures are marked as such by the name of what they are.
        licence: Under which terms it may be used.
        source: The code that makes it, as ``module:function``.
        extra: Further fields of the file.
    """

    name: str
    summary: str = ""
    kind: str = "trained"
    data: str | Mapping[str, Any] = ""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    steps: int | None = None
    seed: int | None = None
    loss: float | None = None
    fingerprint: str | None = None
    known: tuple[str, ...] = ()
    measured: Mapping[str, Any] = field(default_factory=dict)
    licence: str = ""
    source: str = ""
    extra: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Return the card as it stands in its file: plain values, ``extra`` unpacked at the end."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        extra = fields.pop("extra")
        fields["known"] = list(self.known)
        return {**fields, **{key: value for key, value in extra.items() if key not in fields}}


def card_from_dict(fields: Mapping[str, Any], *, name: str) -> Card:
    """Make a card of whatever a file holds.

    ``what`` or ``description`` stand in for a missing ``summary``, the first number under
    ``measured`` named in :data:`LOSSES` for a missing ``loss``, one text for a list of one.

    Args:
        fields: The contents of a ``card.json``.
        name: The model's name where the card has none: its folder's.
    """
    left = dict(fields)
    known = left.pop("known", ())
    measured = left.pop("measured", {})
    recipe = left.pop("recipe", {})
    values: dict[str, Any] = {
        "name": left.pop("name", name),
        "measured": measured if isinstance(measured, Mapping) else {"measured": measured},
        "recipe": recipe if isinstance(recipe, Mapping) else {"recipe": recipe},
        "known": (known,) if isinstance(known, str) else tuple(map(str, known or ())),
    }
    for stand_in in ("what", "description"):
        if left.get("summary") is None and stand_in in left:
            left["summary"] = left.pop(stand_in)
    if left.get("loss") is None:
        losses = (values["measured"].get(key) for key in LOSSES)
        left["loss"] = next((x for x in losses if isinstance(x, int | float)), None)
    for f in dataclasses.fields(Card):
        if f.name not in ("extra", *values) and left.get(f.name) is not None:
            values[f.name] = left[f.name]
        left.pop(f.name, None)
    return Card(**values, extra=left)


def read_card(path: Path) -> Card:
    """Read a card from a model's folder or its ``card.json``.

    Raises:
        CardError: no such file, or not a JSON object.
    """
    path = _file(path)
    return card_from_dict(_read(path), name=path.parent.name)


def write_card(card: Card, path: Path) -> Path:
    """Write a card into a folder, or to a ``card.json``, in one step; return the file's path."""
    path = _file(path)
    replace_file(path, card_bytes(card.to_dict()))
    return path


def card_bytes(fields: Mapping[str, Any]) -> bytes:
    """A card's file: indented JSON in UTF-8, the same bytes for the same fields."""
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False)
    return f"{text}\n".encode()


def stamp(path: Path, fingerprint: str) -> Card:
    """Enter the fingerprint of the loaded model in its card; nothing else in the file changes.

    Args:
        path: The model's folder, or its ``card.json``.
        fingerprint: What ``load_model(folder).fingerprint`` says.

    Raises:
        CardError: no card there.
    """
    path = _file(path)
    fields = {**_read(path), "fingerprint": fingerprint}
    replace_file(path, card_bytes(fields))
    return card_from_dict(fields, name=path.parent.name)


def list_cards(root: Path = WEIGHTS) -> list[Card]:
    """The cards of all models in a folder of models, by name; the bundled ones unless told.

    A model whose card cannot be read is left out, with a warning in the log.
    """
    cards = []
    for path in sorted(root.glob(f"*/{CARD_FILE}")):
        try:
            cards.append(read_card(path))
        except CardError as error:
            log.warning("left out of the list: %s", error)
    return cards


def get_card(name: str) -> Card:
    """The card of a bundled model, with or without the ``zoo:`` prefix.

    Raises:
        CardError: no such model; the message names the near ones.
    """
    short = name.removeprefix("zoo:")
    known = [path.parent.name for path in sorted(WEIGHTS.glob(f"*/{CARD_FILE}"))]
    if short in known:
        return read_card(WEIGHTS / short)
    near = difflib.get_close_matches(short, known, n=3, cutoff=0.4) or known
    raise CardError(f"no bundled model {name!r}; did you mean {' or '.join(near)}?")


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole: a reader, or a kill at any moment, finds the old one or the new one."""
    temporary = path.with_name(f".{path.name}.tmp-{secrets.token_hex(6)}")
    try:
        temporary.write_bytes(data)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def _file(path: Path) -> Path:
    return path if path.suffix == ".json" else path / CARD_FILE


def _read(path: Path) -> dict[str, Any]:
    try:
        fields = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise CardError(f"no card at {path}; expected a folder with {CARD_FILE} in it") from error
    except (OSError, ValueError) as error:
        raise CardError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(fields, dict):
        raise CardError(f"{path} must hold one JSON object, holds a {type(fields).__name__}")
    return fields
