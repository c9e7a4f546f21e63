"""Representations removed, and weighed: what does the model lose without one?

Removing ρ is projecting out of the neurons at ``=`` the directions in which they vary with ρ(ab):
the rows of K_ρH̄, H̄[g] being the neurons' mean over the pairs with ab = g. There are as many as
rank_ρ, or fewer.

Signature: similarity of the logits with χ_ρ(abc⁻¹). Load: what removal costs on held-out pairs.
Controls, two families, both random subspaces of the same dimension without end:

* **random-subspace**: of all neurons.
* **random-product-subspace**: of the span of H̄, where the neurons vary with ab at all. The harder
  one: any such subspace takes something away from every representation, while one representation
  removed leaves the others whole. Networks with several key representations can spare any one of
  them, so a single one is often not load-bearing beside these, though all together are beside
  the first. For single representations only, since
  key representations together are nearly all of that span.
"""

from __future__ import annotations

from collections.abc import Sequence

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
from interp.fourier.groups import Group
from interp.fourier.groups_shares import (
    KEY_SIMILARITY,
    GroupRun,
    logit_similarity,
    mean_by_product,
    run_group,
)
from interp.fourier.modular import neuron_readout
from interp.hooks import Intervention, Site, project_out, session
from interp.models import Examples, Model

PLACE = "L0.mlp_post@-1"
"""Where representations are removed."""


def representation_directions(
    run: GroupRun, group: Group, names: Sequence[str]
) -> Float[Tensor, "direction neuron"]:
    """Orthonormal directions in which the neurons vary with ρ(ab), for some representations.

    Raises:
        FourierError: no such representation, or the neurons do not vary with any of them.
    """
    if not names:
        raise FourierError("no representation was named; give at least one")
    means = mean_by_product(run.neurons, group)
    part = torch.stack([group.projection(group.irrep(name)) @ means for name in names]).sum(0)
    rank = sum(group.irrep(name).rank for name in set(names))
    _, sizes, rows = torch.linalg.svd(part, full_matrices=False)
    # Below rounding of the means' own size there is no direction, only noise.
    kept = rows[: min(rank, int((sizes > 1e-6 * float(means.norm())).sum()))]
    if not len(kept):
        raise FourierError(f"the neurons do not vary with {', '.join(names)} of ab")
    return kept


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
        n_controls: Random subspaces a family.
        alpha: Level of the verdicts; Holm's correction over single representations.
        seed: Draws the controls and the bootstrap.

    Returns:
        Evidence: all together (when there are several) beside random subspaces, then each alone
        beside both families.

    Raises:
        FourierError: the model does not fit the group, or as :func:`representation_directions`.
    """
    run = run_group(model, group)
    similarity = logit_similarity(run.logits, group)
    bench = _Bench(model, judged, metric)
    means = mean_by_product(run.neurons, group)
    spread = means - means.mean(0)

    def rows_for(target: Sequence[str], families: dict[str, Tensor | None]) -> list[Evidence]:
        rows = representation_directions(run, group, target)
        chosen = [group.names.index(name) for name in target]
        present = bool((similarity[chosen] > KEY_SIMILARITY).all())
        found = []
        for family, span in families.items():
            found.append(
                weigh(
                    "+".join(target),
                    signature_name="similarity",
                    signature=float(similarity[chosen].square().sum().sqrt()),
                    signature_null=0.0,
                    has_signature=present,
                    metric=metric,
                    clean=bench.clean,
                    ablated=bench.without(rows),
                    control_effects=bench.effects(_drawn(rows.shape, span, n_controls, seed)),
                    controls=RandomDraws(family, n_controls),
                    groups=judged.groups,
                    alpha=alpha,
                    seed=seed,
                )
            )
        return found

    everywhere: dict[str, Tensor | None] = {"random-subspace": None}
    both = {**everywhere, "random-product-subspace": spread}
    alone = [rows_for([name], both) for name in names]
    singles = [row for family in zip(*alone, strict=True) for row in correct(family)]
    together = rows_for(list(names), everywhere) if len(names) > 1 else []
    return EvidenceTable([*together, *singles])


def _drawn(shape: torch.Size, span: Tensor | None, n: int, seed: int) -> list[Tensor]:
    """Random subspaces, as orthonormal rows: of everything, or of the span of some rows."""
    generator = torch.Generator().manual_seed(seed)
    found = []
    for _ in range(n):
        if span is None:
            rows = torch.randn(shape, generator=generator, dtype=torch.float64)
        else:
            mix = torch.randn((shape[0], len(span)), generator=generator, dtype=torch.float64)
            rows = mix @ span
        found.append(torch.linalg.qr(rows.T).Q.T)
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
