"""Statements for the truth spectrum, and prompts on which their directions are tried."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from experiments.truth_spectrum import OWN_SETS, WORLD, Config, framings_of, split

if TYPE_CHECKING:
    from interp.models import Model
    from interp.zoo.truth_world.world import World
    from probes.causal.continuations import Continuations
    from probes.data import StatementSet
    from probes.extraction import Position

# Asked after a statement: is it, to the model, true or false?
_ASKED, _TRUE, _FALSE = " This statement is", " true", " false"


def is_world(config: Config) -> bool:
    """Whether the statements are a truth world's own, in token ids."""
    return config.data is None and config.model.startswith(WORLD)


def position_of(config: Config) -> Position:
    """Return where in a statement is read."""
    from interp.zoo.truth_world.statements import OBJECT_AT
    from probes.activations import parse_position

    if config.position is not None:
        return parse_position(config.position)
    return OBJECT_AT if is_world(config) else "last"


def sites_of(config: Config, model: Model) -> list[str]:
    """Return the sites to read, as ``probes train`` would.

    Raises:
        UsageError: a layer that the model does not have.
    """
    from pathlib import Path

    from probes.settings import TrainSettings

    asked = TrainSettings(
        model=config.model,
        data=(config.data or OWN_SETS,),
        out=Path(),
        site=config.site,
        layers=config.layers,
    )
    return asked.sites(model.n_layers)


def sets_of(config: Config, model: Model) -> list[StatementSet]:
    """Return one statement set a domain; before a chat model they answer an open request.

    Raises:
        DataError: a source cannot be read.
    """
    from probes.data import framed, read_statements
    from probes.gathering import named_domains

    if is_world(config):
        world = world_of_config(config)
        return [
            world_set(world, domain.name, n=config.n or 720, seed=config.seed)
            for domain in world.domains
        ]
    sets = named_domains([read_statements(source) for source in split(config.data or OWN_SETS)])
    if getattr(model.tokenizer, "chat_template", None):
        sets = [replace(framed(one, "plain"), name=one.name) for one in sets]
    for framing in framings_of(config):
        # As the paper labels them: what the framing asks for has label 1.
        made = framed(
            read_statements(config.framed), framing, labels="expectation", seed=config.seed
        )
        sets.append(replace(made, name=framing))
    return [thinned(one, config.n, seed=config.seed) for one in sets]


def world_set(world: World, domain: str, *, n: int, seed: int, part: str = "all") -> StatementSet:
    """Return statements of a world's domain as ids, labelled by truth, grouped by subject."""
    from interp.zoo.truth_world.statements import statements
    from probes.data import StatementSet

    drawn = statements(world, domain, n=max(1, n // 2), part=part, seed=seed)  # type: ignore[arg-type]
    return StatementSet.build(
        None,
        drawn.true.tolist(),
        # The model is fed its beginning-of-sequence token by itself.
        ids=[tuple(row) for row in drawn.examples.tokens[:, 1:].tolist()],
        groups=drawn.examples.groups,
        name=domain,
        format="truth world",
    )


def thinned(data: StatementSet, n: int | None, *, seed: int) -> StatementSet:
    """Return whole groups at random, as many as make at most ``n`` statements."""
    import numpy as np

    if n is None or len(data) <= n:
        return data
    names = list(dict.fromkeys(data.groups))
    kept: set[str] = set()
    left = n
    for i in np.random.default_rng(seed).permutation(len(names)).tolist():
        size = data.groups.count(names[i])
        if size <= left:
            kept.add(names[i])
            left -= size
    return data.select([row for row, group in enumerate(data.groups) if group in kept])


def world_prompts(config: Config, source: str, target: str) -> Continuations:
    """Return statements of one domain before one of another: subjects no direction was fitted to.

    The log-odds are those of the target's true object: after a truth of an inverted domain they
    should fall.
    """
    from interp.zoo.truth_world.statements import prompts
    from probes.causal.continuations import Continuations

    made = prompts(
        world_of_config(config), source, target, n=config.prompts, part="test", seed=config.seed
    )
    return Continuations.of(
        made.examples,
        wrong=made.false_objects,
        labels=made.true,
        at=made.object_at,
    )


def verdict_prompts(model: Model, data: StatementSet, *, n: int, seed: int) -> Continuations:
    """Return statements with the question whether they are true, changed at their last token.

    Args:
        model: Its tokenizer must know both answers by one token each, or their first tokens must
            differ.
        data: Statements that no direction was fitted to.
        n: Statements of each label, at most.
        seed: Chooses them.

    Raises:
        ContinuationsError: the answers begin alike, or nothing of both labels can be asked about.
    """
    import torch

    from interp.models import Examples
    from probes.causal.continuations import Continuations, ContinuationsError
    from probes.data import rendered

    tokenizer = model.tokenizer
    if tokenizer is None:
        raise ContinuationsError(
            f"{model.spec.name} has no tokenizer, so nothing can be asked of it"
        )
    chosen = thinned(data, 2 * n, seed=seed)
    shown = rendered(chosen, tokenizer)
    first = [] if model.bos_id is None else [model.bos_id]

    def ids(text: str) -> list[int]:
        return [*first, *tokenizer.encode(text, add_special_tokens=False)]

    after = {}
    for answer in (_TRUE, _FALSE):
        whole, before = ids(_ASKED + answer), ids(_ASKED)
        after[answer] = whole[len(before)]
    if after[_TRUE] == after[_FALSE]:
        raise ContinuationsError(
            f"to the tokenizer of {model.spec.name} true and false begin alike"
        )
    rows, places, kept = [], [], []
    for row, text in enumerate(shown.texts):
        own, asked = ids(text), ids(text + _ASKED)
        if len(asked) <= model.n_ctx and asked[: len(own)] == own:
            rows.append(asked)
            places.append(len(own) - 1)
            kept.append(row)
    labels = [chosen.labels[row] for row in kept]
    if len(set(labels)) < 2:
        raise ContinuationsError(f"{data.name}: no statements of both labels can be asked about")
    width = max(map(len, rows))
    tokens = torch.zeros((len(rows), width), dtype=torch.int64)
    mask = torch.zeros((len(rows), width), dtype=torch.bool)
    for i, row_ids in enumerate(rows):
        tokens[i, : len(row_ids)] = torch.tensor(row_ids)
        mask[i, : len(row_ids)] = True
    examples = Examples(
        tokens=tokens,
        mask=mask,
        answer=torch.full((len(rows),), after[_TRUE]),
        answer_at=mask.sum(1) - 1,
        groups=tuple(chosen.groups[row] for row in kept),
        name=f"{data.name}, asked",
        seed=seed,
    )
    wrong = torch.full((len(rows), 1), after[_FALSE])
    return Continuations.of(examples, wrong=wrong, labels=labels, at=torch.tensor(places))


def world_of_config(config: Config) -> World:
    """Return the world that a bundled model was trained on."""
    from interp.zoo.truth_world.world import world_of

    return world_of(re.sub(r"^zoo:", "", config.model))
