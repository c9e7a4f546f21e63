"""What the Bi-Induct study leaves behind: tables, figures, headline numbers, and plain words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pandas import DataFrame

    from experiments.bi_induct import Config
    from experiments.bi_induct_claims import Found
    from experiments.bi_induct_measuring import Measured
    from experiments.bi_induct_training import Arm
    from interp.runs import Run
    from interp.zoo.bi_induct.streams import Stream

VERDICTS = ("load-bearing", "underpowered", "not load-bearing")


def save(
    config: Config, run: Run, stream: Stream, trained: Sequence[Arm], found: Sequence[Measured]
) -> None:
    """Save everything that was found."""
    import pandas as pd

    from experiments.bi_induct_claims import claims
    from experiments.bi_induct_measuring import rules_of

    harms = pd.concat([m.harms for m in found], ignore_index=True)
    first = harms[harms["sets"] == rules_of(config)[0]]
    common = _common_tasks(first)
    shared = first[first["task"].isin(common)]
    tested = claims(found, shared, seed=config.seed)
    run.save_table("evidence", pd.concat([m.evidence for m in found], ignore_index=True))
    run.save_table("harms", harms)
    run.save_table("hits", pd.concat([m.hits for m in found], ignore_index=True))
    run.save_table("arms", arms_table(trained, found, shared))
    run.save_table("claims", pd.DataFrame([claim.row() for claim in tested]))
    icl = [m.icl.table().assign(arm=m.arm, seed=m.seed) for m in found]
    run.save_table("in_context", pd.concat(icl, ignore_index=True))
    run.save_tensors(
        {
            f"{a.folder.name} {k}": v
            for a, m in zip(trained, found, strict=True)
            for k, v in m.scores.items()
        }
    )
    _figures(run, trained, found, shared)
    run.save_metrics(_metrics(config, stream, found, tested, common))


def _common_tasks(harms: DataFrame) -> list[str]:
    """Tasks that no arm of any seed is at chance on; the stream itself is none.

    The arm from scratch does not count: that it can do nothing is what it is there to show.
    """
    from experiments.bi_induct_prompts import TEXT
    from experiments.bi_induct_training import SCRATCH

    done = harms.loc[harms["arm"] != SCRATCH, ["task", "arm", "seed"]].drop_duplicates()
    n = len(done[["arm", "seed"]].drop_duplicates())
    counts = done["task"].value_counts(sort=False)
    return [str(task) for task in counts.index if counts[task] == n and task != TEXT]


def arms_table(trained: Sequence[Arm], found: Sequence[Measured], shared: DataFrame) -> DataFrame:
    """One row an arm and seed: how it looks, how well it does, what it loses."""
    import pandas as pd

    from experiments.bi_induct_claims import mean_hits, relative_loss
    from experiments.bi_induct_measuring import THRESHOLD

    relative = relative_loss(shared) if len(shared) else {}
    rows = []
    for arm, m in zip(trained, found, strict=True):
        own = shared[(shared["arm"] == m.arm) & (shared["seed"] == m.seed)]
        excess = (own["harm"] - own["harm_of_controls"]).mean() if len(own) else None
        score = m.scores["induction"] - m.scores["induction (iid)"]
        rows.append(
            {
                "arm": m.arm,
                "seed": m.seed,
                "tokens": arm.history[-1]["tokens"],
                "snippets": arm.coverage,
                "warm_up_steps": arm.warm_up_steps,
                "strongest": m.strongest,
                "heads_above": int((score >= THRESHOLD).sum()),
                "activity": m.activity,
                "anti": m.anti,
                "copy_gain": m.copy_gain,
                "perplexity": m.perplexity[0],
                "perplexity_without": m.perplexity[1],
                "hits@1": mean_hits(m, set(shared["task"])),
                **_load(m),
                "excess_harm": None if excess is None else float(excess),
                "relative_loss": relative.get(m.arm, {}).get(m.seed),
            }
        )
    return pd.DataFrame(rows).convert_dtypes()


def _load(m: Measured) -> dict[str, object]:
    """For each rule what was removed, and on how many tasks that is load-bearing."""
    from experiments.bi_induct_prompts import TEXT

    made: dict[str, object] = {}
    for rule, heads in m.removed.items():
        rows = m.evidence[(m.evidence["sets"] == rule) & (m.evidence["task"] != TEXT)]
        made |= {
            f"removed {rule}": heads,
            **{f"{word} {rule}": int((rows["verdict"] == word).sum()) for word in VERDICTS},
            f"p {rule}": float(rows["p_value"].mean()) if len(rows) else None,
        }
    return made


def _figures(
    run: Run, trained: Sequence[Arm], found: Sequence[Measured], shared: DataFrame
) -> None:
    import numpy as np

    from experiments.bi_induct_claims import relative_loss
    from interp.plots import by_arm, learning_curves

    for key, label, pick in (
        (
            "induction_over_training",
            "strongest induction score (share of attention)",
            lambda seen: float(np.max(seen["induction"])),
        ),
        (
            "held_out_over_training",
            "held-out loss (nats a token)",
            lambda seen: float(seen["held_out_loss"]),
        ),
    ):
        curves: dict[str, list[Any]] = {}
        for arm in trained:
            line = ([s["tokens"] / 1e6 for s in arm.history], [pick(s) for s in arm.history])
            curves.setdefault(arm.name, []).append(line)
        run.save_figure(key, learning_curves(curves, x_label="tokens (millions)", y_label=label))
    activity: dict[str, list[float]] = {}
    for m in found:
        activity.setdefault(m.arm, []).append(m.activity)
    run.save_figure(
        "activity",
        by_arm(activity, label="induction scores above control,\nadded up over heads"),
    )
    if len(shared):
        loss = {arm: list(seeds.values()) for arm, seeds in relative_loss(shared).items()}
        run.save_figure(
            "relative_loss",
            by_arm(loss, label="loss from removal beyond random heads,\nshare of what can be lost"),
        )


def _metrics(
    config: Config,
    stream: Stream,
    found: Sequence[Measured],
    tested: Sequence[Found],
    common: Sequence[str],
) -> dict[str, Any]:
    per_arm: dict[str, dict[str, float]] = {}
    for m in found:
        seeds = [other for other in found if other.arm == m.arm]
        per_arm[m.arm] = {
            "strongest_induction": _mean([s.strongest for s in seeds]),
            "activity": _mean([s.activity for s in seeds]),
            "anti": _mean([s.anti for s in seeds]),
            "held_out_perplexity": _mean([s.perplexity[0] for s in seeds]),
            "copy_gain": _mean([s.copy_gain for s in seeds]),
        }
    verdicts = [f.result.verdict for f in tested]
    return {
        "stream": stream.name,
        "tokens_train": len(stream.train),
        "tokens_seen": config.steps * config.rows * config.context,
        "seeds": config.seeds,
        "arms": per_arm,
        "tasks_compared": list(common),
        "claims": [json.loads(json.dumps(f.row())) for f in tested],
        "headline": ", ".join(
            f"{verdicts.count(word)} {word}" for word in ("replicates", "does not", "underpowered")
        ),
        "conclusion": _conclusion(config, found, tested, common),
    }


def _conclusion(
    config: Config,
    found: Sequence[Measured],
    tested: Sequence[Found],
    common: Sequence[str],
) -> str:
    """What came of it, in a paragraph."""
    from experiments.bi_induct_measuring import THRESHOLD

    said = []
    formed = [m for m in found if m.strongest >= THRESHOLD]
    said.append(
        f"{len(formed)} of {len(found)} trained models have a head above {THRESHOLD}"
        + ("." if formed else ": no induction head formed, so nothing below speaks of them.")
    )
    said += _from_scratch(found)
    if config.warm_up_until:
        said.append(
            f"The warm-up let {config.warm_up_heads} heads a layer write, so that the others were "
            "hardly rivals: that these carry the load is a sanity check more than a discovery."
        )
    if config.seeds == 1:
        said.append("One seed per arm: no inference between arms.")
    if not common:
        said.append("No in-context task is above chance in every arm, so removal was not compared.")
    for word in ("replicates", "does not", "underpowered"):
        about = [f"{f.result.claim.says} ({f.about})" for f in tested if f.result.verdict == word]
        if about:
            said.append(f"{word.capitalize()}: {'; '.join(about)}.")
    return " ".join(said)


def _from_scratch(found: Sequence[Measured]) -> list[str]:
    """How the natural arm does without a warm-up, where it was tried."""
    from experiments.bi_induct_training import SCRATCH

    scratch = [m for m in found if m.arm == SCRATCH]
    warm = [m for m in found if m.arm == "natural"]
    if not scratch:
        return []
    return [
        f"From random weights the natural arm's strongest head scores "
        f"{_mean([m.strongest for m in scratch]):.2g} and its held-out perplexity is "
        f"{_mean([m.perplexity[0] for m in scratch]):.4g}; after the warm-up "
        f"{_mean([m.strongest for m in warm]):.2g} and "
        f"{_mean([m.perplexity[0] for m in warm]):.4g}."
    ]


def tables(run: Run) -> Any:
    """The arms and the claims, for the terminal."""
    from rich.console import Group

    from interp.terminal import table

    arms = run.table("arms")
    shown = ["strongest", "activity", "anti", "copy_gain", "perplexity", "hits@1"]
    shown += ["excess_harm", "relative_loss"]
    rules = [name.removeprefix("p ") for name in arms.columns if name.startswith("p ")]
    groups = arms.groupby("arm", sort=False)
    means = groups[[*shown, *(f"p {rule}" for rule in rules)]].mean()
    totals = groups[[f"{word} {rule}" for rule in rules for word in VERDICTS]].sum()
    head = ["arm", *(name.replace("_", " ") for name in shown)]
    head += [f"{rule}: mean p; {', '.join(VERDICTS)}" for rule in rules]
    rows = []
    for arm in means.index:
        load = [
            f"{_short(means.loc[arm, f'p {rule}'])}; "
            + ", ".join(str(totals.loc[arm, f"{word} {rule}"]) for word in VERDICTS)
            for rule in rules
        ]
        rows.append([arm, *(_short(means.loc[arm, name]) for name in shown), *load])
    claims = [
        [
            row["claim"],
            row["about"],
            _short(row["estimate"]),
            "-" if row["low"] is None else f"[{_short(row['low'])}, {_short(row['high'])}]",
            row["verdict"],
        ]
        for row in run.table("claims")
        .astype(object)
        .where(lambda t: t.notna(), None)
        .to_dict("records")
    ]
    return Group(
        table(head, rows), table(["claim", "about", "estimate", "95 %", "verdict"], claims, whole=0)
    )


def _short(number: Any) -> str:
    import pandas as pd

    return "-" if pd.isna(number) else f"{number:.3g}"


def _mean(numbers: Sequence[float]) -> float:
    return sum(numbers) / len(numbers)
