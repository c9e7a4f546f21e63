"""What are the latents of a sparse autoencoder, and does the model depend on them?

An SAE is trained on a site of the model, or a trained one is loaded; it is evaluated as loaded.
Signature: which latents the loss is attributed to, on one half of the held-out text; those that
cost most there when set to their means are chosen. Load: what that costs on the other half, beside
random latents that fire as often. On labelled texts: what few latents tell, and what probes lose
without them (sparse probes, SCR and TPP, as in SAEBench).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

if TYPE_CHECKING:
    from interp.models import Examples, Model
    from interp.runs import Run
    from interp.sae import Dictionary, Evaluation, SaeSettings

log = logging.getLogger(__name__)

SUMMARY = "What are the latents of a sparse autoencoder, and does the model depend on them?"


@dataclass(frozen=True)
class Config:
    """Settings of the study of latents.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        sae: A folder with a trained SAE, or with sae_id a release; one is trained when not given.
        sae_id: Which SAE of a release (needs the Hub, or its cache).
        site: Where, such as L1.resid_post; the middle layer's resid_post when not given.
        data: A text file, a folder of texts, an .npy file of ids, own (text drawn from the model),
            or the name of a data set. When not given, own; for zoo:code-lm held-out source code.
        texts: Labelled texts for sparse probes, SCR and TPP: a .csv or .jsonl file with columns
            text and label (two kinds or more), and if you like group, and spurious: another label
            of two kinds, for SCR. When not given, the project's own, for models that read English
            and for zoo:bias-world.
        arch: Architecture of the SAE to train, by its name in sae-lens.
        d_sae: Its latents; 8 times the site's width when not given.
        k: Latents active at a time, for topk kinds.
        samples: Activations it is trained on.
        tokens: Tokens of text to draw them from; repeated where there are fewer than samples.
        context: Tokens a row.
        held_out: Tokens to evaluate on and to look for contexts in; half choose, half judge.
        top: How many latents are removed together.
        cards: How many latents get a card.
        controls: Random sets of latents.
        shortlist: How many latents, by gradients, are tried alone to be ranked.
        alpha: Level of the verdict.
        seed: Seeds data, training, controls and intervals.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str = "zoo:code-lm"
    sae: str | None = None
    sae_id: str | None = None
    site: str | None = None
    data: str | None = None
    texts: str | None = None
    arch: str = "topk"
    d_sae: int | None = None
    k: int | None = None
    samples: int = 1_000_000
    tokens: int = 200_000
    context: int = 128
    held_out: int = 16_384
    top: int = 5
    cards: int = 20
    controls: int = 99
    shortlist: int = 64
    alpha: float = 0.05
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "d_sae": 256,
        "k": 8,
        "samples": 40_000,
        "tokens": 20_000,
        "context": 64,
        "held_out": 2_048,
        "top": 3,
        "cards": 5,
        "controls": 29,
        "shortlist": 32,
    },
    "default": {},
    "headline": {"samples": 10_000_000, "tokens": 2_000_000, "controls": 999, "cards": 50},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from interp.hooks import Site
    from interp.models import ModelSpec, require_device, resolve

    least = {"samples": 1024, "tokens": 256, "context": 2, "held_out": 256, "top": 1}
    least |= {"cards": 1, "controls": 1, "shortlist": 1, "seed": 0}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {value}")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if config.sae_id is not None and config.sae is None:
        raise ValueError("sae_id names an SAE of a release; give the release as sae")
    if config.sae is not None and config.sae_id is None and not Path(config.sae).is_dir():
        raise ValueError(f"sae: no folder {config.sae}; for a release give sae_id as well")
    if config.site is not None:
        Site.parse(config.site)
    if config.texts is not None:
        from experiments.sae_features_texts import read_rows

        read_rows(config.texts)
    _check_latents(config)
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))


def _check_latents(config: Config) -> None:
    """Refuse numbers of latents that do not fit each other, as far as they are known by now."""
    from interp.configs import near
    from interp.sae.files import CONFIG, read_json
    from interp.sae.settings import Architecture

    d_sae, named = config.d_sae, f"d_sae={config.d_sae}"
    if config.sae is None:
        if config.arch not in (kinds := get_args(Architecture)):
            raise ValueError(f"arch: sae-lens has no {config.arch!r}; {near(config.arch, kinds)}")
        _settings(config)
    else:
        path = Path(config.sae) / CONFIG
        d_sae = read_json(path).get("d_sae") if path.is_file() else None
        named = f"the {d_sae} latents of {config.sae}"
    if d_sae is not None and 2 * config.top > d_sae:
        raise ValueError(
            f"top={config.top} of {named}: expected half of them at most, since as many others "
            "are removed as a control; give a smaller --top"
            + (" or a larger --d-sae" if config.sae is None else "")
        )


def run(config: Config, run: Run) -> None:
    """Train or load, evaluate, choose latents on one half of the text and judge on the other."""
    from experiments.sae_features_concepts import tell
    from experiments.sae_features_report import save
    from experiments.sae_features_texts import labelled_texts, plain_texts, token_words
    from interp.evidence import EvidenceTable, loss
    from interp.models import ModelSpec, load_model
    from interp.sae.attribution import attribute_latents
    from interp.sae.carrying_load import rank_latents, weigh_latents
    from interp.sae.contexts import feature_cards
    from interp.sae.features import latent_statistics
    from interp.sae.stream import kept_positions

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    train, held_out = plain_texts(config, model)
    labelled = labelled_texts(model, config.texts, seed=config.seed)
    data = {"training": train.hash, "held out": held_out.hash}
    run.record(
        model=model.fingerprint,
        data=data | {texts.name: texts.examples.hash for texts in labelled},
        seeds={"all": config.seed},
        device=config.device,
    )
    dictionary, evaluation = _dictionary(config, run, model, train, held_out)
    choose, judged = held_out.split(0.5, seed=config.seed)

    def at(examples: Examples) -> Any:
        assert examples.mask is not None
        return kept_positions(model, examples.tokens, examples.mask, skip_bos=True)

    statistics = latent_statistics(model, choose, dictionary, at=at(choose))
    attribution = attribute_latents(
        model,
        choose,
        loss,
        dictionary,
        reference=statistics.mean,
        at=at(choose),
        steps=0,
    )
    ranked = rank_latents(
        model,
        choose,
        loss,
        dictionary,
        attribution=attribution,
        statistics=statistics,
        at=at(choose),
        shortlist=max(config.shortlist, config.cards, config.top),
    )
    latents = [latent for latent, _ in ranked]
    row, alone = weigh_latents(
        model,
        judged,
        loss,
        dictionary,
        latents[: config.top],
        attribution=attribution,
        statistics=statistics,
        at=at(judged),
        n_controls=config.controls,
        alpha=config.alpha,
        seed=config.seed,
    )
    cards = feature_cards(
        model,
        held_out,
        dictionary,
        latents[: config.cards],
        at=at(held_out),
        words=token_words(config.model),
    )
    told = tell(
        model,
        dictionary,
        labelled,
        n_random=config.controls,
        top=config.cards,
        seed=config.seed,
    )
    table = EvidenceTable([row])
    save(
        config,
        run,
        dictionary,
        evaluation,
        attribution,
        ranked=ranked,
        table=table,
        alone=alone.tolist(),
        cards=cards,
        told=told,
    )


def _dictionary(
    config: Config, run: Run, model: Model, train: Examples, held_out: Examples
) -> tuple[Dictionary, Evaluation]:
    """The SAE, loaded or trained into the run folder, and how well it does."""
    from interp.sae import evaluate_sae, load_sae, train_sae

    site = config.site or f"L{(model.n_layers - 1) // 2}.resid_post"
    if config.sae is not None:
        found = load_sae(config.sae, model=model, sae_id=config.sae_id, site=config.site)
        return found, evaluate_sae(model, found, held_out)
    trained = train_sae(
        model,
        train,
        site,
        out=run.path / "sae",
        settings=_settings(config),
        held_out=held_out,
    )
    run.save_figure("training", trained.figure())
    return trained.dictionary, trained.evaluation


def _settings(config: Config) -> SaeSettings:
    """How the SAE is trained."""
    from interp.sae import SaeSettings

    return SaeSettings(
        arch=config.arch,
        d_sae=config.d_sae,
        k=config.k,
        samples=config.samples,
        context=config.context,
        seed=config.seed,
    )
