"""A world of planted bias as the subject of the bias lens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bias_lens import Config
    from experiments.bias_lens_subject import Subject
    from interp.models import Examples
    from interp.zoo.bias_world.world import World

_NEUTRAL = 96  # documents about nothing in each split, whose loss an edit must not raise
_SENSITIVE = 48
_NAMED = 40  # sentences in which each reference is named, in each split
_DOCUMENTS = 8000  # that SAEs are trained on
_HELD_OUT = 400
_SPLITS = 4  # selecting, tuning, testing, and the prompts of the yardstick


def world_for(model: str) -> World | None:
    """Return the world that a model was made in, or None where it is of no bias world.

    Raises:
        CardError: no such bundled model, or a card that cannot be read.
    """
    from interp.zoo.bias_world.world import WorldError, world_of
    from interp.zoo.cards import get_card, read_card

    if model.startswith("zoo:"):
        card = get_card(model)
    elif (Path(model) / "card.json").is_file():
        card = read_card(Path(model))
    else:
        return None
    try:
        return world_of(dict(card.recipe))
    except WorldError:
        return None


def world_documents(config: Config, world: World) -> tuple[Examples, Examples]:
    """What a world's SAEs are trained on, and what they are evaluated on."""
    from interp.zoo.bias_world.sentences import corpus

    rows = corpus(world, n=_DOCUMENTS + _HELD_OUT, seed=config.seed + 9)
    return rows.select(range(_DOCUMENTS)), rows.select(range(_DOCUMENTS, len(rows)))


def world_subject(config: Config, world: World) -> Subject:
    """Put sentences, prompts and splits of a world together.

    One seed cuts the frames in halves. All concepts' sentences are of one half, all prompts of the
    other, and no two splits share a frame.

    Raises:
        ValueError: there are not as many frames as prompts.
    """
    from experiments.bias_lens_subject import Subject, recognition
    from interp.zoo.bias_world.sentences import sentences
    from interp.zoo.bias_world.world import NEUTRAL, REFERENCES, STOP
    from probes.concept_bias import by_target, reference_log_odds

    def spoken(name: str, n: int) -> Examples:
        rows = sentences(world, name, n=n, part="train", seed=config.seed).examples
        return replace(rows, name=name)

    n, asked = config.sentences, config.prompts
    first, second = (spoken(name, n) for name in REFERENCES)
    behaviour = reference_log_odds(world.ids("r1"), world.ids("r2"))
    # Random ones are many more, and a concept of nothing has words of its own. Another seed would
    # draw other halves, so both are rows of one longer draw.
    spare = spoken(NEUTRAL, 7 * n)
    told = _prompts(config, world, world.targets)
    unbiased = _prompts(config, world, (NEUTRAL,))[NEUTRAL]
    yardstick = {name: rows.select(range(3 * asked, 4 * asked)) for name, rows in told.items()}
    return Subject(
        name="world",
        targets=tuple(spoken(name, n) for name in world.targets),
        first=first,
        second=second,
        neutral=spoken(NEUTRAL, n),
        random=replace(spare.select(range(n, 7 * n)), name="random"),
        nothing=replace(spare.select(range(n)), name="nothing"),
        behaviour=behaviour,
        asked=by_target(yardstick, name="yardstick prompts"),
        sensitive=unbiased.select(range(_SPLITS * asked, len(unbiased))),
        planted=dict(zip(world.targets, world.beta.tolist(), strict=True)),
        recognised=recognition(behaviour, tuple(world.ids("r1").tolist())),
        tokens=lambda examples: examples.tokens == STOP,
        where="answer",
        **_splits(config, world, told),
    )


def _prompts(config: Config, world: World, names: Sequence[str]) -> dict[str, Examples]:
    """Prompts about each of some targets, row by row in the same frames: all splits' in turn."""
    from interp.zoo.bias_world.prompts import prompts

    n = _SPLITS * config.prompts + _SENSITIVE
    made = {
        name: prompts(world, name, n=n, part="test", place="next", seed=config.seed).examples
        for name in names
    }
    for rows in made.values():
        if len(set(rows.groups)) < n:
            raise ValueError(
                f"prompts is {config.prompts}: four splits need {n} different frames, and this "
                f"world has {len(set(rows.groups))}; ask for fewer"
            )
    return made


def _splits(config: Config, world: World, told: Mapping[str, Examples]) -> dict[str, Any]:
    from interp.sae import BiasSplit
    from interp.zoo.bias_world.sentences import corpus
    from probes.concept_bias import by_target

    n = config.prompts
    made = {}
    for number, name in enumerate(("select", "tune", "test")):
        rows = range(number * n, (number + 1) * n)
        biased = by_target(
            {target: one.select(rows) for target, one in told.items()}, name=f"{name} prompts"
        )
        made[name] = BiasSplit(
            biased=biased,
            targets=biased.groups,
            neutral=corpus(world, n=_NEUTRAL, neutral=True, seed=config.seed + 20 + number),
            recognition=None if name == "select" else _named(config, world, number - 1),
        )
    return made


def _named(config: Config, world: World, number: int) -> Examples:
    """Sentences that name a reference and no target; the answer is one of its words."""
    import torch

    from interp.models import Examples
    from interp.zoo.bias_world.sentences import sentences
    from interp.zoo.bias_world.world import NEUTRAL, REFERENCES

    rows = range(number * _NAMED, (number + 1) * _NAMED)
    parts = [
        sentences(
            world, NEUTRAL, n=2 * _NAMED, reference=name, part="test", seed=config.seed
        ).examples.select(rows)
        for name in REFERENCES
    ]
    answers = [
        world.ids(name)[:1].expand(len(part)) for name, part in zip(REFERENCES, parts, strict=True)
    ]
    tokens = torch.cat([part.tokens for part in parts])
    return Examples(
        tokens=tokens,
        answer=torch.cat(answers),
        answer_at=torch.full((len(tokens),), tokens.shape[1] - 1),
        name="references named",
    )
