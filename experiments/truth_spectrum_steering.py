"""What truth directions do to what the model says: evidence for each, and across domains.

Directions are mass-mean ones, fitted to some of the statements; they are pushed and erased on
prompts made of the others.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.truth_spectrum import Config
from experiments.truth_spectrum_data import (
    is_world,
    position_of,
    verdict_prompts,
    world_of_config,
    world_prompts,
    world_set,
)

if TYPE_CHECKING:
    from pandas import DataFrame

    from interp.hooks import Site
    from interp.models import Model
    from interp.runs import Run
    from probes.causal.continuations import Continuations
    from probes.causal.directions import Direction
    from probes.compared import Compared
    from probes.domains import Domain

# Random directions beside pushes from one domain to another, whose verdicts nobody asks for.
_CROSS_RANDOM = 19
_HELD_OUT = 0.3
_SHUFFLES = 20
GENERAL = "general, on "
# What is kept beside the rows of evidence, in the same table while the run is not done.
_ADDED = ["direction", "kind", "prompts", "natural_gap", "gap_low", "gap_high", "share"]
_ADDED += ["control_largest", "random_largest"]
_PREFIX = "steering "


@dataclass(frozen=True)
class Steered:
    """Evidence for every direction, and its pushes on every domain's prompts.

    Attributes:
        evidence: Rows of evidence, as ``EvidenceTable.frame`` has them.
        effects: The same in nats beside the natural gap, a row each in the same order.
        across: Pushes along each domain's direction on prompts of each domain, as
            ``CrossEffects.frame`` has them.
    """

    evidence: DataFrame
    effects: DataFrame
    across: DataFrame


def steer_all(config: Config, run: Run, model: Model, compared: Compared) -> Steered:
    """Push along every direction and erase it, on prompts that had no part in it.

    Raises:
        SteeringError: a domain holds no direction.
        ContinuationsError: no prompts can be made.
    """
    from probes.causal.cross_effects import cross_effects
    from probes.causal.directions import Direction
    from probes.fit import NoDirectionError
    from probes.steering import SteeringError

    pairs, prompts = _made(config, model, compared)
    try:
        own = [
            Direction.fit(known, test=judged, site=compared.site, seed=config.seed, model=model)
            for known, judged in pairs
        ]
    except NoDirectionError as error:
        raise SteeringError(str(error)) from error

    def weigh() -> DataFrame:
        import pandas as pd

        from probes.causal.evidence import direction_evidence

        settings: dict[str, Any] = {"n_random": config.random, "seed": config.seed}
        parts = [
            direction_evidence(
                model,
                own,
                {one.name: prompts[one.name, one.name] for one in own},
                training={known.name: known for known, _ in pairs},
                **settings,
            )
        ]
        general = _general(pairs, site=compared.site, seed=config.seed)
        if general:
            on = {one.name: prompts[name, name] for name, one in general.items()}
            parts.append(direction_evidence(model, list(general.values()), on, **settings))
        rows = pd.concat([part.table.frame() for part in parts], ignore_index=True)
        more = pd.concat([part.frame() for part in parts], ignore_index=True)
        return pd.concat([rows, more[_ADDED].add_prefix(_PREFIX)], axis=1)

    held = run.cached("steering/evidence", weigh)
    ours = [f"{_PREFIX}{name}" for name in _ADDED]
    shared = ["effect", "interval_low", "interval_high", "p_value", "p_holm", "verdict"]
    return Steered(
        evidence=held.drop(columns=ours),
        effects=held[[*ours, *shared]].rename(columns=lambda n: str(n).removeprefix(_PREFIX)),
        across=run.cached(
            "steering/across",
            lambda: cross_effects(
                model, own, prompts, n_random=_CROSS_RANDOM, seed=config.seed
            ).frame(),
        ),
    )


def _made(
    config: Config, model: Model, compared: Compared
) -> tuple[list[tuple[Domain, Domain]], Mapping[tuple[str, str], Continuations]]:
    """For each domain what to fit to and what to judge on; and prompts made of the latter.

    Prompts by (the direction's domain, the domain asked about).
    """
    import numpy as np

    from probes.erasure import training_rows
    from probes.gathering import gather

    names, site = compared.gathered.names, compared.site
    if is_world(config):
        world = world_of_config(config)
        halves = []
        for part in ("train", "test"):
            sets = [
                world_set(world, name, n=config.n or 720, seed=config.seed, part=part)
                for name in names
            ]
            halves.append(gather(model, sets, sites=[site], position=position_of(config)).at[site])
        prompts = {(a, b): world_prompts(config, a, b) for a in names for b in names}
        return list(zip(*halves, strict=True)), prompts
    known = training_rows(compared.domains, held_out=_HELD_OUT, seed=config.seed)
    pairs, asked = [], {}
    for data, domain in zip(compared.gathered.sets, compared.domains, strict=True):
        others = np.setdiff1d(np.arange(len(data)), known[data.name])
        pairs.append((domain.select(known[data.name]), domain.select(others)))
        asked[data.name] = verdict_prompts(
            model, data.select(others), n=config.prompts, seed=config.seed
        )
    return pairs, {(a, b): asked[b] for a in names for b in names}


def _general(
    pairs: Sequence[tuple[Domain, Domain]], *, site: Site, seed: int
) -> dict[str, Direction]:
    """The first direction that separates all domains at once, as it is to each of them."""
    import numpy as np

    from probes.causal.directions import Direction
    from probes.data import shuffled_labels
    from probes.erasure import ErasureError
    from probes.measures import auroc
    from probes.nullspace import stratified_inlp

    try:
        strata = stratified_inlp(
            [known for known, _ in pairs], n_general=1, n_specific=0, seed=seed
        )
    except ErasureError:
        return {}
    (first,) = strata.general
    made = {}
    for known, judged in pairs:
        scores = (judged.values.double() @ first.vector.double()).numpy()
        rng = np.random.default_rng((seed, 1))
        null = [
            auroc(scores, shuffled_labels(judged.labels, judged.groups, rng=rng))
            for _ in range(_SHUFFLES)
        ]
        made[known.name] = Direction(
            name=f"{GENERAL}{known.name}",
            vector=first.vector,
            training=known,
            **_signature(first.vector, known, judged, null, site=site, seed=seed),
        )
    return made


def _signature(
    vector: Any, known: Domain, judged: Domain, null: Sequence[float], *, site: Site, seed: int
) -> dict[str, Any]:
    """How well a direction separates statements it was not fitted to, beside its null."""
    from interp.evidence import rank_p_value
    from probes.measures import auroc, auroc_interval
    from probes.steering import natural_gap

    scores = (judged.values.double() @ vector.double()).numpy()
    value = auroc(scores, judged.labels)
    low, _ = auroc_interval(scores, judged.labels, judged.groups, seed=seed)
    return {
        "site": site,
        "gap": natural_gap(vector, known.values, known.labels),
        "auroc": value,
        "auroc_null": sum(null) / len(null),
        "separates": low > 0.5 and rank_p_value(value, null) <= 0.05,
    }
