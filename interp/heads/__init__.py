"""Which heads look like a mechanism, what they compose into, and what removing them costs."""

from interp.heads.ablation import AblationError, AblationKind, Ablations, ablate, output_norms
from interp.heads.agreement import Agreement
from interp.heads.attribution import Attributions, attribute
from interp.heads.changes import random_pairs
from interp.heads.composition import Composition, CompositionScores, composition_scores
from interp.heads.conductance import Conductances, conductance
from interp.heads.copying import copying_scores, ov_eigenvalue_scores, ov_top1_scores
from interp.heads.dependence import Plan, Subject, judge, plan_ablations, weigh_heads
from interp.heads.learning import LearningScore, in_context_learning_score
from interp.heads.ranking import Ranking, rank
from interp.heads.scores import HeadScores, HeadsError
from interp.heads.summary import describe_load
from interp.heads.sweep import SweepKind, knock_out, steer, sweep
from interp.heads.targets import (
    NoTargetsError,
    Targets,
    find_targets,
    iid_control,
    reduce_pattern,
)
from interp.heads.telemetry import PATTERN_SCORES, PatternScore, head_scores
from interp.heads.units import AttributionError

__all__ = [
    "PATTERN_SCORES",
    "AblationError",
    "AblationKind",
    "Ablations",
    "Agreement",
    "AttributionError",
    "Attributions",
    "Composition",
    "CompositionScores",
    "Conductances",
    "HeadScores",
    "HeadsError",
    "LearningScore",
    "NoTargetsError",
    "PatternScore",
    "Plan",
    "Ranking",
    "Subject",
    "SweepKind",
    "Targets",
    "ablate",
    "attribute",
    "composition_scores",
    "conductance",
    "copying_scores",
    "describe_load",
    "find_targets",
    "head_scores",
    "iid_control",
    "in_context_learning_score",
    "judge",
    "knock_out",
    "output_norms",
    "ov_eigenvalue_scores",
    "ov_top1_scores",
    "plan_ablations",
    "random_pairs",
    "rank",
    "reduce_pattern",
    "steer",
    "sweep",
    "weigh_heads",
]
