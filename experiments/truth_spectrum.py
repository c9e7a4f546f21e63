"""One direction for truth, or many? A model's truth directions, compared, erased and steered.

For one model: how well every kind of statement is read layer by layer; transfer between kinds,
beside the likeness of their directions; what is left after each label is erased; directions that
all kinds share and such as are a kind's own; and what pushing along them does to what the model
says. After the Truthfulness Spectrum (2602.20273).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from interp.runs import Run

SUMMARY = "One direction for truth, or many? Compared, erased and steered."

# The bundled world has statements of its own.
WORLD = "zoo:truth-world"
OWN_SETS = "set:definitional,set:empirical,set:logical,set:fictional,set:ethical"


@dataclass(frozen=True)
class Config:
    """Settings of the truth spectrum.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        data: Statement sets, a domain each, with commas between: set:NAME, files, or hf:NAME (see
            probes data). The world's own, or the project's five sets, when not given.
        framings: Further domains: the statements of --framed under these framings, with commas
            between; none for none.
        framed: The set that the framings are put before.
        site: What to read in each layer.
        layers: all, a layer, or several, such as 2-5 or 1,3; of several, the one at which the
            domains' own probes do best is studied.
        position: Where in a statement: last, mean, or a token's index; the object in the world,
            else last, when not given.
        method: How probes are fitted: logistic, mass-mean, mass-mean-whitened, lda or pca.
        n: Most statements a domain, whole groups of them; all when not given.
        folds: Of the cross-validation.
        shuffles: Refits to shuffled labels.
        resamples: Of the bootstrap over groups.
        general: Directions of all domains to look for.
        specific: Further directions of each domain.
        prompts: Pairs of prompts a domain on which directions are pushed and erased; 0 for none.
        random: Random directions beside each.
        seed: Of statements, folds, shuffles, bootstrap and random directions.
        batch_size: Statements at a time, halved on out-of-memory; a budget of tokens if omitted.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str = WORLD
    data: str | None = None
    framings: str = "expectation-inverted,sycophantic"
    framed: str = "set:empirical"
    site: str = "resid_post"
    layers: str = "all"
    position: str | None = None
    method: str = "logistic"
    n: int | None = None
    folds: int = 5
    shuffles: int = 40
    resamples: int = 2000
    general: int = 4
    specific: int = 2
    prompts: int = 36
    random: int = 199
    seed: int = 0
    batch_size: int | None = None
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n": 144,
        "layers": "0-1",
        "shuffles": 20,
        "resamples": 200,
        "general": 2,
        "specific": 1,
        "prompts": 12,
        "random": 99,
    },
    "default": {},
    "small-hub": {
        "model": "EleutherAI/pythia-70m",
        "n": 400,
        "shuffles": 20,
        "prompts": 12,
        # Seven domains share Holm's correction.
        "random": 149,
    },
    "paper": {
        "model": "meta-llama/Llama-3.3-70B-Instruct",
        "layers": "3,8,13,18,23,28,32,33,38,43,48,53,58,63,68,73,78",
        "position": "mean",
        "general": 10,
        "specific": 5,
        "dtype": "bfloat16",
        "device": "cuda",
    },
}


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from interp.configs import near
    from interp.models import ModelSpec, require_device, resolve
    from probes.activations import parse_position
    from probes.commands.transfer import DIRECTION_METHODS
    from probes.data import FRAMINGS

    for name, least in (
        ("folds", 2),
        ("shuffles", 19),
        ("resamples", 100),
        ("general", 1),
        ("specific", 0),
        ("prompts", 0),
        ("random", 19),
    ):
        if getattr(config, name) < least:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {least}")
    if config.n is not None and config.n < 20:
        raise ValueError(f"n is {config.n}; expected at least 20 statements a domain")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    if config.method not in DIRECTION_METHODS:
        raise ValueError(f"method is {config.method!r}; {near(config.method, DIRECTION_METHODS)}")
    if not re.fullmatch(r"all|\d+(-\d+)?(,\d+(-\d+)?)*", config.layers):
        raise ValueError(f"layers is {config.layers!r}; expected all, 3, 2-5 or 1,3")
    for framing in framings_of(config):
        if framing not in FRAMINGS:
            raise ValueError(f"framings has {framing!r}; {near(framing, FRAMINGS)}")
    if config.position is not None and parse_position(config.position) == "every":
        raise ValueError("position is 'every'; a statement counts once: expected last or mean")
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))


def framings_of(config: Config) -> tuple[str, ...]:
    """Return the framings asked for."""
    return () if config.framings == "none" else split(config.framings)


def run(config: Config, run: Run) -> None:
    """Read, compare, erase and steer."""
    from experiments.truth_spectrum_measuring import measure
    from experiments.truth_spectrum_report import save
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    save(config, run, measure(config, run, model))


def report(run: Run) -> Any:
    """Return what the terminal shows: transfer, each domain's own probe, and the evidence."""
    from experiments.truth_spectrum_report import shown

    return shown(run)
