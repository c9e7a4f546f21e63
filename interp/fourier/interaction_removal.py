"""Interaction directions of a one-layer model: found at a site, removed, and weighed.

Three ways to choose k directions of the whitened activations: the first k of the interaction basis,
the first k principal ones, and k at random. Removing them sets them to their mean, so each choice
takes away as many dimensions and, whitened, as much variance. The basis never sees an answer, and
is fitted on other pairs than those on which removal is judged. Expected: interaction directions
lose as much as principal ones or a little more, not far more; and the last of them nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import (
    Evidence,
    EvidenceTable,
    Metric,
    RandomDraws,
    answer_nll,
    correct,
    damage,
    weigh,
)
from interp.fourier.basis import FourierError
from interp.fourier.interaction import InteractionBasis, interaction_basis, interactions
from interp.fourier.pairs import modulus
from interp.hooks import Site, session
from interp.models import Examples, Model

KINDS = ("resid_mid", "mlp_post", "resid_post")
"""Kinds of site from which what follows is known in closed form."""


@dataclass(frozen=True, eq=False)
class SiteInteractions:
    """The interaction basis of a site of a model.

    Attributes:
        model: The model.
        site: Where, at the last position.
        basis: From there to the logits.
        edges: E_ij to each logit.
    """

    model: Model
    site: Site
    basis: InteractionBasis
    edges: Float[Tensor, "answer used"]

    def first(self, k: int) -> Float[Tensor, "r k"]:
        """The first k interaction directions."""
        return self.basis.rotation[:, : self._checked(k)]

    def last(self, k: int) -> Float[Tensor, "r k"]:
        """The last k interaction directions."""
        return self.basis.rotation[:, -self._checked(k) :]

    def principal(self, k: int) -> Float[Tensor, "r k"]:
        """The first k principal directions."""
        return torch.eye(len(self.basis.variances), dtype=torch.float64)[:, : self._checked(k)]

    def random(self, k: int, *, n: int, seed: int) -> list[Float[Tensor, "r k"]]:
        """n times k random directions."""
        generator = torch.Generator().manual_seed(seed)
        shape = (len(self.basis.variances), self._checked(k))
        drawn = (torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(n))
        return [torch.linalg.qr(rows).Q for rows in drawn]

    def _checked(self, k: int) -> int:
        if not 1 <= k <= self.basis.rotation.shape[1]:
            raise FourierError(
                f"{k} directions of {self.site}: expected 1 to {self.basis.rotation.shape[1]}"
            )
        return k


def read_interactions(
    model: Model, pairs: Examples, *, site: Site | str = "L0.resid_mid@-1"
) -> SiteInteractions:
    """Find the interaction basis from a site to the logits, at ``=``.

    Logits are centred over answers first: what is common to all of them changes no answer.

    Args:
        model: A one-layer model of modular addition.
        pairs: Examples ``a b =`` to find it on; not those on which removal is to be judged.
        site: L0.resid_mid, L0.mlp_post or L0.resid_post.

    Raises:
        FourierError: another model, or another site.
    """
    where, follow = Site.parse(site), tail(model, site)
    f = _captured(model, pairs, where)[1]
    basis = interaction_basis(f, follow)
    return SiteInteractions(model, where, basis, interactions(f, follow, basis))


def tail(model: Model, site: Site | str) -> Callable[[Tensor], Tensor]:
    """What follows a site, in float64: activations ``[n, d]`` to centred logits ``[n, p]``.

    From ``mlp_post`` the residual stream that goes round the MLP is left out; it is constant there.

    Raises:
        FourierError: another model, or another site.
    """
    p, kind = modulus(model), Site.parse(site).kind
    if kind not in KINDS:
        raise FourierError(f"no interaction basis at {site}; expected L0.{' or L0.'.join(KINDS)}")
    mlp = model.bridge.blocks[0].mlp
    W_in, b_in, W_out, b_out = (
        w.detach().cpu().double() for w in (mlp.W_in, mlp.b_in, mlp.W_out, mlp.b_out)
    )
    W_U = model.W_U[:, :p].detach().cpu().double()
    W_U = W_U - W_U.mean(1, keepdim=True)
    if kind == "resid_post":
        return lambda f: f @ W_U
    if kind == "mlp_post":
        return lambda f: (f @ W_out + b_out) @ W_U
    return lambda f: (f + torch.relu(f @ W_in + b_in) @ W_out + b_out) @ W_U


def accuracy_with(
    found: SiteInteractions,
    pairs: Examples,
    ks: Sequence[int],
    *,
    n_random: int = 9,
    seed: int = 0,
) -> dict[str, list[float]]:
    """Accuracy with only k directions of a site kept and all others at their mean.

    Args:
        found: The site's.
        pairs: Held-out pairs with answers.
        ks: Numbers of directions.
        n_random: Draws of random directions, whose accuracies are averaged.
        seed: Draws them.

    Returns:
        For ``interaction``, ``principal`` and ``random``, accuracy at each k.
    """
    bench = _Bench(found, pairs, answer_nll)

    def accuracy(chosen: Tensor) -> float:
        # Keeping some is removing what is at right angles to them.
        logits = bench.logits_with(bench.kept(chosen))[:, -1, : bench.p]
        return float((logits.argmax(1) == bench.answers).double().mean())

    return {
        "interaction": [accuracy(found.first(k)) for k in ks],
        "principal": [accuracy(found.principal(k)) for k in ks],
        "random": [
            float(np.mean([accuracy(rows) for rows in found.random(k, n=n_random, seed=seed)]))
            for k in ks
        ],
    }


def weigh_directions(
    found: SiteInteractions,
    judged: Examples,
    k: int,
    *,
    metric: Metric = answer_nll,
    n_controls: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> EvidenceTable:
    """Remove k directions of a site, chosen in three ways, and weigh what it costs.

    Args:
        found: The site's interaction basis.
        judged: Held-out pairs with answers; (a, b) and (b, a) in one group.
        k: Directions, such as ``found.basis.effective()``.
        metric: What removal is judged by.
        n_controls: Sets of k random directions.
        alpha: Level, with Holm's correction over the three.
        seed: Draws the controls and the bootstrap.

    Returns:
        Evidence for the first k interaction directions, the first k principal ones, and the last k
        interaction directions, which should be no load.

    Raises:
        FourierError: no such number of directions.
    """
    bench = _Bench(found, judged, metric)
    rows = found.random(k, n=n_controls, seed=seed)
    controls = torch.stack([damage(metric, bench.clean, bench.without(one)) for one in rows])
    null = k / len(found.basis.variances)
    place = found.site.whole

    def row(name: str, chosen: Tensor) -> Evidence:
        share = found.basis.share(chosen)
        return weigh(
            f"{name} {k} at {place}",
            signature_name="share of Λ",
            signature=share,
            signature_null=null,
            has_signature=share > min(3 * null, (1 + null) / 2),
            metric=metric,
            clean=bench.clean,
            ablated=bench.without(chosen),
            control_effects=controls,
            controls=RandomDraws("random-directions", n_controls),
            groups=judged.groups,
            alpha=alpha,
            seed=seed,
        )

    return EvidenceTable(
        correct(
            [
                row("interaction first", found.first(k)),
                row("principal first", found.principal(k)),
                row("interaction last", found.last(k)),
            ]
        )
    )


class _Bench:
    """Some pairs, run once, on which removals are tried."""

    def __init__(self, found: SiteInteractions, pairs: Examples, metric: Metric) -> None:
        self.found, self.pairs, self.metric = found, pairs, metric
        self.p, self.follow = modulus(found.model), tail(found.model, found.site)
        self.logits, self.activations = _captured(found.model, pairs, found.site)
        self.before = self.follow(self.activations)
        if pairs.answer is None:
            raise FourierError(f"{pairs.name!r} has no answers to judge by")
        self.answers = pairs.answer
        self.clean = metric.per_example(self.logits, pairs).double()

    def logits_with(self, activations: Tensor) -> Tensor:
        """Logits at all positions, those at ``=`` as they follow from other activations."""
        logits = self.logits.clone()
        logits[:, -1, : self.p] += self.follow(activations) - self.before
        return logits

    def without(self, chosen: Tensor) -> Tensor:
        """The metric with some directions removed."""
        changed = self.found.basis.without(self.activations, chosen)
        return self.metric.per_example(self.logits_with(changed), self.pairs).double()

    def kept(self, chosen: Tensor) -> Tensor:
        """Activations of which only some directions are kept."""
        basis = self.found.basis
        return basis.mean + self.activations - basis.without(self.activations, chosen)


@torch.no_grad()
def _captured(model: Model, pairs: Examples, site: Site) -> tuple[Tensor, Tensor]:
    """Logits at all positions and activations at the last, in float64."""
    whole = f"{site.whole}@-1"
    with session(model, capture=[whole]) as s:
        logits = s.run(pairs).cpu().double()
        return logits, s[whole].flatten(1).cpu().double()
