"""Trainings on less and less data: from scratch, and from a model that has grokked."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import Tensor

    from experiments.dynamics import Config
    from experiments.dynamics_training import Path
    from interp.fourier.dynamics import CriticalSize
    from interp.runs import Run

SCRATCH, CONTINUED = "from scratch", "from a grokked model"


@dataclass(frozen=True)
class Sizes:
    """What became of the trainings at one weight decay.

    Attributes:
        rows: One a training: way, seed, size, accuracies.
        critical: Where held-out accuracy crosses one half, by way; None where it was not tried.
        grokked: Each seed's accuracy on pairs never trained on, before it went on.
        learnt_at: The first look at which that seed had 99 % of the held-out pairs right; None if
            never.
    """

    rows: list[dict[str, Any]]
    critical: dict[str, CriticalSize | None]
    grokked: list[float]
    learnt_at: list[int | None]


@dataclass(frozen=True)
class _Grown:
    """A seed's model, trained on all of its pairs.

    Attributes:
        weights: At the end.
        accuracies: On all held-out pairs, by step.
    """

    weights: dict[str, Tensor]
    accuracies: list[tuple[int, float]]

    @property
    def learnt_at(self) -> int | None:
        from interp.fourier import GROKKED

        return next((step for step, right in self.accuracies if right >= GROKKED), None)


def measure_sizes(config: Config, run: Run, first: Path | None = None) -> Sizes:
    """Train on every size, in both ways, for every seed.

    Subsets of one seed are nested, and all lie within the pairs its model was first trained on.
    Accuracy is read on pairs which no training of that seed ever saw, nor their mirror image: a
    model that has merely memorised (a, b) answers (b, a) alike. A seed whose model has not grokked
    is not gone on with.

    Args:
        config: The study's, with the weight decay and the steps of these trainings.
        run: Keeps what is done.
        first: The first seed's model, where it was trained before.
    """
    import torch

    from experiments.dynamics import recipe
    from interp.fourier import GROKKED
    from interp.fourier.dynamics import critical_size
    from interp.hooks.progress import progress
    from interp.zoo.modular.tables import modular_addition

    table = modular_addition(config.p)
    place = f"sizes/decay-{config.weight_decay:g}".replace(".", "_")
    rows: list[dict[str, Any]] = []
    before: list[float] = []
    learnt_at: list[int | None] = []
    title = f"less data, weight decay {config.weight_decay:g}"
    with progress(title, total=2 * config.seeds * len(config.sizes)) as advance:
        for seed in range(config.seed, config.seed + config.seeds):
            how = recipe(config, seed)
            pool = table.split(config.train_fraction, seed=seed)
            if first is not None and seed == config.seed:
                seen = [(look.step, look.test_accuracy) for look in first.looks]
                grown = _Grown(first.weights[-1], seen)
            else:
                grown = _grown(run, f"{place}/grokked-{seed}", how, pool)
            never = ~(pool | pool.T)
            before.append(_accuracy(config, seed, grown.weights, never))
            learnt_at.append(grown.learnt_at)
            order = torch.randperm(int(pool.sum()), generator=torch.Generator().manual_seed(seed))
            for size in config.sizes:
                chosen = torch.zeros_like(pool)
                chosen[tuple(pool.nonzero()[order[:size]].T)] = True
                ways: dict[str, tuple[dict[str, Tensor] | None, int]] = {
                    SCRATCH: (None, config.steps)
                }
                if before[-1] >= GROKKED:
                    ways[CONTINUED] = (grown.weights, config.continued_steps)
                for way, (start, steps) in ways.items():
                    longer = dataclasses.replace(how, steps=steps, look_every=steps)
                    found = run.cached(
                        f"{place}/{way.replace(' ', '-')}-{seed}-{size}",
                        partial(_trained_on, longer, chosen, start, never),
                    )
                    rows.append({"way": way, "seed": seed, "size": size, **found})
                advance(2)
    critical: dict[str, CriticalSize | None] = {}
    for way in (SCRATCH, CONTINUED):
        ends = [row["never_trained_accuracy"] for row in rows if row["way"] == way]
        by_seed = torch.tensor(ends).reshape(-1, len(config.sizes))
        critical[way] = critical_size(config.sizes, by_seed) if len(by_seed) else None
    return Sizes(rows, critical, before, learnt_at)


def _grown(run: Run, name: str, how: Any, pool: Tensor) -> _Grown:
    """A seed's model, trained on its whole pool once."""
    from functools import cache

    trained = cache(lambda: _training(how, pool, None, done=how.steps))
    looks = run.cached(
        f"{name}-looks",
        lambda: [[look.step, look.test_accuracy] for look in trained().history],
    )
    weights = run.cached(f"{name}-weights", lambda: _learnt(trained()))
    return _Grown(weights, [(int(step), float(right)) for step, right in looks])


def _trained_on(
    how: Any, chosen: Tensor, start: dict[str, Tensor] | None, never: Tensor
) -> dict[str, float]:
    """Accuracies at the end, and after three quarters of the steps."""
    training = _training(how, chosen, start, done=max(1, 3 * how.steps // 4))
    earlier = _right(training.network, training.table, never)
    training.run()
    return {
        "train_accuracy": training.history[-1].train_accuracy,
        "earlier_accuracy": earlier,
        "never_trained_accuracy": _right(training.network, training.table, never),
    }


def _training(how: Any, chosen: Tensor, start: dict[str, Tensor] | None, *, done: int) -> Any:
    """A training on the chosen pairs, so many steps done."""
    from interp.zoo.modular.making import new_network
    from interp.zoo.modular.snapshots import put
    from interp.zoo.modular.tables import Table, modular_addition
    from interp.zoo.modular.training import Training

    class Chosen(Table):
        """The table whose training pairs are chosen beforehand."""

        def split(self, train_fraction: float, *, seed: int) -> Tensor:
            return chosen

    whole = modular_addition(how.p)
    network = new_network(how, whole)
    if start is not None:
        put(network, start)
    training = Training(network, Chosen(whole.answers, whole.name), how)
    training.run(until=done)
    return training


def _learnt(training: Any) -> dict[str, Tensor]:
    named = training.network.named_parameters()
    return {name: w.detach().clone() for name, w in named if w.requires_grad}


def _accuracy(config: Config, seed: int, weights: dict[str, Tensor], which: Tensor) -> float:
    from experiments.dynamics import recipe
    from interp.zoo.modular.making import new_network
    from interp.zoo.modular.snapshots import put
    from interp.zoo.modular.tables import modular_addition

    table = modular_addition(config.p)
    network = new_network(recipe(config, seed), table)
    put(network, weights)
    return _right(network, table, which)


def _right(network: Any, table: Any, which: Tensor) -> float:
    """Share of some pairs answered rightly."""
    import torch

    with torch.no_grad():
        answers = network(which.nonzero()).argmax(1)
    return float((answers == table.answers[which]).double().mean())
