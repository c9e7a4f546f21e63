"""The measurements of the ablation study, in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.heads import Config, split
from experiments.heads_prompts import function_prompts, guardrail_text, make_prompts
from experiments.repeated import repeated_examples

if TYPE_CHECKING:
    from torch import Tensor

    from interp.evidence import Evidence, Head, ItemsTest, Metric
    from interp.heads import Ablations, Perplexities
    from interp.heads.ability import Ability
    from interp.heads.comparing import Comparison
    from interp.heads.signatures import Signature
    from interp.models import Model
    from interp.models.prompts import PromptSet
    from interp.runs import Run

# Repeated random tokens on which attention is scored, where the prompts are something else.
_REPEATED = 64


@dataclass(frozen=True)
class Found:
    """What was measured, for the tables and figures.

    Attributes:
        choose: The prompts that chose the heads.
        judged: The prompts that judge them.
        ability: Whether the model can do the task.
        metric: What removal is judged by.
        signatures: What heads were chosen by.
        norms: Mean output norm of every head.
        function_vector_heads: Heads set aside in further comparisons; None where not asked for.
        comparisons: What was compared, under each condition.
        rows: The evidence of each comparison.
        ablations: What removing each set did, in ``metric``; every head alone is among them.
        others: The same in further metrics, for the first comparison's sets and control sets.
        items: For each set of the first comparison which items it flips, where prompts have
            answers.
        perplexities: The guardrail, or None where there is no text.
    """

    choose: PromptSet
    judged: PromptSet
    ability: Ability
    metric: Metric
    signatures: tuple[Signature, ...]
    norms: Tensor
    function_vector_heads: frozenset[Head] | None
    comparisons: tuple[Comparison, ...]
    rows: tuple[tuple[Evidence, ...], ...]
    ablations: Ablations
    others: tuple[Ablations, ...]
    items: dict[str, ItemsTest]
    perplexities: Perplexities | None


def measure(config: Config, run: Run, model: Model) -> Found:
    """Measure everything; finished parts are kept in the run."""
    from interp.evidence import get_metric, mcnemar
    from interp.heads import HeadRule, output_norms
    from interp.heads.ability import task_ability
    from interp.heads.comparing import choose_and_match, compare
    from interp.heads.conditions import PLAIN, function_vector_conditions

    choose, judged = make_prompts(config, model).split(0.5, seed=config.seed)
    run.record(
        model=model.fingerprint,
        data={"selection": choose.clean.hash, "judged": judged.clean.hash},
        seeds={"all": config.seed},
        device=config.device,
    )
    metric = get_metric(config.metric) if config.metric else _default_metric(judged)
    ability = task_ability(model, judged.clean, alpha=config.alpha)
    signatures, fv = _signatures(config, run, model, choose=choose, judged=judged, metric=metric)
    norms = run.cached("norms", lambda: output_norms(model, choose.clean))
    comparisons = tuple(
        choose_and_match(
            signatures,
            [HeadRule.parse(rule) for rule in split(config.sets)],
            norms,
            condition=condition,
            n_controls=config.controls,
            seed=config.seed,
        )
        for condition in (PLAIN, *(function_vector_conditions(fv) if fv is not None else ()))
    )
    if not comparisons[0].choices:
        raise ValueError(
            "no set can be compared with others: " + "; ".join(comparisons[0].untested)
        )
    remove = partial(_remove, config=config, run=run, model=model, choose=choose, judged=judged)
    singles = [
        frozenset([(layer, head)])
        for layer in range(model.n_layers)
        for head in range(model.n_heads)
    ]
    needed = [heads for c in comparisons for heads in c.condition.needs(c.sets)]
    ablations = remove(metric, list(dict.fromkeys([*needed, *singles])))
    rows = tuple(
        tuple(compare(c, ablations, judged.clean.groups, alpha=config.alpha, seed=config.seed))
        for c in comparisons
    )
    subjects = {c.subject.heads: c.subject.name for c in comparisons[0].choices}
    fair = [s for c in comparisons[0].choices for f in c.subject.controls for s in f.sets]
    shown = list(dict.fromkeys([*subjects, *fair]))
    others = tuple(remove(other, shown) for other in _other_metrics(metric, judged))
    items = {}
    for found in (ablations, *others):
        if found.metric.name == "hits@1":
            where = {heads: i for i, heads in enumerate(found.sets)}
            for heads, name in subjects.items():
                items[name] = mcnemar(
                    found.clean.numpy(),
                    found.ablated[where[heads]].numpy(),
                    judged.clean.groups,
                    seed=config.seed,
                )
    return Found(
        choose=choose,
        judged=judged,
        ability=ability,
        metric=metric,
        signatures=tuple(signatures),
        norms=norms,
        function_vector_heads=fv,
        comparisons=comparisons,
        rows=rows,
        ablations=ablations,
        others=others,
        items=items,
        perplexities=_perplexities(config, run, model, choose, subjects),
    )


def _default_metric(prompts: PromptSet) -> Metric:
    from interp.evidence import answer_nll, logit_difference, loss

    if prompts.clean.answer is None:
        return loss
    return answer_nll if prompts.clean.wrong is None else logit_difference


def _other_metrics(metric: Metric, prompts: PromptSet) -> list[Metric]:
    """What is reported beside the metric of the verdict."""
    from interp.evidence import accuracy, answer_nll, hits_at, log_odds, logit_difference, loss

    if prompts.clean.answer is None:
        found = [loss, accuracy]
    else:
        found = [answer_nll, log_odds, hits_at(1)]
        found += [logit_difference] if prompts.clean.wrong is not None else []
    return [other for other in found if other.name != metric.name]


def _remove(
    metric: Metric,
    sets: Sequence[frozenset[Head]],
    *,
    config: Config,
    run: Run,
    model: Model,
    choose: PromptSet,
    judged: PromptSet,
) -> Ablations:
    from interp.heads import sweep
    from interp.heads.corrupting import sweep_corrupt

    limits: dict[str, Any] = {"memory_mb": config.memory, "keep": run.cached}
    if config.ablation == "corrupt":
        assert judged.corrupt is not None
        return sweep_corrupt(model, judged.clean, metric, sets, judged.corrupt, **limits)
    return sweep(
        model,
        judged.clean,
        metric,
        sets,
        kind=config.ablation,
        reference=choose.clean,
        seed=config.seed,
        **limits,
    )


def _signatures(
    config: Config, run: Run, model: Model, *, choose: PromptSet, judged: PromptSet, metric: Metric
) -> tuple[list[Signature], frozenset[Head] | None]:
    """Measure the signatures asked for, on the selection split; and name function-vector heads."""
    from interp.heads import function_vector_heads, function_vector_scores
    from interp.heads.signatures import (
        Signature,
        attention_signatures,
        effect_signature,
        parse_signatures,
    )

    tasks = split(config.function_vectors or "")
    names = parse_signatures(config.signature, function_vectors=bool(tasks))
    aside: dict[str, Any] = {}

    def all_of_them() -> dict[str, Tensor]:
        repeated = choose.clean
        if config.prompts is not None:
            repeated = repeated_examples(model, n=_REPEATED, length=config.length, seed=config.seed)
        made = attention_signatures(
            model,
            repeated,
            names,
            threshold=config.threshold,
            batch_size=config.batch_size,
            seed=config.seed,
        )
        if "attribution" in names:
            made.append(_attribution(config, model, choose, metric))
        if tasks:
            scores = function_vector_scores(
                model,
                function_prompts(config, model, tasks, judged=judged.clean),
                memory_mb=config.memory,
            )
            made.append(effect_signature("function-vector", scores, alpha=config.alpha))
            heads = function_vector_heads(scores, above_control=True)
            mask = made[-1].carried.new_zeros(made[-1].carried.shape)
            for head in heads:
                mask[head] = True
            aside["heads"] = mask
        fields = ("values", "null", "carried")
        return {f"{s.name}:{f}": getattr(s, f) for s in made for f in fields} | aside

    held = run.cached("signatures", all_of_them)
    found = [
        Signature(name, *(held[f"{name}:{field}"] for field in ("values", "null", "carried")))
        for name in names
    ]
    if not tasks:
        return found, None
    return found, frozenset((int(i), int(j)) for i, j in held["heads"].nonzero())


def _attribution(config: Config, model: Model, choose: PromptSet, metric: Metric) -> Signature:
    from interp.evidence import answer_nll, loss
    from interp.heads import attribute
    from interp.heads.signatures import effect_signature

    if metric.name == "accuracy" or metric.name.startswith("hits@"):  # steps have no slope
        metric = loss if choose.clean.answer is None else answer_nll
    kind: Any = {"corrupt": "paired", "pattern-preserving": "zero"}.get(
        config.ablation, config.ablation
    )
    estimates = attribute(
        model,
        choose.clean,
        metric,
        kind=kind,
        reference=choose.corrupt if kind == "paired" else choose.clean,
        check=0,  # the study itself removes every head
        batch_size=config.batch_size,
        seed=config.seed,
    )
    return effect_signature("attribution", estimates.scores(), alpha=config.alpha)


def _perplexities(
    config: Config,
    run: Run,
    model: Model,
    choose: PromptSet,
    subjects: dict[frozenset[Head], str],
) -> Perplexities | None:
    """The guardrail, with the very replacement of the study where text allows it."""
    from interp.heads import perplexity

    text = guardrail_text(config, model)
    if text is None:
        return None
    kind: Any = config.ablation if config.ablation in ("zero", "pattern-preserving") else "mean"
    sets = {name: heads for heads, name in subjects.items()}
    return perplexity(
        model,
        text,
        sets,
        kind=kind,
        reference=choose.clean,
        keep=run.cached,
        seed=config.seed,
    )
