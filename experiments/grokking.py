"""Does a small transformer grok addition mod p, and on which frequencies does it rest?

Trains one and follows every progress measure, or reads a checkpoint trained elsewhere. Signature:
frequencies at which logits and weights have their power (Nanda et al. 2023). Load: what removing
each of them costs on held-out pairs, beside removing random frequencies and random planes.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run
    from interp.zoo.modular.making import ModularConfig

LARGEST = 251  # p³ logits in float64, a few times over, in 1 GB

# What only a training reads, and a model from elsewhere has of its own.
_TRAINING = (
    *("p", "train_fraction", "lr", "weight_decay", "steps", "look_every"),
    *("d_model", "n_heads", "d_mlp", "keep_checkpoints"),
)

SUMMARY = "Does a small transformer grok addition mod p, and on which frequencies does it rest?"


@dataclass(frozen=True)
class Config:
    """Settings of the grokking study.

    Attributes:
        weights: Read this instead of training: FILE.safetensors with the state dict of a one-layer
            model (names W_E, W_pos, W_Q and so on, as in the published code or TransformerLens'), a
            native folder, or zoo:NAME. Which pairs it was trained on is known for zoo models only.
        mapping: For --weights FILE: a JSON object from these names to the file's own.
        p: The modulus.
        train_fraction: Share of the pairs that is trained on.
        lr: Learning rate of AdamW.
        weight_decay: Its weight decay; without any, the model memorises and does not grok.
        steps: Optimizer steps.
        look_every: Steps between two looks.
        d_model: Width of the residual stream.
        n_heads: Attention heads.
        d_mlp: Neurons.
        seed: Draws the split, the first weights, the pairs judged, controls and bootstrap.
        judged: Held-out pairs on which removing a frequency is judged; their mirror images are held
            out too.
        controls: Matched-random control sets a family.
        alpha: Level of the verdicts.
        shuffles: Shuffled orders of the residues, for each null.
        keep_checkpoints: Keep the weights of every look in checkpoints/ (1 MB each at p = 113).
    """

    weights: str | None = None
    mapping: str | None = None
    p: int = 113
    train_fraction: float = 0.3
    lr: float = 1e-2
    weight_decay: float = 1.0
    steps: int = 500
    look_every: int = 10
    d_model: int = 128
    n_heads: int = 4
    d_mlp: int = 512
    seed: int = 3
    judged: int = 512
    controls: int = 199
    alpha: float = 0.05
    shuffles: int = 99
    keep_checkpoints: bool = False


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "p": 41,
        "train_fraction": 0.6,
        "seed": 1,
        "steps": 250,
        "look_every": 25,
        "judged": 128,
        "controls": 99,
        "shuffles": 39,
    },
    "default": {},
    # The published learning rate; a quarter of an hour on a CPU.
    "paper": {"lr": 1e-3, "steps": 12_000, "look_every": 100},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    for name, least in (("judged", 8), ("controls", 1), ("shuffles", 19), ("steps", 1), ("p", 11)):
        if getattr(config, name) < least:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {least}")
    _check_size(config.p, "p is")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    if config.mapping is not None and (config.weights is None or not is_file(config.weights)):
        raise ValueError("mapping goes with --weights FILE.safetensors, which is not given")
    if config.weights is None:
        recipe(config)
        return
    _check_weights(config, config.weights)


def _check_weights(config: Config, weights: str) -> None:
    """Refuse weights that are of another model, and settings of a training that is not run."""
    # A preset sets them too: what counts is what differs from it.
    starts = [Config(**preset) for preset in PRESETS.values()]
    given = min(
        ([x for x in _TRAINING if getattr(config, x) != getattr(start, x)] for start in starts),
        key=len,
    )
    if given:
        names = ", ".join(f"--{name.replace('_', '-')}" for name in given)
        raise ValueError(f"{names}: only for a training; with --weights nothing is trained")
    if is_file(weights):
        from interp.zoo.modular.published import read_published

        mapping = None if config.mapping is None else Path(config.mapping)
        made, _ = read_published(Path(weights), mapping=mapping)
        p = made["d_vocab"] - 1
    else:
        from interp.fourier import modulus
        from interp.models import ModelSpec, load_model, resolve

        kind, _ = resolve(ModelSpec(weights))
        if kind != "native":
            raise ValueError(
                f"weights is {weights!r}, which is no one-layer model of modular addition; "
                "expected FILE.safetensors, a native folder or zoo:modular-113"
            )
        p = modulus(load_model(weights))
        _check_task(weights, p)
    _check_size(p, f"{weights} has p =")


def _check_size(p: int, said: str) -> None:
    if p > LARGEST:
        raise ValueError(
            f"{said} {p}; expected at most {LARGEST}, since all p³ logits are held at once"
        )


def _check_task(weights: str, p: int) -> None:
    """Refuse a model whose card says that it learnt something else; one without a card may pass."""
    from interp.zoo.cards import CardError, get_card, read_card

    try:
        card = get_card(weights) if weights.startswith("zoo:") else read_card(Path(weights))
    except CardError:
        return
    if card.recipe.get("p") != p:
        raise ValueError(
            f"{weights} is of another task ({card.summary.rstrip('.')}): its recipe has no p = "
            f"{p}; expected a model of modular addition, such as zoo:modular-113"
        )


def is_file(weights: str) -> bool:
    """Whether ``weights`` means a file, there or not, rather than a folder or a bundled model."""
    return Path(weights).is_file() or (bool(Path(weights).suffix) and not Path(weights).is_dir())


def recipe(config: Config) -> ModularConfig:
    """The settings of the training."""
    from interp.zoo.modular.making import ModularConfig

    return ModularConfig(
        train_fraction=config.train_fraction,
        lr=config.lr,
        weight_decay=config.weight_decay,
        steps=config.steps,
        look_every=config.look_every,
        seed=config.seed,
        p=config.p,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_mlp=config.d_mlp,
    )


def run(config: Config, run: Run) -> None:
    """Train or load, read the frequencies, remove them, and follow the measures over training."""
    from experiments.grokking_measuring import clear, measure, subject_of
    from experiments.grokking_report import save
    from interp.zoo.world_training import torch_threads

    with torch_threads(1):  # products this small gain nothing from more
        save(config, run, measure(config, run, subject_of(config, run)))
    clear(config, run)


def report(run: Run) -> Any:
    """Return what the terminal shows: the evidence, where there are key frequencies."""
    from experiments.grokking_report import table_of

    return table_of(run)
