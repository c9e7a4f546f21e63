"""How weights move in training, what a circuit costs in weights, and how much data it needs.

All of it over a list of checkpoints, or a function that gives logits or a loss for given weights.
"""

from interp.fourier.dynamics.attention import attention_entropy
from interp.fourier.dynamics.commutators import Commutator, Inside, sgd_commutator, share_inside
from interp.fourier.dynamics.critical import (
    CriticalSize,
    SeedRatio,
    critical_size,
    seed_ratio,
)
from interp.fourier.dynamics.efficiency import (
    Efficiency,
    EfficiencyDifference,
    centred_logit,
    compare_efficiency,
    efficiency,
)
from interp.fourier.dynamics.trajectory import (
    TrajectoryBasis,
    TrajectoryPca,
    trajectory_basis,
    trajectory_pca,
    weight_norm,
)
from interp.fourier.dynamics.walks import walk_shares

__all__ = [
    "Commutator",
    "CriticalSize",
    "Efficiency",
    "EfficiencyDifference",
    "Inside",
    "SeedRatio",
    "TrajectoryBasis",
    "TrajectoryPca",
    "attention_entropy",
    "centred_logit",
    "compare_efficiency",
    "critical_size",
    "efficiency",
    "seed_ratio",
    "sgd_commutator",
    "share_inside",
    "trajectory_basis",
    "trajectory_pca",
    "walk_shares",
    "weight_norm",
]
