"""How many features does a site carry, beside how many dimensions it has?

First, does counting count? Toy models squeeze 20 features through 5 neurons; the sparser the
features, the more of them get through (Elhage et al. 2022). Their own weights say how many.
Effective features, exp(entropy) of latent activation, are counted by the tied SAE without decoder
bias ("Superposition as Lossy Compression", 2025) and, for comparison, by sae-lens' own SAEs.

Then they are counted in the neurons of a model that groks and of its memorising twin along their
training, or at any site of any model; beside noise in random directions, against the number of
activations, and over seeds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.dynamics import Config as Trainings
    from interp.runs import Run

SUMMARY = "How many features does a site carry: toy models, a model that groks, or a site of yours?"


@dataclass(frozen=True)
class Config:
    """Settings of the superposition study.

    Attributes:
        model: Count at a site of this model: a Hugging Face id, a folder, or zoo:NAME. Without it
            the neurons of two trainings of a + b mod p are counted, one that groks and one not.
        site: Where, such as L3.mlp_post; @-1 for the last position only.
        data: Text file, folder, .jsonl file with "text", .npy file of token ids, a name for the
            datasets library, or own (text drawn from the model).
        context: Tokens a row of text.
        activations: Activations that features are counted in.
        d_sae: Latents of the SAEs there; twice the dimensions when not given.
        site_l1: Their sparsity penalty. Small, since at wide sites an activation is made of many
            features and under the toy models' penalty nothing is reconstructed.
        site_steps: Their training steps. F falls with them: compare under one number only.
        sae_seeds: SAEs for each count; three at least.
        p: The modulus of the two trainings.
        train_fraction: Share of the pairs that they are trained on.
        training_steps: Their optimizer steps.
        training_seed: Draws their split and first weights.
        d_mlp: Their neurons.
        moments: Checkpoints of each at which features are counted.
        toys: How many toy models, from dense features to one in a thousand.
        toy_steps: Training steps of the toy models.
        samples: Activations of each that SAEs are fitted to.
        sae_steps: Training steps of each SAE on a toy model.
        l1: Weight of the tied SAE's sparsity penalty there, on activations of norm one.
        compare: sae-lens architectures tried beside it; seconds for each toy model.
        seed: Seeds toy models, samples, SAEs, noise, bootstrap and permutations.
        device: A torch device, for the model and its SAEs.
    """

    model: str | None = None
    site: str | None = None
    data: str = "own"
    context: int = 128
    activations: int = 10_000
    d_sae: int | None = None
    site_l1: float = 0.03
    site_steps: int = 1200
    sae_seeds: int = 3
    p: int = 113
    train_fraction: float = 0.3
    training_steps: int = 700
    training_seed: int = 3
    d_mlp: int = 512
    moments: int = 6
    toys: int = 12
    toy_steps: int = 2000
    samples: int = 10_000
    sae_steps: int = 1500
    l1: float = 0.3
    compare: tuple[str, ...] = ("standard", "topk", "batchtopk")
    seed: int = 0
    device: str = "cpu"


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "activations": 600,
        "site_steps": 120,
        "p": 31,
        "train_fraction": 0.7,
        "training_steps": 250,
        "training_seed": 1,
        "d_mlp": 64,
        "moments": 3,
        "toys": 5,
        "toy_steps": 1500,
        "samples": 4000,
        "sae_steps": 1200,
        "compare": [],
    },
    "default": {},
    "headline": {
        "toys": 24,
        "toy_steps": 5000,
        "sae_seeds": 5,
        "sae_steps": 3000,
        "moments": 15,
        "site_steps": 3000,
    },
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from typing import get_args

    from experiments import dynamics
    from interp.sae.settings import Architecture

    least = {"toys": 4, "toy_steps": 1, "samples": 512, "sae_seeds": 3, "sae_steps": 1}
    least |= {"activations": 64, "site_steps": 1, "moments": 2, "context": 2, "seed": 0}
    for name, low in least.items():
        if getattr(config, name) < low:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {low}")
    for name in ("l1", "site_l1"):
        if not getattr(config, name) > 0:
            raise ValueError(f"{name} is {getattr(config, name)}; expected a weight above 0")
    if config.d_sae is not None and config.d_sae < 1:
        raise ValueError(f"d_sae is {config.d_sae}; expected at least 1, or leave it out")
    for kind in config.compare:
        if kind not in get_args(Architecture):
            raise ValueError(
                f"compare has {kind!r}; expected some of {', '.join(get_args(Architecture))}"
            )
    if config.model is not None:
        _check_site(config)
    elif config.site is not None:
        raise ValueError("site is a place in a model; give --model too")
    else:
        if not 11 <= config.p <= dynamics.LARGEST:
            raise ValueError(f"p is {config.p}; expected 11 to {dynamics.LARGEST}")
        dynamics.recipe(trainings(config))


def _check_site(config: Config) -> None:
    from interp.hooks import Site
    from interp.models import ModelSpec, require_device, resolve

    if config.site is None:
        raise ValueError("model is given and no site; say where, such as --site L3.mlp_post")
    Site.parse(config.site)
    require_device(config.device)
    assert config.model is not None
    resolve(ModelSpec(config.model))


def trainings(config: Config) -> Trainings:
    """The settings of the two trainings, as the study of dynamics has them."""
    from experiments.dynamics import Config as Trainings

    return Trainings(
        p=config.p,
        train_fraction=config.train_fraction,
        steps=config.training_steps,
        look_every=max(1, config.training_steps // 28),
        d_mlp=config.d_mlp,
        seed=config.training_seed,
    )


def run(config: Config, run: Run) -> None:
    """Try the count on toy models, then count along two trainings or at a site."""
    from experiments.superposition_counting import count_site, count_trainings
    from experiments.superposition_report import save
    from experiments.superposition_toys import calibrate_on_toys

    run.record(seeds={"all": config.seed}, device=config.device)
    toys = calibrate_on_toys(config, run)
    counted = count_trainings(config, run) if config.model is None else count_site(config, run)
    save(config, run, toys, counted)


def report(run: Run) -> Any:
    """Return what the terminal shows: features counted, beside noise."""
    from experiments.superposition_report import table_of

    return table_of(run)
