"""Many logistic regressions at once, each on rows of its own, on activations as they are.

The problem is scikit-learn's, C Σᵢ sᵢ log(1 + exp(−yᵢ(w·xᵢ + b))) + ½‖w‖², for every concept.
``probes.fit.fit_many`` fits many labels to the *same, standardised* rows. Concept vectors want
neither: a concept, its shuffles and random concepts each have rows of their own, and dividing
features by their spread changes the angles between directions, so that cosines between concepts
no longer mean anything (on zoo:bias-world rank agreement falls from .95 to about .4).

Newton's method with step halving, batched over concepts. With fewer rows than features the rows
span the solution, so it is looked for there (QR). The Hessian is formed in single precision, the
gradient in double: what is reached is certified by the gradient, as in ``probes.fit.certificate``.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.fit import FitError

# Share of the objective by which a solution may exceed the optimum.
TOLERANCE = 1e-8
_MAX_STEPS = 100
_HALVINGS = 20
# Numbers held at a time: concepts are fitted so many at once.
_ELEMENTS = 2**24


@dataclass(frozen=True, eq=False)
class Fits:
    """Logistic regressions of many concepts, in the raw activation space.

    Attributes:
        directions: Weights, pointing to label 1; not of unit length.
        biases: Log-odds at an activation of zero.
    """

    directions: Float[Tensor, "concept d"]
    biases: Float[Tensor, " concept"]

    @property
    def units(self) -> Float[Tensor, "concept d"]:
        """Directions of unit length: concept activation vectors."""
        return self.directions / self.directions.norm(dim=1, keepdim=True)


def fit_each(
    pool: Float[Tensor, "row d"],
    rows: Int[Tensor, "concept n"],
    labels: Bool[Tensor, "concept n"],
    *,
    weights: Float[Tensor, "concept n"] | None = None,
    C: float = 0.1,
    start: Fits | None = None,
) -> Fits:
    """Fit an L2-penalised logistic regression to every concept's own rows.

    Args:
        pool: Activations that all concepts' rows are taken from.
        rows: Which rows each concept has.
        labels: Their labels.
        weights: How often each row counts, zero for filling up to a common number; one for all
            when omitted.
        C: Inverse strength of the penalty, in the activations' own units.
        start: Solutions near these, one a concept, such as those before resampling.

    Raises:
        FitError: not finite, a concept of one label, no positive C, no direction, or a fit that
            did not arrive.
    """
    if not 0 < C < float("inf"):
        raise FitError(f"C is {C}; expected a positive number")
    if rows.shape != labels.shape or rows.ndim != 2:
        raise FitError(
            f"rows of shape {list(rows.shape)} and labels of shape {list(labels.shape)}: expected "
            "[concept, n] of both"
        )
    x = pool.detach().cpu().to(torch.float64)
    if not bool(torch.isfinite(x).all()):
        bad = int((~torch.isfinite(x)).any(1).nonzero()[0])
        raise FitError(f"the activation of row {bad} is not finite; try dtype float32")
    s = torch.ones(rows.shape, dtype=torch.float64) if weights is None else weights.double()
    y = labels.to(torch.float64)
    single = ((s * y).sum(1) == 0) | ((s * (1 - y)).sum(1) == 0)
    if bool(single.any()):
        raise FitError(f"concept {int(single.nonzero()[0])} has one label only; expected both")
    centre = x.mean(0)
    x = x - centre
    n, d = rows.shape[1], x.shape[1]
    size = max(1, _ELEMENTS // (n * max(d, n)))
    found, biases = [], []
    for at in range(0, len(rows), size):
        part = slice(at, at + size)
        begin = None
        if start is not None:
            begin = (
                start.directions[part].double(),
                start.biases[part] + (start.directions[part].double() @ centre),
            )
        w, b = _newton(x[rows[part]], y[part], s[part], C, begin)
        found.append(w)
        biases.append(b - w @ centre)
    return Fits(torch.cat(found), torch.cat(biases))


def _newton(
    x: Tensor, y: Tensor, s: Tensor, C: float, start: tuple[Tensor, Tensor] | None
) -> tuple[Tensor, Tensor]:
    n, d = x.shape[1:]
    basis: Tensor | None = None
    if n < d:
        basis, upper = torch.linalg.qr(x.mT)
        x = upper.mT
    width = x.shape[2]
    w = x.new_zeros((len(x), width))
    share = (s * y).sum(1) / s.sum(1)
    b = torch.logit(share)
    if start is not None:
        w, b = start
        w = w if basis is None else torch.einsum("kdm,kd->km", basis, w)
    single = x.to(torch.float32)
    problem = (x, y, s, C)
    value, p = _state(problem, w, b)
    for _ in range(_MAX_STEPS):
        residual = s * (p - y)
        slope_w = C * torch.einsum("knm,kn->km", x, residual) + w
        slope_b = C * residual.sum(1)
        # With b at its best the excess is at most ½‖∇‖²; b's own share is closed by the same steps.
        gap = 0.5 * (slope_w**2).sum(1) + slope_b.abs()
        done = gap <= TOLERANCE * value
        if bool(done.all()):
            break
        step_w, step_b = _step(single, s * p * (1 - p), slope_w, slope_b, C)
        t = torch.where(done, 0.0, 1.0).to(value)
        for _ in range(_HALVINGS):
            moved = w - t[:, None] * step_w, b - t * step_b
            after, q = _state(problem, *moved)
            worse = after > value * (1 + 1e-12)
            if not bool(worse.any()):
                break
            t = torch.where(worse, t / 2, t)
        w, b, value, p = *moved, after, q
    else:
        k = int((~done).nonzero()[0])
        raise FitError(
            f"logistic regression of concept {k} at C = {C:g} did not converge; use a smaller C"
        )
    w = w if basis is None else torch.einsum("kdm,km->kd", basis, w)
    flat = ~(w.norm(dim=1) > 0)
    if bool(flat.any()):
        raise FitError(
            f"concept {int(flat.nonzero()[0])} gets a weight of zero everywhere: its activations "
            "do not differ between the labels"
        )
    return w, b


def _state(
    problem: tuple[Tensor, Tensor, Tensor, float], w: Tensor, b: Tensor
) -> tuple[Tensor, Tensor]:
    """Objectives, and the probability of label 1 at every row."""
    x, y, s, C = problem
    logits = torch.einsum("knm,km->kn", x, w) + b[:, None]
    loss = torch.nn.functional.softplus(logits) - y * logits
    return C * (s * loss).sum(1) + 0.5 * (w**2).sum(1), torch.sigmoid(logits)


def _step(
    x: Tensor, h: Tensor, slope_w: Tensor, slope_b: Tensor, C: float
) -> tuple[Tensor, Tensor]:
    """Solve with the Hessian, the intercept eliminated: its row would make it badly scaled."""
    total = h.sum(1).clamp(min=1e-30)
    wide = x.to(torch.float32)
    h32 = h.to(torch.float32)
    mean = (torch.einsum("knm,kn->km", wide, h32).double() / total[:, None]).float()
    centred = (wide - mean[:, None]) * h32.sqrt()[:, :, None]
    hessian = (C * torch.einsum("knm,knj->kmj", centred, centred)).double()
    hessian.diagonal(dim1=1, dim2=2).add_(1.0)
    right = slope_w - mean.double() * slope_b[:, None]
    step_w = torch.linalg.solve(hessian, right)
    step_b = slope_b / (C * total) - (mean.double() * step_w).sum(1)
    return step_w, step_b
