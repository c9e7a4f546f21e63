"""Ways to measure bias in concept space, on any number of replicates at once.

For a target t and references 1 and 2, with neutral sentences 0 as everybody's negatives:

* ``cav``: cos(v_t, v_1) − cos(v_t, v_2), v the logistic regression's direction, concept against
  neutral, on activations as they are.
* ``mean difference``: the same with v = mean − neutral mean.
* ``reference probe``: how far the target's mean is from the neutral one along the direction v that
  tells reference 1 from 2, as a share of how far the references' means lie apart there:
  (m_t·v)(m_12·v) / (m_12·v)², which is m_t·v / m_12·v. Written so that for shuffled labels the
  denominator alone stays that of the true ones: what they find has next to no gap m_12·v, and a
  direction of unit length would hide that.
* one more for each SAE, by the name that is given: the same cosines with v = mean of
  enc(a + εv) − enc(a) over neutral sentences a kept from the fit, ε the least step along the
  concept vector that makes its own probe say .99.

The last is in the manner of BiasLens (2025), of which the paper's abstract and a summary were at
hand, not the code: nothing here claims to reproduce its tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from probes.cav.fitting import Fits, fit_each
from probes.concept_bias.rows import BiasRows, ConceptBiasError

WITHOUT_SAE = ("cav", "mean difference", "reference probe")
CONFIDENT = 0.99
"""What a concept's probe says of a neutral sentence once it is steered."""


class Encoder(Protocol):
    """What the SAE form needs of a sparse autoencoder."""

    def encode(self, x: Float[Tensor, "row d"], /) -> Float[Tensor, "row latent"]:
        """Return the latents' activations."""
        ...


@dataclass(frozen=True, eq=False)
class Vectors:
    """What the concepts come to, in every replicate (one for all where nothing changes).

    Attributes:
        fits: Concept against neutral.
        means: Concept's mean less the neutral one.
    """

    fits: Fits
    means: Float[Tensor, "replicate concept d"]

    def of(self, replicate: int) -> Fits:
        """The fits of one replicate."""
        n = self.means.shape[1]
        rows = slice((replicate % len(self.means)) * n, (replicate % len(self.means) + 1) * n)
        return Fits(self.fits.directions[rows], self.fits.biases[rows])

    @property
    def units(self) -> Float[Tensor, "replicate concept d"]:
        """Concept activation vectors."""
        return self.fits.units.unflatten(0, (len(self.means), -1))


@dataclass(frozen=True, eq=False)
class References(Vectors):
    """The two references, and the probe that tells them apart.

    Attributes:
        probe: First against second.
    """

    probe: Fits


def target_vectors(
    rows: BiasRows,
    weights: Float[Tensor, "replicate row"],
    *,
    C: float,
    start: Vectors | None = None,
) -> Vectors:
    """Fit every target against neutral sentences.

    Args:
        rows: The concepts.
        weights: How often each row of the pool counts.
        C: Inverse strength of the penalty.
        start: The fits of rows that count once each.
    """
    n = len(weights)
    spans = [rows.spans[name] for name in rows.names]
    own = [(span, weights[:, span]) for span in spans]
    fits = _against_neutral(rows, own, weights, C=C, start=None if start is None else start.fits)
    means = torch.stack([_mean(rows.pool[span], w) for span, w in own], dim=1)
    return Vectors(fits, means - _neutral_mean(rows, weights, n))


def reference_vectors(
    rows: BiasRows,
    weights: Float[Tensor, "replicate row"],
    labels: Bool[Tensor, "replicate reference_row"],
    *,
    C: float,
    start: References | None = None,
) -> References:
    """Fit both references against neutral sentences, and against each other.

    Args:
        rows: The concepts.
        weights: How often each row of the pool counts.
        labels: Which rows of the two references are of the first; shuffled for a null.
        C: Inverse strength of the penalty.
        start: The fits of rows that count once each, true labels.
    """
    both = rows.reference_rows
    counted = weights[:, both]
    first, second = counted * labels, counted * ~labels
    own = [(both, first), (both, second)]
    fits = _against_neutral(rows, own, weights, C=C, start=None if start is None else start.fits)
    means = torch.stack([_mean(rows.pool[both], w) for _, w in own], dim=1)
    begin = None if start is None else _repeated(start.probe, len(weights))
    probe = fit_each(
        rows.pool,
        both.expand(len(weights), -1),
        labels,
        weights=counted,
        C=C,
        start=begin,
    )
    return References(fits, means - _neutral_mean(rows, weights, len(weights)), probe)


def cosines(
    targets: Float[Tensor, "#replicate target d"], references: Float[Tensor, "#replicate 2 d"]
) -> Float[Tensor, "replicate target"]:
    """cos(target, first) − cos(target, second), in every replicate.

    Raises:
        ConceptBiasError: a vector is zero, such as where steering moves no latent.
    """
    lengths = [v.norm(dim=-1, keepdim=True) for v in (targets, references)]
    if not all(bool((length > 0).all()) for length in lengths):
        raise ConceptBiasError(
            "a concept's vector is zero, so it has no direction: its sentences are the neutral "
            "ones again, or steering towards it moves no latent of the SAE"
        )
    t, r = targets / lengths[0], references / lengths[1]
    return (t * (r[:, :1] - r[:, 1:])).sum(-1)


def projections(
    targets: Vectors, references: References, *, gap: float | None = None
) -> Float[Tensor, "replicate target"]:
    """Targets' means along the reference probe, over the distance of the references there.

    Args:
        targets: The targets.
        references: The references.
        gap: The references' distance by the true labels, for a null; each replicate's own when
            omitted.
    """
    units = references.probe.units
    along = torch.einsum("rtd,rd->rt", targets.means.expand(len(units), -1, -1), units)
    own = reference_gap(references)[:, None]
    return along * own / (own if gap is None else gap) ** 2


def reference_gap(references: References) -> Float[Tensor, " replicate"]:
    """How far the references' means lie apart along the probe that tells them apart."""
    apart = references.means[:, 0] - references.means[:, 1]
    return (apart * references.probe.units).sum(-1)


@torch.no_grad()
def encoded_shifts(
    sae: Encoder, fits: Fits, neutral: Float[Tensor, "row d"]
) -> Float[Tensor, "concept latent"]:
    """Mean change of the latents when neutral activations are steered to each concept.

    Args:
        sae: Anything that encodes.
        fits: The concepts' probes.
        neutral: Activations to steer.

    Raises:
        ConceptBiasError: what it encodes is not finite.
    """
    held = neutral.double()
    length = fits.directions.norm(dim=1)
    scores = held @ fits.directions.T + fits.biases
    wanted = torch.logit(torch.tensor(CONFIDENT, dtype=torch.float64))
    step = ((wanted - scores) / length).clamp(min=0)  # [row, concept]
    steered = held[None] + step.T[..., None] * fits.units[:, None]
    before = sae.encode(held.float()).double().mean(0)
    after = sae.encode(steered.flatten(0, 1).float()).double()
    shift = after.unflatten(0, (len(length), -1)).mean(1) - before
    if not bool(torch.isfinite(shift).all()):
        raise ConceptBiasError("the SAE encodes to numbers that are not finite; use float32")
    return shift


def sae_biases(
    sae: Encoder, targets: Vectors, references: References, neutral: Float[Tensor, "row d"]
) -> Float[Tensor, "replicate target"]:
    """The SAE form, replicate by replicate, so that no more than one's latents are held."""
    n = max(len(targets.means), len(references.means))
    fixed = encoded_shifts(sae, targets.of(0), neutral) if len(targets.means) == 1 else None
    found = []
    for i in range(n):
        own = encoded_shifts(sae, targets.of(i), neutral) if fixed is None else fixed
        two = encoded_shifts(sae, references.of(i), neutral)
        found.append(cosines(own[None], two[None])[0])
    return torch.stack(found)


def _against_neutral(
    rows: BiasRows,
    own: list[tuple[Int[Tensor, " row"], Float[Tensor, "replicate row"]]],
    weights: Float[Tensor, "replicate row"],
    *,
    C: float,
    start: Fits | None,
) -> Fits:
    """Fit concepts against neutral rows in one solve; replicate by replicate, concepts fastest."""
    neutral = rows.spans[rows.neutral.name]
    n, k = len(weights), len(own)
    widest = max(len(span) for span, _ in own)
    index = torch.zeros((n, k, widest + len(neutral)), dtype=torch.int64)
    counted = torch.zeros(index.shape, dtype=torch.float64)
    for i, (span, w) in enumerate(own):
        index[:, i, : len(span)], counted[:, i, : len(span)] = span, w
    index[:, :, widest:], counted[:, :, widest:] = neutral, weights[:, None, neutral]
    labels = (torch.arange(index.shape[2]) < widest).expand(n * k, -1)
    begin = None if start is None else _repeated(start, n)
    return fit_each(
        rows.pool,
        index.flatten(0, 1),
        labels,
        weights=counted.flatten(0, 1),
        C=C,
        start=begin,
    )


def _repeated(fits: Fits, n: int) -> Fits:
    return Fits(fits.directions.repeat(n, 1), fits.biases.repeat(n))


def _mean(
    values: Float[Tensor, "row d"], weights: Float[Tensor, "replicate row"]
) -> Float[Tensor, "replicate d"]:
    return weights.double() @ values / weights.double().sum(1, keepdim=True)


def _neutral_mean(
    rows: BiasRows, weights: Float[Tensor, "replicate row"], n: int
) -> Float[Tensor, "replicate 1 d"]:
    span = rows.spans[rows.neutral.name]
    return _mean(rows.pool[span], weights[:, span])[:, None].expand(n, 1, -1)
