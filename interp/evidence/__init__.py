"""What counts as an answer: metrics, matched controls, statistics, and the row they end in."""

from interp.evidence.arms import ArmsDifference, compare_arms
from interp.evidence.claims import Claim, ClaimVerdict, Replication, compare_with_claim
from interp.evidence.controls import (
    ControlsError,
    ControlSets,
    Head,
    NoControlsError,
    head_name,
    layer_matched,
    norm_matched,
)
from interp.evidence.draws import RandomDraws, random_units
from interp.evidence.evidence import Evidence, EvidenceError
from interp.evidence.items import ItemsTest, mcnemar
from interp.evidence.metrics import (
    METRICS,
    accuracy,
    answer_nll,
    damage,
    get_metric,
    hits_at,
    kl_from,
    log_odds,
    logit_difference,
    loss,
)
from interp.evidence.nested import NestedInterval, TaskTable, by_task, nested_interval
from interp.evidence.nesting import Level
from interp.evidence.reading import Metric, MetricError
from interp.evidence.statistics import (
    StatisticsError,
    bootstrap_interval,
    closed_rank_p,
    holm,
    permutation_p,
    rank_p_value,
    smallest_p,
)
from interp.evidence.table import EvidenceTable, evidence_frame, read_evidence, rich_table
from interp.evidence.verdict import correct, weigh

__all__ = [
    "METRICS",
    "ArmsDifference",
    "Claim",
    "ClaimVerdict",
    "ControlSets",
    "ControlsError",
    "Evidence",
    "EvidenceError",
    "EvidenceTable",
    "Head",
    "ItemsTest",
    "Level",
    "Metric",
    "MetricError",
    "NestedInterval",
    "NoControlsError",
    "RandomDraws",
    "Replication",
    "StatisticsError",
    "TaskTable",
    "accuracy",
    "answer_nll",
    "bootstrap_interval",
    "by_task",
    "closed_rank_p",
    "compare_arms",
    "compare_with_claim",
    "correct",
    "damage",
    "evidence_frame",
    "get_metric",
    "head_name",
    "hits_at",
    "holm",
    "kl_from",
    "layer_matched",
    "log_odds",
    "logit_difference",
    "loss",
    "mcnemar",
    "nested_interval",
    "norm_matched",
    "permutation_p",
    "random_units",
    "rank_p_value",
    "read_evidence",
    "rich_table",
    "smallest_p",
    "weigh",
]
