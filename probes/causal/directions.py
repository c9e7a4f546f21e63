"""A direction with what its signature is and how long a natural push along it is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import rank_p_value
from interp.hooks import Site
from interp.models import Model
from probes.data import DataError
from probes.data.split import group_split, shuffled_labels
from probes.domains import Domain
from probes.fit import METHODS, Method, NoDirectionError
from probes.measures import auroc, auroc_interval
from probes.probe import NUMERIC, Probe
from probes.report import verdict
from probes.steering import SteeringError, natural_gap, unit

FEWEST_SHUFFLES = 19


@dataclass(frozen=True, eq=False)
class Direction:
    """A direction in a model's stream, pointing to label 1, and how well it separates.

    Attributes:
        name: What it is called in tables.
        vector: Of any length, in the raw space of the site.
        site: Where.
        gap: How far apart the labels' means lie along the unit direction (the natural gap, in
            units of the activations): what one push adds.
        auroc: Of the scores along it, on statements it was not fitted to.
        auroc_null: The same where labels are shuffled.
        separates: Whether that counts as a signature.
        centre: What its component is set to when it is erased; None for the mean over the prompts
            that are tried.
        training: What it was fitted to, or rows like these, to draw its controls from; None where
            there are no such rows.
        fingerprint: Of the model it belongs to; None if unknown, and then no model is refused.
    """

    name: str
    vector: Float[Tensor, " d"]
    site: Site
    gap: float
    auroc: float
    auroc_null: float
    separates: bool
    centre: Float[Tensor, " d"] | None = None
    training: Domain | None = None
    fingerprint: str | None = None

    def __post_init__(self) -> None:
        width = len(unit(self.vector))
        if self.centre is not None and self.centre.shape != (width,):
            raise SteeringError(f"{self.name}: direction and centre differ in width")
        if self.training is not None and self.training.values.shape[1] != width:
            raise SteeringError(f"{self.name}: direction and training rows differ in width")
        if not abs(self.gap) < float("inf") or self.gap == 0:
            raise SteeringError(
                f"{self.name}: the natural gap is {self.gap}; expected a finite number above 0"
            )
        if self.gap < 0:
            raise SteeringError(
                f"{self.name}: on these statements it points to label 0 (its natural gap is "
                f"{self.gap:.3g}), so a push would go the wrong way; are the labels turned round?"
            )
        if not (0 <= self.auroc <= 1 and 0 <= self.auroc_null <= 1):
            raise SteeringError(f"{self.name}: an AUROC lies between 0 and 1")

    @property
    def unit(self) -> Float[Tensor, " d"]:
        """The direction with length 1, in float64."""
        return unit(self.vector)

    @classmethod
    def of(
        cls,
        probe: Probe,
        *,
        name: str | None = None,
        gap: float | None = None,
        training: Domain | None = None,
    ) -> Direction:
        """Take a trained probe's direction.

        Args:
            probe: As ``train`` makes it, with its held-out measurements.
            name: What it is called; its data's name when omitted.
            gap: The natural gap; what training stored when omitted.
            training: Rows such as it was fitted to, for its controls.

        Raises:
            SteeringError: the probe predicts numbers, was never measured on statements it was not
                fitted to, or knows no natural gap.
        """
        if probe.method == "mlp":
            raise SteeringError(
                "the score of an mlp probe is not that of a direction, so its AUROC would be "
                "another's signature; train a linear probe"
            )
        if probe.method in NUMERIC:
            raise SteeringError(
                f"a {probe.method} probe predicts numbers, so there are no two labels to push "
                "between; give a probe of labels"
            )
        held, null = probe.metrics.get("held_out"), probe.metrics.get("null")
        if held is None or null is None:
            raise SteeringError(
                "the probe was never measured on statements it was not fitted to, so it has no "
                "signature to speak of; make it with train"
            )
        stored = probe.metrics.get("train", {}).get("natural_gap") if gap is None else gap
        if stored is None:
            raise SteeringError(
                "the probe does not say how far its labels lie apart; train it anew, or give gap=… "
                "(probes.steering.natural_gap; on the command line --data)"
            )
        return cls(
            name=name or probe.data,
            vector=probe.direction,
            site=probe.site,
            gap=float(stored),
            auroc=float(held["auroc"]),
            auroc_null=float(null["mean"]),
            separates=verdict(probe.metrics) == "signature",
            centre=probe.centre.to(torch.float64),
            training=training,
            fingerprint=probe.fingerprint,
        )

    @classmethod
    def fit(
        cls,
        domain: Domain,
        *,
        site: Site | str,
        test: Domain | None = None,
        name: str | None = None,
        method: Method = "mass-mean",
        held_out: float = 0.3,
        n_shuffles: int = 20,
        seed: int,
        model: Model | None = None,
    ) -> Direction:
        """Fit to a domain and measure on another of the same kind, or on groups kept for it.

        The null is the mean AUROC of refits to shuffled labels. The signature counts as present
        where the AUROC's interval lies above .5 and no more than one refit in twenty does as well.

        Args:
            domain: Activations with labels, of the site.
            site: Where they were read.
            test: What to measure on: other statements, of which none shares a group with
                those fitted to. Some of the domain's own groups when omitted.
            name: What it is called; the domain's name when omitted.
            method: Of ``METHODS``.
            held_out: Share of the statements to measure on, where there is no test.
            n_shuffles: Refits for the null.
            seed: Of split, shuffles and bootstrap.
            model: The model they come from, so that others are refused.

        Raises:
            SteeringError: too few groups to split, too few shuffles, or a test that shares groups
                with what is fitted to.
            NoDirectionError: nothing tells the labels apart.
        """
        if n_shuffles < FEWEST_SHUFFLES:
            raise SteeringError(f"{n_shuffles} shuffles; expected at least {FEWEST_SHUFFLES}")
        known, new = _parts(domain, test, held_out=held_out, seed=seed)
        rule = METHODS[method](known.values, known.labels)
        scores = rule.scores(new.values).double().numpy()
        found = auroc(scores, new.labels)
        low, _ = auroc_interval(scores, new.labels, new.groups, seed=seed)
        rng = np.random.default_rng((seed, 1))
        null = []
        for _ in range(n_shuffles):
            wrong = shuffled_labels(known.labels, known.groups, rng=rng)
            judged = shuffled_labels(new.labels, new.groups, rng=rng)
            try:
                other = METHODS[method](known.values, wrong)
            except NoDirectionError:
                null.append(0.5)
                continue
            null.append(auroc(other.scores(new.values).double().numpy(), judged))
        return cls(
            name=name or domain.name,
            vector=rule.direction,
            site=Site.parse(site),
            gap=natural_gap(rule.direction, known.values, known.labels),
            auroc=found,
            auroc_null=float(np.mean(null)),
            separates=low > 0.5 and rank_p_value(found, null) <= 0.05,
            centre=rule.centre.to(torch.float64),
            training=known,
            fingerprint=None if model is None else model.fingerprint,
        )

    def check(self, model: Model) -> None:
        """Refuse another model than the direction's own.

        Raises:
            SteeringError: it is another.
        """
        if self.fingerprint is not None and self.fingerprint != model.fingerprint:
            raise SteeringError(
                f"{self.name} is a direction of another model (fingerprint "
                f"{self.fingerprint[:12]}) than {model.spec.name} ({model.fingerprint[:12]}): it "
                "means nothing there; train a probe on it"
            )


def _parts(
    domain: Domain, test: Domain | None, *, held_out: float, seed: int
) -> tuple[Domain, Domain]:
    if test is None:
        try:
            known, new = group_split(
                domain.labels, domain.groups, held_out=held_out, seed=seed, name=domain.name
            )
        except DataError as error:
            raise SteeringError(str(error)) from error
        return domain.select(known), domain.select(new)
    if test.place != domain.place or test.values.shape[1] != domain.values.shape[1]:
        raise SteeringError(f"{domain.name} and its test are not activations of one place")
    if shared := domain.bonds & test.bonds:
        raise SteeringError(
            f"{domain.name}: {len(shared)} groups or rows of what it is tested on are among those "
            "fitted to; give other statements (of arrays, under another name)"
        )
    return domain, test


def require_together(directions: Sequence[Direction], model: Model) -> None:
    """Refuse directions that cannot be reported side by side.

    Raises:
        SteeringError: none, two of one name, or of another model.
    """
    if not directions:
        raise SteeringError("no direction was given; expected at least one")
    names = [one.name for one in directions]
    if len(set(names)) < len(names):
        raise SteeringError(f"two directions have one name: {', '.join(sorted(names))}")
    for one in directions:
        one.check(model)
