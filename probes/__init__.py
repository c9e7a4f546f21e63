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
    from probes.activations import Activations, extract, tokenise
    from probes.data import DataError, StatementSet, read_statements, statement_set
    from probes.probe import Probe, ProbeError
    from probes.report import conclusion
    from probes.training import evaluate, train

__all__ = [
    "Activations",
    "DataError",
    "Probe",
    "ProbeError",
    "StatementSet",
    "conclusion",
    "evaluate",
    "extract",
    "read_statements",
    "statement_set",
    "tokenise",
    "train",
]

_HOME = {
    "Activations": "probes.activations",
    "DataError": "probes.data",
    "Probe": "probes.probe",
    "ProbeError": "probes.probe",
    "StatementSet": "probes.data",
    "conclusion": "probes.report",
    "evaluate": "probes.training",
    "extract": "probes.activations",
    "read_statements": "probes.data",
    "statement_set": "probes.data",
    "tokenise": "probes.activations",
    "train": "probes.training",
}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: torch takes seconds, and `probes --help` imports this package.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'probes' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
