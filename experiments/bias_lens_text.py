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
        DataError: a concept cannot be read, or holds one of the random sentences.
    """
    import torch

    from experiments.bias_lens_subject import Subject, recognition
    from probes.concept_bias import reference_log_odds

    ids = (_ids(model, asked.words[0], asked), _ids(model, asked.words[1], asked))
    behaviour = reference_log_odds(*(torch.tensor(one) for one in ids))
    first, second = (asked.concept(name) for name in (asked.first, asked.second))
    targets = tuple(asked.concept(name) for name in asked.targets)
    splits = {part: _split(asked, model, part, ids) for part in (SELECT, TUNE, TEST)}
    return Subject(
        name=asked.name,
        targets=targets,
        first=first,
        second=second,
        neutral=None,
        random=random_sentences(first, second, targets),
        nothing=None,
        behaviour=behaviour,
        asked=splits[SELECT].biased,
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


def random_sentences(
    first: StatementSet, second: StatementSet, targets: Sequence[StatementSet]
) -> StatementSet:
    """Sentences that random concepts are drawn from, none of them of a concept.

    Of nobody in the own templates where both references are own concepts of people, else about
    no person and nothing at all.

    Args:
        first: The first reference.
        second: The second.
        targets: The targets.

    Raises:
        DataError: one of the sentences stands for a concept.
    """
    from probes.data import StatementSet
    from probes.data.checks import DataError
    from probes.data.concepts import neutral_texts
    from probes.data.concepts.own import own_data

    people = own_data("people")
    if {first.name, second.name} <= people["concepts"].keys():
        rows = [
            (made[0].upper() + made[1:], template)
            for template in people["templates"]
            for word in people["neutral"]
            for made in [template.replace("{word}", word)]
        ]
    else:
        rows = [(text, text) for text in neutral_texts()]
    pool = {text for text, _ in rows}
    for concept in (first, second, *targets):
        for text, positive in zip(concept.texts, concept.labels, strict=True):
            if positive and text in pool:
                raise DataError(
                    f"{concept.name}: {text!r} is one of the sentences that random concepts are "
                    "drawn from; take it out of the concept"
                )
    # A statement set has both labels; nobody reads them here.
    return StatementSet.build(
        [text for text, _ in rows],
        [number % 2 == 0 for number in range(len(rows))],
        groups=[group for _, group in rows],
        name="random sentences",
    )
