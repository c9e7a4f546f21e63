"""Which heads are induction heads, and does the model depend on them?

Signature: attention from a repeated random token to what followed it before (Olsson et al. 2022).
Load: what removing those heads costs on held-out repeats, beside removing matched random heads
(in the spirit of "Induction Signatures Are Not Enough", 2025).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from interp.evidence import EvidenceTable
    from interp.heads import Ablations, Plan
    from interp.models import Examples, Model
    from interp.runs import Run
    from torch import Tensor

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

# Sets removed between two saves of a run, so that an interruption costs seconds.
CHUNK = 16


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from interp.models import ModelSpec, resolve

    if config.n < 8:
        raise ValueError(f"n is {config.n}; expected at least 8 examples, so that both halves vary")
    if config.length < 2:
        raise ValueError(f"length is {config.length}; a block to repeat needs at least 2 tokens")
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    for name in ("top", "at_most", "controls", "batch_size"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least 1")
    resolve(ModelSpec(config.model, revision=config.revision))


def run(config: Config, run: Run) -> None:
    """Measure the signature on one half of the examples and the load on the other."""
    import torch

    from interp.evidence import loss
    from interp.heads import Ablations, ablate, head_scores, judge, output_norms, plan_ablations
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    repeated, iid = _examples(model, config)
    choose, judged = repeated.split(0.5, seed=config.seed)
    iid_choose = iid.select(range(len(choose)))
    iid_judged = iid.select(range(len(choose), len(iid)))
    run.record(
        model=model.fingerprint,
        data={e.name: e.hash for e in (repeated, iid)},
        seeds={"all": config.seed},
        device=config.device,
    )

    names = ("induction", "previous-token", "duplicate-token", "anti-induction", "prefix-matching")

    def telemetry() -> dict[str, Any]:
        found = head_scores(model, choose, names, control=iid_choose, batch_size=config.batch_size)
        return {
            **{name: scores.values for name, scores in found.items()},
            **{f"{name} (iid)": scores.control for name, scores in found.items()},
            "output norm": output_norms(model, choose, batch_size=config.batch_size),
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

    def effects(start: int) -> dict[str, Any]:
        part = ablate(
            model,
            judged,
            loss,
            plan.sets[start : start + CHUNK],
            kind=config.ablation,
            reference=choose,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        return {"clean": part.clean, "ablated": part.ablated}

    from interp.hooks.progress import progress

    parts = []
    with progress("removing heads", total=len(plan.sets)) as advance:
        for start in range(0, len(plan.sets), CHUNK):
            parts.append(run.cached(f"ablated/{start:05d}", lambda start=start: effects(start)))
            advance(min(CHUNK, len(plan.sets) - start))
    ablations = Ablations(
        loss, plan.sets, parts[0]["clean"], torch.cat([p["ablated"] for p in parts])
    )
    # What copying saves: the loss on the first repeat, where nothing can be copied yet, minus the
    # loss on the second.
    first = ablate(
        model, _first_repeat(judged), loss, [], kind="zero", batch_size=config.batch_size
    )
    gain = float(first.clean.mean() - ablations.clean.mean())
    table = judge(plan, ablations, judged.groups, gain=gain, alpha=config.alpha, seed=config.seed)
    _save(run, config, plan, ablations, tensors, table, gain, judged)


def _examples(model: Model, config: Config) -> tuple[Examples, Examples]:
    """Repeated random tokens, and i.i.d. ones of the same shape."""
    import torch

    from interp.zoo.tasks import iid_tokens, repeated_tokens

    room = (model.n_ctx - (model.bos_id is not None)) // 2
    length = min(config.length, room, len(model.ordinary_ids))
    if length < 2:
        raise ValueError(
            f"{config.model} has a context of {model.n_ctx} tokens and {len(model.ordinary_ids)} "
            "ordinary ids: too few to repeat anything"
        )
    if length < config.length:
        log.warning("repeating %d tokens, not %d: no more fit", length, config.length)
    shape: dict[str, Any] = {"n": config.n, "length": length, "bos_id": model.bos_id}
    repeated = repeated_tokens(
        model.ordinary_ids, **shape, generator=torch.Generator().manual_seed(config.seed)
    )
    iid = iid_tokens(
        model.ordinary_ids, **shape, generator=torch.Generator().manual_seed(config.seed + 1)
    )
    return repeated, iid


def _first_repeat(repeated: Examples) -> Examples:
    """The same examples, scored on the tokens of the first repeat instead."""
    import torch

    assert repeated.scored is not None
    # The first scored query holds the second repeat's first token; the query before it predicts
    # that very token, which belongs to neither.
    first = int(repeated.scored[0].int().argmax()) - 1
    scored = torch.zeros_like(repeated.scored)
    scored[:, :first] = True
    return replace(repeated, scored=scored)


def _save(
    run: Run,
    config: Config,
    plan: Plan,
    ablations: Ablations,
    tensors: dict[str, Tensor],
    table: EvidenceTable,
    gain: float,
    judged: Examples,
) -> None:
    """Write the tables, tensors, figures and headline numbers of the study."""
    import pandas as pd

    from interp.evidence import bootstrap_interval, head_name
    from interp.plots import Point, head_map, signature_and_effect

    run.save_table("evidence", table.frame())
    run.save_tensors({**tensors, "clean": ablations.clean, "ablated": ablations.ablated})

    score, null = tensors["induction"], tensors["induction (iid)"]
    where = {heads: i for i, heads in enumerate(ablations.sets)}
    records, points = [], []
    for layer, head in [(i, j) for i in range(score.shape[0]) for j in range(score.shape[1])]:
        values = ablations.effects[where[frozenset([(layer, head)])]].numpy()
        low, high = bootstrap_interval(values, judged.groups, n_resamples=999, seed=config.seed)
        name = head_name((layer, head))
        records.append(
            {"head": name, "layer": layer, "index": head}
            | {key: float(value[layer, head]) for key, value in tensors.items()}
            | {"effect": float(values.mean()), "effect_low": low, "effect_high": high}
        )
        points.append(
            Point(
                name,
                float(score[layer, head]),
                float(values.mean()),
                low,
                high,
                highlighted=(layer, head) in plan.target,
            )
        )
    run.save_table("heads", pd.DataFrame(records))

    run.save_figure(
        "head_scores",
        head_map(
            score,
            label="induction score (share of attention)",
            title=f"{config.model}: who looks like an induction head",
            null=float(null.mean()),
            marked=sorted(plan.target) if plan.present else (),
        ),
    )
    first = table[0]
    run.save_figure(
        "signature_and_effect",
        signature_and_effect(
            points,
            signature_label="induction score on the selection split (share of attention)",
            effect_label="loss added by removal (nats a token)",
            controls=first.controls,
            controls_label=f"{len(first.controls)} {first.control_family} sets\nbeside {first.subject}",
            together=Point(first.subject, first.signature, first.effect, *first.interval),
            title=f"{config.model}: and who is depended on",
        ),
    )
    strongest = max(range(score.numel()), key=lambda i: float((score - null).flatten()[i]))
    top = (strongest // score.shape[1], strongest % score.shape[1])
    n_present = int(((score - null) >= plan.threshold).sum())
    run.save_metrics(
        {
            "top_head": head_name(top),
            "top_score": float(score[top]),
            "top_score_iid": float(null[top]),
            "n_heads_with_signature": n_present,
            "n_heads": score.numel(),
            "target": first.subject,
            "loss_clean": first.clean,
            "in_context_gain": gain,
            "effect": first.effect,
            "share_of_gain": first.share,
            "p_value": first.p_value,
            "p_smallest": first.p_smallest,
            "verdict": first.verdict,
            "untested": list(plan.untested),
            "headline": _headline(plan, table),
            "conclusion": _conclusion(config, plan, table, top, score, null, n_present, gain),
        }
    )


def _headline(plan: Plan, table: EvidenceTable) -> str:
    first = table[0]
    seen = "" if plan.present else "no induction signature; "
    return f"{seen}{first.subject} {first.verdict} (p {first.p_value:.3g})"


def _conclusion(
    config: Config,
    plan: Plan,
    table: EvidenceTable,
    top: tuple[int, int],
    score: Tensor,
    null: Tensor,
    n_present: int,
    gain: float,
) -> str:
    """Say in plain words what was seen and what was depended on."""
    from interp.evidence import head_name

    strongest = f"{head_name(top)} at {float(score[top]):.2f} (i.i.d. {float(null[top]):.2f})"
    if plan.present:
        heads = "head carries" if n_present == 1 else "heads carry"
        said = f"Signature: {n_present} {heads} it, the strongest {strongest}."
    else:
        said = (
            f"Signature: none. The strongest head is {strongest}, less than {plan.threshold:g} "
            "above its own i.i.d. score, so no head is called an induction head; it is tested "
            "all the same."
        )
    target = [row for row in table if row.subject == table[0].subject]
    first = target[0]
    share = (
        ""
        if first.share is None
        else f", {first.share:.0%} of the {gain:.2f} by which the second repeat is easier than the first"
    )
    said += (
        f" Load: removing {first.subject} ({config.ablation} ablation) adds {first.effect:.3g} "
        f"nats a token to the loss on repeats ({first.interval[0]:.3g} to {first.interval[1]:.3g})"
        f"{share}."
    )
    for row in target:
        said += (
            f" Beside {len(row.controls)} {row.control_family} sets: p {row.p_value:.3g} "
            f"(smallest attainable {row.p_smallest:.2g}), {row.verdict}."
        )
    for reason in plan.untested:
        said += f" Not tested: {reason}."
    return said
