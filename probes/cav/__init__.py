"""Concept activation vectors: is a metric sensitive to a concept, and does the model use it?

from probes.cav import tcav
from probes.data.concepts import concept_set, neutral_texts

result = tcav(model, prompts, [concept_set("women")], random=neutral_texts(),
              sites=["L5.resid_post"], seed=0)
result.table()

The rest of the room: ``concept_vectors`` (vectors with their held-out accuracy),
``relative_vector`` (one concept against another, beside shuffled labels), ``metric_gradients`` and
``sensitivity``; and ``concept_evidence`` and ``weigh_direction``, which take a direction away or
push along it, beside random ones, and end in ``Evidence``.
"""

from probes.cav.fitting import Fits, fit_each
from probes.cav.load import changed_metric, concept_evidence, weigh_direction
from probes.cav.relative import RelativeVector, relative_vector
from probes.cav.sensitivity import Sensitivity, metric_gradients, sensitivity
from probes.cav.tcav import TCAV, tcav
from probes.cav.testing import ConceptTest
from probes.cav.vectors import CAVError, ConceptVector, concept_vectors, require_concepts

__all__ = [
    "TCAV",
    "CAVError",
    "ConceptTest",
    "ConceptVector",
    "Fits",
    "RelativeVector",
    "Sensitivity",
    "changed_metric",
    "concept_evidence",
    "concept_vectors",
    "fit_each",
    "metric_gradients",
    "relative_vector",
    "require_concepts",
    "sensitivity",
    "tcav",
    "weigh_direction",
]
