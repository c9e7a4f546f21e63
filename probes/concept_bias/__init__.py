"""Bias in concept space: how much nearer a target's vector lies to one reference than to another.

from probes.concept_bias import concept_bias
from probes.data.concepts import TRIPLES, concept_set

triple = TRIPLES["gender"]
found = concept_bias(model, [concept_set(t) for t in triple.targets], concept_set(triple.first),
                     concept_set(triple.second), sites=["L5.resid_post"], seed=0)
found.table()      # every method side by side
found.summary()    # size beside shuffled references, agreement with yardsticks

``axis_evidence`` takes the direction between the references away and asks whether the model's
behaviour was resting on it.
"""

from probes.concept_bias.agreement import Agreement, Amplitude
from probes.concept_bias.behaviour import by_target, reference_log_odds, slope_metric, target_means
from probes.concept_bias.load import axis_evidence
from probes.concept_bias.measuring import bias_of_rows, concept_bias
from probes.concept_bias.methods import Encoder
from probes.concept_bias.result import ConceptBias, TargetBias, VectorAccuracy
from probes.concept_bias.rows import BiasRows, ConceptBiasError, ConceptRows

__all__ = [
    "Agreement",
    "Amplitude",
    "BiasRows",
    "ConceptBias",
    "ConceptBiasError",
    "ConceptRows",
    "Encoder",
    "TargetBias",
    "VectorAccuracy",
    "axis_evidence",
    "bias_of_rows",
    "by_target",
    "concept_bias",
    "reference_log_odds",
    "slope_metric",
    "target_means",
]
