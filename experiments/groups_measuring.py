"""One group's network: trained, or taken from an interrupted run, and what is measured of it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from experiments.groups import Config
    from interp.evidence import EvidenceTable
    from interp.fourier import CosetScore, GroupReading
    from interp.models import Model
    from interp.runs import Run
    from interp.zoo.modular.training import Training


@dataclass(frozen=True)
class Found:
    """What was measured of one group's network.

    Attributes:
        name: The group, as the command names it.
        reading: By representation.
        table: Each key representation removed; None where there are none.
        cosets: Coset concentration of what neurons read from a; None where it was not asked for, or
            the group has no subgroups.
        steps: Optimizer steps.
        learnt_at: The first look at which 99 % of the held-out pairs were right; None if never.
    """

    name: str
    reading: GroupReading
    table: EvidenceTable | None
    cosets: CosetScore | None
    steps: int
    learnt_at: int | None


def measure(config: Config, run: Run, group: str) -> Found:
    """Train the network, read it, and remove what it seems to rest on."""
    from interp.fourier import coset_concentration, named_group, read_group, run_group

    training = _trained(config, run, group)
    model = _loaded(run, group, training)
    known = named_group(group)
    ran = run_group(model, known)
    reading = read_group(
        ran, known, train=training.train, n_relabellings=config.relabellings, seed=config.seed
    )
    cosets = None
    if config.cosets:
        cosets = coset_concentration(
            ran.W_a, known, n_renamings=config.relabellings, seed=config.seed
        )
    sure = [look.step for look in training.history if look.test_accuracy >= 0.99]
    return Found(
        name=group,
        reading=reading,
        table=_weighed(config, run, model, reading, training),
        cosets=cosets,
        steps=training.step,
        learnt_at=sure[0] if sure else None,
    )


def _checkpoint(run: Run, group: str) -> Path:
    return run.path / f"{group}-checkpoint.safetensors"


def _trained(config: Config, run: Run, group: str) -> Training:
    """Train; an interrupted run goes on where it stopped."""
    from experiments.groups import recipe
    from interp.hooks.progress import progress
    from interp.zoo.groups.making import new_training
    from interp.zoo.modular.training import Look

    how = recipe(config, group)
    training, path = new_training(how), _checkpoint(run, group)
    if path.exists():
        training.load(path)
    with progress(f"training {group}", total=how.steps, initial=training.step) as advance:
        before = training.step

        def seen(look: Look) -> None:
            nonlocal before
            training.save(path)
            advance(look.step - before)
            before = look.step

        training.run(seen)
    return training


def _loaded(run: Run, group: str, training: Training) -> Model:
    from interp.models import load_model
    from interp.zoo.groups.making import write_network
    from interp.zoo.groups.network import HiddenLayer

    assert isinstance(training.network, HiddenLayer)
    folder = run.path / "models" / group
    write_network(folder, training.network)
    model = load_model(str(folder))
    run.record(
        model={group: model.fingerprint},
        data={group: training.table.examples(training.train).hash},
        seeds={"all": training.how.seed},
        device="cpu",
    )
    return model


def _weighed(
    config: Config, run: Run, model: Model, reading: GroupReading, training: Training
) -> EvidenceTable | None:
    """Remove the key representations on held-out pairs."""
    import torch

    from interp.fourier import weigh_representations

    if reading.keys is None:
        return None
    pairs = training.table.examples(~training.train)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(config.seed))
    judged = pairs.select(order[: config.judged])
    run.record(data={f"{reading.group.name} judged": judged.hash})
    return weigh_representations(
        model,
        reading.group,
        reading.keys,
        judged,
        n_controls=config.controls,
        n_relabellings=config.relabellings,
        alpha=config.alpha,
        seed=config.seed,
    )


def clear(config: Config, run: Run) -> None:
    """Remove what only an interrupted run needs."""
    for group in config.groups:
        _checkpoint(run, group).unlink(missing_ok=True)
