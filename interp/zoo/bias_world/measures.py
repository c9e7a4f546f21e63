"""What a bias world's model scores: losses, bias by behaviour and in concept space; and its gate.

Measured with torch, scipy and scikit-learn alone, so that a card does not rest on the instruments
that are later tried on the model.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from scipy.stats import spearmanr
from sklearn.linear_model import LogisticRegression
from torch import Tensor
from torch.nn import functional as F

from interp.zoo.bias_world.prompts import Place, Prompts, prompts
from interp.zoo.bias_world.sentences import corpus, sentences
from interp.zoo.bias_world.world import NEUTRAL, REFERENCES, WIDTH, World
from interp.zoo.small_gpt import Network
from interp.zoo.world_training import GateError

SITE = "L2 stop"
"""Where the gate looks for bias in concept space: the full stop after the third block."""
C = 0.1
"""Of the logistic regressions; on activations as they are, since standardising turns vectors."""


@dataclass(frozen=True)
class Gate:
    """What a model has to reach to be worth trying instruments on.

    Attributes:
        least_behaviour: Least Spearman correlation with what is planted of the log-odds of the
            reference words after the target, over targets.
        least_concept: Least Spearman correlation with it of the bias in concept space at
            ``SITE``, by concept vectors and by mean differences.
    """

    least_behaviour: float = 0.90
    least_concept: float = 0.80

    def failures(self, measured: dict[str, Any]) -> list[str]:
        """What a model fails, each in words; nothing if it passes.

        Args:
            measured: What ``measure`` returned.
        """
        concept = measured["concept"][SITE]
        wanted = {
            "behaviour": (measured["behaviour"]["object"]["rho"], self.least_behaviour),
            f"concept vectors at {SITE}": (concept["cav"]["rho"], self.least_concept),
            f"mean differences at {SITE}": (concept["mean_difference"]["rho"], self.least_concept),
        }
        return [
            f"{name} rank the planted log-odds with ρ {rho:.3f}, at least {least:g} is wanted"
            if rho is not None
            else f"{name} are all the same, ρ of at least {least:g} is wanted"
            for name, (rho, least) in wanted.items()
            if rho is None or not rho >= least
        ]

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
    """Mean cross-entropy on fresh documents, of all kinds and about nothing, in nats a token."""
    n_sentences = (network.pos.weight.shape[0] - 1) // WIDTH
    found = {}
    for name, neutral in (("ce_nats_per_token", False), ("neutral_ce_nats_per_token", True)):
        drawn = corpus(world, n=n, neutral=neutral, n_sentences=n_sentences, seed=seed).tokens
        logits = network(drawn[:, :-1]).flatten(0, 1)
        found[name] = float(F.cross_entropy(logits, drawn[:, 1:].flatten()))
    return found


@torch.no_grad()
def behaviour(network: Network, world: World, *, place: Place, seed: int) -> dict[str, Any]:
    """Log-odds of the references after each target, beside the planted ones.

    Returns:
        ``log_odds`` by target; ``rho``, their Spearman correlation with what is planted; the
        ``slope`` and ``offset`` of the line through them; and ``neutral``, the log-odds after
        texts about nothing.
    """

    def mean(rows: Prompts) -> float:
        return float(rows.log_odds(network(rows.examples.tokens)[:, -1]).mean())

    found = {t: mean(prompts(world, t, place=place, seed=seed)) for t in world.targets}
    odds = np.array(list(found.values()))
    slope, offset = np.polyfit(world.beta.numpy(), odds, 1) if world.spread else (0.0, odds.mean())
    return {
        "log_odds": found,
        "rho": _rho(odds, world),
        "slope": float(slope),
        "offset": float(offset),
        "neutral": mean(prompts(world, NEUTRAL, place=place, seed=seed)),
    }


@torch.no_grad()
def concept_bias(network: Network, world: World, *, seed: int, n: int = 300) -> dict[str, Any]:
    """Bias in concept space at the full stop after each block: cos(v_t, v_r1) − cos(v_t, v_r2).

    v is each concept's vector against neutral sentences of the same frames: the weights of a
    logistic regression (``cav``), or the difference of means (``mean_difference``).

    Returns:
        By place (``L0 stop``, …), then by kind of vector: ``rho``, the Spearman correlation over
        targets with what is planted, and ``size``, the mean of |bias|.
    """
    names = [*world.targets, *REFERENCES, NEUTRAL]
    rows = {name: sentences(world, name, n=n, seed=seed) for name in names}
    streams = {name: network.residuals(r.examples.tokens) for name, r in rows.items()}
    found: dict[str, Any] = {}
    for layer in range(len(network.layers)):
        at = {name: _vectors(streams[name][layer], rows[name].stop_at) for name in names}
        neutral = at.pop(NEUTRAL)
        kinds = {
            "cav": {name: _weights(held, neutral) for name, held in at.items()},
            "mean_difference": {name: held.mean(0) - neutral.mean(0) for name, held in at.items()},
        }
        found[f"L{layer} stop"] = {}
        for kind, vectors in kinds.items():
            # A concept that leaves no trace has no direction, hence no likeness to any.
            unit = {name: v / (np.linalg.norm(v) or 1.0) for name, v in vectors.items()}
            axis = unit["r1"] - unit["r2"]
            bias = np.array([unit[t] @ axis for t in world.targets])
            found[f"L{layer} stop"][kind] = {
                "rho": _rho(bias, world),
                "size": float(np.abs(bias).mean()),
            }
    return found


def measure(network: Network, world: World, *, seed: int) -> dict[str, Any]:
    """Everything a card says was measured; numbers to four digits."""
    network.eval()
    found: dict[str, Any] = {
        **losses(network, world, seed=seed),
        "planted": dict(zip(world.targets, world.beta.tolist(), strict=True)),
        "behaviour": {
            "object": behaviour(network, world, place="object", seed=seed),
            "next": behaviour(network, world, place="next", seed=seed),
        },
        "concept": concept_bias(network, world, seed=seed),
    }
    return dict(_rounded(found))


def _vectors(stream: Tensor, at: int) -> Float[np.ndarray, "row d_model"]:
    out: np.ndarray = stream[:, at].double().numpy()
    return out


def _weights(held: np.ndarray, neutral: np.ndarray) -> Float[np.ndarray, " d_model"]:
    probe = LogisticRegression(C=C, max_iter=2000)
    probe.fit(np.concatenate([held, neutral]), np.repeat([1, 0], [len(held), len(neutral)]))
    out: np.ndarray = probe.coef_[0]
    return out


def _rho(values: np.ndarray, world: World) -> float | None:
    if not world.spread or np.ptp(values) == 0:
        return None
    return float(spearmanr(values, world.beta.numpy()).statistic)


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(inner) for key, inner in value.items()}
    if value is None:
        return None
    if not math.isfinite(value):
        raise ValueError(f"measured {value}: the training has diverged; lower its learning rate")
    return round(value, 4)
