"""Which heads are induction heads, and does the model depend on them?

Signature: attention from a repeated random token to what followed it before (Olsson et al. 2022).
Load: what removing those heads costs on held-out repeats, beside removing matched random heads
(in the spirit of "Induction Signatures Are Not Enough", 2025).
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from interp.evidence import EvidenceTable
    from interp.heads import Ablations, Plan
    from interp.models import Examples, Model
    from interp.plots import Point
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "Which heads are induction heads, and does the model depend on them?"


@dataclass(frozen=True)
class Config:
    """Settings of the induction study.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        seed: Seeds the examples, the split, the controls and the bootstrap.
        n: Examples in all; half choose the heads, half judge them.
        length: Tokens in the block that is repeated; fewer where context or vocabulary is smaller.
        threshold: By how much a head's score must exceed its score on i.i.d. input to count as
            an induction signature.
        top: How many of the strongest heads are also tested one by one.
        at_most: How many heads the target may have.
        controls: Matched-random control sets a family.
        ablation: What takes a removed head's place.
        alpha: Level of the verdicts.
        batch_size: Rows at a time; halved on out-of-memory.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str = "zoo:code-lm"
    seed: int = 0
    n: int = 128
    length: int = 50
    threshold: float = 0.3
    top: int = 5
    at_most: int = 4
    controls: int = 99
    ablation: Literal["mean", "mean-by-position", "zero", "resample"] = "mean"
    alpha: float = 0.05
    batch_size: int = 32
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"n": 32, "length": 20, "controls": 29, "top": 3},
    "default": {},
    "headline": {"n": 512, "controls": 999},
}

SCORES = ("induction", "previous-token", "duplicate-token", "anti-induction", "prefix-matching")

# Sets removed between two saves of a run, so that an interruption costs seconds.
CHUNK = 16


@dataclass(frozen=True)
class Found:
    """What was measured, for the tables and figures.

    Attributes:
        plan: Which sets were removed.
        tensors: Scores, i.i.d. scores and output norms, [layer, head] each.
        ablations: What came of removing each set.
        points: Every head alone, layer by layer.
        length: Tokens in the block that is repeated.
        d_vocab: Size of the vocabulary.
        gain: Loss on the first repeat minus loss on the second, in nats a token.
        table: The evidence, the target's rows first.
    """

    plan: Plan
    tensors: dict[str, Tensor]
    ablations: Ablations
    points: tuple[Point, ...]
    length: int
    d_vocab: int
    gain: float
    table: EvidenceTable


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from interp.models import ModelSpec, require_device, resolve

    if config.n < 8:
        raise ValueError(f"n is {config.n}; expected at least 8 examples, so that both halves vary")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    if not 0 < config.threshold < 1:
        raise ValueError(
            f"threshold is {config.threshold}; expected a share of attention between 0 and 1"
        )
    if config.length < 2:
        raise ValueError(f"length is {config.length}; a block to repeat needs at least 2 tokens")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    for name in ("top", "at_most", "controls", "batch_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least 1")
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))


def run(config: Config, run: Run) -> None:
    """Measure the signature on one half of the examples and the load on the other."""
    import torch

    from interp.heads import iid_control
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    repeated = _examples(model, config)
    choose, judged = repeated.split(0.5, seed=config.seed)
    control = iid_control(
        choose, model.ordinary_ids, generator=torch.Generator().manual_seed(config.seed)
    )
    run.record(
        model=model.fingerprint,
        data={"selection": choose.hash, "selection, i.i.d.": control.hash, "judged": judged.hash},
        seeds={"all": config.seed},
        device=config.device,
    )
    found = _measure(config, run, model, choose=choose, control=control, judged=judged)
    _save_tables(config, run, found)
    _save_figures(config, run, found)
    run.save_metrics(_metrics(config, found))


def _examples(model: Model, config: Config) -> Examples:
    """Repeated random tokens, as long as the model allows."""
    import torch

    from interp.zoo.tasks import repeated_tokens

    room = (model.n_ctx - (model.bos_id is not None)) // 2
    length = min(config.length, room, len(model.ordinary_ids))
    if length < 2:
        raise ValueError(
            f"{config.model} has a context of {model.n_ctx} tokens and {len(model.ordinary_ids)} "
            "ordinary ids: too few to repeat anything"
        )
    if length < config.length:
        log.warning("repeating %d tokens, not %d: no more fit", length, config.length)
    return repeated_tokens(
        model.ordinary_ids,
        n=config.n,
        length=length,
        bos_id=model.bos_id,
        generator=torch.Generator().manual_seed(config.seed),
    )


def _measure(
    config: Config,
    run: Run,
    model: Model,
    *,
    choose: Examples,
    control: Examples,
    judged: Examples,
) -> Found:
    import torch

    from interp.evidence import loss
    from interp.heads import Ablations, ablate, head_scores, judge, output_norms, plan_ablations
    from interp.hooks.progress import progress
    from interp.zoo.tasks import first_repeat

    size: dict[str, Any] = {"batch_size": config.batch_size}

    def telemetry() -> dict[str, Any]:
        scores = head_scores(model, choose, SCORES, control=control, **size).values()
        return {
            **{score.name: score.values for score in scores},
            **{f"{score.name} (iid)": score.control for score in scores},
            "output norm": output_norms(model, choose, **size),
        }

    tensors = run.cached("telemetry", telemetry)
    plan = plan_ablations(
        "induction",
        tensors["induction"],
        tensors["induction (iid)"],
        tensors["output norm"],
        threshold=config.threshold,
        top=config.top,
        at_most=config.at_most,
        n_controls=config.controls,
        seed=config.seed,
    )

    def remove(start: int) -> dict[str, Any]:
        part = ablate(
            model,
            judged,
            loss,
            plan.sets[start : start + CHUNK],
            kind=config.ablation,
            reference=choose,
            seed=config.seed,
            **size,
        )
        return {"clean": part.clean, "ablated": part.ablated}

    parts = []
    with progress("removing heads", total=len(plan.sets)) as advance:
        for start in range(0, len(plan.sets), CHUNK):
            parts.append(run.cached(f"ablated/{start:05d}", partial(remove, start)))
            advance(min(CHUNK, len(plan.sets) - start))
    ablated = torch.cat([part["ablated"] for part in parts])
    ablations = Ablations(loss, plan.sets, parts[0]["clean"], ablated)
    # What copying saves: nothing can be copied in the first repeat.
    first = ablate(model, first_repeat(judged), loss, [], kind="zero", **size).clean
    gain = float(first.mean() - ablations.clean.mean())
    table = judge(plan, ablations, judged.groups, gain=gain, alpha=config.alpha, seed=config.seed)
    points = _each_head(config, plan, tensors["induction"], ablations, judged.groups)
    length = int(judged.scored[0].sum()) + 1 if judged.scored is not None else 0
    return Found(plan, tensors, ablations, points, length, model.d_vocab, gain, table)


def _save_tables(config: Config, run: Run, found: Found) -> None:
    import pandas as pd

    run.save_table("evidence", found.table.frame())
    run.save_tensors(
        {**found.tensors, "clean": found.ablations.clean, "ablated": found.ablations.ablated}
    )
    n_heads = found.tensors["induction"].shape[1]
    records = []
    for i, point in enumerate(found.points):
        layer, head = divmod(i, n_heads)
        scores = {name: float(values[layer, head]) for name, values in found.tensors.items()}
        effect = {"effect": point.effect, "effect_low": point.low, "effect_high": point.high}
        records.append({"head": point.name, "layer": layer, "index": head} | scores | effect)
    run.save_table("heads", pd.DataFrame(records))


def _each_head(
    config: Config, plan: Plan, score: Tensor, ablations: Ablations, groups: tuple[str, ...]
) -> tuple[Point, ...]:
    """Every head alone, layer by layer: its signature and what its removal costs."""
    from interp.evidence import bootstrap_interval, head_name
    from interp.plots import Point

    where = {heads: i for i, heads in enumerate(ablations.sets)}
    made = []
    for i in range(score.numel()):
        head = divmod(i, score.shape[1])
        harm = ablations.effects[where[frozenset([head])]].numpy()
        low, high = bootstrap_interval(harm, groups, n_resamples=999, seed=config.seed)
        made.append(
            Point(
                head_name(head),
                float(score[head]),
                float(harm.mean()),
                low,
                high,
                highlighted=head in plan.target,
            )
        )
    return tuple(made)


def _save_figures(config: Config, run: Run, found: Found) -> None:
    from interp.plots import Point, head_map, signature_and_effect

    row = found.table[0]
    run.save_figure(
        "head_scores",
        head_map(
            found.tensors["induction"],
            label="induction score (share of attention)",
            title=f"{config.model}: who looks like an induction head",
            null=float(found.tensors["induction (iid)"].mean()),
            null_label="i.i.d. control",
            marked=sorted(found.plan.target) if found.plan.present else (),
        ),
    )
    run.save_figure(
        "signature_and_effect",
        signature_and_effect(
            found.points,
            signature_label="induction score on the selection split (share of attention)",
            effect_label="loss added by removal (nats a token)",
            controls=row.controls,
            controls_label=f"{len(row.controls)} {row.control_family} sets instead",
            together=Point(row.subject, row.signature, row.effect, *row.interval),
            title=f"{config.model}: and who is depended on",
        ),
    )


def _looks_like(found: Found, name: str) -> str:
    """What else a head's attention looks like, where it is plain."""
    index = next(i for i, point in enumerate(found.points) if point.name == name)
    scores = {score: float(found.tensors[score].flatten()[index]) for score in SCORES[1:]}
    best = max(scores, key=lambda score: scores[score])
    return f" and a {best} score of {scores[best]:.2f}" if scores[best] >= 0.3 else ""


def _metrics(config: Config, found: Found) -> dict[str, Any]:
    """Headline numbers, and what they mean in plain words."""
    from interp.evidence import head_name
    from interp.heads import describe_load

    score, null = found.tensors["induction"], found.tensors["induction (iid)"]
    top = divmod(int((score - null).argmax()), score.shape[1])
    strongest = f"{head_name(top)} at {float(score[top]):.2f} (i.i.d. {float(null[top]):.2f})"
    n_present = int(((score - null) >= found.plan.threshold).sum())
    row = found.table[0]
    chance = math.log(found.d_vocab)
    said = f"Task: repeats of {found.length} random tokens."
    if row.clean >= chance:
        said += (
            f" The model cannot do it: its loss on the repeat is {row.clean:.3g} nats a token, "
            f"that of guessing {chance:.3g}. Effects on it mean little."
        )
    if found.plan.present:
        heads = "head carries" if n_present == 1 else "heads carry"
        said += f" Signature: {n_present} {heads} it, the strongest {strongest}."
    else:
        said += (
            f" Signature: none. The strongest head is {strongest}, less than "
            f"{found.plan.threshold:g} above its own i.i.d. score, so no head is called an "
            "induction head; it is tested all the same."
        )
    alone = {p.name: p.effect for p in found.points if p.highlighted}
    load = describe_load(found.table, kind=config.ablation, gain=found.gain, alone=alone)
    verdicts = {r.control_family: r for r in found.table if r.subject == row.subject}
    told = ", ".join(f"{r.verdict} (p {r.p_value:.2g}, {f})" for f, r in verdicts.items())
    costliest = max(found.points, key=lambda point: point.effect)
    said += (
        f" {load} Of all heads removed alone, {costliest.name} costs most: "
        f"{costliest.effect:.3g}, with an induction score of "
        f"{costliest.signature:.2f}{_looks_like(found, costliest.name)}."
    )
    said += "".join(f" Not tested: {reason}." for reason in found.plan.untested)
    absent = "" if found.plan.present else "no induction signature; "
    return {
        "top_head": head_name(top),
        "top_score": float(score[top]),
        "top_score_iid": float(null[top]),
        "n_heads_with_signature": n_present,
        "n_heads": score.numel(),
        "target": row.subject,
        "length": found.length,
        "loss_clean": row.clean,
        "in_context_gain": found.gain,
        "effect": row.effect,
        "share_of_gain": row.share,
        "p_value": row.p_value,
        "p_smallest": row.p_smallest,
        "verdict": row.verdict,
        "verdicts": {family: r.verdict for family, r in verdicts.items()},
        "costliest_head": costliest.name,
        "costliest_effect": costliest.effect,
        "untested": list(found.plan.untested),
        "headline": f"{absent}{row.subject} {told}",
        "conclusion": said,
    }
