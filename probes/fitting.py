"""Fitting by a method's name, with whatever of the statements the method needs."""

from __future__ import annotations

import numpy as np
import torch

from interp.configs import near
from probes.activations import Activations
from probes.data import StatementSet
from probes.fit import METHODS, FitError, LinearRule, NetRule, ccs, mlp

CONTRASTED = ("ccs", "mlp")
"""Without labels, and without a line: for contrast with the methods of ``METHODS``."""


def known_method(method: str) -> None:
    """Refuse a method that is neither in ``METHODS`` nor in ``CONTRASTED``.

    Raises:
        FitError: it is not known; the message names the near ones.
    """
    if method not in METHODS and method not in CONTRASTED:
        raise FitError(f"unknown method {method!r}; {near(method, [*METHODS, *CONTRASTED])}")


def fit_named(
    method: str, activations: Activations, data: StatementSet, *, seed: int = 0
) -> LinearRule | NetRule:
    """Fit to activations of statements and their labels.

    Args:
        method: One of ``METHODS`` or ``CONTRASTED``.
        activations: Of the statements.
        data: The statements.
        seed: Of what the method draws: the starts of ``ccs``, the initial weights of ``mlp``.

    Raises:
        FitError: an unknown method, or nothing can be fitted; ``ccs`` needs pairs, and one row a
            statement.
    """
    known_method(method)
    if method == "mlp":
        return mlp(activations.values, activations.spread(data.y), seed=seed)
    if method == "ccs":
        return _consistent(activations, data, seed=seed)
    return METHODS[method](activations.values, activations.spread(data.y))


def _consistent(activations: Activations, data: StatementSet, *, seed: int) -> LinearRule:
    if activations.owners is not None:
        raise FitError(f"ccs takes one row a statement, not {activations.position} token of it")
    right, wrong = data.pair_rows
    if not len(right):
        raise FitError(
            f"ccs needs pairs of a statement and its negation, and {data.name} names none; give a "
            "column pair, or take another method"
        )
    pairs = np.stack([right, wrong], axis=1)
    pairs.sort(axis=1)
    if len(set(data.y[pairs[:, 0]].tolist())) == 1:
        # Which of the two comes first is the file's habit and would take the label with it.
        turned = np.random.default_rng(seed).permutation(len(pairs)) % 2 == 0
        pairs[turned] = pairs[turned, ::-1]
    order = pairs.reshape(-1)
    names = np.repeat(np.arange(len(pairs)), 2).tolist()
    return ccs(activations.values[torch.from_numpy(order)], data.y[order], names, seed=seed)
