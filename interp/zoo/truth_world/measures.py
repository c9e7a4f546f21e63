"""What a truth world's model scores: its losses, its probes for truth, and its gate.

Measured with torch and scikit-learn alone, so that a card does not rest on the instruments that
are later tried on the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from interp.zoo.small_gpt import Network
from interp.zoo.truth_world.statements import Statements, prompts, statements
from interp.zoo.truth_world.world import WIDTH, World
from interp.zoo.world_training import GateError

Transfer = dict[str, dict[str, float]]


@dataclass(frozen=True)
class Gate:
    """What a model has to reach to be worth trying instruments on.

    Attributes:
        least_diagonal: Least AUROC of each domain's own probe for truth, on subjects held out, at
            the object's token after the first block.
        most_late_ce: Most nats on the objects of true statements whose bit an earlier statement
            of the document has told.
    """

    least_diagonal: float = 0.95
    most_late_ce: float = 0.10

    def failures(self, measured: dict[str, Any]) -> list[str]:
        """What a model fails, each in words; nothing if it passes.

        Args:
            measured: What ``measure`` returned.
        """
        found = []
        if not measured["late_true_ce"] <= self.most_late_ce:
            found.append(
                f"late true objects cost {measured['late_true_ce']:.3f} nats, "
                f"at most {self.most_late_ce:g} are wanted"
            )
        for name, row in measured["transfer"]["L0 object"].items():
            if not row[name] >= self.least_diagonal:
                found.append(
                    f"the probe of {name} has AUROC {row[name]:.3f}, "
                    f"at least {self.least_diagonal:g} is wanted"
                )
        return found

    def check(self, measured: dict[str, Any]) -> None:
        """Refuse a model that fails.

        Raises:
            GateError: it fails; says in what.
        """
        if failures := self.failures(measured):
            raise GateError(
                f"the model fails its gate: {'; '.join(failures)}. Train with another seed, or "
                "write it all the same with write_failed"
            )


@torch.no_grad()
def losses(network: Network, world: World, *, seed: int, n: int = 512) -> dict[str, float]:
    """Mean cross-entropies on fresh documents, in nats.

    Returns:
        ``ce_nats_per_token`` over all tokens but BOS; ``late_true_ce`` and ``late_false_ce`` over
        objects of true and of false statements whose bit an earlier one has told (their floors
        are 0 and log of the number of wrong objects); ``first_true_ce`` over those of true ones
        that are the first of their bit (floor log 2).
    """
    n_statements = (network.pos.weight.shape[0] - 1) // WIDTH
    drawn = world.documents(
        n, generator=torch.Generator().manual_seed(seed), n_statements=n_statements
    )
    logits = network(drawn.tokens[:, :-1]).flatten(0, 1)
    nll = F.cross_entropy(logits, drawn.tokens[:, 1:].flatten(), reduction="none")
    nll = nll.view(n, -1)
    told = nll[:, drawn.object_at - 1]
    false = ~drawn.true & ~drawn.neutral
    return {
        "ce_nats_per_token": float(nll.mean()),
        "late_true_ce": float(told[drawn.true & drawn.revealed].mean()),
        "late_false_ce": float(told[false & drawn.revealed].mean()),
        "first_true_ce": float(told[drawn.true & ~drawn.revealed].mean()),
    }


@torch.no_grad()
def transfer(network: Network, world: World, *, seed: int, n: int = 180) -> dict[str, Transfer]:
    """AUROC of logistic probes for truth between all domains, on subjects held out.

    Probes are scikit-learn's on standardised residuals (C = 1); labels are truth, so that a probe
    of a domain applied to an inverted one should reach 0.

    Returns:
        By place (``L0 object``, ``L0 stop``, …: the block after which, and the token), then by
        domain trained on, then by domain tested on.
    """
    names = [domain.name for domain in world.domains]
    parts = {
        (name, part): statements(world, name, n=n, part=part, seed=seed)
        for name in names
        for part in ("train", "test")
    }
    streams = {key: network.residuals(rows.examples.tokens) for key, rows in parts.items()}
    found: dict[str, Transfer] = {}
    for layer in range(len(network.layers)):
        for place in ("object", "stop"):
            held = {key: _vectors(streams[key][layer], rows, place) for key, rows in parts.items()}
            found[f"L{layer} {place}"] = {
                a: _scores(
                    held[a, "train"],
                    parts[a, "train"].true,
                    {b: (held[b, "test"], parts[b, "test"].true) for b in names},
                )
                for a in names
            }
    return found


@torch.no_grad()
def natural_gaps(network: Network, world: World, *, seed: int, n: int = 144) -> Transfer:
    """Log-odds of the true continuation after a true statement less those after a false one.

    Returns:
        By domain of the statement, then by domain of what is continued, in nats.
    """
    names = [domain.name for domain in world.domains]
    found: Transfer = {}
    for a in names:
        found[a] = {}
        for b in names:
            rows = prompts(world, a, b, n=n, seed=seed)
            found[a][b] = rows.gap(network(rows.examples.tokens)[:, -1])
    return found


def measure(network: Network, world: World, *, seed: int) -> dict[str, Any]:
    """Everything a card says was measured; numbers to four digits."""
    network.eval()
    found: dict[str, Any] = {
        **losses(network, world, seed=seed),
        "transfer": transfer(network, world, seed=seed),
        "natural_gap": natural_gaps(network, world, seed=seed),
    }
    return dict(_rounded(found))


def _vectors(stream: Tensor, rows: Statements, place: str) -> Float[np.ndarray, "row d_model"]:
    at = rows.object_at if place == "object" else rows.stop_at
    out: np.ndarray = stream[:, at].double().numpy()
    return out


def _scores(
    rows: np.ndarray,
    labels: Bool[Tensor, " row"],
    tests: dict[str, tuple[np.ndarray, Bool[Tensor, " row"]]],
) -> dict[str, float]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.metrics import roc_auc_score
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    probe.fit(rows, labels.numpy())
    return {
        name: float(roc_auc_score(true.numpy(), probe.decision_function(test)))
        for name, (test, true) in tests.items()
    }


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if not math.isfinite(value):
        raise ValueError(f"measured {value}: the training has diverged; lower its learning rates")
    return round(value, 4)
