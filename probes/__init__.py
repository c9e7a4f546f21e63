"""Linear probes: directions on which two kinds of statement separate, and how far to trust them.

A direction that separates is a signature. Whether a model uses it is a second, causal question.

    from interp.models import load_model
    from probes import Probe, read_statements, train

    model = load_model("gpt2")
    probe = train(model, read_statements("claims.csv"), site="L6.resid_post")
    probe.save("my-probe")
    Probe.load("my-probe").metrics["held_out"]["auroc"]
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from probes.activations import Activations, Extraction, extract, extract_sites, tokenise
    from probes.attack.attacking import AttackResult, attack_monitors
    from probes.cache import ActivationCache, activation_cache
    from probes.causal.continuations import Continuations
    from probes.causal.cross_effects import cross_effects
    from probes.causal.directions import Direction
    from probes.causal.dose import dose_curve
    from probes.causal.evidence import direction_evidence
    from probes.compared import compare
    from probes.data import DataError, StatementSet, read_statements, statement_set
    from probes.domains import Domain, domains_of
    from probes.eraser import leace
    from probes.erasure import erasure_matrix
    from probes.evaluation import evaluate
    from probes.nullspace import stratified_inlp, subset_shared
    from probes.probe import Probe, ProbeError
    from probes.report import conclusion
    from probes.selection import Trained, train_many
    from probes.similarity import similarities
    from probes.training import train
    from probes.transfer import transfer_matrix

__all__ = [
    "ActivationCache",
    "Activations",
    "AttackResult",
    "Continuations",
    "DataError",
    "Direction",
    "Domain",
    "Extraction",
    "Probe",
    "ProbeError",
    "StatementSet",
    "Trained",
    "activation_cache",
    "attack_monitors",
    "compare",
    "conclusion",
    "cross_effects",
    "direction_evidence",
    "domains_of",
    "dose_curve",
    "erasure_matrix",
    "evaluate",
    "extract",
    "extract_sites",
    "leace",
    "read_statements",
    "similarities",
    "statement_set",
    "stratified_inlp",
    "subset_shared",
    "tokenise",
    "train",
    "train_many",
    "transfer_matrix",
]

_HOME = {
    "ActivationCache": "probes.cache",
    "Activations": "probes.activations",
    "AttackResult": "probes.attack.attacking",
    "attack_monitors": "probes.attack.attacking",
    "DataError": "probes.data",
    "Extraction": "probes.activations",
    "Probe": "probes.probe",
    "ProbeError": "probes.probe",
    "StatementSet": "probes.data",
    "Trained": "probes.selection",
    "activation_cache": "probes.cache",
    "conclusion": "probes.report",
    "evaluate": "probes.evaluation",
    "extract": "probes.activations",
    "extract_sites": "probes.activations",
    "read_statements": "probes.data",
    "statement_set": "probes.data",
    "tokenise": "probes.activations",
    "train": "probes.training",
    "train_many": "probes.selection",
    "Domain": "probes.domains",
    "domains_of": "probes.domains",
    "transfer_matrix": "probes.transfer",
    "compare": "probes.compared",
    "similarities": "probes.similarity",
    "erasure_matrix": "probes.erasure",
    "leace": "probes.eraser",
    "Continuations": "probes.causal.continuations",
    "Direction": "probes.causal.directions",
    "cross_effects": "probes.causal.cross_effects",
    "direction_evidence": "probes.causal.evidence",
    "dose_curve": "probes.causal.dose",
    "stratified_inlp": "probes.nullspace",
    "subset_shared": "probes.nullspace",
}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: torch takes seconds, and `probes --help` imports this package.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
