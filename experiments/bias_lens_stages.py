"""What is measured of one triple: behaviour, sensitivity, concept space, the axis, the latents."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.bias_lens import numbers, split
from experiments.bias_lens_stored import (
    bias_from,
    bias_stored,
    carrying_from,
    carrying_stored,
    tcav_from,
    tcav_stored,
)

if TYPE_CHECKING:
    from jaxtyping import Float
    from pandas import DataFrame
    from torch import Tensor

    from experiments.bias_lens import Config
    from experiments.bias_lens_subject import Subject
    from interp.evidence import Evidence
    from interp.models import Model
    from interp.runs import Run
    from interp.sae import Carrying, Dictionary
    from probes.cav import TCAV
    from probes.concept_bias import ConceptBias


MOST_ADDED_LOSS = 0.03
"""Nats a token of neutral text that an edit may cost."""


@dataclass(frozen=True, eq=False)
class Latents:
    """What one SAE says of one triple.

    Attributes:
        name: Its seed, or what it is called where it was loaded.
        carrying: What came of editing its latents, or None where there is nothing to take away.
        reason: Why there is none.
    """

    name: str
    carrying: Carrying | None
    reason: str | None


@dataclass(frozen=True, eq=False)
class Measured:
    """Everything about one triple.

    Attributes:
        subject: What was measured.
        behaviour: One row a target: its bias with the ends of its interval, or the reason why there
            is none, and what is planted.
        tcav: Sensitivity of behaviour to the references.
        bias: In concept space, at every site; the SAE form by ``sae NAME``, where the SAE is.
        axis: Behaviour with the axis between the references taken out, site by site.
        latents: One an SAE.
    """

    subject: Subject
    behaviour: DataFrame
    tcav: TCAV
    bias: ConceptBias
    axis: tuple[Evidence, ...]
    latents: tuple[Latents, ...]


@dataclass(frozen=True, eq=False)
class Job:
    """The stages for one triple. Each is stored, and taken from the store when a run is resumed.

    Attributes:
        config: The settings.
        run: Where results are stored.
        model: The model.
        subject: The triple.
    """

    config: Config
    run: Run
    model: Model
    subject: Subject

    def measured(self, dictionaries: Mapping[str, Dictionary], site: str) -> Measured:
        """Run all of them.

        Args:
            dictionaries: SAEs by name, all of one site.
            site: That site.

        Returns:
            All that was found; evidence is not corrected yet (``corrected``).
        """
        from interp.evidence import Evidence

        behaviour = self.behaviour()
        yardsticks: dict[str, dict[str, float]] = {
            "behaviour": dict(zip(behaviour["target"], behaviour["behaviour"], strict=True))
        }
        if self.subject.planted is not None:
            yardsticks = {"planted": dict(self.subject.planted), **yardsticks}
        sites = self._sites(site)
        tested = tcav_from(self._stored("tcav", lambda: tcav_stored(self.sensitivity(sites))))
        bias = self._bias(sites, yardsticks, {site: dictionaries})
        axis = []
        for place in bias.sites:
            part = f"axis-{place.replace('.', '-')}"
            axis.append(self._stored(part, partial(self.axis, bias, place)))
        latents = []
        for name, sae in dictionaries.items():
            scores = yardsticks[self.subject.yardstick]
            held = self._stored(
                f"latents-{name}", partial(self.latents, sae, scores, bias.axes[site])
            )
            again = None if held["carrying"] is None else carrying_from(held["carrying"])
            latents.append(Latents(name, again, held["reason"]))
        rows = tuple(Evidence.from_dict(row) for row in axis)
        return Measured(self.subject, behaviour, tested, bias, rows, tuple(latents))

    def behaviour(self) -> DataFrame:
        """Each target's log-odds on the yardstick's prompts, with its interval over them."""
        import pandas as pd

        from probes.behaviour.estimates import mean_of

        examples, planted = self.subject.asked, self.subject.planted
        logits = self.model.logits(examples.tokens, mask=examples.mask)
        values = self.subject.behaviour.per_example(logits, examples).cpu().double()
        rows = []
        for target in dict.fromkeys(examples.groups):
            own = values[[group == target for group in examples.groups]].numpy()
            found = mean_of(
                own, [str(i) for i in range(len(own))], none="no prompts", seed=self.config.seed
            )
            low, high = found.interval or (None, None)
            row = {"target": target, "behaviour": found.value, "low": low, "high": high}
            row |= {"no_interval": found.reason}
            rows.append(row if planted is None else row | {"planted": planted[target]})
        types = {"behaviour": "float64", "low": "Float64", "high": "Float64"}
        return pd.DataFrame(rows).astype({**types, "no_interval": "string"})

    def sensitivity(self, sites: Sequence[str]) -> TCAV:
        """Of behaviour to both references, and to a concept of nothing where there is one."""
        from probes.cav import tcav

        subject = self.subject
        nothing = [] if subject.nothing is None else [subject.nothing]
        return tcav(
            self.model,
            {"prompts": subject.sensitive},
            [subject.first, subject.second, *nothing],
            random=subject.random,
            sites=sites,
            metric=subject.behaviour,
            n_random=self.config.randoms,
            n_partners=2,
            alpha=self.config.alpha,
            seed=self.config.seed,
        )

    def axis(self, bias: ConceptBias, site: str) -> dict[str, Any]:
        """Take the axis between the references out, on the test split; evidence as plain values."""
        from probes.concept_bias import axis_evidence

        return axis_evidence(
            self.model,
            bias,
            self.subject.test.biased,
            self.subject.behaviour,
            site=site,
            yardstick=self.subject.yardstick,
            where=self.subject.where,
            n_random=self.config.controls,
            alpha=self.config.alpha,
            seed=self.config.seed,
        ).to_dict()

    def latents(
        self, dictionary: Dictionary, scores: Mapping[str, float], direction: Float[Tensor, " d"]
    ) -> dict[str, Any]:
        """Edit latents, as plain values; or say why there is nothing to edit."""
        from interp.sae import NoBiasError, carrying
        from interp.sae.carrying_measures import NoLatentError

        subject = self.subject
        try:
            found = carrying(
                self.model,
                dictionary,
                subject.behaviour,
                select=subject.select,
                tune=subject.tune,
                test=subject.test,
                scores=scores,
                recognised=subject.recognised,
                direction=direction,
                tokens=subject.tokens,
                counts=numbers(self.config.counts),
                most_ce=MOST_ADDED_LOSS,
                n_random=self.config.controls,
                alpha=self.config.alpha,
                seed=self.config.seed,
            )
        except (NoBiasError, NoLatentError) as error:
            return {"carrying": None, "reason": str(error)}
        return {"carrying": carrying_stored(found), "reason": None}

    def _sites(self, sae_site: str) -> tuple[str, ...]:
        """Where bias is measured; the SAEs' site always."""
        from interp.hooks import Site

        every = [f"L{i}.resid_post" for i in range(self.model.n_layers)]
        found = [str(Site.parse(name)) for name in split(self.config.sites or "") or every]
        return tuple(dict.fromkeys([*found, *([] if sae_site in found else [sae_site])]))

    def _bias(
        self,
        sites: Sequence[str],
        yardsticks: Mapping[str, Mapping[str, float]],
        dictionaries: Mapping[str, Mapping[str, Dictionary]],
    ) -> ConceptBias:
        from probes.concept_bias import concept_bias

        def compute() -> dict[str, Any]:
            found = concept_bias(
                self.model,
                self.subject.targets,
                self.subject.first,
                self.subject.second,
                neutral=self.subject.neutral,
                sites=sites,
                saes={
                    site: {f"sae {name}": one for name, one in those.items()}
                    for site, those in dictionaries.items()
                },
                yardsticks=yardsticks,
                n_shuffles=self.config.shuffles,
                n_resamples=self.config.resamples,
                seed=self.config.seed,
            )
            return bias_stored(found)

        return bias_from(self._stored("bias", compute))

    def _stored(self, name: str, compute: Callable[[], dict[str, Any]]) -> Any:
        return self.run.cached(f"{self.subject.name}/{name}", compute)


def corrected(found: Sequence[Measured]) -> tuple[Measured, ...]:
    """Adjust the evidence of a run by Holm's method: all axes one family, all latents another."""
    from interp.evidence import correct

    axes = iter(correct([row for one in found for row in one.axis]))
    edits = iter(
        correct(
            [h.carrying.evidence for one in found for h in one.latents if h.carrying is not None]
        )
    )

    def adjusted(held: Latents, rows: Iterator[Evidence]) -> Latents:
        if held.carrying is None:
            return held
        return replace(held, carrying=replace(held.carrying, evidence=next(rows)))

    return tuple(
        replace(
            one,
            axis=tuple(next(axes) for _ in one.axis),
            latents=tuple(adjusted(held, edits) for held in one.latents),
        )
        for one in found
    )
