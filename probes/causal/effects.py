"""What pushing along a direction, or erasing it, does to a model's log-odds, beside random ones.

Two interventions:

* A **push** adds the natural gap's length along the direction: towards the other label where the
  prompt's is known (as far as the labels' means lie apart, so the stream stays where it naturally
  is), else half of what a push either way makes together. The natural gap in log-odds is a
  yardstick for it: a push that only wrecked what the model knew would move half of it, whatever
  its direction, which is why its controls are as long.
* An **erasure** sets the component along the direction to its mean, or is LEACE's oblique
  projection. Its effect is how much of the natural gap in log-odds is gone.

And two kinds of random direction, of equal length:

* **Controls**: directions fitted to shuffled labels, that is differences of means under them; so
  p-values, read off these, are right for a direction whose labels mean nothing. Of LEACE they are
  the dimensions that it would take for shuffled labels. Where there are no rows to shuffle they are
  drawn with the covariance of the prompts' activations (or any way, should these be all alike):
  then they are a yardstick too and no test, since directions fitted to shuffled labels beat 95 % of
  them two to four times too often, and ``direction_evidence`` asks for the rows.
* **Isotropic** ones, the usual yardstick, and too weak a one for a test: few of them point where
  activations vary at all. On ``zoo:truth-world`` nearly half of all directions fitted to shuffled
  labels beat 95 % of isotropic ones (``tests/science/test_probes_causal_null.py``).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import bootstrap_interval
from probes.causal.continuations import Continuations, NaturalGap
from probes.causal.directions import Direction
from probes.causal.edited import EditedRuns, Edits, Erasures, Pushes
from probes.causal.random_directions import random_units, shuffled_units
from probes.domains import Domain
from probes.eraser import leace
from probes.steering import SteeringError

Kind = Literal["push", "erasure", "leace"]
# Enough for a yardstick.
_ISOTROPIC = 99


@dataclass(frozen=True, eq=False)
class Effect:
    """What one intervention along one direction did, prompt by prompt.

    Attributes:
        direction: Its name.
        kind: ``push``, ``erasure`` or ``leace``.
        prompts: On which prompts.
        family: What its controls are.
        values: In nats: how far the push moved the log-odds the way the labels would; or each
            prompt's part in the natural gap that the erasure took away. The mean is the effect.
        controls: The same for directions that mean nothing.
        isotropic: The same for isotropic ones; of LEACE, in the whitened space, the controls.
        clean: Log-odds of the unmodified model.
        gap: The natural gap in log-odds; None where prompts have no labels, or are of one group.
        groups: Of the prompts.
    """

    direction: str
    kind: Kind
    prompts: str
    family: str
    values: Float[Tensor, " row"]
    controls: Float[Tensor, "control row"]
    isotropic: Float[Tensor, "draw row"]
    clean: Float[Tensor, " row"]
    gap: NaturalGap | None
    groups: tuple[str, ...]

    @property
    def effect(self) -> float:
        """Mean over prompts, in nats."""
        return float(self.values.mean())

    @property
    def control_effects(self) -> Float[Tensor, " control"]:
        """Mean over prompts of each control, in nats."""
        return self.controls.mean(dim=1)

    @property
    def isotropic_effects(self) -> Float[Tensor, " draw"]:
        """Mean over prompts of each isotropic direction, in nats."""
        return self.isotropic.mean(dim=1)

    @property
    def largest_random(self) -> float:
        """The largest effect of an isotropic random direction, in either sense."""
        return float(self.isotropic_effects.abs().max())

    @property
    def share(self) -> float | None:
        """The effect over the natural gap; None where there is no gap to speak of."""
        return None if self.gap is None or not self.gap.shown else self.effect / self.gap.value

    def interval(self, *, seed: int = 0) -> tuple[float, float]:
        """95 % interval of the effect, over groups of prompts.

        Raises:
            StatisticsError: fewer than two groups.
        """
        return bootstrap_interval(self.values.numpy(), self.groups, seed=seed)


def steer(
    runs: EditedRuns[Continuations],
    direction: Direction,
    *,
    amount: float = 1.0,
    n_random: int = 199,
    seed: int = 0,
) -> Effect:
    """Push along a direction, and as far along random ones.

    Args:
        runs: The prompts, run up to the direction's site.
        direction: The direction.
        amount: In natural gaps of the direction.
        n_random: Controls, and as many isotropic directions up to 99.
        seed: Draws them, and seeds the natural gap's interval.

    Raises:
        SteeringError: another site or width, or an amount that is not finite.
    """
    require_site(runs, direction)
    if not 0 < abs(amount) < float("inf"):
        raise SteeringError(f"the amount is {amount}; expected a finite number other than 0")
    prompts = runs.prompts
    vectors = amount * direction.gap * _together(runs, direction, n_random, seed)
    if prompts.labels is not None:
        towards = torch.where(prompts.labels, -1.0, 1.0).to(torch.float64)
        moved = towards * (runs.read(Pushes(vectors, towards)) - runs.clean)
    else:
        moved = (runs.read(Pushes(vectors)) - runs.read(Pushes(-vectors))) / 2
    moved = prompts.sign * moved
    return _effect(runs, direction, "push", moved, n_random=n_random, seed=seed)


def erase(
    runs: EditedRuns[Continuations],
    direction: Direction,
    *,
    n_random: int = 199,
    seed: int = 0,
) -> Effect:
    """Erase a direction, and random ones: how much of the natural gap in log-odds goes with it?

    Args:
        runs: The prompts, with labels, run up to the direction's site.
        direction: The direction; its component is set to the centre's, or to the prompts' mean.
        n_random: As for ``steer``.
        seed: As there.

    Raises:
        SteeringError: another site or width.
        ContinuationsError: the prompts have no labels.
    """
    require_site(runs, direction)
    centre = runs.activations.mean(0) if direction.centre is None else direction.centre
    together = _together(runs, direction, n_random, seed)
    taken = _taken(runs, Erasures.along(together, centre))
    return _effect(runs, direction, "erasure", taken, n_random=n_random, seed=seed)


def erase_leace(
    runs: EditedRuns[Continuations],
    direction: Direction,
    training: Domain,
    *,
    n_random: int = 199,
    seed: int = 0,
) -> Effect:
    """Erase a label by LEACE, and what LEACE would take for shuffled labels.

    LEACE projects off one dimension of the whitened space, the one that tells the labels' means
    apart; its controls are those that tell shuffled labels' means apart.

    Args:
        runs: The prompts, with labels.
        direction: Which direction this belongs to, for its name and site.
        training: Activations with labels, of other statements than the prompts'.
        n_random: Controls.
        seed: Of the shuffles.

    Raises:
        SteeringError: another site or width, or prompts of groups that are among the training's.
        ErasureError: nothing tells the labels apart.
    """
    require_site(runs, direction)
    require_unseen(direction.name, training, runs.prompts)
    if training.values.shape[1] != runs.d:
        raise SteeringError(
            f"{training.name} has {training.values.shape[1]} numbers a row, {runs.site} {runs.d}"
        )
    found = leace(training)
    whiten, colour = _whitening(training.values.double())
    u = shuffled_units(training, n_random, seed=seed) @ whiten
    u = u / u.norm(dim=1, keepdim=True)
    left = torch.cat([found.left.double()[None], (u @ colour)[:, :, None]])
    right = torch.cat([found.right.double()[None], (u @ whiten)[:, None, :]])
    taken = _taken(runs, Erasures(left, right, found.centre.double()))
    return _effect(runs, direction, "leace", taken, n_random=n_random, seed=seed)


def _effect(
    runs: EditedRuns[Continuations],
    direction: Direction,
    kind: Kind,
    values: Float[Tensor, "edit row"],
    *,
    n_random: int,
    seed: int,
) -> Effect:
    """Take apart what was measured together."""
    prompts = runs.prompts
    controls = values[1 : 1 + n_random]
    return Effect(
        direction=direction.name,
        kind=kind,
        prompts=prompts.name,
        family="shuffled-label" if kind == "leace" else family_of(runs, direction),
        values=values[0],
        controls=controls,
        isotropic=controls if kind == "leace" else values[1 + n_random :],
        clean=runs.clean,
        gap=_gap(prompts, runs.clean, seed=seed),
        groups=prompts.examples.groups,
    )


def _gap(prompts: Continuations, clean: Float[Tensor, " row"], *, seed: int) -> NaturalGap | None:
    """The natural gap, where there are labels and an interval can be had."""
    if prompts.labels is None or len(set(prompts.examples.groups)) < 2:
        return None
    return prompts.natural_gap(clean, seed=seed)


def _taken(runs: EditedRuns[Continuations], edits: Edits) -> Float[Tensor, "edit row"]:
    """Each prompt's part in the natural gap that every edit takes away."""
    prompts = runs.prompts
    before = prompts.contrast(runs.clean)  # refuses prompts without labels
    return before - prompts.contrast(runs.read(edits))


def family_of(runs: EditedRuns[Continuations], direction: Direction) -> str:
    """Say which controls a direction has on these prompts."""
    if direction.training is not None:
        return "shuffled-label"
    # Where all prompts begin alike, or there is one, nothing says how activations vary.
    varies = bool((runs.activations != runs.activations[0]).any())
    return "like-covariance" if varies else "random-direction"


def _together(
    runs: EditedRuns[Continuations], direction: Direction, n: int, seed: int
) -> Float[Tensor, "edit d"]:
    """The unit direction, its controls, and isotropic directions."""
    family = family_of(runs, direction)
    if direction.training is not None:
        controls = shuffled_units(direction.training, n, seed=seed)
    else:
        like = runs.activations if family == "like-covariance" else None
        controls = random_units(n, runs.d, seed=seed, like=like)
    isotropic = random_units(min(n, _ISOTROPIC), runs.d, seed=seed + 1)
    return torch.cat([direction.unit[None], controls, isotropic])


def require_site(runs: EditedRuns[Continuations], direction: Direction) -> None:
    """Refuse prompts that were run to another site than the direction's.

    Raises:
        SteeringError: they were, or the direction has another width.
    """
    if runs.site != direction.site:
        raise SteeringError(
            f"{direction.name} was found at {direction.site}, the prompts were run to {runs.site}"
        )
    if len(direction.vector) != runs.d:
        raise SteeringError(
            f"{direction.name} has {len(direction.vector)} numbers, {runs.site} {runs.d}"
        )


def require_unseen(name: str, training: Domain, prompts: Continuations) -> None:
    """Refuse prompts of groups that a direction was fitted to.

    Raises:
        SteeringError: there are some.
    """
    if shared := training.bonds & set(prompts.examples.groups):
        raise SteeringError(
            f"{len(shared)} groups of {prompts.name!r}, such as {min(shared)!r}, are among those "
            f"{name} was fitted to; try it on others"
        )


def _whitening(values: Float[Tensor, "row d"]) -> tuple[Tensor, Tensor]:
    """Σ^−½ and Σ^½ of activations, with the covariance shrunk as LEACE does it."""
    from concept_erasure.shrinkage import optimal_linear_shrinkage

    centred = values - values.mean(0)
    n = len(values)
    sigma = optimal_linear_shrinkage(centred.T @ centred / n, n)
    lengths, axes = torch.linalg.eigh(sigma)
    kept = lengths > lengths[-1] * len(lengths) * torch.finfo(lengths.dtype).eps
    size = lengths.clamp_min(0).sqrt()
    inverse = torch.where(kept, 1 / size, 0.0)
    return (axes * inverse) @ axes.T, (axes * size) @ axes.T
