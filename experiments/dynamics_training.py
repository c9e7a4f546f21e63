"""The two trainings that are followed: one that groks, and its twin that only memorises."""

from __future__ import annotations

import dataclasses
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.dynamics import Config
    from interp.models import Model
    from interp.runs import Run
    from interp.zoo.modular.making import ModularConfig
    from interp.zoo.modular.network import Network
    from interp.zoo.modular.training import Look

CHECKPOINTS = "checkpoints"
NAMES = ("decayed", "memoriser")


@dataclass(frozen=True)
class Path:
    """A training and its checkpoints.

    Attributes:
        name: What it is called.
        how: Its recipe.
        train: True at the pairs trained on; the same for both.
        looks: Losses and accuracies, one look a checkpoint.
        weights: The learnt weights at each.
    """

    name: str
    how: ModularConfig
    train: Tensor
    looks: list[Look]
    weights: list[dict[str, Tensor]]

    def accuracy(self) -> float:
        """At the end, on pairs of which neither they nor their mirror image were trained on.

        A memoriser that has learnt (a, b) mostly knows (b, a) too.
        """
        import torch

        from interp.zoo.modular.tables import modular_addition

        never = ~(self.train | self.train.T)
        with torch.no_grad():
            said = self.network()(never.nonzero()).argmax(1)
        return float((said == modular_addition(self.how.p).answers[never]).double().mean())

    def network(self, at: int = -1) -> Network:
        """The network at a checkpoint."""
        from interp.zoo.modular.making import new_network
        from interp.zoo.modular.snapshots import put
        from interp.zoo.modular.tables import modular_addition

        network = new_network(self.how, modular_addition(self.how.p))
        put(network, self.weights[at])
        return network

    def model(self, at: int = -1) -> Model:
        """The loaded model at a checkpoint."""
        from interp.zoo.modular.bridging import as_model

        return as_model(self.network(at), f"{self.name}, step {self.looks[at].step}")


def train_both(config: Config, run: Run) -> tuple[Path, Path]:
    """Train both, or go on where an interrupted run stopped."""
    from experiments.dynamics import recipe

    how = recipe(config)
    memorising = dataclasses.replace(
        how, lr=config.lr / 10, weight_decay=0.0, stop_at_train_loss=5e-3
    )
    decayed, memoriser = _train(run, NAMES[0], how), _train(run, NAMES[1], memorising)
    run.record(model={path.name: path.model().fingerprint for path in (decayed, memoriser)})
    return decayed, memoriser


def clear(run: Run) -> None:
    """Remove what only an interrupted run needs."""
    shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)


def _train(run: Run, name: str, how: ModularConfig) -> Path:
    from interp.hooks.progress import progress
    from interp.zoo.modular.making import new_training
    from interp.zoo.modular.snapshots import list_snapshots, read_snapshot, save_snapshot

    training, folder = new_training(how), run.path / CHECKPOINTS / name
    state = folder / "state.safetensors"
    if state.exists():
        training.load(state)
    with progress(name, total=how.steps, initial=training.step) as advance:

        def seen(look: Look) -> None:
            save_snapshot(folder, training.network, look.step)
            training.save(state)
            advance(min(look.step, how.look_every))

        training.run(seen)
    by_step = {look.step: look for look in training.history}
    saved = {step: file for step, file in list_snapshots(folder).items() if step in by_step}
    return Path(
        name,
        how,
        training.train,
        [by_step[step] for step in saved],
        [read_snapshot(file) for file in saved.values()],
    )
