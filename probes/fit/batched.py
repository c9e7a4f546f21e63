"""Many logistic regressions on the same rows at once, each certified to be at its optimum.

The problem is scikit-learn's, C Σᵢ log(1 + exp(−yᵢ(w·xᵢ + b))) + ½‖w‖², for every concept. The
concepts share the rows x, so they share the matrix P = ¼C XᵀX + I, which no Hessian exceeds
(Böhning & Lindsay 1988): factored once, it turns L-BFGS on all concepts into some twenty passes
over X, where scikit-learn makes a hundred for each. Every concept keeps its own step and its own
history, for the problems have nothing else in common. Along a direction the logits are linear, so
the step is exact and costs no pass.

At any w, with b at its best, the gap to the optimum is at most ½‖∇‖² (the duality gap at the
dual point that the residuals are): that is computed in double precision and is what convergence
means here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import scipy.linalg

from probes.fit.certificate import Bools, Floats, certify
from probes.fit.descent import Concepts, factored
from probes.fit.rule import FitError, Rows

# Share of the objective by which a solution may exceed the optimum, and what is aimed at: a few
# steps more, which rounding at a large C does not always allow.
TOLERANCE = 1e-4
_AIM = 1e-6
# A step that lowers the objective by a smaller share is rounding, in single precision.
_ROUNDING = 2e-8
# In single precision, in which many steps end in rounding, and in double precision.
_MAX_ITERATIONS = {"float32": 300, "float64": 1000}


@dataclass(frozen=True, eq=False)
class Solution:
    """Logistic regressions of several concepts at one C.

    Attributes:
        W: One column a concept.
        b: Intercepts.
        objective: C times the summed loss, and half the squared norm.
        gap: No larger an excess over the optimum is possible, as a share of the objective.
        iterations: Of the batched solver.
        fallbacks: Concepts that it left to scikit-learn.
    """

    W: Rows
    b: Rows
    objective: Rows
    gap: Rows
    iterations: int
    fallbacks: int


class SharedRows:
    """Standardised rows on which many concepts are fitted, with their Gram matrix.

    Products are made in single precision, twice as fast; where that does not reach the tolerance
    they are repeated in double precision, and where that does not, scikit-learn takes over.
    """

    def __init__(self, x: Floats) -> None:
        """Keep the rows.

        Args:
            x: Of shape [row, d], standardised, finite.
        """
        self.x = x
        self._basis: Floats | None = None
        inner = x
        if len(x) < x.shape[1]:
            # The optimum is a combination of the rows: as many coordinates as rows will do.
            self._basis, upper = scipy.linalg.qr(x.T, mode="economic", check_finite=False)
            inner = upper.T
        self._rows: dict[Any, Floats] = {}
        self._grams: dict[Any, Floats] = {}
        for dtype in (np.float32, np.float64):
            if dtype == np.float32 or inner.dtype == np.float64:
                self._rows[dtype] = np.ascontiguousarray(inner, dtype=dtype)
        self._inner = inner

    def solve(
        self,
        labels: Bools,
        *,
        C: float,
        start: Solution | None = None,
    ) -> Solution:
        """Fit every concept.

        Args:
            labels: Of shape [row, concept], each concept with both labels.
            C: Inverse strength of the penalty.
            start: Where to begin, such as the solution at a smaller C.

        Raises:
            FitError: a concept has one label only, or not even scikit-learn arrives.
        """
        y = np.asarray(labels, dtype=bool)
        _check(self.x, y, C)
        n_concepts = y.shape[1]
        share = y.mean(0)
        W = np.zeros((self._inner.shape[1], n_concepts))
        b = np.log(share / (1 - share))
        if start is not None:
            W, b = self._to_inner(start.W), start.b.copy()
        left = np.arange(n_concepts)
        iterations = 0
        objective, gap = np.zeros(n_concepts), np.zeros(n_concepts)
        for dtype in (np.float32, np.float64):
            begin = W[:, left], b[left]
            W[:, left], b[left], n = self._descend(y[:, left], begin, C, dtype=dtype)
            iterations += n
            held = certify(self._inner, y[:, left], W[:, left], b[left], C)
            b[left], objective[left], gap[left] = held
            left = left[gap[left] > TOLERANCE]
            if not len(left):
                break
        outer = self._to_outer(W)
        for k in left:
            outer[:, k], b[k] = _by_scikit_learn(self.x, y[:, k], C)
            b[[k]], objective[[k]], gap[[k]] = certify(self.x, y[:, [k]], outer[:, [k]], b[[k]], C)
            if gap[k] > TOLERANCE:
                raise FitError(
                    f"logistic regression of concept {k} at C = {C:g} did not converge: it may be "
                    f"{gap[k]:.1g} of the objective away from the optimum; use a smaller C"
                )
        return Solution(outer, b, objective, gap, iterations, len(left))

    def _to_inner(self, W: Rows) -> Rows:
        return W.copy() if self._basis is None else np.asarray(self._basis.T @ W, dtype=np.float64)

    def _to_outer(self, W: Rows) -> Rows:
        return W if self._basis is None else np.asarray(self._basis @ W, dtype=np.float64)

    def _in(self, dtype: Any) -> tuple[Floats, Floats]:
        if dtype not in self._rows:
            self._rows[dtype] = self._inner.astype(dtype)
        if dtype not in self._grams:
            self._grams[dtype] = self._rows[dtype].T @ self._rows[dtype]
        return self._rows[dtype], self._grams[dtype]

    def _descend(
        self, y: Bools, start: tuple[Rows, Rows], C: float, *, dtype: Any
    ) -> tuple[Rows, Rows, int]:
        """L-BFGS on all concepts until the gap, as far as this precision shows it, is closed."""
        W, b = start
        x, gram = self._in(dtype)
        try:
            factor = factored(gram, C)
        except np.linalg.LinAlgError:
            return W, b, 0  # rounding made it indefinite: not in this precision
        state = Concepts(x, y, W, b, C)
        done_W, done_b = W.copy(), b.copy()
        which = np.arange(y.shape[1])
        most = _MAX_ITERATIONS[np.dtype(dtype).name]
        for iteration in range(most + 1):
            gradient = state.gradient()
            gap = 0.5 * (gradient**2).sum(0) / state.value
            slow = (gap <= TOLERANCE) & (state.gained <= _ROUNDING * state.value)
            stop = (gap <= _AIM) | slow | state.stuck
            if stop.any() or iteration == most:
                done_W[:, which], done_b[which] = state.W, state.b
                if stop.all() or iteration == most:
                    return done_W, done_b, iteration
                state.keep(~stop)
                which, gradient = which[~stop], gradient[:, ~stop]
            state.step(gradient, factor)
        raise AssertionError("unreachable")


def _by_scikit_learn(x: Floats, y: Bools, C: float) -> tuple[Rows, float]:
    import warnings

    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-8, max_iter=1000)
    with warnings.catch_warnings():
        # Its own words are not needed: the gap says whether it arrived.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(np.asarray(x, dtype=np.float64), y)
    return model.coef_[0], float(model.intercept_[0])


def _check(x: Floats, y: Bools, C: float) -> None:
    if y.ndim != 2 or len(y) != len(x):
        raise FitError(f"expected labels of shape [{len(x)}, concept], got {list(y.shape)}")
    if not 0 < C < np.inf:
        raise FitError(f"C is {C}; expected a positive number")
    single = y.all(0) | ~y.any(0)
    if single.any():
        raise FitError(f"concept {int(single.argmax())} has one label only; expected both")
