"""The two stages before the test: latents are ranked on one split, an edit is chosen on another."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from interp.evidence import Metric, loss
from interp.hooks import Intervention, Site, capture
from interp.models import Examples, Model
from interp.sae.attribution import attribute_latents
from interp.sae.carrying_measures import (
    BiasSplit,
    Slopes,
    Tokens,
    share_of_slope_gone,
    slopes_over,
)
from interp.sae.carrying_result import Kind
from interp.sae.dictionary import Dictionary
from interp.sae.edits import LatentEdit, set_latents
from interp.sae.features import LatentStatistics, latent_statistics
from interp.sae.splice_sweep import Changes, Measure, sweep_changes
from interp.sae.splicing import site_of, splice
from interp.sae.stream import kept_positions

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Stages:
    """What stays the same through the three splits, and the two stages before the test.

    Attributes:
        model: The model.
        dictionary: The autoencoder.
        metric: The bias of a prompt.
        tokens: Which tokens are touched; None for the real ones but beginning-of-sequence marks.
    """

    model: Model
    dictionary: Dictionary
    metric: Metric
    tokens: Tokens | None

    @property
    def site(self) -> Site:
        """Where the autoencoder belongs."""
        return site_of(self.dictionary)

    def at(self, examples: Examples) -> Bool[Tensor, "example pos"]:
        """Which tokens are touched."""
        if self.tokens is not None:
            return self.tokens(examples)
        assert examples.mask is not None
        return kept_positions(self.model, examples.tokens, examples.mask, skip_bos=True)

    def sweep(
        self,
        examples: Examples,
        changes: Sequence[Intervention],
        metrics: Sequence[Measure] | Measure,
    ) -> Changes:
        """Measure under each change, at the chosen tokens."""
        return sweep_changes(self.model, examples, changes, metrics, at=self.at(examples))

    def clean(self, split: BiasSplit) -> Float[Tensor, " example"]:
        """The bias of every prompt, in the model as it is."""
        return self.sweep(split.biased, [splice(self.dictionary)], self.metric).clean[0]

    def activations(self, split: BiasSplit) -> Float[Tensor, "token d_in"]:
        """Activations of the biased prompts at the tokens that are touched."""
        found = capture(self.model, split.biased, self.site)[self.site]
        return found[self.at(split.biased)]

    def own_biases(self, split: BiasSplit) -> dict[str, float]:
        """The model's bias for each target."""
        found = self.clean(split).numpy()
        names = dict.fromkeys(split.targets)
        of = np.array(split.targets)
        return {name: float(found[of == name].mean()) for name in names}

    def select(
        self, split: BiasSplit, scores: Mapping[str, float], kinds: Sequence[Kind]
    ) -> tuple[Tensor, LatentStatistics, dict[Kind, Tensor]]:
        """Estimated drop of the slope for every latent; their statistics; where edits put them."""
        model, dictionary = self.model, self.dictionary
        weight = torch.from_numpy(slopes_over(split.targets, scores).weight)
        neutral = latent_statistics(model, split.neutral, dictionary, at=self.at(split.neutral))
        biased = latent_statistics(model, split.biased, dictionary, at=self.at(split.biased))
        found = attribute_latents(
            model,
            split.biased,
            self.metric,
            dictionary,
            reference=neutral.mean,
            weights=weight[None],
            at=self.at(split.biased),
            steps=0,
        )
        slope = float(weight @ self.clean(split))
        put: dict[Kind, Tensor] = {
            "neutral mean": neutral.mean,
            "mean": biased.mean,
            "zero": torch.zeros_like(neutral.mean),
        }
        drop = -np.sign(slope) * found.values[0]
        return drop, biased, {kind: put[kind] for kind in kinds}

    def rank(
        self,
        split: BiasSplit,
        scores: Mapping[str, float],
        estimated: Float[Tensor, " d_sae"],
        values: Float[Tensor, " d_sae"],
        n: int,
    ) -> tuple[int, ...]:
        """Latents that lower the slope when edited alone, most first."""
        tried = torch.argsort(estimated.abs(), descending=True, stable=True)[:n].tolist()
        changes = [splice(self.dictionary, set_latents([i], values)) for i in tried]
        found = self.sweep(split.biased, changes, self.metric)
        slopes = slopes_over(split.targets, scores)
        gone = share_of_slope_gone(slopes, found.clean[0].numpy(), found.changed[0].numpy())
        order = np.argsort(-gone, kind="stable")
        return tuple(tried[i] for i in order if gone[i] > 0)

    def tune(
        self,
        split: BiasSplit,
        slopes: Slopes,
        edits: Mapping[tuple[Kind, int], LatentEdit],
        *,
        most_ce: float,
        recognised: Metric | None,
        most_lost: float,
    ) -> tuple[Kind, int, tuple[Mapping[str, Any], ...]]:
        """Choose kind and number: what leaves least slope, among what costs little enough."""
        changes = [splice(self.dictionary, edit) for edit in edits.values()]
        bias = self.sweep(split.biased, changes, self.metric)
        gone = share_of_slope_gone(slopes, bias.clean[0].numpy(), bias.changed[0].numpy())
        ce = self.sweep(split.neutral, changes, loss).harm("loss").mean(1).numpy()
        lost = np.zeros(len(changes))
        if recognised is not None and split.recognition is not None:
            seen = self.sweep(split.recognition, changes, recognised)
            lost = (seen.clean[0].mean() - seen.changed[0].mean(1)).numpy()
        tuned = tuple(
            {"kind": kind, "n": n, "slope": float(s), "ce": float(c), "recognition_lost": float(r)}
            for (kind, n), s, c, r in zip(edits, gone, ce, lost, strict=True)
        )
        cheap = (ce <= most_ce) & (lost <= most_lost)
        if not cheap.any():
            log.warning(
                "every edit adds more than %g nats on neutral text while tuning, or takes more "
                "than %g of the recognition; the one that adds least, %.3g, is kept",
                most_ce,
                most_lost,
                ce.min(),
            )
        left = np.where(cheap, np.abs(1 - gone), np.inf) if cheap.any() else ce
        kind, n = list(edits)[int(np.argmin(left))]
        return kind, n, tuned
