"""Which heads look like a mechanism, what they compose into, and what removing them costs."""

from interp.heads.ablation import AblationError, AblationKind, Ablations, ablate, output_norms
from interp.heads.agreement import Agreement
from interp.heads.attribution import Attributions, attribute
from interp.heads.chance import ChanceMark, IclReport, judge_icl
from interp.heads.changes import random_pairs
from interp.heads.composition import Composition, CompositionScores, composition_scores
from interp.heads.conductance import Conductances, conductance
from interp.heads.copying import copying_scores, ov_eigenvalue_scores, ov_top1_scores
from interp.heads.dependence import corrected_by_family, judge, weigh_heads, weigh_subject
from interp.heads.function_vectors import (
    FunctionPrompts,
    function_vector_heads,
    function_vector_scores,
)
from interp.heads.icl import IclScore, score_icl
from interp.heads.learning import LearningScore, in_context_learning_score
from interp.heads.perplexity import Perplexities, PerplexityRatio, perplexity
from interp.heads.planning import (
    Plan,
    Subject,
    matched_families,
    plan_ablations,
    sets_to_remove,
)
from interp.heads.ranking import Ranking, rank
from interp.heads.rules import HeadRule, HeadSet, RuleError, choose_heads
from interp.heads.scores import HeadScores, HeadsError
from interp.heads.signatures import SIGNATURES, Signature, parse_signatures
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
    "SIGNATURES",
    "AblationError",
    "AblationKind",
    "Ablations",
    "Agreement",
    "AttributionError",
    "Attributions",
    "ChanceMark",
    "Composition",
    "CompositionScores",
    "Conductances",
    "FunctionPrompts",
    "HeadRule",
    "HeadScores",
    "HeadSet",
    "HeadsError",
    "IclReport",
    "IclScore",
    "LearningScore",
    "NoTargetsError",
    "PatternScore",
    "Perplexities",
    "PerplexityRatio",
    "Plan",
    "Ranking",
    "RuleError",
    "Signature",
    "Subject",
    "SweepKind",
    "Targets",
    "ablate",
    "attribute",
    "choose_heads",
    "composition_scores",
    "conductance",
    "copying_scores",
    "corrected_by_family",
    "describe_load",
    "find_targets",
    "function_vector_heads",
    "function_vector_scores",
    "head_scores",
    "iid_control",
    "in_context_learning_score",
    "judge",
    "judge_icl",
    "knock_out",
    "matched_families",
    "output_norms",
    "ov_eigenvalue_scores",
    "ov_top1_scores",
    "parse_signatures",
    "perplexity",
    "plan_ablations",
    "random_pairs",
    "rank",
    "reduce_pattern",
    "score_icl",
    "sets_to_remove",
    "steer",
    "sweep",
    "weigh_heads",
    "weigh_subject",
]
