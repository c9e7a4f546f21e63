"""What takes a unit's place, and what replacing it exactly costs the model."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import get_args

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, Metric, damage
from interp.heads.ablation import AblationKind, Ablations, ablate
from interp.heads.sweep import sweep
from interp.heads.units import (
    AttributionError,
    Replacement,
    Unit,
    real_mask,
    unit_kind,
    unit_sites,
)
from interp.hooks import Site, derangement, reference_mean, session, set_to
from interp.hooks.progress import progress
from interp.models import Examples, Model
from interp.models.memory import in_batches


class Replacements:
    """What takes the place of the activations at some sites, batch by batch.

    Attributes:
        cost: Forward passes over the examples that making them takes.
    """

    def __init__(
        self,
        model: Model,
        examples: Examples,
        sites: list[Site],
        *,
        kind: str,
        reference: Examples | None,
        batch_size: int,
        seed: int,
    ) -> None:
        """Prepare; means over the reference are taken here.

        Args:
            model: The model.
            examples: What is measured.
            sites: Where activations are replaced.
            kind: As in ``attribute``.
            reference: As in ``attribute``.
            batch_size: Rows at a time, for the reference.
            seed: Draws the derangement of ``resample``.

        Raises:
            AttributionError: an unknown kind, or a reference that is missing or does not fit.
        """
        _check(examples, kind, reference)
        self.model, self.sites, self.kind = model, sites, kind
        self.means: dict[Site, Tensor] = {}
        self.donors: Examples | None = None
        self.cost = 0.0
        if kind.startswith("mean"):
            assert reference is not None
            self.means = reference_mean(
                model, reference, sites, by_position="position" in kind, batch_size=batch_size
            )
            self.cost = float(reference.lengths.sum() / examples.lengths.sum())
        elif kind in ("resample", "paired"):
            self.donors = reference
            if kind == "resample":
                self.donors = examples.select(
                    derangement(len(examples), seed=seed, groups=examples.groups)
                )
            self.cost = 1.0

    @torch.no_grad()
    def of_rows(self, rows: slice) -> Callable[[Site, Tensor], Tensor]:
        """Return a function from a site and its activation on these rows to what replaces it."""
        given = self.means
        if self.donors is not None:
            donors = self.donors.select(range(rows.start, rows.stop))
            with session(self.model, capture=self.sites) as s:
                s.run_until_captured(donors.tokens, donors.mask)
            given = s.captured
        by_position = self.kind == "mean-by-position"

        def replacement(site: Site, activation: Tensor) -> Tensor:
            if site not in given:
                return torch.zeros_like(activation)
            value = given[site].to(activation.device, activation.dtype)
            if by_position:
                if value.shape[0] < activation.shape[1]:
                    raise AttributionError(
                        f"the reference has means for {value.shape[0]} positions, the examples "
                        f"have {activation.shape[1]}; give a reference as long as they are"
                    )
                value = value[: activation.shape[1]]
            elif self.kind == "mean":
                value = value.unsqueeze(0)
            return value.expand_as(activation)

        return replacement


def _check(examples: Examples, kind: str, reference: Examples | None) -> None:
    if kind not in get_args(Replacement):
        raise AttributionError(
            f"unknown replacement {kind!r}; expected one of {', '.join(get_args(Replacement))}"
        )
    if kind not in ("zero", "resample") and reference is None:
        what = "the examples to take activations from" if kind == "paired" else "where means are"
        raise AttributionError(f"{kind} replacement needs reference=: {what}, other than these")
    if kind == "mean-by-position" and not bool(real_mask(examples)[:, 0].all()):
        raise AttributionError("a mean by position needs examples without padding on the left")
    if kind == "resample" and examples.padded:
        raise AttributionError("resampling needs examples of one length, without padding")
    if kind == "paired":
        assert reference is not None
        same = reference.tokens.shape == examples.tokens.shape
        if not same or not torch.equal(real_mask(reference), real_mask(examples)):
            raise AttributionError(
                "paired replacement takes row i from row i of the reference: the two must have "
                f"one shape and one mask, got {list(examples.tokens.shape)} and "
                f"{list(reference.tokens.shape)}"
            )


def remove_heads(
    model: Model,
    examples: Examples,
    metric: Metric,
    sets: Sequence[Collection[Head]],
    *,
    kind: AblationKind,
    reference: Examples | None,
    batch_size: int,
    seed: int,
) -> Ablations:
    """Remove sets of heads exactly: by ``sweep``, or by ``ablate`` where the metric needs it.

    A metric that does not say what it reads may depend on which examples run together, as the
    divergence from given clean logits does; ``sweep`` groups them as it likes.
    """
    if metric.reads == "everything":
        return ablate(
            model,
            examples,
            metric,
            sets,
            kind=kind,
            reference=reference,
            batch_size=batch_size,
            seed=seed,
        )
    return sweep(model, examples, metric, sets, kind=kind, reference=reference, seed=seed)


@torch.no_grad()
def exact_effects(
    model: Model,
    examples: Examples,
    metric: Metric,
    units: Sequence[Unit],
    *,
    of: str,
    kind: str,
    reference: Examples | None = None,
    batch_size: int = 32,
    seed: int = 0,
) -> tuple[Float[Tensor, " example"], Float[Tensor, "unit example"]]:
    """Replace each unit alone and run the model again.

    Heads go through ``remove_heads``; other units, and heads replaced by another example's, have
    their activation set by hand, which is the same thing since nothing before them has changed.

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric.
        units: (layer, index), or (layer,) for all the layer's units at once.
        of: Which kind of unit.
        kind: What takes its place, as in ``attribute``.
        reference: As in ``attribute``.
        batch_size: Rows at a time.
        seed: Draws the derangement of ``resample``.

    Returns:
        The metric of each example, unchanged; and how much worse it gets without each unit.
    """
    options = {"reference": reference, "batch_size": batch_size, "seed": seed}
    if of == "heads" and kind in get_args(AblationKind):
        every = range(model.n_heads)
        pairs = [[(u[0], head) for head in (u[1:] or every)] for u in units]
        found = remove_heads(model, examples, metric, pairs, kind=kind, **options)  # type: ignore[arg-type]
        return found.clean.to(torch.float64), found.effects.to(torch.float64)
    sites = unit_sites(model, of)
    needed = [site for site in sites if any(site.layer == unit[0] for unit in units)]
    replacements = Replacements(model, examples, needed, kind=kind, **options)  # type: ignore[arg-type]
    clean = torch.zeros(len(examples), dtype=torch.float64)
    changed = torch.zeros((len(units), len(examples)), dtype=torch.float64)
    with progress("checking", total=len(units) * len(examples)) as advance:

        def work(rows: slice) -> None:
            batch = examples.select(range(rows.start, rows.stop))
            replace = replacements.of_rows(rows)
            with session(model, capture=needed) as s:
                clean[rows] = metric.per_example(s.run(batch), batch).to(torch.float64).cpu()
            for i, unit in enumerate(units):
                site = sites[unit[0]]
                old = s.captured[site]
                where = unit_kind(of).index(unit)
                new = old.clone()
                new[where] = replace(site, old)[where]
                is_real = (
                    real_mask(batch)
                    .to(old.device)
                    .reshape(*batch.tokens.shape, *[1] * (old.ndim - 2))
                )
                new = torch.where(is_real, new, old)
                with session(model, intervene=[set_to(site, new)]) as edited:
                    values = metric.per_example(edited.run(batch), batch)
                changed[i, rows] = values.to(torch.float64).cpu()
            advance(len(units) * len(batch))

        in_batches(len(examples), batch_size, work)
    return clean, damage(metric, clean, changed)
