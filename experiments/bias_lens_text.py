"""Concepts and prompts in words, as the subject of the bias lens on a model that reads text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.bias_lens_subject import Subject
    from experiments.bias_lens_triples import Asked
    from interp.models import Examples, Model
    from interp.sae import BiasSplit
    from probes.data import StatementSet

SELECT, TUNE, TEST = range(3)
_BEFORE = "They said that"


class NotAsked(ValueError):
    """This model cannot be asked for this triple; the message says why."""


def text_subject(asked: Asked, model: Model) -> Subject:
    """Put concepts, prompts and splits of a triple together; splits share no frame.

    Raises:
        NotAsked: none of a reference's words is one token for the model.
        DataError: a concept cannot be read.
    """
    import torch

    from experiments.bias_lens_subject import Subject, recognition
    from probes.concept_bias import reference_log_odds

    ids = (_ids(model, asked.words[0], asked), _ids(model, asked.words[1], asked))
    behaviour = reference_log_odds(*(torch.tensor(one) for one in ids))
    first, second = (asked.concept(name) for name in (asked.first, asked.second))
    splits = {part: _split(asked, model, part, ids) for part in (SELECT, TUNE, TEST)}
    return Subject(
        name=asked.name,
        targets=tuple(asked.concept(name) for name in asked.targets),
        first=first,
        second=second,
        neutral=None,
        random=_random(first, second),
        nothing=None,
        behaviour=behaviour,
        sensitive=splits[TEST].biased,
        select=splits[SELECT],
        tune=splits[TUNE],
        test=splits[TEST],
        planted=None,
        recognised=recognition(behaviour, ids[0]),
        tokens=None,
        where="every",
    )


def _ids(model: Model, words: Sequence[str], asked: Asked) -> tuple[int, ...]:
    """Ids of the words that are one token after other words."""
    tokenizer = model.tokenizer
    if tokenizer is None:
        raise NotAsked(f"{model.spec.name} has no tokenizer: it can be asked for no triple")

    def read(text: str) -> list[int]:
        return list(tokenizer.encode(text, add_special_tokens=False))

    before = read(_BEFORE)
    both = [read(f"{_BEFORE} {word}") for word in words]
    found = [
        ids[-1] for ids in both if len(ids) == len(before) + 1 and ids[: len(before)] == before
    ]
    if not found:
        raise NotAsked(
            f"{asked.name}: none of {', '.join(words)} is one token for {model.spec.name}, so its "
            "log-odds cannot be read at one place"
        )
    return tuple(found)


def _split(
    asked: Asked, model: Model, part: int, ids: tuple[tuple[int, ...], tuple[int, ...]]
) -> BiasSplit:
    """Every third frame and neutral sentence, from ``part`` on."""
    from interp.sae import BiasSplit
    from probes.concept_bias import by_target
    from probes.data.concepts import neutral_texts

    frames = asked.frames[part::3]
    prompts = {
        asked.concept(name).name: _prompts(model, frames, asked.said(name))
        for name in asked.targets
    }
    biased = by_target(prompts, name=f"{asked.name} prompts {part + 1}")
    return BiasSplit(
        biased=biased,
        targets=biased.groups,
        neutral=model.tokenize(neutral_texts()[part::3], name=f"neutral sentences {part + 1}"),
        recognition=None if part == SELECT else _named(asked, model, frames, ids),
    )


def _prompts(model: Model, frames: Sequence[str], words: Sequence[str]) -> Examples:
    """One prompt a frame, the words in turn; read where it ends."""
    texts = [frame.replace("{}", words[number % len(words)]) for number, frame in enumerate(frames)]
    made = model.tokenize(texts)
    return replace(made, scored=None, answer_at=made.lengths - 1)


def _named(
    asked: Asked,
    model: Model,
    frames: Sequence[str],
    ids: tuple[tuple[int, ...], tuple[int, ...]],
) -> Examples:
    """Every word of both references in every frame; the answer is a word of the one named."""
    import torch

    texts, answers = [], []
    for name, own in zip((asked.first, asked.second), ids, strict=True):
        for word in asked.said(name):
            texts += [frame.replace("{}", word) for frame in frames]
            answers += [own[0]] * len(frames)
    made = model.tokenize(texts, name="references named")
    return replace(made, scored=None, answer=torch.tensor(answers), answer_at=made.lengths - 1)


def _random(first: StatementSet, second: StatementSet) -> StatementSet:
    """Sentences of nobody in the references' templates; where they have none, all of theirs."""
    from probes.data import StatementSet
    from probes.data.concepts.own import own_data

    people = own_data("people")
    if not {first.name, second.name} <= people["concepts"].keys():
        rows = [
            (text, group)
            for one in (first, second)
            for text, group in zip(one.texts, one.groups, strict=True)
        ]
        rows = list(dict(rows).items())
    else:
        rows = [
            (made[0].upper() + made[1:], template)
            for template in people["templates"]
            for word in people["neutral"]
            for made in [template.replace("{word}", word)]
        ]
    # A statement set has both labels; nobody reads them here.
    return StatementSet.build(
        [text for text, _ in rows],
        [number % 2 == 0 for number in range(len(rows))],
        groups=[group for _, group in rows],
        name="random sentences",
    )
