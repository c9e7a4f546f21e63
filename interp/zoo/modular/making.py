"""Train ``modular-113`` and its memorising twin, hold each to its gate, and write its folder.

Both see the same training pairs of a + b mod 113. One has weight decay and groks; the other has
none and stops once it knows its pairs by heart: the negative control, on which no instrument may
find the mechanism of the first.
"""

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
from interp.zoo.modular.bridging import weights_of, write_folder
from interp.zoo.modular.network import Network
from interp.zoo.modular.snapshots import save_snapshot
from interp.zoo.modular.tables import Table, modular_addition
from interp.zoo.modular.training import TableTraining, Training
from interp.zoo.world_training import GateError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ModularConfig(TableTraining):
    """All that decides the weights; the defaults made ``modular-113``.

    Attributes:
        steps: Optimizer steps; some 300 more than it takes to grok, in which what was memorised is
            cleaned away.
        seed: Draws the split and the first weights. How many frequencies there are, and how long
            it takes, depend on it: seed 2 had not grokked by step 700.
        p: The modulus.
        d_model: Width of the residual stream.
        n_heads: Attention heads.
        d_mlp: Neurons.
        least_test_accuracy: Gate: least share of held-out pairs answered rightly.
        most_test_accuracy: Gate: largest share.
        keep_every: Keep a snapshot of the weights at every so many looks in ``snapshots/``; 0 none.
    """

    steps: int = 700
    seed: int = 3
    p: int = 113
    d_model: int = 128
    n_heads: int = 4
    d_mlp: int = 512
    least_test_accuracy: float = 0.99
    most_test_accuracy: float = 1.0
    keep_every: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("d_model", "n_heads", "d_mlp"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; expected at least 1")
        if self.d_model % self.n_heads:
            raise ValueError(
                f"d_model={self.d_model}: expected a multiple of n_heads={self.n_heads}"
            )

    @property
    def name(self) -> str:
        """What the model is called."""
        return f"modular-{self.p}"


@dataclass(frozen=True)
class MemoriserConfig(ModularConfig):
    """The defaults made ``modular-113-memoriser``.

    No weight decay and a small learning rate, ended once the training pairs are known by heart.
    About 30 % of the held-out pairs have their mirror image (b, a) among the training pairs, and
    some of these are answered rightly: that is no mechanism of addition.
    """

    lr: float = 1e-3
    weight_decay: float = 0.0
    steps: int = 400
    stop_at_train_loss: float | None = 5e-3
    least_test_accuracy: float = 0.0
    most_test_accuracy: float = 0.15

    @property
    def name(self) -> str:
        """What the model is called."""
        return f"modular-{self.p}-memoriser"


def new_training(config: ModularConfig) -> Training:
    """The network before its first step, and all it takes to train it."""
    table = modular_addition(config.p)
    return Training(new_network(config, table), table, config)


def new_network(config: ModularConfig, table: Table) -> Network:
    """The network before training, for any two-operand table."""
    return Network(
        n=table.n,
        n_answers=table.n_answers,
        d_model=config.d_model,
        n_heads=config.n_heads,
        d_mlp=config.d_mlp,
        seed=config.seed,
    )


def training_pairs(recipe: Mapping[str, Any]) -> Bool[Tensor, "p p"]:
    """The pairs that a model was trained on, from the recipe on its card.

    Raises:
        ValueError: the recipe is of another kind of model.
    """
    missing = [key for key in ("p", "train_fraction", "seed") if key not in recipe]
    if missing:
        raise ValueError(f"no recipe of a modular-addition model: it has no {', '.join(missing)}")
    return modular_addition(recipe["p"]).split(recipe["train_fraction"], seed=recipe["seed"])


def train(config: ModularConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, judge and write a modular-addition model as a native folder.

    An interrupted training is taken up from ``out/checkpoint.safetensors`` and ends with the
    weights of an uninterrupted one (same library versions, processor and number of threads).

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
            looks = len(training.history) - 1
            if config.keep_every and looks % config.keep_every == 0:
                save_snapshot(out / "snapshots", training.network, training.step)

        training.run(seen, until=stop_after)
    if not training.done:
        training.save(path)
        return {"status": "stopped", "step": training.step}
    _check_gate(config, training)
    card = _card(config, training)
    network = training.network
    assert isinstance(network, Network)
    write_folder(out, network.native_config(), weights_of(network))
    replace_file(out / CARD_FILE, card_bytes(card))
    path.unlink(missing_ok=True)
    return card


def _check_gate(config: ModularConfig, training: Training) -> None:
    last = training.history[-1]
    low, high = config.least_test_accuracy, config.most_test_accuracy
    if last.train_accuracy < 1 or not low <= last.test_accuracy <= high:
        raise GateError(
            f"{config.name} fails its gate: {last.train_accuracy:.1%} of its training pairs and "
            f"{last.test_accuracy:.1%} of the held-out ones right at step {last.step}; expected "
            f"all, and {low:.0%} to {high:.0%}. Try another seed, or more steps"
        )


def _card(config: ModularConfig, training: Training) -> dict[str, Any]:
    last, spent = training.history[-1], training.clock.read()
    grokked = config.weight_decay > 0
    kind = "has grokked" if grokked else "has memorised its training pairs and not grokked"
    known = [
        f"Tokens 0 to {config.p - 1} are residues, {config.p} is '='. The prompt is 'a b =', the "
        "answer is read at '='. All biases are zero and were frozen.",
        "Which pairs it was trained on: interp.zoo.modular.making.training_pairs(card.recipe).",
        f"The gate: all training pairs right, and {config.least_test_accuracy:.0%} to "
        f"{config.most_test_accuracy:.0%} of the held-out ones.",
    ]
    if grokked:
        known.append(
            "Which frequencies it uses was decided by the seed; interp.fourier.read_modular reads "
            "them. Other seeds use others, and some take longer to grok."
        )
    else:
        known.append(
            "The negative control: an instrument that finds key frequencies here is wrong. "
            "Held-out pairs it answers rightly are mostly mirror images (b, a) of training pairs."
        )
    return Card(
        name=config.name,
        summary=f"A one-layer transformer of a + b mod {config.p} that {kind}.",
        data=f"{int(training.train.sum())} of the {config.p**2} pairs, all in every step.",
        recipe=asdict(config),
        steps=training.step,
        seed=config.seed,
        loss=round(last.test_loss, 6),
        known=tuple(known),
        measured={
            name: float(f"{value:.4g}") for name, value in asdict(last).items() if name != "step"
        },
        licence="MIT",
        source="interp.zoo.modular.making:train",
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
