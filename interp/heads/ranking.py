"""Heads in order of what they are worth: screened by attribution, confirmed by exact ablation.

Within a budget of forward passes:

1. Attribution patching estimates every head.
2. All heads of each layer are ablated together. A layer that does damage which its estimates do
   not explain hides a head: typically one that saturated attention reads, so that its gradient is
   nil. Its heads are tested in groups: for each binary digit of the head's number, those with a 0
   and those with a 1 there (group testing, Dorfman 1943), 2 ⌈log₂ heads⌉ runs. A head is as likely
   the hidden one as the least damage among the groups that hold it.
3. Those heads are ablated alone, and the highest estimates, and some heads drawn at random.
4. The table says which number is which.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import torch
from jaxtyping import Float
from torch import Tensor

from interp.evidence import Head, Metric, bootstrap_interval, head_name
from interp.heads.ablation import AblationKind, Ablations
from interp.heads.agreement import ROUNDING, Agreement, compare, hidden_layers
from interp.heads.attribution import Attributions, attribute
from interp.heads.gradients import BACKWARD
from interp.heads.replacing import remove_heads
from interp.heads.units import AttributionError
from interp.models import Examples, Model

if TYPE_CHECKING:
    import pandas as pd


_SUSPECTS = 2  # heads of a hiding layer that are ablated alone


class Options(TypedDict):
    """What every measurement here is told alike."""

    reference: Examples | None
    batch_size: int
    seed: int


@dataclass(frozen=True, eq=False)
class Ranking:
    """Every head's estimated effect, and the exact one of those that the budget allowed.

    Attributes:
        estimates: The screening.
        heads: The heads with an exact effect.
        chosen: Why each was ablated: ``group`` (its layer hides a head, and the groups point to
            it), ``estimate`` or ``random``.
        ablations: The exact effects, in the order of ``heads``.
        agreement: Estimates and exact effects compared, over ``heads``.
        hiding: Layers found to do what their estimates do not explain. Those that the exact
            effects do not explain either are in ``agreement.hidden``.
        missed: How many of the heads drawn at random are among the 10 most damaging (or the first
            half, if that is less): above 0, heads without an exact effect may be, too.
        forward_equivalents: What it all took, a backward pass counted as two forward passes.
    """

    estimates: Attributions
    heads: tuple[Head, ...]
    chosen: tuple[str, ...]
    ablations: Ablations
    agreement: Agreement
    hiding: tuple[int, ...]
    missed: int
    forward_equivalents: float

    @property
    def exact(self) -> Float[Tensor, " head"]:
        """Mean exact effect of each of ``heads``; positive is worse."""
        return self.ablations.effects.to(torch.float64).mean(1)

    def table(self, *, confidence: float = 0.95, seed: int = 0) -> pd.DataFrame:
        """Lay all heads out: first those with an exact effect, by it, then the others by estimate.

        Args:
            confidence: Of the intervals of the exact effects, over groups of examples.
            seed: Seeds the bootstrap.

        Returns:
            Columns ``name``, ``layer``, ``head``, ``estimated``, ``exact`` (nullable), ``low`` and
            ``high`` (nullable; also where the examples form a single group), ``is_exact``, and
            ``chosen``: ``group``, ``estimate``, ``random`` or ``not ablated``. The intervals
            say nothing of heads having been chosen on these same examples.
        """
        import pandas as pd

        groups = self.estimates.groups
        order = torch.argsort(self.exact, descending=True, stable=True).tolist()
        rows: list[tuple[object, ...]] = []
        for i in order:
            effects = self.ablations.effects[i].to(torch.float64)
            low = high = None
            if len(set(groups)) > 1:
                low, high = bootstrap_interval(
                    effects.numpy(), groups, confidence=confidence, seed=seed
                )
            exact = float(effects.mean())
            rows.append((*self._begin(self.heads[i]), exact, low, high, True, self.chosen[i]))
        for unit, _ in self.estimates.top(self.estimates.values.numel()):
            head = (unit[0], unit[1])
            if head not in self.heads:
                rows.append((*self._begin(head), None, None, None, False, "not ablated"))
        columns = ["name", "layer", "head", "estimated", "exact", "low", "high"]
        frame = pd.DataFrame(rows, columns=[*columns, "is_exact", "chosen"])
        types = dict.fromkeys(("exact", "low", "high"), "Float64")
        return frame.astype({"name": "string", "chosen": "string", **types})

    def _begin(self, head: Head) -> tuple[str, int, int, float]:
        return head_name(head), *head, float(self.estimates.values[head])

    def __repr__(self) -> str:
        best = torch.argsort(self.exact, descending=True, stable=True)[:3].tolist()
        shown = ", ".join(f"{head_name(self.heads[i])} {float(self.exact[i]):.3g}" for i in best)
        return (
            f"Ranking({self.estimates.metric.name}: {shown}; {len(self.heads)} of "
            f"{self.estimates.values.numel()} heads exact, {self.missed} of "
            f"{self.chosen.count('random')} drawn at random were overlooked; "
            f"{self.forward_equivalents:.1f} forward-equivalents. The estimates: {self.agreement})"
        )


def rank(
    model: Model,
    examples: Examples,
    metric: Metric,
    *,
    budget: float = 40.0,
    kind: AblationKind = "mean",
    reference: Examples | None = None,
    steps: int = 1,
    explore: float = 0.25,
    batch_size: int = 32,
    seed: int = 0,
) -> Ranking:
    """Rank query heads: estimate all by attribution, ablate as many exactly as the budget allows.

    An estimate can be near zero where the effect is large, and nothing but exact runs shows it:
    hence the runs of whole layers, and those of heads drawn at random.

    Heads are chosen on the very examples that their effects are measured on. For a verdict, weigh
    them on others (``weigh_heads``).

    Args:
        model: The model.
        examples: What the metric is measured on.
        metric: The metric; it needs a gradient.
        budget: Forward passes over the examples, a backward pass counted as two: the screening
            (``attribute`` says what it takes), unchanged runs and replacements, one run a layer,
            2 ⌈log₂ heads⌉ a hiding layer, and one run a head (counted whole, though ``sweep``
            begins each at its layer). Where it allows all heads, they are all ablated; where it
            allows little, layers are not looked at.
        kind: What takes a head's place, as in ``sweep``.
        reference: As in ``sweep``.
        steps: As in ``attribute``.
        explore: Share of the exact runs for heads drawn at random, 0 to 1.
        batch_size: Rows at a time.
        seed: Draws them, and the derangement of ``resample``.

    Raises:
        AttributionError: a budget that leaves no two exact runs, or as ``attribute``.
    """
    if not 0 <= explore <= 1:
        raise AttributionError(f"explore is a share from 0 to 1, got {explore}")
    screening = 1.0 + BACKWARD if steps == 1 else 1.0 + (1.0 + BACKWARD) * model.n_layers * steps
    if budget < screening + 3:  # said before it is spent
        raise AttributionError(
            f"a budget of {budget:g} forward passes is too small: the screening takes "
            f"{screening:g}, the unchanged run 1, and two exact runs 2; give at least "
            f"{screening + 3:g}"
        )
    options: Options = {"reference": reference, "batch_size": batch_size, "seed": seed}
    estimates = attribute(model, examples, metric, kind=kind, steps=steps, check=0, **options)
    # What one call of sweep takes besides its runs: the unchanged one, and the replacements.
    setting_up = 1.0 + estimates.forward_equivalents - screening
    left = budget - estimates.forward_equivalents - setting_up
    if left < 2:
        raise AttributionError(
            f"with its replacements the screening took {estimates.forward_equivalents:.1f} of "
            f"{budget:g} forward passes, which leaves no two for exact runs; give at least "
            f"{budget - left + 2:.1f}"
        )
    n_heads = model.n_layers * model.n_heads

    def run(sets: list[list[Head]]) -> Ablations:
        return remove_heads(model, examples, metric, sets, kind=kind, **options)

    hiding: list[int] = []
    suspects: list[Head] = []
    together: Tensor | None = None
    if 2 * (model.n_layers + setting_up) <= left < n_heads:
        left -= model.n_layers + setting_up
        every = [[(layer, h) for h in range(model.n_heads)] for layer in range(model.n_layers)]
        together = run(every).effects.to(torch.float64).mean(1)
        hiding = hidden_layers(estimates.values, together)
        groups = _groups(model.n_heads)
        # Tested only where enough is left to ablate the suspects, and something to compare with.
        tested = hiding[: max(0, int((left - setting_up) / (len(groups) + _SUSPECTS + 1)))]
        if tested and groups:
            left -= setting_up + len(groups) * len(tested)
            found = run([[(layer, h) for h in group] for layer in tested for group in groups])
            harm = found.effects.to(torch.float64).mean(1).reshape(len(tested), len(groups))
            for layer, row in zip(tested, harm, strict=True):
                suspects += [(layer, h) for h in _suspects(row, groups, model.n_heads)]
    n_exact = min(int(left), n_heads)
    suspects = suspects[:n_exact]
    ranked = [(u[0], u[1]) for u, _ in estimates.top(n_heads) if (u[0], u[1]) not in suspects]
    n_random = round(explore * (n_exact - len(suspects))) if n_exact < n_heads else 0
    n_top = n_exact - len(suspects) - n_random
    rest = ranked[n_top:]
    drawn = torch.randperm(len(rest), generator=torch.Generator().manual_seed(seed))[:n_random]
    heads = (*suspects, *ranked[:n_top], *(rest[i] for i in drawn.tolist()))
    chosen = ("group",) * len(suspects) + ("estimate",) * n_top + ("random",) * n_random
    ablations = run([[head] for head in heads])
    exact = ablations.effects.to(torch.float64).mean(1)
    known = estimates.values.clone()
    for head, effect in zip(heads, exact, strict=True):
        known[head] = effect
    how = f"{len(suspects)} by groups, {n_top} highest estimates, {n_random} at random"
    agreement = compare(
        [head_name(head) for head in heads],
        torch.stack([estimates.values[head] for head in heads]),
        exact,
        n_units=n_heads,
        chosen=how if n_exact < n_heads else "all",
        scale=float(ablations.clean.abs().mean()),
        cost=n_exact + setting_up,
        hidden=hidden_layers(known, together) if together is not None else (),
        seed=seed,
    )
    most = torch.argsort(exact, descending=True, stable=True)[: min(10, (n_exact + 1) // 2)]
    most = most[exact[most] > ROUNDING * float(exact.abs().max())]
    return Ranking(
        estimates=estimates,
        heads=heads,
        chosen=chosen,
        ablations=ablations,
        agreement=agreement,
        hiding=tuple(hiding),
        missed=sum(chosen[i] == "random" for i in most.tolist()),
        forward_equivalents=budget - left + n_exact,
    )


def _groups(n: int) -> list[list[int]]:
    """For each binary digit of 0…n−1, the numbers with a 0 there and those with a 1."""
    digits = range((n - 1).bit_length())
    return [[h for h in range(n) if h >> digit & 1 == side] for digit in digits for side in (0, 1)]


def _suspects(harm: Float[Tensor, " group"], groups: list[list[int]], n: int) -> list[int]:
    """The heads all of whose groups do damage, most first."""
    least = [
        min((float(harm[i]) for i, group in enumerate(groups) if h in group), default=0.0)
        for h in range(n)
    ]
    return sorted(range(n), key=lambda h: -least[h])[:_SUSPECTS]
