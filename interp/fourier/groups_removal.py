"""Representations removed, and weighed: what does the model lose without one?

Removing ρ is projecting out of the neurons at ``=`` the directions in which they vary with ρ(ab):
the rows of K_ρH̄, H̄[g] being the neurons' mean over the pairs with ab = g, what is due to a or to b
alone taken out first. There are as many as rank_ρ, or fewer. Evidence fits them without the pairs
that it judges by; where ρ is absent only noise is left to fit, and costs what the controls cost.

Signature: similarity of the logits with χ_ρ(abc⁻¹), beside that under renaming. Load: what removal
costs on held-out pairs. Controls, two families:

* **renamed-elements**: as many directions fitted the same way, each element standing for another.
  Fitted directions hold more of the neurons' variance than random ones, so random subspaces of the
  neurons never cost as much, even in a network that knows shuffled answers by heart or is read
  with another group. These are fitted too, and only to another multiplication.
* **random-product-subspace**: random subspaces of the same dimension of the span of H̄, where the
  neurons vary with ab at all. Any of these takes something away from every representation, while
  one representation removed leaves the others whole: networks with several can often spare one.
  For single representations only, since several together are nearly all of that span.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
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
from interp.fourier.groups import Group
from interp.fourier.groups_shares import (
    KEY_SIMILARITY,
    GroupRun,
    logit_similarity,
    relabelled_similarity,
    run_group,
)
from interp.fourier.modular import neuron_readout
from interp.hooks import Intervention, Site, project_out, session
from interp.models import Examples, Model

PLACE = "L0.mlp_post@-1"
"""Where representations are removed."""


def representation_directions(
    run: GroupRun,
    group: Group,
    names: Sequence[str],
    *,
    fitted: Bool[Tensor, "g g"] | None = None,
) -> Float[Tensor, "direction neuron"]:
    """Orthonormal directions in which the neurons vary with ρ(ab), for some representations.

    Args:
        run: From :func:`run_group`.
        group: The group.
        names: The representations.
        fitted: True at the pairs to take means over; all when omitted.

    Raises:
        FourierError: no such representation, the neurons do not vary with any of them, or no pair
            is left of some product.
    """
    if fitted is None:
        fitted = torch.ones((group.order, group.order), dtype=torch.bool)
    return _directions(_Means(run, group, fitted).by(group.table), group, names)


def remove_representations(model: Model, group: Group, names: Sequence[str]) -> Intervention:
    """The intervention that removes representations from the neurons at ``=``.

    >>> with session(model, intervene=remove_representations(model, g, ["(3,1)"])) as s: s.run(ids)

    Raises:
        FourierError: the model does not fit the group, or as :func:`representation_directions`.
    """
    rows = representation_directions(run_group(model, group), group, names)
    return project_out(Site.parse(PLACE), rows.float())


def weigh_representations(
    model: Model,
    group: Group,
    names: Sequence[str],
    judged: Examples,
    *,
    metric: Metric = answer_nll,
    n_controls: int = 199,
    n_relabellings: int = 99,
    alpha: float = 0.05,
    seed: int = 0,
) -> EvidenceTable:
    """Remove representations, all together and one by one, and weigh what it costs.

    Args:
        model: A one-layer model that multiplies in the group.
        group: The group.
        names: The representations.
        judged: Held-out pairs, with answers (``Table.examples``).
        metric: What removal is judged by.
        n_controls: Renamings, and random subspaces; fewer renamings where a small group has fewer
            that change its products.
        n_relabellings: Random renamings for the null of the signature, as in ``read_group``.
        alpha: Level of the verdicts; Holm's correction over single representations.
        seed: Draws the controls and the bootstrap.

    Returns:
        Evidence: all together (when there are several) beside renamed elements, then each alone
        beside both families.

    Raises:
        FourierError: the model does not fit the group, as :func:`representation_directions`, or
            no renaming changes the products, as in groups of 3 elements.
    """
    run = run_group(model, group)
    similarity = logit_similarity(run.logits, group)
    null = relabelled_similarity(run.logits, group, n=n_relabellings, seed=seed)
    least = max(KEY_SIMILARITY, float(null.max()))
    bench = _Bench(model, judged, metric)
    fitted = torch.ones((group.order, group.order), dtype=torch.bool)
    fitted[judged.tokens[:, 0].cpu(), judged.tokens[:, 1].cpu()] = False
    fit = _Means(run, group, fitted)
    means = fit.by(group.table)
    renamed = [fit.by(table) for table in _renamed_tables(group, n_controls, seed)]

    def row(target: Sequence[str], family: str) -> Evidence:
        rows = _directions(means, group, target)
        if family == "renamed-elements":
            others = [_directions(other, group, target)[: len(rows)] for other in renamed]
        else:
            others = _drawn(rows.shape, means, n_controls, seed)
        chosen = [group.names.index(name) for name in target]
        several = float(null[:, chosen].norm(dim=1).max())
        return weigh(
            "+".join(target),
            signature_name="similarity",
            signature=float(similarity[chosen].norm()),
            signature_null=several if len(chosen) > 1 else float(null.max()),
            has_signature=bool((similarity[chosen] > least).all()),
            metric=metric,
            clean=bench.clean,
            ablated=bench.without(rows),
            control_effects=bench.effects(others),
            controls=RandomDraws(family, len(others)),
            groups=judged.groups,
            alpha=alpha,
            seed=seed,
        )

    families = ("renamed-elements", "random-product-subspace")
    singles = [one for f in families for one in correct([row([name], f) for name in names])]
    together = [row(list(names), families[0])] if len(names) > 1 else []
    return EvidenceTable([*together, *singles])


class _Means:
    """The neurons' means by product over some pairs, for any multiplication table."""

    def __init__(self, run: GroupRun, group: Group, fitted: Bool[Tensor, "g g"]) -> None:
        counts = torch.bincount(group.table[fitted], minlength=group.order)
        if not bool((counts > 0).all()):
            raise FourierError(
                f"no pair of some product of {group.name} is left to fit directions to; judge fewer"
            )
        self.fitted, values = fitted, run.neurons[fitted].double()
        # What is due to a or b alone would leak into the means where pairs are missing, and makes
        # controls cost too much: it is fitted by least squares and taken out.
        each = torch.eye(group.order, dtype=torch.float64)
        design = torch.cat([each[i] for i in fitted.nonzero().unbind(1)], dim=1)
        inverse = torch.linalg.pinv(design.T @ design, hermitian=True)
        self.values = values - design @ (inverse @ (design.T @ values))
        self.size = float(run.neurons.double().norm())

    def by(self, table: Int[Tensor, "g g"]) -> Float[Tensor, "g neuron"]:
        """Centred means; 0 for a product of which no pair is left."""
        products = table[self.fitted]
        counts = torch.bincount(products, minlength=len(table)).clamp(min=1)
        sums = torch.zeros((len(table), self.values.shape[1]), dtype=torch.float64)
        means = sums.index_add_(0, products, self.values) / counts[:, None]
        # Below rounding of the activations' own size there is nothing.
        if float(means.norm()) < 1e-9 * self.size:
            return torch.zeros_like(means)
        return means - means.mean(0)


def _directions(
    means: Float[Tensor, "g neuron"], group: Group, names: Sequence[str]
) -> Float[Tensor, "direction neuron"]:
    if not names:
        raise FourierError("no representation was named; give at least one")
    part = torch.stack([group.projection(group.irrep(name)) @ means for name in names]).sum(0)
    rank = sum(group.irrep(name).rank for name in set(names))
    _, sizes, rows = torch.linalg.svd(part, full_matrices=False)
    # Below rounding of the means' own size there is no direction, only noise.
    kept = rows[: min(rank, int((sizes > 1e-6 * float(means.norm())).sum()))]
    if not len(kept):
        raise FourierError(f"the neurons do not vary with {', '.join(names)} of ab")
    return kept


def _renamed_tables(group: Group, n: int, seed: int) -> list[Int[Tensor, "g g"]]:
    """Tables with each element standing for another, no two alike but for names of the products."""
    generator = torch.Generator().manual_seed(seed)
    known = {_partition(group.table)}
    found: list[Tensor] = []
    # Small groups have few; give up when draws bring nothing new.
    for _ in range(20 * n + 100):
        if len(found) == n:
            break
        order = torch.randperm(group.order, generator=generator)
        table = group.table[order][:, order]
        if (key := _partition(table)) not in known:
            known.add(key)
            found.append(table)
    if not found:
        raise FourierError(f"{group.name}: no renaming of so few elements changes the products")
    return found


def _partition(table: Int[Tensor, "g g"]) -> bytes:
    """Which pairs have the same product, whatever it is called."""
    return table[0].argsort()[table].to(torch.int16).numpy().tobytes()


def _drawn(shape: torch.Size, span: Tensor, n: int, seed: int) -> list[Tensor]:
    """Random subspaces of the span of some rows, as orthonormal rows."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        mix = torch.randn((shape[0], len(span)), generator=generator, dtype=torch.float64)
        found.append(torch.linalg.qr((mix @ span).T).Q.T)
    return found


class _Bench:
    """Some pairs, run once, on which removals are tried: past the neurons all is linear."""

    def __init__(self, model: Model, judged: Examples, metric: Metric) -> None:
        if judged.padded or judged.tokens.shape[1] != 3:
            raise FourierError(
                f"{judged.name!r} is not made of pairs; expected rows of 3 tokens, a b ="
            )
        self.judged, self.metric = judged, metric
        self.readout = neuron_readout(model).cpu().double()
        with session(model, capture=["L0.mlp_post"]) as s:
            self.logits = s.run(judged).cpu().double()
            self.neurons = s[PLACE].cpu().double()
        self.clean = metric.per_example(self.logits, judged).double()

    def without(self, rows: Float[Tensor, "direction neuron"]) -> Float[Tensor, " example"]:
        """The metric with some orthonormal directions projected out of the neurons."""
        change = (self.neurons @ rows.T) @ (rows @ self.readout)
        logits = self.logits.clone()
        logits[:, -1, : change.shape[1]] -= change
        return self.metric.per_example(logits, self.judged).double()

    def effects(self, subspaces: Sequence[Tensor]) -> Float[Tensor, "control example"]:
        """What each removal costs."""
        return torch.stack([damage(self.metric, self.clean, self.without(r)) for r in subspaces])
