"""Which heads look like a mechanism, what they compose into, and what removing them costs."""

from interp.heads.ablation import AblationError, AblationKind, Ablations, ablate, output_norms
from interp.heads.composition import Composition, CompositionScores, composition_scores
from interp.heads.copying import copying_scores, ov_eigenvalue_scores, ov_top1_scores
from interp.heads.dependence import Plan, Subject, judge, plan_ablations, weigh_heads
from interp.heads.learning import LearningScore, in_context_learning_score
from interp.heads.scores import HeadScores, HeadsError
from interp.heads.targets import (
    NoTargetsError,
    Targets,
    find_targets,
    iid_control,
    reduce_pattern,
)
from interp.heads.telemetry import PATTERN_SCORES, PatternScore, head_scores

__all__ = [
    "PATTERN_SCORES",
    "AblationError",
    "AblationKind",
    "Ablations",
    "Composition",
    "CompositionScores",
    "HeadScores",
    "HeadsError",
    "LearningScore",
    "NoTargetsError",
    "PatternScore",
    "Plan",
    "Subject",
    "Targets",
    "ablate",
    "composition_scores",
    "copying_scores",
    "find_targets",
    "head_scores",
    "iid_control",
    "in_context_learning_score",
    "judge",
    "output_norms",
    "ov_eigenvalue_scores",
    "ov_top1_scores",
    "plan_ablations",
    "reduce_pattern",
    "weigh_heads",
]
