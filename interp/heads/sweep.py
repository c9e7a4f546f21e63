"""Many sets of heads, exactly, at a fraction of one forward pass each.

The same numbers as ``ablate``, which runs the whole model once a set:

1. One clean pass a batch of examples keeps, at every layer where a set begins, the residual
   stream, the attention's output and each head's z.
2. A set begins at its earliest layer: its heads' change enters as a correction there, and only
   what comes after runs (see ``interp.heads.sweeping``). Nothing before can have changed.
3. Sets share forward passes, each with its own mask of heads, so that 99 control sets are one
   job: a set that begins at a later layer joins a pass there. Only the positions the metric
   reads are unembedded, and past its keys and values the last block runs on no others.

Averaged over all single heads this is (L + 1)/2L of the passes' cost, less what is not read.
Where an architecture cannot be begun in the middle, or someone has hooks on the model, the plain
loop runs instead, and the log says so.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from typing import Literal, get_args

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Head, Metric
from interp.heads.ablation import (
    AblationError,
    AblationKind,
    Ablations,
    check_ablation,
    replacing_values,
)
from interp.heads.batching import TOKENS_PER_FORWARD
from interp.heads.changes import Change, Replace, Steer, knock_out_pairs
from interp.heads.sweep_job import Job, Keep
from interp.hooks import Site, derangement, mean
from interp.models import Examples, Model

log = logging.getLogger(__name__)

SweepKind = Literal[AblationKind, "pattern-preserving"]


@torch.no_grad()
def sweep(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    *,
    kind: SweepKind = "mean",
    reference: Examples | None = None,
    freeze_patterns: bool = False,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    memory_mb: float | None = None,
    seed: int = 0,
    keep: Keep | None = None,
) -> Ablations:
    """Measure a metric with each set of query heads removed; exactly, and fast.

    Equal to ``ablate`` to float rounding (1e-5 in float32; bfloat16 rounds at other places, some
    1 % of the logits' size). How rows are batched changes no more than that.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        sets: Sets of (layer, head). A set that stands twice is run once; the empty set gives the
            clean values again, bit for bit.
        kind: As in ``ablate``; or ``pattern-preserving``: zero, with every head's attention kept
            at its clean values (Olsson et al. 2022).
        reference: Where means are taken, on other examples than these; needed for both means.
        freeze_patterns: Keep all attention at its clean values, whatever the kind.
        tokens_per_forward: Size of a forward pass.
        memory_mb: Limit, in 10⁶ bytes by estimate, on what is held beside the model. Without one
            the wanted size is tried, and halved on out-of-memory.
        seed: Draws the derangement of ``resample``.
        keep: Called with a name and a function for each piece of the work, returns what the
            function gives or gave: ``run.cached``, so that an interrupted sweep goes on.

    Returns:
        The metric of every example, clean and for each set.

    Raises:
        AblationError: an unknown kind, a missing reference, or a memory limit too small.
        SiteError: a head the model does not have.
    """
    if kind not in (*get_args(AblationKind), "pattern-preserving"):
        raise AblationError(
            f"unknown ablation {kind!r}; expected one of "
            f"{', '.join(get_args(AblationKind))}, pattern-preserving"
        )
    freeze = freeze_patterns or kind == "pattern-preserving"
    plain: AblationKind = "zero" if kind == "pattern-preserving" else kind
    job = Job(model, examples, metric, sets, tokens_per_forward, memory_mb, keep)
    check_ablation(model, job.sets, plain, reference)
    if problem := job.problem:
        if freeze:
            raise AblationError(f"patterns of {model.spec.name} cannot be kept: {problem}")
        log.warning("%s runs whole, one set at a time: %s", model.spec.name, problem)
        return job.loop(kind=plain, reference=reference, seed=seed)
    change = _replace(job, plain, reference, seed)
    return job.run(change, freeze_patterns=freeze)


def _replace(job: Job, kind: AblationKind, reference: Examples | None, seed: int) -> Replace:
    """What takes the heads' place, taken where it is to be had."""
    examples = job.examples
    values = replacing_values(
        job.model,
        examples,
        job.layers,
        kind=kind,
        reference=reference,
        batch_size=max(1, job.tokens_per_forward // examples.tokens.shape[1]),
    )
    source = None
    if kind == "resample" and values:
        source = derangement(len(examples), seed=seed, groups=examples.groups)
    for layer, value in values.items():
        if kind == "mean-by-position":  # raises where it meets padding on the left
            assert examples.mask is not None
            mean(Site(layer, "z"), value).require_fit(examples.mask)
        if kind == "mean-by-position" and value.shape[0] < examples.tokens.shape[1]:
            raise AblationError(
                f"the reference has means for {value.shape[0]} positions, the examples have "
                f"{examples.tokens.shape[1]}; give a reference as long as they are"
            )
    key = json.dumps([kind, seed, None if reference is None else reference.hash])
    return Replace(key, None if kind == "zero" else values, source)


@torch.no_grad()
def knock_out(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    pairs: Bool[Tensor, "example query key"],
    *,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    memory_mb: float | None = None,
    keep: Keep | None = None,
) -> Ablations:
    """Measure a metric with keys forbidden to queries, in each set of heads.

    Scores of the pairs are −∞ and the softmax is taken over the rest. The control is the same
    number of other keys: ``random_pairs``.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        sets: Sets of (layer, head) in which the pairs are forbidden.
        pairs: True where a query may not attend to a key; pairs no query sees are left out.
        tokens_per_forward: As in ``sweep``.
        memory_mb: As there.
        keep: As there.

    Raises:
        AblationError: pairs that do not fit or leave a query no key; or an architecture in which
            z cannot be worked out from pattern and values.
    """
    change = knock_out_pairs(pairs, examples)
    job = Job(model, examples, metric, sets, tokens_per_forward, memory_mb, keep)
    return _changed(job, change)


@torch.no_grad()
def steer(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    vectors: Mapping[int, Float[Tensor, "head d_head"]],
    *,
    scale: float = 1.0,
    tokens_per_forward: int = TOKENS_PER_FORWARD,
    memory_mb: float | None = None,
    keep: Keep | None = None,
) -> Ablations:
    """Measure a metric with a vector added to the output of each set's heads, before W_O.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        sets: Sets of (layer, head).
        vectors: For each layer that occurs, one vector a head.
        scale: What multiple is added.
        tokens_per_forward: As in ``sweep``.
        memory_mb: As there.
        keep: As there.

    Raises:
        AblationError: a layer without vectors, or vectors of another shape.
    """
    shape = (model.n_heads, model.d_head)
    for layer in Job(model, examples, metric, sets, tokens_per_forward).layers:
        have = tuple(vectors[layer].shape) if layer in vectors else None
        if have != shape:
            raise AblationError(
                f"layer {layer} needs vectors of shape {list(shape)} (head, d_head), got "
                f"{'none' if have is None else list(have)}"
            )
    digest = hashlib.sha256()
    for layer in sorted(vectors):
        digest.update(f"{layer}".encode())
        digest.update(vectors[layer].detach().cpu().double().contiguous().numpy().tobytes())
    change = Steer(f"steer {scale!r} {digest.hexdigest()}", vectors, scale)
    job = Job(model, examples, metric, sets, tokens_per_forward, memory_mb, keep)
    return _changed(job, change)


def _changed(job: Job, change: Change) -> Ablations:
    check_ablation(job.model, job.sets, "zero", None)
    if problem := job.problem:
        raise AblationError(f"{job.model.spec.name} cannot be begun in the middle: {problem}")
    return job.run(change)
