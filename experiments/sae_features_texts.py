"""What the study of latents reads: plain text, and labelled texts, the user's or the project's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.sae_features import Config
    from interp.models import Examples, Model

COLUMNS = ("text", "label", "spurious", "group")
PEOPLE = ("women", "men", "young", "old", "rich", "poor")
"""Classes of the project's own sentences; all stand in the same templates."""
_PER_CLASS = 200
_WORDS = 4


@dataclass(frozen=True)
class Rows:
    """Texts with their labels, as written.

    Attributes:
        name: What they are called.
        texts: The texts.
        labels: The class of each.
        spurious: Another label of each, which a probe of the first must not go by; None where
            there is none.
        groups: Texts of one group never stand on both sides of a split.
    """

    name: str
    texts: tuple[str, ...]
    labels: tuple[str, ...]
    spurious: tuple[str, ...] | None
    groups: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Labelled:
    """The same as token ids; attributes as of ``Rows``."""

    name: str
    examples: Examples
    labels: tuple[str, ...]
    spurious: tuple[str, ...] | None


def plain_texts(config: Config, model: Model) -> tuple[Examples, Examples]:
    """Text to train on and text to evaluate on."""
    from interp.sae.texts import read_data

    context = min(config.context, model.n_ctx)
    if config.data is not None or config.model != "zoo:code-lm":
        return read_data(
            model,
            config.data or "own",
            context=context,
            n_train=config.tokens,
            n_held_out=config.held_out,
            seed=config.seed,
        )
    from experiments.heads_prompts import windows
    from interp.sae.overlap import apart
    from interp.zoo.corpus import read_corpus

    rows = (config.tokens + config.held_out) // context
    length = context - (model.bos_id is not None)
    # Three characters a token are enough; tokenising more would take longer than the training.
    text = "\n".join(read_corpus().held_out)[: 8 * rows * length]
    found = windows(model, None, n=rows, length=length, seed=config.seed, text=text)
    parts = found.split(config.tokens / (config.tokens + config.held_out), seed=config.seed)
    # Source code repeats itself: licences, lists, generated tests.
    return apart(*parts, marks=model.bos_id is not None)


def token_words(model: str) -> tuple[str, ...] | None:
    """What the tokens of a model without a tokenizer are called."""
    if model != "zoo:bias-world":
        return None
    from interp.zoo.bias_world.world import world_of

    return world_of("bias-world").words


def labelled_texts(model: Model, texts: str | None, *, seed: int) -> list[Labelled]:
    """Return labelled texts: those of a file, or the project's own where it has some for a model.

    Args:
        model: Its tokenizer reads them.
        texts: A file (``read_rows``); None for the project's own.
        seed: Draws those of ``zoo:bias-world``.

    Returns:
        None to two sets of texts.
    """
    if texts is None and model.spec.name == "zoo:bias-world":
        return _bias_world(seed)
    # The bundled models with a tokenizer read source code.
    if texts is None and (model.tokenizer is None or model.spec.name.startswith("zoo:")):
        return []
    made = [read_rows(texts)] if texts is not None else [_people(), _feelings_and_people()]
    return [Labelled(one.name, _tokens(model, one), one.labels, one.spurious) for one in made]


def read_rows(path: str) -> Rows:
    """Read a .csv, .jsonl or .parquet file with columns text and label, and spurious and group.

    Without a group each distinct text is one.

    Raises:
        ValueError: the file or one of its rows cannot be read, or there is one class only.
    """
    from interp.configs import near
    from probes.data.checks import DataError, checked_name, checked_text, is_missing
    from probes.data.files import table_rows

    texts, labels, spurious, groups = [], [], [], []
    for place, row in table_rows(Path(path)):
        at = f"{path}, {place}"
        if strange := [key for key in row if key not in COLUMNS]:
            raise DataError(f"{at}: unknown column {strange[0]!r}; {near(strange[0], COLUMNS)}")
        texts.append(checked_text(row.get("text"), at, what="text"))
        labels.append(checked_name(row.get("label"), "label", at))
        if not is_missing(row.get("spurious")):
            spurious.append(checked_name(row["spurious"], "spurious label", at))
        elif spurious:
            raise DataError(f"{at}: no spurious label, but rows before it have one")
        group = row.get("group")
        groups.append(texts[-1] if is_missing(group) else checked_name(group, "group", at))
        if spurious and len(spurious) < len(texts):
            raise DataError(f"{at}: a spurious label, but rows before it have none")
    if len(set(labels)) < 2:
        raise DataError(f"{path}: {len(set(labels))} classes; expected at least two labels")
    if spurious and (len(set(labels)) != 2 or len(set(spurious)) != 2):
        raise DataError(
            f"{path}: {len(set(labels))} labels and {len(set(spurious))} spurious ones; where "
            "there is a spurious label, expected two of each"
        )
    held = tuple(spurious) if spurious else None
    return Rows(Path(path).stem, tuple(texts), tuple(labels), held, tuple(groups))


def _tokens(model: Model, rows: Rows) -> Examples:
    made = model.tokenize(rows.texts, on_overflow="truncate", name=rows.name)
    return replace(made, groups=rows.groups)


def _people() -> Rows:
    """Sentences about people of one kind each."""
    found = [(text, name, group) for name in PEOPLE for text, label, group in _parts(name) if label]
    texts, labels, groups = zip(*found, strict=True)
    return Rows("kinds of people", texts, labels, None, groups)


def _feelings_and_people() -> Rows:
    """Pleasant or unpleasant things, and then a woman or a man: every combination as often."""
    people = {name: [t for t, label, _ in _parts(name) if label] for name in PEOPLE[:2]}
    feelings = {
        name: [t for t, label, _ in _parts(name) if label] for name in ("pleasant", "unpleasant")
    }
    texts, labels, spurious, groups = [], [], [], []
    for feeling, sentences in feelings.items():
        for i, sentence in enumerate(sentences):
            for who, told in people.items():
                for j in range(_WORDS):
                    texts.append(f"{sentence} {told[(i * _WORDS + j) % len(told)]}")
                    labels.append(feeling)
                    spurious.append(who)
                    groups.append(f"pair {i}")
    name = "pleasant things and people"
    return Rows(name, tuple(texts), tuple(labels), tuple(spurious), tuple(groups))


def _parts(name: str) -> list[tuple[str, bool, str]]:
    from probes.data.concepts import concept_set

    data = concept_set(name)
    return list(zip(data.texts, map(bool, data.labels), map(str, data.groups), strict=True))


def _bias_world(seed: int) -> list[Labelled]:
    """Sentences of concepts; and of two targets of no leaning, each with either reference."""
    import torch

    from interp.models import Examples
    from interp.zoo.bias_world.sentences import Sentences, sentences
    from interp.zoo.bias_world.world import REFERENCES, world_of

    world = world_of("bias-world")
    order = torch.argsort(world.beta.abs()).tolist()
    level, leaning = order[:2], order[-2:]

    def put(name: str, parts: Sequence[Sentences]) -> Examples:
        return Examples(
            torch.cat([part.examples.tokens for part in parts]),
            groups=tuple(group for part in parts for group in part.examples.groups),
            name=name,
            seed=seed,
        )

    names = [*REFERENCES, "neutral", *(world.targets[i] for i in (*level, *leaning))]
    told = [sentences(world, name, n=_PER_CLASS, seed=seed) for name in names]
    crossed = [(world.targets[i], reference) for i in level for reference in REFERENCES]
    both = [
        sentences(world, target, n=_PER_CLASS, reference=reference, seed=seed + 1)
        for target, reference in crossed
    ]
    one, other = "concepts", "targets and references"
    labels = tuple(name for name in names for _ in range(_PER_CLASS))
    targets, references = (
        tuple(pair[i] for pair in crossed for _ in range(_PER_CLASS)) for i in (0, 1)
    )
    return [
        Labelled(one, put(one, told), labels, None),
        Labelled(other, put(other, both), targets, references),
    ]
