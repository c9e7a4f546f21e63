"""A world of planted bias as the subject of the bias lens."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bias_lens import Config
    from experiments.bias_lens_subject import Subject
    from interp.models import Examples
    from interp.zoo.bias_world.frames import Part
    from interp.zoo.bias_world.world import World

_NEUTRAL = 96  # documents about nothing in each split, whose loss an edit must not raise
_SENSITIVE = 48


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


def world_subject(config: Config, world: World) -> Subject:
    """Put sentences, prompts and splits of a world together; sentences and tests share no frame."""
    from experiments.bias_lens_subject import Subject, recognition
    from interp.zoo.bias_world.prompts import prompts
    from interp.zoo.bias_world.sentences import sentences
    from interp.zoo.bias_world.world import NEUTRAL, REFERENCES, STOP
    from probes.concept_bias import reference_log_odds

    def spoken(name: str, n: int, called: str | None = None, seed: int = config.seed) -> Examples:
        rows = sentences(world, name, n=n, part="train", seed=seed).examples
        return replace(rows, name=called or name)

    first, second = (spoken(name, config.sentences) for name in REFERENCES)
    behaviour = reference_log_odds(world.ids("r1"), world.ids("r2"))
    # Random ones are many more, and a concept of nothing is a draw of its own.
    n = 6 * config.sentences
    return Subject(
        name="world",
        targets=tuple(spoken(name, config.sentences) for name in world.targets),
        first=first,
        second=second,
        neutral=spoken(NEUTRAL, config.sentences),
        random=spoken(NEUTRAL, n, "random", config.seed + 1),
        nothing=spoken(NEUTRAL, config.sentences, "nothing", config.seed + 2),
        behaviour=behaviour,
        sensitive=prompts(
            world, NEUTRAL, n=_SENSITIVE, part="test", place="next", seed=config.seed
        ).examples,
        planted=dict(zip(world.targets, world.beta.tolist(), strict=True)),
        recognised=recognition(behaviour, tuple(world.ids("r1").tolist())),
        tokens=lambda examples: examples.tokens == STOP,
        where="answer",
        **_splits(config, world),
    )


def _splits(config: Config, world: World) -> dict[str, Any]:
    from interp.sae import BiasSplit
    from interp.zoo.bias_world.prompts import prompts
    from interp.zoo.bias_world.sentences import corpus
    from probes.concept_bias import by_target

    n = config.prompts
    cuts: dict[str, tuple[Part, range]] = {
        "select": ("train", range(n)),
        "tune": ("train", range(n, 2 * n)),
        "test": ("test", range(n)),
    }
    made = {}
    for number, (name, (part, rows)) in enumerate(cuts.items()):
        asked = {
            target: prompts(
                world, target, n=2 * n, place="next", part=part, seed=config.seed
            ).examples.select(rows)
            for target in world.targets
        }
        biased = by_target(asked, name=f"{name} prompts")
        made[name] = BiasSplit(
            biased=biased,
            targets=biased.groups,
            neutral=corpus(world, n=_NEUTRAL, neutral=True, seed=config.seed + 20 + number),
            recognition=None if name == "select" else _named(config, world, part, number),
        )
    return made


def _named(config: Config, world: World, part: Part, number: int) -> Examples:
    """Sentences that name a reference and no target; the answer is one of its words."""
    import torch

    from interp.models import Examples
    from interp.zoo.bias_world.sentences import sentences
    from interp.zoo.bias_world.world import NEUTRAL, REFERENCES

    parts = [
        sentences(
            world, NEUTRAL, n=40, reference=name, part=part, seed=config.seed + number
        ).examples
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
