"""Frequencies removed, and weighed: what does the model lose without one, beside random others?

Removing a frequency k is projecting a plane out of an activation, the one in which that place holds
the frequency. With F_k the two rows of the Fourier basis:

========================  ========================================================================
``embed``                 F_k W_E: where an operand's embedding turns as the operand goes round
``L0.mlp_post``           F_k N̄: where the neurons turn as a + b goes round, N̄ being their mean
                          over the pairs of each sum
``L0.resid_post``         F_k W_Uᵀ: what is read out as cos and sin(w_k·c); also ``L0.mlp_out``
``logits``                F_k itself
========================  ========================================================================

(The neurons' plane that is *read out* at k, F_k W_Lᵀ with W_L = W_out W_U, will not do: for a
frequency that is not used it is a direction of rounding size, which once normalised can point at
anything, and removing it was measured to cost more than removing a key frequency.)

Signature: share of the power of W_L, in the Fourier basis over answers, at the frequency; from
weights alone. Load: what removal costs on held-out pairs. Controls:

* **random-frequency**: as many other frequencies, not key, in the same place. There are few: at
  most p//2 less the keys. That is too few for Holm's correction (53 at p = 113, three keys: no p
  below .056), so single keys are tested together, by rank sums; p can then reach 1/54.
* **random-plane**, at the logits only: as many random planes of functions of c, of which there is
  no end. Elsewhere a random plane would be no peer of a frequency's, which holds something that
  varies with a or b: beside random planes of the neurons every frequency of a model that has merely
  memorised was measured to be load-bearing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import (
    ControlSets,
    Evidence,
    EvidenceTable,
    Metric,
    RandomDraws,
    answer_nll,
    correct,
    damage,
    layer_matched,
    weigh,
)
from interp.fourier.basis import (
    FourierError,
    check_frequencies,
    fourier_basis,
    row_frequencies,
    transform,
)
from interp.fourier.modular import neuron_readout
from interp.fourier.pairs import mean_by_sum, modulus, run_pairs
from interp.fourier.spectra import Spectrum, spectrum
from interp.hooks import Intervention, Site, project_out, session
from interp.models import Examples, Model

PLACES = ("embed", "mlp_post", "mlp_out", "resid_post", "logits")
"""Kinds of site at which a frequency can be removed."""


def remove_frequencies(
    model: Model, frequencies: Sequence[int], *, site: Site | str = "logits@-1"
) -> Intervention:
    """The intervention that removes frequencies.

    >>> with session(model, intervene=remove_frequencies(model, [14])) as s: s.run(tokens)

    Args:
        model: A one-layer model of modular addition.
        frequencies: Some of 1 … p//2.
        site: One of the places above; with a position, or at all.

    Raises:
        FourierError: the model has another shape, or no such frequency or place.
    """
    p = modulus(model)
    keys = check_frequencies(list(frequencies), p)
    where = Site.parse(site)
    return project_out(where, _of(_directions(model, where), keys))


def weigh_frequencies(
    model: Model,
    frequencies: Sequence[int],
    judged: Examples,
    *,
    site: Site | str = "logits@-1",
    metric: Metric = answer_nll,
    n_controls: int = 199,
    alpha: float = 0.05,
    seed: int = 0,
) -> EvidenceTable:
    """Remove key frequencies, all together and one by one, and weigh what it costs.

    Args:
        model: A one-layer model of modular addition.
        frequencies: The keys. ``read_modular`` reads them off the logits on all pairs, without
            looking at answers; removing them is judged by answers.
        judged: Held-out pairs, with answers (``Table.examples``); (a, b) and (b, a) in one group.
        site: Where they are removed. At ``embed`` the model runs once a control; elsewhere what
            follows is linear, and a control costs next to nothing. At ``embed`` the loss soon
            saturates (one key of ``modular-113`` costs 8 to 11 nats, all three 8), so that there
            several together tell less than each alone.
        metric: What removal is judged by.
        n_controls: Control sets a family, where there are so many.
        alpha: Level of the verdicts, corrected over single frequencies: closed testing by rank
            sums beside other frequencies, Holm's method beside random planes.
        seed: Draws the controls and the bootstrap.

    Returns:
        Evidence: all keys together beside each family of controls, then each alone.

    Raises:
        FourierError: the model has another shape, no such frequency or place, or too few other
            frequencies to be controls.
    """
    p = modulus(model)
    keys = check_frequencies(list(frequencies), p)
    if 2 * len(keys) > p // 2:
        raise FourierError(
            f"{len(keys)} of {p // 2} frequencies leave too few others to be controls; take fewer"
        )
    bench = _Bench(model, judged, metric, Site.parse(site))
    readout = spectrum(neuron_readout(model).T, name="W_out W_U", n_shuffles=99, seed=seed)

    def rows_for(target: tuple[int, ...]) -> list[Evidence]:
        own = _of(bench.directions, target)
        ablated = bench.values(own)
        families = [_other_frequencies(bench.directions, target, keys, n=n_controls, seed=seed)]
        if bench.site.kind == "logits":
            families.append(_random_planes(bench.directions, len(own), n=n_controls, seed=seed))
        return [
            weigh(
                f"{'+'.join(f'k={k}' for k in target)} at {bench.site.whole}",
                metric=metric,
                clean=bench.clean,
                ablated=ablated,
                control_effects=bench.effects(planes),
                null_effects=None if nulls is None else bench.effects(nulls),
                controls=controls,
                groups=judged.groups,
                alpha=alpha,
                seed=seed,
                **_signature(readout, target),
            )
            for controls, planes, nulls in families
        ]

    together = rows_for(keys)
    if len(keys) == 1:
        return EvidenceTable(together)
    alone = [rows_for((k,)) for k in keys]
    # Other frequencies are too few for Holm's method, and the same for every key.
    by_family = [
        correct([rows[i] for rows in alone], together=row.control_family == "random-frequency")
        for i, row in enumerate(together)
    ]
    return EvidenceTable([*together, *(row for family in by_family for row in family)])


def _of(directions: Float[Tensor, "row d"], frequencies: Sequence[int]) -> Float[Tensor, "some d"]:
    """The directions of some frequencies."""
    wanted = torch.tensor(list(frequencies))
    return directions[torch.isin(row_frequencies(len(directions)), wanted)]


def _directions(model: Model, site: Site) -> Float[Tensor, "row d"]:
    """The direction of each row of the Fourier basis at a place."""
    p = modulus(model)
    if site.kind not in PLACES:
        raise FourierError(
            f"a frequency cannot be removed at {site}; expected embed, L0.mlp_post, L0.mlp_out, "
            "L0.resid_post or logits"
        )
    if site.kind == "embed":
        return transform(model.W_E[:p].cpu())
    if site.kind == "mlp_post":
        return transform(mean_by_sum(run_pairs(model).neurons))
    if site.kind == "logits":
        rows = fourier_basis(p).new_zeros((p, model.W_U.shape[1]))
        rows[:, :p] = fourier_basis(p)
        return rows
    return transform(model.W_U[:, :p].T.cpu())


class _Bench:
    """Some pairs, run once, on which removals are tried."""

    def __init__(self, model: Model, judged: Examples, metric: Metric, site: Site) -> None:
        if judged.padded or judged.tokens.shape[1] != 3:
            raise FourierError(
                f"{judged.name!r} is not made of pairs; expected rows of 3 tokens, a b ="
            )
        self.directions = _directions(model, site)
        self.model, self.judged, self.metric, self.site = model, judged, metric, site
        with session(model, capture=[site.whole]) as s:
            self.logits = s.run(judged).cpu()
            self.activation = s[site.whole].cpu()
        self.clean = metric.per_example(self.logits, judged).double()

    def values(self, directions: Float[Tensor, "row d"]) -> Float[Tensor, " example"]:
        """The metric with some directions projected out."""
        change = project_out(self.site, directions)
        if self.site.kind == "embed":
            with session(self.model, intervene=change) as s:
                logits = s.run(self.judged).cpu()
        else:
            logits = self.logits.clone()
            before = self.activation[:, -1:]
            after = dataclasses.replace(change, site=self.site.whole).apply(before)
            logits[:, -1:] += self._to_logits(after - before)
        return self.metric.per_example(logits, self.judged).double()

    def effects(self, planes: Sequence[Tensor]) -> Float[Tensor, "control example"]:
        """What each removal costs."""
        return torch.stack([damage(self.metric, self.clean, self.values(rows)) for rows in planes])

    def _to_logits(self, change: Tensor) -> Tensor:
        """What a change past the activation function does to the logits: all of it is linear."""
        if self.site.kind == "logits":
            return change
        if self.site.kind == "mlp_post":
            change = change @ self.model.bridge.blocks[0].mlp.W_out.detach().cpu()
        return change @ self.model.W_U.cpu()


_Controls = tuple[ControlSets | RandomDraws, list[Tensor], list[Tensor] | None]


def _other_frequencies(
    directions: Tensor, target: tuple[int, ...], keys: tuple[int, ...], *, n: int, seed: int
) -> _Controls:
    """As many other frequencies; drawn as heads of one layer are, frequency k as head k − 1."""
    drawn = layer_matched(
        [(0, k - 1) for k in target],
        1,
        len(directions) // 2,
        n=n,
        seed=seed,
        exclude=[(0, k - 1) for k in keys],
    )
    controls = dataclasses.replace(drawn, family="random-frequency")

    def planes(sets: Sequence[frozenset[tuple[int, int]]]) -> list[Tensor]:
        return [_of(directions, sorted(i + 1 for _, i in chosen)) for chosen in sets]

    nulls = planes(controls.null_sets) if len(target) > 1 else None
    return controls, planes(controls.sets), nulls


def _random_planes(directions: Tensor, dimensions: int, *, n: int, seed: int) -> _Controls:
    """Random subspaces of as many dimensions among the functions of mean zero."""
    generator = torch.Generator().manual_seed(seed)
    functions = directions[1:]
    shape = (dimensions, len(functions))
    mixed = [torch.randn(shape, generator=generator, dtype=torch.float64) for _ in range(n)]
    return RandomDraws("random-plane", n), [mix @ functions for mix in mixed], None


def _signature(readout: Spectrum, target: tuple[int, ...]) -> dict[str, Any]:
    present = set(readout.keys())
    return {
        "signature_name": "readout power",
        "signature": readout.share(target),
        "signature_null": len(target) / len(readout.power),
        "has_signature": all(k in present for k in target),
    }
