"""Which heads are induction heads, and does the model depend on them?

Signature: attention from a repeated random token to what followed it before (Olsson et al. 2022).
Load: what removing those heads costs on held-out repeats, beside removing matched random heads
(in the spirit of "Induction Signatures Are Not Enough", 2025).
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from torch import Tensor

    from interp.evidence import EvidenceTable
    from interp.heads import Ablations, Plan
    from interp.heads.ability import Ability
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
        top: How many of the heads that lead their i.i.d. score most are also tested one by one.
        at_most: How many heads the target may have.
        controls: Matched-random control sets a family.
        ablation: What takes a removed head's place.
        alpha: Level of the verdicts.
        batch_size: Rows at a time where heads are scored; halved on out-of-memory.
        memory: Limit, in 10⁶ bytes by estimate, on what removing heads holds beside the model;
            none when not given, and then halved on out-of-memory.
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
    memory: float | None = None
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"n": 32, "length": 20, "controls": 29, "top": 3},
    "default": {},
    "headline": {"n": 512, "controls": 999},
}

SCORES = ("induction", "previous-token", "duplicate-token", "anti-induction", "prefix-matching")


@dataclass(frozen=True)
class Found:
    """What was measured, for the tables and figures.

    Attributes:
        plan: Which sets were removed.
        tensors: Scores, i.i.d. scores and output norms, [layer, head] each.
        ablations: What came of removing each set.
        points: Every head alone, layer by layer.
        length: Tokens in the block that is repeated.
        ability: Whether the model can do the task; where it cannot, there is no verdict.
        gain: Loss on the first repeat minus loss on the second, in nats a token.
        table: The evidence, the target's rows first.
    """

    plan: Plan
    tensors: dict[str, Tensor]
    ablations: Ablations
    points: tuple[Point, ...]
    length: int
    ability: Ability
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
    if config.memory is not None and not config.memory > 0:
        raise ValueError(f"memory is {config.memory}; expected a number of MB above 0")
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))


def run(config: Config, run: Run) -> None:
    """Measure the signature on one half of the examples and the load on the other."""
    import torch

    from experiments.induction_report import save
    from experiments.repeated import repeated_examples
    from interp.heads import iid_control
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    repeated = repeated_examples(model, n=config.n, length=config.length, seed=config.seed)
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
    save(config, run, found)


def report(run: Run) -> Any:
    """Return what the terminal shows: the evidence, without verdicts where there are none."""
    from experiments.unjudged import shown

    return shown(run.table("evidence"))


def _measure(
    config: Config,
    run: Run,
    model: Model,
    *,
    choose: Examples,
    control: Examples,
    judged: Examples,
) -> Found:
    from interp.evidence import loss
    from interp.heads import head_scores, judge, output_norms, plan_ablations, sweep
    from interp.heads.ability import loss_ability
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

    layers, heads = tensors["induction"].shape
    # For the figure, which shows what removing each head costs.
    alone = [frozenset([(i, j)]) for i in range(layers) for j in range(heads)]
    ablations = sweep(
        model,
        judged,
        loss,
        tuple(dict.fromkeys([*plan.sets, *alone])),
        kind=config.ablation,
        reference=choose,
        memory_mb=config.memory,
        seed=config.seed,
        keep=run.cached,
    )
    # What copying saves: nothing can be copied in the first repeat.
    first = sweep(model, first_repeat(judged), loss, [], kind="zero", memory_mb=config.memory).clean
    gain = float(first.mean() - ablations.clean.mean())
    table = judge(plan, ablations, judged.groups, gain=gain, alpha=config.alpha, seed=config.seed)
    points = _each_head(config, plan, tensors["induction"], ablations, judged.groups)
    length = int(judged.scored[0].sum()) + 1 if judged.scored is not None else 0
    ability = loss_ability(float(ablations.clean.double().mean()), model.d_vocab)
    return Found(plan, tensors, ablations, points, length, ability, gain, table)


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
