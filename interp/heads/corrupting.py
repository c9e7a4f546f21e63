"""Heads replaced by what they do on a counterfactual prompt, by the engine of ``sweep``."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch

from interp.evidence import Head, Metric
from interp.heads.ablation import AblationError, Ablations, check_ablation
from interp.heads.batching import TOKENS_PER_FORWARD
from interp.heads.changes import Replace
from interp.heads.sweep_job import Job, Keep
from interp.hooks import Site, capture
from interp.models import Examples, Model


@torch.no_grad()
def sweep_corrupt(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    corrupt: Examples,
    *,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    memory_mb: float | None = None,
    keep: Keep | None = None,
) -> Ablations:
    """Measure a metric with each set's heads doing what they do on a corrupted prompt.

    A head that says the same on both is left as it was: what is removed is what the two prompts
    differ in (activation patching; Wang et al. 2022, "Interpretability in the Wild").

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        sets: Sets of (layer, head).
        corrupt: The counterfactual of each example, row by row, position by position.
        tokens_per_forward: As in ``sweep``.
        memory_mb: As there.
        keep: As there.

    Raises:
        AblationError: prompts that do not pair, or an architecture that cannot be begun in the
            middle.
        SiteError: a head the model does not have.
    """
    assert examples.mask is not None and corrupt.mask is not None
    same = examples.tokens.shape == corrupt.tokens.shape
    if not same or not torch.equal(examples.mask, corrupt.mask):
        raise AblationError(
            "corrupt replacement takes row i from row i of the corrupted prompts: the two must "
            f"have one shape and one mask, got {list(examples.tokens.shape)} and "
            f"{list(corrupt.tokens.shape)}"
        )
    job = Job(model, examples, metric, sets, tokens_per_forward, memory_mb, keep)
    check_ablation(model, job.sets, "zero", None)
    if problem := job.problem:
        raise AblationError(f"{model.spec.name} cannot be begun in the middle: {problem}")
    sites = [Site(layer, "z") for layer in job.layers]
    size = max(1, tokens_per_forward // examples.tokens.shape[1])
    held = capture(model, corrupt, sites, batch_size=size) if sites else {}
    values = {site.layer: tensor for site, tensor in held.items() if site.layer is not None}
    return job.run(Replace(f"corrupt {corrupt.hash}", values, torch.arange(len(examples))))
