"""What a model says of targets, what it holds of them, and which latents it says it by.

Bias three times over, on the same targets between two references: in behaviour (log-odds of the
references' words), in concept space (four methods side by side, beside shuffled references), and
under intervention: the axis between the references taken out, and the latents of a sparse
autoencoder edited, each beside random ones. On a bias world the planted log-odds are known.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "Bias in behaviour, in concept space and in latents: does the model rest on it?"


@dataclass(frozen=True)
class Config:
    """Settings of the bias lens.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME. In a bias world the targets are its
            own, and what is planted is known.
        triples: Targets and references, with commas between: gender, age, wealth, sentiment, or
            FILE.json; gender when not given. For models that read text.
        sites: Where bias is measured, with commas between; every layer's resid_post when not given.
        site: Where the SAE is. When not given, the middle layer's resid_post; in a bias world the
            last, where its card says that bias sits.
        sae: A folder with a trained SAE, or with sae_id a release; SAEs are trained when not given.
        sae_id: Which SAE of a release (needs the Hub, or its cache).
        sae_seeds: How many SAEs are trained, seed by seed.
        data: What SAEs are trained on: a text file, a folder of texts, an .npy file of ids, own
            (text drawn from the model), or the name of a data set. A bias world's are its own.
        arch: Architecture of an SAE, by its name in sae-lens; one with a k.
        d_sae: Latents of an SAE; 8 times the site's width when not given.
        k: Latents active at a time.
        samples: Activations that an SAE is trained on.
        tokens: Tokens of text to draw them from, in models that read text.
        sentences: Sentences a concept, in a bias world.
        prompts: Prompts a target in each of four splits, in a bias world.
        counts: Numbers of latents to edit, with commas between.
        shuffles: Shuffles of the references' labels.
        resamples: Draws of sentences' groups for intervals of bias; 0 for none.
        randoms: Random concepts that sensitivity to a concept is judged by.
        controls: Random sets of latents, and random directions.
        crows_pairs: The published file of CrowS-Pairs, to be measured besides.
        winobias: The published folder of WinoBias, to be measured besides.
        items: Items of each published test; all when not given.
        alpha: Level of the tests.
        seed: Seeds everything.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str = "zoo:bias-world"
    triples: str | None = None
    sites: str | None = None
    site: str | None = None
    sae: str | None = None
    sae_id: str | None = None
    sae_seeds: int = 2
    data: str | None = None
    arch: Literal["topk", "batchtopk", "matryoshka_batchtopk"] = "topk"
    d_sae: int | None = None
    k: int = 8
    samples: int = 300_000
    tokens: int = 200_000
    sentences: int = 600
    prompts: int = 8
    counts: str = "1,2,3,5,10,20"
    shuffles: int = 299
    resamples: int = 100
    randoms: int = 199
    controls: int = 99
    crows_pairs: str | None = None
    winobias: str | None = None
    items: int | None = None
    alpha: float = 0.05
    seed: int = 0
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


# Holm over the sites of a deeper model asks for more random directions, and more random concepts;
# over several triples as well, for yet more directions.
_TEXT: dict[str, Any] = {
    "sae_seeds": 1,
    "k": 32,
    "samples": 1_000_000,
    "randoms": 499,
    "controls": 399,
}
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "sites": "L1.resid_post,L2.resid_post",
        "sae_seeds": 1,
        "d_sae": 128,
        "samples": 150_000,
        "sentences": 100,
        "prompts": 4,
        "counts": "1,5,10",
        "resamples": 0,
        "randoms": 139,
        "controls": 49,
    },
    "default": {"d_sae": 128},
    "small-hub": {"model": "EleutherAI/pythia-70m-deduped", "triples": "gender", **_TEXT},
    "paper": {
        "model": "gpt2",
        "triples": "gender,age,wealth,sentiment",
        **_TEXT,
        "controls": 999,
    },
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from experiments.bias_lens_triples import read_triples
    from experiments.bias_lens_world import world_for
    from interp.hooks import Site
    from interp.models import ModelSpec, require_device, resolve

    _check_numbers(config)
    numbers(config.counts)
    for site in (*split(config.sites or ""), *([config.site] if config.site else [])):
        Site.parse(site)
    if config.sae_id is not None and config.sae is None:
        raise ValueError("sae_id names an SAE of a release; give the release as sae")
    if config.sae is not None and config.sae_id is None and not Path(config.sae).is_dir():
        raise ValueError(f"sae: no folder {config.sae}; for a release give sae_id as well")
    if config.crows_pairs is not None and not Path(config.crows_pairs).is_file():
        raise ValueError(f"crows_pairs: no file {config.crows_pairs}")
    if config.winobias is not None and not Path(config.winobias).is_dir():
        raise ValueError(f"winobias: no folder {config.winobias}")
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))
    if world_for(config.model) is None:
        read_triples(config.triples)
        return
    for name in ("triples", "data", "crows_pairs", "winobias"):
        if getattr(config, name) is not None:
            raise ValueError(f"{name} is for models that read text; {config.model} is a bias world")


def _check_numbers(config: Config) -> None:
    least = {"sae_seeds": 1, "k": 1, "samples": 1024, "tokens": 256, "sentences": 20, "prompts": 2}
    least |= {"shuffles": 2, "resamples": 0, "randoms": 19, "controls": 19, "seed": 0}
    for name, value in least.items():
        if getattr(config, name) < value:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {value}")
    if config.items is not None and config.items < 1:
        raise ValueError(f"items is {config.items}; expected at least 1, or leave it out for all")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def numbers(text: str) -> tuple[int, ...]:
    """Return the numbers of latents that a list names.

    Raises:
        ValueError: none, or one that is no number from 1 on.
    """
    found = split(text)
    if not found or not all(part.isdigit() and int(part) > 0 for part in found):
        raise ValueError(f"counts is {text!r}; expected numbers from 1 on, such as 1,5,10")
    return tuple(sorted({int(part) for part in found}))


def run(config: Config, run: Run) -> None:
    """Measure bias in behaviour and in concept space, and intervene on what seems to hold it."""
    from experiments.bias_lens_measuring import measure
    from experiments.bias_lens_report import save
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    save(config, run, measure(config, run, model))


def report(run: Run) -> Any:
    """Return what the terminal shows: bias by every method beside behaviour, then the evidence."""
    from experiments.bias_lens_shown import shown

    return shown(run)
