"""The paper's claims beside what the arms show, each with an interval and a verdict."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.bi_induct_measuring import Measured
    from interp.evidence import Claim, NestedInterval, Replication

# How near to zero is "near zero", as a share of attention.
NEAR_ZERO = 0.05


@dataclass(frozen=True)
class Found:
    """One claim, tested in one arm or between two.

    Attributes:
        about: Which arm, or ``natural − forward``.
        result: The claim, the estimate, its interval and the verdict.
        unit: Of the estimate.
    """

    about: str
    result: Replication
    unit: str

    def row(self) -> dict[str, object]:
        """Flat, for a table."""
        return {"about": self.about, "unit": self.unit, **self.result.to_dict()}


def claims(found: Sequence[Measured], harms: DataFrame, *, seed: int) -> list[Found]:
    """Test the claims of the abstract (Sabry & Belz 2025, second version).

    Differences between arms take the training seed as the unit (paired, as arms of a seed share
    their initialisation and windows); what holds within an arm takes the bootstrap nested prompt
    in task in seed.

    Args:
        found: Every arm and seed.
        harms: Their harms, of the in-context tasks that no arm is at chance on.
        seed: Seeds the bootstrap.
    """
    from experiments.bi_induct_prompts import COPY
    from interp.evidence import Claim, compare_with_claim

    arms = [name for name in dict.fromkeys(m.arm for m in found) if "," not in name]
    others = [name for name in arms if name != "natural"]
    copying = [name for name in others if name in {"forward", "balanced"}]
    made: list[Found] = []

    def between(says: str, pairs: Sequence[tuple[str, str]], of: Mapping, unit: str) -> None:
        made.extend(
            _between(Claim(says, low=0.0), first, second, of, unit) for first, second in pairs
        )

    between(
        "copies raise induction activity",
        [(arm, "natural") for arm in copying if "natural" in arms],
        _per_seed(found, lambda m: m.activity),
        "scores added up over heads",
    )
    for arm in arms:
        claim = Claim("anti-induction stays near zero", low=-NEAR_ZERO, high=NEAR_ZERO)
        made.append(_across_seeds(claim, arm, found))
    for arm in arms:
        claim = Claim("removing induction heads harms more than matched random", low=0.0)
        own = harms[harms["arm"] == arm]
        if not len(own):
            continue
        nested = _nested(own["harm"] - own["harm_of_controls"], own, seed)
        reason = nested.statement
        made.append(
            Found(
                arm,
                compare_with_claim(claim, nested.estimate, nested.interval, reason=reason),
                "nats an answer",
            )
        )
    pairs = [("natural", arm) for arm in others] if "natural" in arms else []
    if len(harms):
        between(
            "natural training centralises: its relative loss is the largest",
            pairs,
            relative_loss(harms),
            "share of what there is to lose",
        )
    tasks = set(harms["task"]) if len(harms) else set()
    if tasks - {COPY}:  # else no in-context task is above chance in every arm
        between(
            "natural training is best on function-style tasks",
            pairs,
            _per_seed(found, lambda m: mean_hits(m, tasks) or 0.0),
            "HITS@1",
        )
    between(
        "copies cost held-out perplexity",
        [(arm, "natural") for arm in others if "natural" in arms],
        _per_seed(found, lambda m: math.log(m.perplexity[0])),
        "log perplexity",
    )
    return made


def relative_loss(harms: DataFrame) -> dict[str, dict[Hashable, float]]:
    """For each arm and seed: (harm − mean control's harm) / (chance − clean), mean over tasks.

    Chance is the loss of a uniform guess among all ids, so the denominator is all there is to
    lose: LB divided by m(clean) − chance.
    """
    found: dict[str, dict[Hashable, float]] = {}
    for arm, seed in harms[["arm", "seed"]].drop_duplicates().itertuples(index=False):
        part = harms[(harms["arm"] == arm) & (harms["seed"] == seed)]
        means = part.groupby("task", sort=False)[
            ["harm", "harm_of_controls", "chance", "clean"]
        ].mean()
        share = (means["harm"] - means["harm_of_controls"]) / (means["chance"] - means["clean"])
        found.setdefault(str(arm), {})[seed] = float(share.mean())
    return found


def mean_hits(measured: Measured, tasks: Collection[str]) -> float | None:
    """Mean HITS@1 over the given in-context tasks; None where they hold none."""
    from experiments.bi_induct_prompts import named

    scores = [s for s in measured.icl.scores if not s.permuted and named(s) in tasks]
    return sum(s.mean("hits@1") for s in scores) / len(scores) if scores else None


def _per_seed(
    found: Sequence[Measured], value: Callable[[Measured], float]
) -> dict[str, dict[Hashable, float]]:
    made: dict[str, dict[Hashable, float]] = {}
    for m in found:
        made.setdefault(m.arm, {})[m.seed] = value(m)
    return made


def _between(
    claim: Claim, first: str, second: str, of: Mapping[str, Mapping[Hashable, float]], unit: str
) -> Found:
    from interp.evidence import compare_arms, compare_with_claim

    difference = compare_arms(of[first], of[second], names=(first, second))
    result = compare_with_claim(
        claim,
        difference.estimate,
        difference.interval,
        reason=difference.reason,
    )
    return Found(f"{first} − {second}", result, unit)


def _across_seeds(claim: Claim, arm: str, found: Sequence[Measured]) -> Found:
    from interp.evidence import compare_arms, compare_with_claim

    anti: dict[Hashable, float] = {m.seed: m.anti for m in found if m.arm == arm}
    # Against zero: a paired t with nothing on the other side.
    difference = compare_arms(anti, dict.fromkeys(anti, 0.0), names=(arm, "zero"))
    strongest = max(m.strongest for m in found if m.arm == arm)
    interval, reason = difference.interval, difference.reason
    if strongest < 2 * NEAR_ZERO:
        # Whatever does not copy forwards says nothing by not copying backwards either.
        interval, reason = None, "vacuous, as induction is near zero here too"
    result = compare_with_claim(claim, difference.estimate, interval, reason=reason)
    return Found(arm, result, "share of attention")


def _nested(values: Any, rows: DataFrame, seed: int) -> NestedInterval:
    from interp.evidence import nested_interval

    return nested_interval(
        values,
        {name: rows[name].to_numpy() for name in ("seed", "task", "prompt")},
        seed=seed,
    )
