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


def save(
    config: Config, run: Run, stream: Stream, trained: Sequence[Arm], found: Sequence[Measured]
) -> None:
    """Save everything that was found."""
    import pandas as pd

    from experiments.bi_induct_claims import claims
    from interp.evidence import EvidenceTable

    harms = pd.concat([m.harms for m in found], ignore_index=True)
    common = _common_tasks(harms, len(found))
    shared = harms[harms["task"].isin(common)]
    tested = claims(found, shared, seed=config.seed)
    rows = [
        row.assign(arm=m.arm, seed=m.seed)
        for m in found
        for row in [EvidenceTable(list(m.evidence)).frame()]
    ]
    evidence = pd.concat(rows, ignore_index=True)
    evidence.insert(0, "task", [task for m in found for task in dict.fromkeys(m.harms["task"])])
    run.save_table("evidence", evidence)
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


def _common_tasks(harms: DataFrame, n: int) -> list[str]:
    """In-context tasks that no arm of any seed is at chance on; the stream itself is none."""
    from experiments.bi_induct_measuring import TEXT

    done = harms[["task", "arm", "seed"]].drop_duplicates()["task"].value_counts()
    return [str(task) for task in done.index if done[task] == n and task != TEXT]


def arms_table(trained: Sequence[Arm], found: Sequence[Measured], shared: DataFrame) -> DataFrame:
    """One row an arm and seed: how it looks, how well it does, what it loses."""
    import pandas as pd

    from experiments.bi_induct_claims import relative_loss

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
                "heads_above": int((score >= 0.3).sum()),
                "activity": m.activity,
                "anti": m.anti,
                "copy_gain": m.copy_gain,
                "perplexity": m.perplexity[0],
                "perplexity_without": m.perplexity[1],
                "hits@1": float(m.hits["hits@1"].mean()) if len(m.hits) else None,
                "removed": "+".join(m.heads),
                "excess_harm": None if excess is None else float(excess),
                "relative_loss": relative.get(m.arm, {}).get(m.seed),
            }
        )
    return pd.DataFrame(rows).convert_dtypes()


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
    if config.seeds == 1:
        said.append("One seed per arm: no inference between arms.")
    if not common:
        said.append("No in-context task is above chance in every arm, so removal was not compared.")
    for word in ("replicates", "does not", "underpowered"):
        about = [f"{f.result.claim.says} ({f.about})" for f in tested if f.result.verdict == word]
        if about:
            said.append(f"{word.capitalize()}: {'; '.join(about)}.")
    return " ".join(said)


def tables(run: Run) -> Any:
    """The arms and the claims, for the terminal."""
    from rich.console import Group

    from interp.terminal import table

    arms = run.table("arms")
    shown = (
        "strongest",
        "activity",
        "anti",
        "copy_gain",
        "perplexity",
        "hits@1",
        "excess_harm",
        "relative_loss",
    )
    means = arms.groupby("arm", sort=False)[list(shown)].mean()
    head = ["arm", *(name.replace("_", " ") for name in shown)]
    rows = [[arm, *(_short(means.loc[arm, name]) for name in shown)] for arm in means.index]
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
