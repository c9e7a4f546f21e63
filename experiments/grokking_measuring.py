"""The grokking study's subject, trained here or elsewhere, and what is measured of it."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from experiments.grokking import Config
    from interp.evidence import EvidenceTable
    from interp.fourier import ModularReading, Phases
    from interp.models import Model
    from interp.runs import Run
    from interp.zoo.modular.network import Network

CHECKPOINTS = "checkpoints"
PLACES = ("logits@-1", "L0.mlp_post@-1")


@dataclass(frozen=True)
class Subject:
    """What is looked at.

    Attributes:
        model: Loaded in the bridge.
        train: True at the pairs it was trained on; None where that is not known.
        snapshots: The folder of its weights along the training; None where there are none.
    """

    model: Model
    train: Tensor | None
    snapshots: Path | None


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        reading: Of the model as it is at the end.
        table: Each key frequency removed; None where there are none.
        history: A row a look; None where there are no snapshots.
        phases: Of the training, or why it has none; None without snapshots or key frequencies.
    """

    reading: ModularReading
    table: EvidenceTable | None
    history: DataFrame | None
    phases: Phases | None


def subject_of(config: Config, run: Run) -> Subject:
    """Train the model, or load the one asked for."""
    if config.weights is None:
        return _trained(config, run)
    from experiments.grokking import is_file
    from interp.models import load_model
    from interp.zoo.modular.bridging import write_folder
    from interp.zoo.modular.published import read_published

    if is_file(config.weights):
        mapping = None if config.mapping is None else Path(config.mapping)
        write_folder(run.path / "model", *read_published(Path(config.weights), mapping=mapping))
        model, train = load_model(str(run.path / "model")), None
    else:
        model, train = load_model(config.weights), _known_pairs(config.weights)
    run.record(model=model.fingerprint, seeds={"all": config.seed}, device="cpu")
    return Subject(model, train, None)


def _known_pairs(weights: str) -> Tensor | None:
    """The pairs a bundled model was trained on, from its card."""
    from interp.zoo.cards import CardError, get_card, read_card
    from interp.zoo.modular.making import training_pairs

    try:
        card = get_card(weights) if weights.startswith("zoo:") else read_card(Path(weights))
        return training_pairs(card.recipe)
    except (CardError, ValueError):
        return None


def _trained(config: Config, run: Run) -> Subject:
    """Train, keeping the weights of every look; an interrupted run goes on where it stopped."""
    from experiments.grokking import recipe
    from interp.hooks.progress import progress
    from interp.models import load_model
    from interp.zoo.modular.bridging import weights_of, write_folder
    from interp.zoo.modular.making import new_training
    from interp.zoo.modular.network import Network
    from interp.zoo.modular.snapshots import save_snapshot
    from interp.zoo.modular.training import Look

    training = new_training(recipe(config))
    checkpoint, folder = run.path / "checkpoint.safetensors", run.path / CHECKPOINTS
    if checkpoint.exists():
        training.load(checkpoint)
    with progress("training", total=config.steps, initial=training.step) as advance:

        def seen(look: Look) -> None:
            save_snapshot(folder, training.network, look.step)
            training.save(checkpoint)
            advance(min(look.step, config.look_every))

        training.run(seen)
    network = training.network
    assert isinstance(network, Network)
    write_folder(run.path / "model", network.native_config(), weights_of(network))
    model = load_model(str(run.path / "model"))
    run.record(
        model=model.fingerprint,
        data={training.table.name: training.table.examples(training.train).hash},
        seeds={"all": config.seed},
        device="cpu",
    )
    return Subject(model, training.train, folder)


def clear(config: Config, run: Run) -> None:
    """Remove what only an interrupted run needs, and checkpoints that nobody asked to keep."""
    (run.path / "checkpoint.safetensors").unlink(missing_ok=True)
    if not config.keep_checkpoints:
        shutil.rmtree(run.path / CHECKPOINTS, ignore_errors=True)


def measure(config: Config, run: Run, subject: Subject) -> Found:
    """Read the model, remove its key frequencies, and look back over its training."""
    from interp.fourier import phases_of, read_modular

    reading = read_modular(
        subject.model, train=subject.train, n_shuffles=config.shuffles, seed=config.seed
    )
    table = _weighed(config, run, subject, reading)
    history = None
    if subject.snapshots is not None:
        history = run.cached("history", lambda: _history(config, subject, reading))
    phases = None
    if history is not None and reading.key_frequencies is not None:
        phases = phases_of(
            history["step"].tolist(),
            test_loss=history["test_loss"].tolist(),
            excluded_loss=history["excluded_loss"].tolist(),
            train_accuracy=history["train_accuracy"].tolist(),
            n_answers=reading.p,
        )
    return Found(reading, table, history, phases)


def _weighed(
    config: Config, run: Run, subject: Subject, reading: ModularReading
) -> EvidenceTable | None:
    """Remove the key frequencies on held-out pairs (on any, where it is not known which are).

    Pairs whose mirror image was trained on are left out, as in the reading.
    """
    import torch

    from interp.evidence import EvidenceTable
    from interp.fourier import weigh_frequencies
    from interp.fourier.pairs import unseen_pairs
    from interp.zoo.modular.tables import modular_addition

    keys = reading.key_frequencies
    if keys is None or 2 * len(keys) > reading.p // 2:
        return None
    unseen = None if subject.train is None else unseen_pairs(subject.train)
    pairs = modular_addition(reading.p).examples(unseen)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(config.seed))
    judged = pairs.select(order[: config.judged])
    run.record(data={"judged": judged.hash})
    tables = [
        weigh_frequencies(
            subject.model,
            keys,
            judged,
            site=site,
            n_controls=config.controls,
            alpha=config.alpha,
            seed=config.seed,
        )
        for site in PLACES
    ]
    return EvidenceTable([row for table in tables for row in table])


def _history(config: Config, subject: Subject, reading: ModularReading) -> DataFrame:
    """Every progress measure at every look, at the key frequencies of the end."""
    import pandas as pd

    from experiments.grokking import recipe
    from interp.hooks.progress import progress
    from interp.zoo.modular.making import new_network
    from interp.zoo.modular.snapshots import list_snapshots, put, read_snapshot
    from interp.zoo.modular.tables import modular_addition

    assert subject.snapshots is not None and subject.train is not None
    network = new_network(recipe(config), modular_addition(reading.p))
    paths = list_snapshots(subject.snapshots)
    rows = []
    with progress("measuring", total=len(paths)) as advance:
        for step, path in paths.items():
            put(network, read_snapshot(path))
            rows.append({"step": step, **_look(network, subject.train, reading.key_frequencies)})
            advance(1)
    return pd.DataFrame(rows)


def _look(network: Network, train: Tensor, keys: tuple[int, ...] | None) -> dict[str, float | None]:
    """The progress measures of one moment."""
    import torch

    from interp.fourier import losses, progress_losses, spectrum, trig_components

    p = len(train)
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    with torch.no_grad():
        logits = network(pairs).reshape(p, p, p)
        own = dict(network.named_parameters())
        readout = own["head.weight"] @ own["layers.0.mlp.fc_out.weight"]
    right = (logits.argmax(2) == pairs.sum(1).reshape(p, p) % p).double()
    found = None if keys is None else progress_losses(logits, keys, train=train, each=False)
    full = losses(logits, train=train) if found is None else found.full
    return {
        "train_loss": full.train,
        "test_loss": full.test,
        "train_accuracy": float(right[train].mean()),
        "test_accuracy": float(right[~train].mean()),
        "restricted_loss": None if found is None else found.restricted.test,
        "restricted_loss_all": None if found is None else found.restricted.all,
        "excluded_loss": None if found is None else found.excluded.train,
        "cos_fve": trig_components(logits).total,
        "gini_embedding": spectrum(own["tok_embed.weight"][:p]).gini,
        "gini_readout": spectrum(readout).gini,
        "sum_of_squares": sum(float(w.detach().double().square().sum()) for w in own.values()),
    }
