"""Ways to find a direction on which activations of two labels separate.

All linear ones end in a ``LinearRule`` in the raw activation space, whatever scaling they used
inside, so that directions from different methods can be compared, erased or added as they are.
The estimators (``Logistic``, ``MassMean``, …) do the same in scikit-learn's manners.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from torch import Tensor

from probes.fit.components import pca
from probes.fit.logistic import LogisticGrid, fit_many, logistic
from probes.fit.means import lda, mass_mean, mass_mean_whitened
from probes.fit.rule import FitError, Labels, LinearRule, NetRule, NoDirectionError

if TYPE_CHECKING:
    from probes.fit.contrast import ccs
    from probes.fit.estimators import (
        MLP,
        ContrastConsistent,
        Linear,
        Logistic,
        MassMean,
        PrincipalComponent,
        ShrunkenLDA,
    )
    from probes.fit.network import mlp
    from probes.fit.regression import ridge

__all__ = [
    "METHODS",
    "MLP",
    "ContrastConsistent",
    "FitError",
    "Labels",
    "Linear",
    "LinearRule",
    "Logistic",
    "LogisticGrid",
    "MassMean",
    "Method",
    "NetRule",
    "NoDirectionError",
    "PrincipalComponent",
    "ShrunkenLDA",
    "ccs",
    "fit_many",
    "lda",
    "logistic",
    "mass_mean",
    "mass_mean_whitened",
    "mlp",
    "pca",
    "ridge",
]

Method = Literal["mass-mean", "mass-mean-whitened", "logistic", "lda", "pca"]

# The methods that need nothing but activations and labels, and end in a direction.
METHODS: Mapping[str, Callable[[Tensor, Labels], LinearRule]] = {
    "mass-mean": mass_mean,
    "mass-mean-whitened": mass_mean_whitened,
    "logistic": logistic,
    "lda": lda,
    "pca": pca,
}

_HOME = {
    "ccs": "probes.fit.contrast",
    "mlp": "probes.fit.network",
    "ridge": "probes.fit.regression",
    **dict.fromkeys(
        (
            "MLP",
            "ContrastConsistent",
            "Linear",
            "Logistic",
            "MassMean",
            "PrincipalComponent",
            "ShrunkenLDA",
        ),
        "probes.fit.estimators",
    ),
}


def __getattr__(name: str) -> Any:
    # Looked up when asked for: scikit-learn takes a second, and `probes show` does without.
    if name in _HOME:
        return getattr(import_module(_HOME[name]), name)
    raise AttributeError(f"module 'probes.fit' has no attribute {name!r}")
