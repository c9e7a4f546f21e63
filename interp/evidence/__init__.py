"""What counts as an answer: metrics, matched controls, statistics, and the row they end in."""

from interp.evidence.controls import (
    ControlsError,
    ControlSets,
    Head,
    NoControlsError,
    head_name,
    layer_matched,
    norm_matched,
)
from interp.evidence.evidence import Evidence, EvidenceError
from interp.evidence.metrics import (
    METRICS,
    Metric,
    MetricError,
    accuracy,
    damage,
    get_metric,
    kl_from,
    logit_difference,
    loss,
)
from interp.evidence.statistics import (
    StatisticsError,
    bootstrap_interval,
    holm,
    permutation_p,
    rank_p_value,
    smallest_p,
)
from interp.evidence.table import EvidenceTable, evidence_frame, read_evidence, rich_table
from interp.evidence.verdict import correct, weigh

__all__ = [
    "METRICS",
    "ControlSets",
    "ControlsError",
    "Evidence",
    "EvidenceError",
    "EvidenceTable",
    "Head",
    "Metric",
    "MetricError",
    "NoControlsError",
    "StatisticsError",
    "accuracy",
    "bootstrap_interval",
    "correct",
    "damage",
    "evidence_frame",
    "get_metric",
    "head_name",
    "holm",
    "kl_from",
    "layer_matched",
    "logit_difference",
    "loss",
    "norm_matched",
    "permutation_p",
    "rank_p_value",
    "read_evidence",
    "rich_table",
    "smallest_p",
    "weigh",
]
