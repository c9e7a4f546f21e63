"""Train ``s4`` and ``s5``, hold each to its gate, and write its folder."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from jaxtyping import Bool
from rich.console import Console
from rich.progress import Progress
from torch import Tensor

from interp.zoo.cards import CARD_FILE, Card, card_bytes, replace_file
from interp.zoo.groups.network import HiddenLayer, native_config, native_weights
from interp.zoo.groups.tables import group_table
from interp.zoo.modular.bridging import write_folder
from interp.zoo.modular.training import TableTraining, Training
from interp.zoo.world_training import GateError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class GroupConfig(TableTraining):
    """All that decides the weights; the defaults made ``s4``.

    Attributes:
        train_fraction: Share of the pairs that is trained on.
        steps: Optimizer steps.
        look_every: Steps between two looks at the losses, and two checkpoints.
        seed: Draws the split and the first weights. Whether and when the whole table is learnt
            depends on it: with 288 pairs to train on, seed 1 had not learnt it by step 2600.
        group: ``s4`` and the like (:mod:`interp.zoo.groups.tables`).
        d_embed: Width of each operand's embedding.
        hidden: Neurons.
        least_test_accuracy: Gate: least share of held-out pairs answered rightly.
    """

    train_fraction: float = 0.5
    steps: int = 2600
    look_every: int = 100
    group: str = "s4"
    d_embed: int = 256
    hidden: int = 128
    least_test_accuracy: float = 0.99

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_embed", "hidden"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        group_table(self.group)

    @property
    def name(self) -> str:
        """What the model is called."""
        return self.group


@dataclass(frozen=True)
class S5Config(GroupConfig):
    """The defaults made ``s5``."""

    group: str = "s5"
    weight_decay: float = 3.0
    steps: int = 1500


def new_training(config: GroupConfig) -> Training:
    """The network before its first step, and all it takes to train it."""
    table = group_table(config.group)
    network = HiddenLayer(n=table.n, d_embed=config.d_embed, hidden=config.hidden, seed=config.seed)
    return Training(network, table, config)


def training_pairs(recipe: Mapping[str, Any]) -> Bool[Tensor, "g g"]:
    """The pairs that a model was trained on, from the recipe on its card.

    Raises:
        ValueError: the recipe is of another kind of model.
    """
    missing = [key for key in ("group", "train_fraction", "seed") if key not in recipe]
    if missing:
        raise ValueError(f"no recipe of a network of a group: it has no {', '.join(missing)}")
    return group_table(recipe["group"]).split(recipe["train_fraction"], seed=recipe["seed"])


def train(config: GroupConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, judge and write a network of a group as a native folder.

    An interrupted training is taken up from ``out/checkpoint.safetensors``.

    Args:
        config: The recipe.
        out: Folder to write; made if missing.
        stop_after: Stop, with a checkpoint, once this many steps are done in all; None to finish.

    Returns:
        The card, as in ``card.json``; or, if stopped, ``{"status": "stopped", "step": ...}``.

    Raises:
        GateError: the model fails its gate; the checkpoint stays.
        ValueError: ``out`` holds a checkpoint of another recipe, or the training diverged.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    path = out / "checkpoint.safetensors"
    training = new_training(config)
    if path.exists():
        training.load(path)
        log.info("resuming from %s at step %d", path, training.step)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(config.name, total=config.steps, completed=training.step)

        def seen(_: object) -> None:
            progress.update(bar, completed=training.step)
            training.save(path)

        training.run(seen, until=stop_after)
    if not training.done:
        training.save(path)
        return {"status": "stopped", "step": training.step}
    last = training.history[-1]
    if last.train_accuracy < 1 or last.test_accuracy < config.least_test_accuracy:
        raise GateError(
            f"{config.name} fails its gate: {last.train_accuracy:.1%} of its training pairs and "
            f"{last.test_accuracy:.1%} of the held-out ones right at step {last.step}; expected "
            f"all, and at least {config.least_test_accuracy:.0%}. Try another seed, or more steps"
        )
    card = _card(config, training)
    assert isinstance(training.network, HiddenLayer)
    write_network(out, training.network)
    replace_file(out / CARD_FILE, card_bytes(card))
    path.unlink(missing_ok=True)
    return card


def write_network(folder: Path, network: HiddenLayer) -> None:
    """Write a network's function as a native folder, which ``load_model`` reads."""
    effective = network.effective()
    write_folder(folder, native_config(effective), native_weights(effective))


def _card(config: GroupConfig, training: Training) -> dict[str, Any]:
    last, spent, table = training.history[-1], training.clock.read(), training.table
    order = "permutations in lexicographic order, ab first b, then a"
    if not config.group.startswith("s"):
        order = "in the order of interp.zoo.groups.tables"
    return Card(
        name=config.name,
        summary=f"One hidden layer that has learnt the {table.name}.",
        data=f"{int(training.train.sum())} of the {table.n**2} pairs, all in every step.",
        recipe=asdict(config),
        steps=training.step,
        seed=config.seed,
        loss=round(last.test_loss, 6),
        known=(
            f"Tokens 0 to {table.n - 1} are the elements ({order}), {table.n} is '='. The prompt "
            "is 'a b =', the answer ab is read at '='.",
            "A network with one hidden layer and no attention, ReLU(W_a[a] + W_b[b]) W_U, written "
            "as a one-layer model whose two heads copy from the operands: the same function "
            "(interp.zoo.groups.network). Its neurons are L0.mlp_post at '='.",
            "Which pairs it was trained on: interp.zoo.groups.making.training_pairs(card.recipe).",
            f"The gate: all training pairs right, and at least {config.least_test_accuracy:.0%} of "
            "the held-out ones.",
            "How it multiplies is disputed: by representations (Chughtai et al. 2023) or by cosets "
            "(Stander et al. 2023); interp.fourier.read_group and coset_concentration offer both "
            "readings.",
        ),
        measured={
            name: float(f"{value:.4g}") for name, value in asdict(last).items() if name != "step"
        },
        licence="MIT",
        source="interp.zoo.groups.making:train",
        extra={
            "wall_seconds": round(spent["wall"]),
            "cpu_seconds": round(spent["cpu"]),
            "versions": {name: version(name) for name in ("torch", "safetensors")},
            "history": [
                {key: float(f"{v:.3g}") for key, v in asdict(look).items()}
                for look in training.history
            ],
        },
    ).to_dict()
