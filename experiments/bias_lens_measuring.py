"""The bias lens at work: what is measured, the SAEs, the published tests; stages are beside it."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.bias_lens import Config
    from experiments.bias_lens_stages import Measured
    from interp.models import Examples, Model
    from interp.runs import Run
    from interp.sae import Dictionary, SaeSettings

log = logging.getLogger(__name__)

_CONTEXT = 128


@dataclass(frozen=True, eq=False)
class Found:
    """What the bias lens found.

    Attributes:
        measured: One a triple.
        site: Where the SAEs are.
        saes: One row an SAE: how well it does.
        untested: Triples that the model cannot be asked for, with the reason.
        published: Published tests, by name.
    """

    measured: tuple[Measured, ...]
    site: str
    saes: DataFrame
    untested: tuple[str, ...]
    published: dict[str, Any]


def measure(config: Config, run: Run, model: Model) -> Found:
    """Run all stages; long ones are stored, and taken from the store when a run is resumed.

    Raises:
        ValueError: the model can be asked for none of the triples.
    """
    from experiments.bias_lens_stages import Job, corrected
    from experiments.bias_lens_text import NotAsked, text_subject
    from experiments.bias_lens_triples import read_triples
    from experiments.bias_lens_world import world_for, world_subject

    world = world_for(config.model)
    subjects, untested = [], []
    if world is not None:
        subjects.append(world_subject(config, world))
    else:
        for asked in read_triples(config.triples):
            try:
                subjects.append(text_subject(asked, model))
            except NotAsked as error:
                log.warning("%s", error)
                untested.append(str(error))
    if not subjects:
        raise ValueError("; ".join(untested))
    run.record(
        model=model.fingerprint,
        data={f"{one.name} prompts": one.test.biased.hash for one in subjects},
        seeds={"all": config.seed},
        device=config.device,
    )
    dictionaries, frame = _dictionaries(config, run, model)
    (site,) = {str(one.site) for one in dictionaries.values()}
    return Found(
        measured=corrected(
            [Job(config, run, model, one).measured(dictionaries, site) for one in subjects]
        ),
        site=site,
        saes=frame,
        untested=tuple(untested),
        published=_published(config, model),
    )


def _dictionaries(
    config: Config, run: Run, model: Model
) -> tuple[dict[str, Dictionary], DataFrame]:
    """SAEs by name, and how well each does; trained ones are in the run folder."""
    import pandas as pd

    from interp.sae import evaluate_sae, load_sae, train_sae

    train, held_out = _texts(config, model)
    found, rows = {}, []
    if config.sae is not None:
        loaded = load_sae(config.sae, model=model, sae_id=config.sae_id, site=config.site)
        if loaded.site is None:
            raise ValueError(f"{config.sae} does not say where it belongs; give site as well")
        found["loaded"] = loaded
        rows.append({"sae": "loaded"} | evaluate_sae(model, loaded, held_out).metrics())
    site = config.site or usual_site(config, model)
    for seed in (
        () if config.sae is not None else range(config.seed, config.seed + config.sae_seeds)
    ):
        trained = train_sae(
            model,
            train,
            site,
            out=run.path / f"sae-{seed}",
            settings=sae_settings(config, seed=seed),
            held_out=held_out,
        )
        found[str(seed)] = trained.dictionary
        rows.append({"sae": str(seed)} | trained.evaluation.metrics())
    frame = pd.DataFrame(rows).drop(columns=["ce_cost_interval", "name"])
    return found, frame


def sae_settings(config: Config, *, seed: int) -> SaeSettings:
    """How the SAE of a seed is trained."""
    from interp.sae import SaeSettings

    return SaeSettings(
        arch=config.arch,
        d_sae=config.d_sae,
        k=config.k,
        samples=config.samples,
        context=_CONTEXT,
        lr=2e-3,
        seed=seed,
    )


def usual_site(config: Config, model: Model) -> str:
    """A bias world's card says that bias sits at the last layer; of others the middle is taken."""
    from experiments.bias_lens_world import world_for

    last = model.n_layers - 1
    return f"L{last // 2 if world_for(config.model) is None else last}.resid_post"


def _texts(config: Config, model: Model) -> tuple[Examples, Examples]:
    """What SAEs are trained on, and what they are evaluated on."""
    from experiments.bias_lens_world import world_documents, world_for
    from interp.sae.texts import read_data

    world = world_for(config.model)
    if world is not None:
        return world_documents(config, world)
    return read_data(
        model,
        config.data or "own",
        context=_CONTEXT,
        n_train=config.tokens,
        n_held_out=max(_CONTEXT * 16, config.tokens // 20),
        seed=config.seed,
    )


def _published(config: Config, model: Model) -> dict[str, Any]:
    """Published tests of behaviour that were asked for."""
    from probes.behaviour import crows_pairs, read_crows_pairs, read_winobias, winobias

    found: dict[str, Any] = {}
    for name, path, read, judge in (
        ("crows_pairs", config.crows_pairs, read_crows_pairs, crows_pairs),
        ("winobias", config.winobias, read_winobias, winobias),
    ):
        if path is None:
            continue
        items: Any = read(path)
        if config.items is not None and config.items < len(items):
            items = items.sample(config.items, seed=config.seed)
        found[name] = judge(model, items, seed=config.seed)
    return found
