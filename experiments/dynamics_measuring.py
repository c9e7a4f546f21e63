"""What is measured of the two trainings that are followed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from experiments.dynamics import Config
    from experiments.dynamics_training import Path
    from interp.evidence import EvidenceTable
    from interp.fourier.dynamics import Efficiency, EfficiencyDifference, TrajectoryPca
    from interp.models import Examples
    from interp.runs import Run

PLACES = ("L0.resid_mid@-1", "L0.mlp_post@-1")
FITTED, FOLLOWED = 2048, 512
NOT_COUNTED: dict[str, Any] = {"effective_features": None, "features_doubt": None}


@dataclass(frozen=True)
class Found:
    """What was measured.

    Attributes:
        pca: Of each training, by matrix.
        paths: The trainings.
        moments: A row a training and moment.
        norm: The size of the weights at which moments are compared.
        efficiency: Of each training's end, on the training pairs.
        more: The model that was decayed against the memoriser at each one's norm.
        kept: A row a place, choice and number of directions kept.
        effective: N_eff of each place at the decayed model's end.
        evidence: Directions removed.
    """

    pca: dict[str, dict[str, TrajectoryPca]]
    paths: tuple[Path, Path]
    moments: DataFrame
    norm: float
    efficiency: dict[str, Efficiency]
    more: list[EfficiencyDifference]
    kept: DataFrame
    effective: dict[str, int]
    evidence: EvidenceTable


def measure(config: Config, run: Run, paths: tuple[Path, Path]) -> Found:
    """Measure both trainings, and the directions of the one that was decayed."""
    import pandas as pd

    from interp.fourier.dynamics import trajectory_pca, weight_norm

    norm = min(weight_norm(path.weights[-1]) for path in paths)
    pca = {
        path.name: trajectory_pca(path.weights, n_walks=10 * config.controls, seed=config.seed)
        for path in paths
    }
    moments = run.cached(
        "moments",
        lambda: pd.DataFrame([row for path in paths for row in _moments(config, path, norm)]),
    )
    per_model, more = _efficiency(config, paths)
    kept, effective, evidence = _directions(config, run, paths)
    return Found(pca, paths, moments, norm, per_model, more, kept, effective, evidence)


def _moments(config: Config, path: Path, norm: float) -> list[dict[str, Any]]:
    """Commutators, efficiency, attention, directions and features at some checkpoints."""
    import numpy as np

    from interp.fourier.dynamics import efficiency, share_inside, trajectory_basis, weight_norm
    from interp.hooks.progress import progress

    last = len(path.weights) - 1
    chosen = sorted({round(x) for x in np.linspace(0, last, config.moments)})
    counted = {chosen[0], chosen[len(chosen) // 2], chosen[-1]} if config.features else set()
    basis = trajectory_basis(path.weights, min(config.components, last))
    logits_of, answers, groups = _known(config, path)
    rows = []
    with progress(f"{path.name}: moments", total=len(chosen)) as advance:
        for at in chosen:
            look = path.looks[at]
            found = _commutators(config, path, at)
            gives = efficiency(logits_of, path.weights[at], answers, norms=[norm], groups=groups)
            inside = share_inside(
                [one.delta for one in found],
                basis,
                n_matched=config.controls,
                seed=config.seed + at,
            )
            rows.append(
                {
                    "training": path.name,
                    "step": look.step,
                    "train_accuracy": look.train_accuracy,
                    "test_accuracy": look.test_accuracy,
                    "norm": weight_norm(path.weights[at]),
                    "logit": gives.logit,
                    "logit_at_same_norm": gives.at_norm[norm],
                    "order_dependence": _mean([one.relative for one in found]),
                    "gradient_cosine": _mean([one.gradient_cosine for one in found]),
                    "inside": _mean([one.share for one in inside]),
                    "inside_ratio": _mean([one.ratio for one in inside]),
                    "inside_matched_ratio": _mean(
                        [one.share / _mean(list(one.matched)) for one in inside]
                    ),
                    "inside_matched_p": max(one.matched_p for one in inside),
                    **_activity(config, path, at, features=at in counted),
                }
            )
            advance(1)
    return rows


def _commutators(config: Config, path: Path, at: int) -> list[Any]:
    import torch
    from torch.func import functional_call
    from torch.nn import functional as F

    from interp.fourier.dynamics import sgd_commutator
    from interp.zoo.modular.tables import modular_addition

    network, answers = path.network(at).double(), modular_addition(config.p).answers
    pairs = path.train.nonzero()
    generator = torch.Generator().manual_seed(config.seed + at)

    def loss_of(weights: Any, batch: Tensor) -> Tensor:
        logits = functional_call(network, dict(weights), (batch,))
        return F.cross_entropy(logits, answers[batch[:, 0], batch[:, 1]])

    found = []
    for _ in range(config.batch_pairs):
        rows = pairs[torch.randperm(len(pairs), generator=generator)[: 2 * config.batch]]
        a, b = rows.split(config.batch)
        found.append(sgd_commutator(loss_of, path.weights[at], a, b, lr=config.lr))
    return found


def _activity(config: Config, path: Path, at: int, *, features: bool) -> dict[str, Any]:
    from interp.fourier import read_interactions
    from interp.fourier.dynamics import attention_entropy
    from interp.hooks import session

    model, pairs = path.model(at), _drawn(config, path.train, FOLLOWED)
    with session(model, capture=["L0.pattern@-1", PLACES[1]]) as s:
        s.run(pairs)
        pattern, neurons = s["L0.pattern@-1"], s[PLACES[1]].flatten(1).cpu()
    return {
        "attention_entropy": float(attention_entropy(pattern).mean()),
        "effective_directions": read_interactions(model, pairs, site=PLACES[0]).basis.effective(),
        **(_features(config, neurons) if features else NOT_COUNTED),
    }


def _features(config: Config, neurons: Tensor) -> dict[str, Any]:
    """Effective features under one setting, and why they may say little; None with the reason."""
    from interp.sae.superposition import SuperpositionError, count_features

    try:
        found = count_features(neurons, d_sae=2 * config.d_mlp, sizes=(), steps=400)
    except SuperpositionError as error:
        return {**NOT_COUNTED, "features_doubt": str(error)}
    return {"effective_features": found.features, "features_doubt": found.doubt}


def _efficiency(
    config: Config, paths: tuple[Path, Path]
) -> tuple[dict[str, Efficiency], list[EfficiencyDifference]]:
    """Both models on the pairs that both were trained on, at each one's own norm and beyond."""
    from interp.fourier.dynamics import compare_efficiency, efficiency, weight_norm

    decayed, memoriser = paths
    logits_of, answers, groups = _known(config, decayed)
    own = [weight_norm(path.weights[-1]) for path in paths]
    norms = [min(own) * factor for factor in (0.6, 0.8, 1.0, 1.2, 1.4)]
    how: dict[str, Any] = {"groups": groups, "seed": config.seed}
    per_model = {
        path.name: efficiency(logits_of, path.weights[-1], answers, norms=norms, **how)
        for path in paths
    }
    more = [
        compare_efficiency(
            logits_of, decayed.weights[-1], memoriser.weights[-1], answers, norm=norm, **how
        )
        for norm in own
    ]
    return per_model, more


def _known(config: Config, path: Path) -> tuple[Any, Tensor, tuple[str, ...]]:
    """Logits under given weights on the pairs trained on, the right answers, and their groups."""
    import torch
    from torch.func import functional_call

    from interp.zoo.modular.tables import modular_addition

    known = modular_addition(config.p).examples(path.train)
    assert known.answer is not None
    pairs, network = known.tokens[:, :2], path.network().double()

    @torch.no_grad()
    def logits_of(weights: Any) -> Tensor:
        wide = {name: w.double() for name, w in weights.items()}
        found: Tensor = functional_call(network, wide, (pairs,))
        return found

    return logits_of, known.answer, known.groups


def _directions(
    config: Config, run: Run, paths: tuple[Path, Path]
) -> tuple[DataFrame, dict[str, int], EvidenceTable]:
    """Directions of the model that was decayed: found on training pairs, judged on the others."""
    import pandas as pd

    from interp.evidence import EvidenceTable
    from interp.fourier import accuracy_with, read_interactions, weigh_directions

    path = paths[0]
    model, fitted = path.model(), _drawn(config, path.train, FITTED)
    judged = _drawn(config, ~path.train, config.judged)
    run.record(data={"fitted": fitted.hash, "judged": judged.hash})
    rows: list[dict[str, Any]] = []
    effective: dict[str, int] = {}
    evidence = []
    for place in PLACES:
        found = read_interactions(model, fitted, site=place)
        name = str(found.site.whole)
        effective[name] = n = found.basis.effective()
        most = found.basis.rotation.shape[1]
        ks = sorted({k for k in (1, 2, 4, 6, 8, 10, 12, 16, 20, 24, 32, n) if k <= most})
        kept = accuracy_with(found, judged, ks, seed=config.seed)
        rows += [
            {"place": name, "choice": choice, "kept": k, "accuracy": value}
            for choice, values in kept.items()
            for k, value in zip(ks, values, strict=True)
        ]
        # Few, since removing many random directions of a narrow site breaks it too.
        few = max(1, n // 4)
        evidence += list(
            weigh_directions(found, judged, few, n_controls=config.controls, seed=config.seed)
        )
    return pd.DataFrame(rows), effective, EvidenceTable(evidence)


def _drawn(config: Config, which: Tensor, n: int) -> Examples:
    import torch

    from interp.zoo.modular.tables import modular_addition

    pairs = modular_addition(config.p).examples(which)
    order = torch.randperm(len(pairs), generator=torch.Generator().manual_seed(config.seed))
    return pairs.select(order[:n])


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)
