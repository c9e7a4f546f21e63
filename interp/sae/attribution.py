"""What each latent is worth to a metric, estimated by gradients: the ranking of SHIFT.

Moving latent i from f_i to r_i changes a metric m by about (r_i − f_i)·∂m/∂f_i (Marks et al. 2024,
"Sparse Feature Circuits", eq. 3 and 4). Three steps:

1. The activation is written as decode(f) + error, and all latents go together along the line from
   f to r, the error staying where it is.
2. The gradient is averaged over midpoints of the line. (SHIFT's own code takes the left ends of as
   many equal parts. Midpoints are exact for metrics quadratic in the latents, and the estimates
   then add up to what moving all latents at once does; left ends are exact for linear ones.)
   With no steps the gradient is taken where the model is (attribution patching): it says better
   what a latent does *alone*, integrated gradients what it does while all others go as well.
3. Step times gradient is summed over the chosen tokens. The error is a node of its own: what
   taking it away would do, by the same gradients.

One pass over the data whatever the number of latents; nothing is held but their sums.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Metric
from interp.hooks import Site, session, set_to
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches
from interp.sae.dictionary import Dictionary, SaeError
from interp.sae.splice_sweep import tokens_touched
from interp.sae.splicing import site_of, vectors_of, with_vectors

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, eq=False)
class LatentAttribution:
    """The estimated change of a metric when each latent takes its reference value.

    Attributes:
        metric: Its name.
        units: Its units; all estimates are in them.
        values: For each weighting of the examples, of each latent; positive raises the metric.
        error: Of what the dictionary does not reconstruct, when that is taken away.
        steps: Points on the line; 0 is the gradient where the model is.
        weighted: Whether weights were given; else the one row is the mean over examples.
    """

    metric: str
    units: str
    values: Float[Tensor, "weighting d_sae"]
    error: Float[Tensor, " weighting"]
    steps: int
    weighted: bool = False

    def top(
        self, k: int = 10, *, weighting: int = 0, sign: int | None = None
    ) -> list[tuple[int, float]]:
        """Return the k latents with the largest estimates and these, in that order.

        Args:
            k: How many.
            weighting: Which weighting of the examples.
            sign: −1 for those that lower the metric most, 1 for those that raise it most; by
                absolute value where None.

        Raises:
            SaeError: another sign.
        """
        if sign not in (None, -1, 1):
            raise SaeError(f"sign is {sign}; expected 1, -1 or None")
        values = self.values[weighting]
        key = values.abs() if sign is None else sign * values
        order = torch.argsort(key, descending=True, stable=True)[:k]
        return [(int(i), float(values[i])) for i in order]

    def table(self, *, weighting: int = 0) -> pd.DataFrame:
        """Lay the estimates out, largest first.

        Returns:
            Columns ``latent`` (nullable; missing for the error) and ``estimated``.
        """
        import pandas as pd

        rows = self.top(self.values.shape[1], weighting=weighting)
        latents = [i for i, _ in rows]
        return pd.DataFrame(
            {
                "latent": pd.Series([*latents, None], dtype="Int64"),
                "estimated": [*(v for _, v in rows), float(self.error[weighting])],
            }
        )


def attribute_latents(
    model: Model,
    examples: Examples,
    metric: Metric,
    dictionary: Dictionary,
    *,
    reference: Float[Tensor, " d_sae"] | None = None,
    weights: Float[Tensor, "weighting example"] | None = None,
    at: Bool[Tensor, "example pos"] | None = None,
    steps: int = 10,
    site: Site | str | None = None,
    batch_size: int = 32,
) -> LatentAttribution:
    """Estimate what each latent's going to its reference value would do to a metric.

    Args:
        model: The model.
        examples: What the metric is measured on. May be padded.
        metric: The metric; it needs a gradient.
        dictionary: The autoencoder of one site.
        reference: Where each latent goes, such as its mean on neutral text; 0 when omitted.
        weights: Sums of the examples' metric to be attributed, one a row; the mean when omitted.
            A slope over examples is such a sum.
        at: Which tokens are touched; the real ones where None.
        steps: Points on the line, their midpoints; 0 for the gradient where the model is.
        site: Where, for a dictionary that does not say.
        batch_size: Rows at a time; halved on out-of-memory.

    Raises:
        SaeError: shapes that do not fit, no steps, or a metric without gradient.
    """
    if steps < 0:
        raise SaeError(f"steps is {steps}; expected 0, or as many points")
    dictionary.require_fit(model)
    where = site_of(dictionary, site)
    touched = tokens_touched(examples, at)
    goal = torch.zeros(dictionary.d_sae) if reference is None else reference.detach().cpu()
    n = len(examples)
    given = torch.full((1, n), 1 / n, dtype=torch.float64) if weights is None else weights
    if goal.shape != (dictionary.d_sae,):
        raise SaeError(
            f"reference must have one value a latent, {dictionary.d_sae}, got {list(goal.shape)}"
        )
    if given.ndim != 2 or given.shape[1] != n:
        raise SaeError(f"weights must be [weighting, {n}], got {list(given.shape)}")
    values = torch.zeros((len(given), dictionary.d_sae), dtype=torch.float64)
    error = torch.zeros(len(given), dtype=torch.float64)

    with progress("attributing", total=n) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            found = _estimates(
                model,
                batch,
                metric,
                dictionary,
                site=where,
                goal=goal,
                at=touched[rows],
                steps=steps,
            )
            mine = given[:, rows].to(torch.float64)
            values.add_(mine @ found[0])
            error.add_(mine @ found[1])
            advance(len(batch))

        in_batches(n, batch_size, work)
    return LatentAttribution(
        metric.name, metric.units, values, error, steps, weighted=weights is not None
    )


def _estimates(
    model: Model,
    batch: Examples,
    metric: Metric,
    dictionary: Dictionary,
    *,
    site: Site,
    goal: Float[Tensor, " d_sae"],
    at: Bool[Tensor, "batch pos"],
    steps: int,
) -> tuple[Float[Tensor, "batch d_sae"], Float[Tensor, " batch"]]:
    """Of each example, summed over its tokens."""
    with session(model, capture=site.whole) as s:
        s.run_until_captured(batch.tokens, batch.mask)
        activation = s.captured[site.whole]
    at = at.to(activation.device)
    with torch.no_grad():
        x = vectors_of(dictionary, site, activation)[at]
        latents = dictionary.encode(x)
        error = x - dictionary.decode(latents)
        step = goal.to(latents) - latents
    total, total_x = torch.zeros_like(latents), torch.zeros_like(x)
    points = [(i + 0.5) / steps for i in range(steps)] or [0.0]
    for point in points:
        moved = (latents + step * point).requires_grad_()
        rebuilt = dictionary.decode(moved) + error
        changed = with_vectors(dictionary, site, activation, at, rebuilt)
        with session(model, intervene=set_to(site.whole, changed)) as s:
            found = metric.per_example(s.run(batch, grad=True), batch)
        if not found.requires_grad:
            raise SaeError(
                f"{metric.name} has no gradient in {site}: a step function of the logits, or "
                "nothing that is read comes after it"
            )
        of_latents, of_x = torch.autograd.grad(found.sum(), [moved, rebuilt])
        if not bool(torch.isfinite(of_latents).all()):
            raise SaeError(f"the gradient of {metric.name} at {site} is not finite; try float32")
        total += of_latents / len(points)
        total_x += of_x / len(points)
    row = at.nonzero()[:, 0].cpu()
    n = len(batch)
    per_latent = torch.zeros((n, latents.shape[1]), dtype=torch.float64)
    per_latent.index_add_(0, row, (step * total).to("cpu", torch.float64))
    per_error = torch.zeros(n, dtype=torch.float64)
    per_error.index_add_(0, row, (-(error * total_x).sum(1)).to("cpu", torch.float64))
    return per_latent, per_error
