"""A one-layer model of a + b mod p on all its pairs: what it is, and what it computes at ``=``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from interp.fourier.basis import FourierError
from interp.hooks import session
from interp.models import Model


@dataclass(frozen=True, eq=False)
class PairRun:
    """What a model computes at ``=`` for every pair.

    Attributes:
        p: The modulus.
        neurons: After the activation function, ``[a, b, neuron]``.
        logits: Of the p answers, ``[a, b, c]``; that of ``=``, where there is one, is left out.
    """

    p: int
    neurons: Float[Tensor, "p p neuron"]
    logits: Float[Tensor, "p p p"]


def modulus(model: Model) -> int:
    """The p of a one-layer model of modular addition, read off its shape.

    Operands are tokens 0 … p−1, ``=`` is token p, and there are p outputs (or p + 1).

    Raises:
        FourierError: the model has another shape; the message says in what.
    """
    cfg, name = model.bridge.cfg, model.spec.name
    outputs = int(model.W_U.shape[1])
    wrong = None
    if model.tokenizer is not None:
        wrong = "it reads text"
    elif model.n_layers != 1:
        wrong = f"it has {model.n_layers} layers, not one"
    elif getattr(cfg, "attn_only", False):
        wrong = "it has no MLP"
    elif getattr(cfg, "normalization_type", None) is not None:
        wrong = f"it has norms ({cfg.normalization_type}), so that logits are no sum over neurons"
    elif model.n_ctx < 3:
        wrong = f"it has {model.n_ctx} positions; 'a b =' takes 3"
    elif outputs not in (model.d_vocab - 1, model.d_vocab):
        wrong = f"it has {model.d_vocab} tokens and {outputs} outputs; expected p + 1 and p"
    elif model.d_vocab < 4:
        wrong = f"it has {model.d_vocab} tokens, so p would be {model.d_vocab - 1}; expected 3 up"
    if wrong is not None:
        raise FourierError(f"{name} is no one-layer model of modular addition: {wrong}")
    return model.d_vocab - 1


def pair_tokens(p: int) -> Int[Tensor, "pair 3"]:
    """Every ``a b =``, a slowest: row ``a * p + b``."""
    pairs = torch.cartesian_prod(torch.arange(p), torch.arange(p))
    return torch.cat([pairs, torch.full((p * p, 1), p)], dim=1)


@torch.no_grad()
def run_pairs(model: Model, *, batch_size: int = 2048) -> PairRun:
    """Run a model on all pairs, once.

    Args:
        model: A one-layer model of modular addition, whether or not it has learnt it.
        batch_size: Pairs at a time.

    Raises:
        FourierError: the model has another shape.
    """
    p = modulus(model)
    neurons, logits = [], []
    with session(model, capture=["L0.mlp_post"]) as s:
        for tokens in pair_tokens(p).split(batch_size):
            logits.append(s.run(tokens)[:, -1, :p].cpu())
            neurons.append(s["L0.mlp_post@-1"].cpu())
    return PairRun(
        p, torch.cat(neurons).unflatten(0, (p, p)), torch.cat(logits).unflatten(0, (p, p))
    )


def check_logits(logits: Float[Tensor, "p p p"]) -> int:
    """The modulus of logits on all pairs.

    Raises:
        FourierError: they are not of shape [p, p, p], or not finite.
    """
    shape = list(logits.shape)
    if logits.ndim != 3 or len(set(shape)) != 1 or shape[0] < 3:
        raise FourierError(f"logits on all pairs must have shape [p, p, p], got {shape}")
    if not bool(torch.isfinite(logits).all()):
        raise FourierError("logits on all pairs must be finite")
    return shape[0]


def sums(p: int) -> Int[Tensor, " pair"]:
    """a + b mod p for every pair, in order."""
    residues = torch.arange(p)
    return ((residues[:, None] + residues) % p).flatten()


def unseen_pairs(train: Bool[Tensor, "p p"]) -> Bool[Tensor, "p p"]:
    """Pairs held out whose mirror image is held out too.

    Addition is commutative, and a model reads ``a b =`` much as it reads ``b a =``: one that has
    merely memorised (b, a) may well answer (a, b).
    """
    return ~(train | train.T)


def mean_by_sum(values: Float[Tensor, "p p c"]) -> Float[Tensor, "sum c"]:
    """Mean over the p pairs of each sum, in float64."""
    p = len(values)
    found = torch.zeros((p, values.shape[2]), dtype=torch.float64)
    return found.index_add_(0, sums(p), values.double().flatten(0, 1)) / p
