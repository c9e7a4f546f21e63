"""What a set of heads is worth to a model, by removing it: the exact loop, one set at a time.

Four steps:

1. A reference set gives each head's mean output (or another example's, or nothing).
2. The model runs once unchanged.
3. For each set, every query head in it has its output before W_O replaced, and the model runs
   again on the same examples.
4. The metric of each example, with and without, is what ``interp.evidence`` weighs.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, Metric, damage
from interp.hooks import (
    Intervention,
    Site,
    ablate_heads,
    capture,
    reference_mean,
    resample,
    session,
)
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches

AblationKind = Literal["mean", "mean-by-position", "zero", "resample"]


class AblationError(ValueError):
    """Heads or reference that cannot be ablated as asked; the message says why."""


@dataclass(frozen=True, eq=False)
class Ablations:
    """A metric on every example, unchanged and with each set of heads removed.

    Attributes:
        metric: Which metric.
        sets: The sets of (layer, head), in the order given.
        clean: The unmodified model's, one an example.
        ablated: With each set removed.
    """

    metric: Metric
    sets: tuple[frozenset[Head], ...]
    clean: Float[Tensor, " example"]
    ablated: Float[Tensor, "set example"]

    @property
    def effects(self) -> Float[Tensor, "set example"]:
        """How much worse each example got; positive is worse, in the metric's units."""
        return damage(self.metric, self.clean, self.ablated)


@torch.no_grad()
def ablate(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    *,
    kind: AblationKind = "mean",
    reference: Examples | None = None,
    batch_size: int = 64,
    seed: int = 0,
) -> Ablations:
    """Measure a metric with each set of query heads removed.

    Heads are removed at their own output z, before W_O, which under grouped-query attention is
    the query head's and never a key/value head's. An empty set gives the clean values again.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        sets: Sets of (layer, head). A set that stands twice is run once.
        kind: What takes the head's place. ``mean``: its mean output over the reference.
            ``mean-by-position``: the same, for each position. ``zero``: nothing; this also takes
            away what the head gives every input alike. ``resample``: its output on an example
            of another group of this set, by a derangement.
        reference: Where means are taken, on other examples than these; needed for both means.
        batch_size: Rows at a time; halved on out-of-memory.
        seed: Draws the derangement.

    Returns:
        The metric of every example, clean and for each set.

    Raises:
        AblationError: an unknown kind, or a missing reference.
        SiteError: a head the model does not have.
    """
    wanted = tuple(frozenset((int(layer), int(head)) for layer, head in s) for s in sets)
    check_ablation(model, wanted, kind, reference)
    layers = sorted({layer for heads in wanted for layer, _ in heads})
    replacements = replacing_values(
        model, examples, layers, kind=kind, reference=reference, batch_size=batch_size
    )

    # No wider than metrics are computed in: the type says which differences are mere rounding.
    kept = torch.promote_types(model.dtype, torch.float32)

    def interventions(heads: frozenset[Head]) -> list[Intervention]:
        if kind != "resample":
            return ablate_heads(sorted(heads), None if kind == "zero" else replacements)
        return [
            resample(
                Site(layer, "z", head),
                replacements[layer][:, :, head],
                seed=seed,
                groups=examples.groups,
            )
            for layer, head in sorted(heads)
        ]

    def measure(heads: frozenset[Head]) -> Float[Tensor, " example"]:
        values = torch.zeros(len(examples), dtype=kept)
        with session(model, intervene=interventions(heads)) as s:

            def work(rows: slice) -> None:
                batch = examples.select(range(rows.start, rows.stop))
                logits = s.run(batch, rows=rows)
                values[rows] = metric.per_example(logits, batch).to("cpu", kept)

            in_batches(len(examples), batch_size, work)
        return values

    results: dict[frozenset[Head], Tensor] = {frozenset(): measure(frozenset())}
    with progress("ablating", total=len(wanted)) as advance:
        for heads in wanted:
            if heads not in results:
                results[heads] = measure(heads)
            advance(1)
    ablated = torch.zeros((len(wanted), len(examples)), dtype=kept)
    for i, heads in enumerate(wanted):
        ablated[i] = results[heads]
    return Ablations(metric, wanted, results[frozenset()], ablated)


@torch.no_grad()
def output_norms(
    model: Model, examples: Examples, *, batch_size: int = 32
) -> Float[Tensor, "layer head"]:
    """Mean length of what each head adds to the residual stream, ‖z W_O‖, over real tokens.

    Used to match control heads to a target: a head that writes next to nothing is no control.
    """
    total = torch.zeros((model.n_layers, model.n_heads), dtype=torch.float64)
    assert examples.mask is not None
    sites = [Site(layer, "z") for layer in range(model.n_layers)]
    # ‖z W‖² = z (W Wᵀ) zᵀ: the d_head × d_head product spares the d_model-wide outputs.
    grams = [(w := model.head_weights(layer).W_O) @ w.mT for layer in range(model.n_layers)]

    def work(rows: slice) -> None:
        batch = examples.select(range(rows.start, rows.stop))
        assert batch.mask is not None
        with session(model, capture=sites) as s:
            s.run_until_captured(batch.tokens, batch.mask)
        real = batch.mask.to(model.device)
        for layer, (site, gram) in enumerate(zip(sites, grams, strict=True)):
            z = s[site][real].to(gram.dtype)
            squares = torch.einsum("nhd,hde,nhe->nh", z, gram, z).clamp(min=0)
            total[layer] += squares.sqrt().sum(0).to(torch.float64).cpu()

    in_batches(len(examples), batch_size, work)
    return (total / examples.mask.sum()).to(torch.float32)


def check_ablation(
    model: Model, sets: Sequence[frozenset[Head]], kind: str, reference: Examples | None
) -> None:
    """Refuse an unknown kind, a missing reference, or heads the model does not have."""
    if kind not in get_args(AblationKind):
        raise AblationError(
            f"unknown ablation {kind!r}; expected one of {', '.join(get_args(AblationKind))}"
        )
    if kind.startswith("mean") and reference is None:
        raise AblationError(
            f"{kind} ablation needs reference=: examples, other than those measured, over which "
            "each head's mean output is taken"
        )
    for layer, head in sorted({head for heads in sets for head in heads}):
        Site(layer, "z", head).point(model)  # raises, naming the heads there are


def replacing_values(
    model: Model,
    examples: Examples,
    layers: Sequence[int],
    *,
    kind: str,
    reference: Examples | None,
    batch_size: int,
) -> dict[int, Tensor]:
    """For each layer, what stands in for its heads' outputs."""
    sites = [Site(layer, "z") for layer in layers]
    if kind == "zero" or not sites:
        return {}
    if kind == "resample":
        if examples.padded:
            raise AblationError("resample ablation needs examples of one length, without padding")
        found = capture(model, examples, sites, batch_size=batch_size)
    else:
        assert reference is not None
        found = reference_mean(
            model, reference, sites, by_position=kind == "mean-by-position", batch_size=batch_size
        )
    return {site.layer: tensor for site, tensor in found.items() if site.layer is not None}
