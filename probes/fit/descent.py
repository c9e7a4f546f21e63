"""L-BFGS on many logistic regressions that share their rows, each with its own step and history."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.linalg
from scipy.special import expit

from probes.fit.certificate import Bools, Floats, losses
from probes.fit.rule import Rows

_MEMORY = 10
_LINE_STEPS = 3
_HALVINGS = 30


class Concepts:
    """Where each concept stands, and its last steps.

    Attributes:
        W: Weights, one column a concept.
        b: Intercepts.
        value: Objectives.
        gained: By how much the last step lowered them.
        stuck: Concepts whose objective no step lowers any more, in this precision.
    """

    def __init__(self, x: Floats, y: Bools, W: Rows, b: Rows, C: float) -> None:
        self.x, self.C = x, C
        self.y = y.astype(x.dtype)
        self.W, self.b = W.copy(), b.copy()
        self.logits = x @ W.astype(x.dtype) + b.astype(x.dtype)
        self.stuck = np.zeros(y.shape[1], dtype=bool)
        self.gained = np.full(y.shape[1], np.inf)
        self.steps: list[Rows] = []
        self.changes: list[Rows] = []
        self.last: Rows | None = None
        self.value, self.residual = self._value(self.logits, (W**2).sum(0))

    def keep(self, which: Bools) -> None:
        """Go on with some of the concepts only."""
        for name in ("y", "W", "logits", "residual"):
            setattr(self, name, np.ascontiguousarray(getattr(self, name)[:, which]))
        for name in ("b", "stuck", "gained", "value"):
            setattr(self, name, getattr(self, name)[which])
        self.steps = [s[:, which] for s in self.steps]
        self.changes = [c[:, which] for c in self.changes]
        if self.last is not None:
            self.last = self.last[:, which]

    def gradient(self) -> Rows:
        """By the weights, of shape [d, concept]."""
        found = (self.x.T @ self.residual).astype(np.float64)
        return np.asarray(self.C * found + self.W)

    def step(self, gradient: Rows, factor: Any) -> None:
        """One step of L-BFGS, to the lowest point along the direction and the intercept."""
        if self.last is not None:
            self.changes.append(gradient - self.last)
            del self.steps[:-_MEMORY], self.changes[:-_MEMORY]
        self.last = gradient
        direction = -self._two_loops(gradient, factor)
        along = self.x @ direction.astype(self.x.dtype)
        squares = tuple(
            (u * v).sum(0)
            for u, v in ((self.W, self.W), (self.W, direction), (direction, direction))
        )
        t, rise = self._lowest(along, squares)
        for _ in range(_HALVINGS):
            logits = self.logits + t.astype(along.dtype) * along + rise.astype(along.dtype)
            norm = squares[0] + 2 * t * squares[1] + t**2 * squares[2]
            value, residual = self._value(logits, norm)
            # A rise within rounding is none.
            worse = value > self.value * (1 + 4 * np.finfo(along.dtype).eps)
            if not worse.any():
                break
            t, rise = np.where(worse, t / 4, t), np.where(worse, 0.0, rise)
        self.stuck, self.gained = worse, self.value - value
        t, rise = np.where(worse, 0.0, t), np.where(worse, 0.0, rise)
        moved = t * direction
        self.W, self.b = self.W + moved, self.b + rise
        self.steps.append(moved)
        self.logits, self.residual, self.value = logits, residual, value

    def _two_loops(self, gradient: Rows, factor: Any) -> Rows:
        """The inverse Hessian's product with the gradient (Nocedal & Wright, algorithm 7.4)."""
        q = gradient.copy()
        history = []
        for s, c in zip(reversed(self.steps), reversed(self.changes), strict=True):
            curved = (s * c).sum(0)
            weight = np.divide(1.0, curved, out=np.zeros_like(curved), where=curved > 0)
            a = weight * (s * q).sum(0)
            q -= a * c
            history.append((s, c, weight, a))
        if history:
            solved = _solve(factor, np.concatenate([q, history[0][1]], axis=1))
            q, change = solved[:, : q.shape[1]], solved[:, q.shape[1] :]
            _, c, weight, _ = history[0]
            size = weight * (c * change).sum(0)
            q = q / np.where(size > 0, size, 1.0)
        else:
            q = _solve(factor, q)
        for s, c, weight, a in reversed(history):
            q += (a - weight * (c * q).sum(0)) * s
        return q

    def _lowest(self, along: Floats, squares: tuple[Rows, ...]) -> tuple[Rows, Rows]:
        """Newton's method for the step length and the intercept, all concepts at once."""
        t, rise = np.ones(len(self.b)), np.zeros(len(self.b))
        for _ in range(_LINE_STEPS):
            p = expit(self.logits + t.astype(along.dtype) * along + rise.astype(along.dtype))
            r, h = p - self.y, p * (1 - p)
            ha = h * along
            g_t = self.C * (r * along).sum(0, dtype=np.float64) + squares[1] + t * squares[2]
            g_b = self.C * r.sum(0, dtype=np.float64)
            h_tt = self.C * (ha * along).sum(0, dtype=np.float64) + squares[2]
            h_tb = self.C * ha.sum(0, dtype=np.float64)
            h_bb = self.C * h.sum(0, dtype=np.float64)
            det = h_tt * h_bb - h_tb**2
            fine = det > 1e-12 * h_tt * h_bb
            det = np.where(fine, det, 1.0)
            t = t - np.where(fine, (h_bb * g_t - h_tb * g_b) / det, 0.0)
            rise = rise - np.where(fine, (h_tt * g_b - h_tb * g_t) / det, 0.0)
        return t, rise

    def _value(self, logits: Floats, norm: Rows) -> tuple[Rows, Floats]:
        """The objective, and what the loss's slope is at every row."""
        return (
            self.C * losses(logits, self.y) + 0.5 * norm,
            expit(logits) - self.y,
        )


def factored(gram: Floats, C: float) -> Any:
    """Cholesky factor of ¼C·Gram + I, which no Hessian of these problems exceeds."""
    bound = gram * gram.dtype.type(C / 4)
    bound[np.diag_indices(len(bound))] += 1
    return scipy.linalg.cho_factor(bound, lower=True, overwrite_a=True, check_finite=False)


def _solve(factor: Any, right: Rows) -> Rows:
    solved = scipy.linalg.cho_solve(factor, right.astype(factor[0].dtype), check_finite=False)
    return np.asarray(solved, dtype=np.float64)
