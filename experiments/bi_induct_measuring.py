"""One trained arm of the Bi-Induct study: how its heads look, and what removing them costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from experiments.bi_induct_prompts import (
    COPY,
    TEXT,
    icl_tasks,
    ids_of,
    named,
    repeated,
    text_windows,
)

if TYPE_CHECKING:
    from pandas import DataFrame
    from torch import Tensor

    from experiments.bi_induct import Config
    from experiments.bi_induct_training import Arm
    from interp.evidence import Evidence, Metric
    from interp.heads import IclReport
    from interp.heads.planning import Subject
    from interp.models import Examples, Model
    from interp.runs import Run
    from interp.zoo.bi_induct.streams import Stream

# A head above its i.i.d. control by this much carries the signature, as in the induction study.
THRESHOLD = 0.3


@dataclass(frozen=True)
class Measured:
    """What was found in one arm.

    Attributes:
        arm: Its name.
        seed: Its seed.
        scores: Induction, anti-induction and previous-token scores with their i.i.d. controls.
        removed: For each rule the heads it chose, by name.
        copy_gain: Loss on the first showing of random tokens less that on the repeat, nats a token.
        icl: The in-context tasks scored, those at chance marked.
        evidence: One row a rule and task, for every task the arm is not at chance on, and for the
            stream.
        harms: For each rule, task and prompt the loss added by removing the heads, that added by
            the mean control set, and the clean loss, in nats.
        hits: For each rule and task HITS@1 before and after, and McNemar's p.
        perplexity: On the held-out stream; and without the first rule's heads.
    """

    arm: str
    seed: int
    scores: dict[str, Tensor]
    removed: dict[str, str]
    copy_gain: float
    icl: IclReport
    evidence: DataFrame
    harms: DataFrame
    hits: DataFrame
    perplexity: tuple[float, float]

    @property
    def activity(self) -> float:
        """Induction scores above their i.i.d. control, added up over all heads."""
        return float((self.scores["induction"] - self.scores["induction (iid)"]).sum())

    @property
    def strongest(self) -> float:
        """The strongest head's induction score."""
        return float(self.scores["induction"].max())

    @property
    def anti(self) -> float:
        """The strongest head's anti-induction score above its i.i.d. control."""
        return float((self.scores["anti-induction"] - self.scores["anti-induction (iid)"]).max())


def measure(config: Config, run: Run, stream: Stream, arm: Arm) -> Measured:
    """Choose heads on one half of the repeated tokens, remove them on everything else."""
    import pandas as pd

    from interp.evidence import answer_nll, bootstrap_interval, loss
    from interp.heads import choose_heads, judge_icl, score_icl, sweep
    from interp.models import load_model
    from interp.zoo.tasks import first_repeat

    model = load_model(str(arm.folder), device=config.device)
    kept = partial(_kept, run, arm.folder.name)
    choose, judged = repeated(config, stream).split(0.5, seed=config.seed)
    scores = kept("scores", lambda: _scores(config, stream, model, choose))
    above = scores["induction"] - scores["induction (iid)"]
    subjects = {}
    for rule in rules_of(config):
        (target,) = choose_heads(rule, above)
        subjects[rule] = _subject(config, model, target.heads, scores)
    first = sweep(model, first_repeat(judged), loss, [], kind="zero").clean
    prompts = icl_tasks(config, stream)
    icl = judge_icl([score_icl(model, task) for task in prompts], alpha=config.alpha)
    held_out = text_windows(config, stream)

    again = sweep(model, judged, loss, [], kind="zero").clean
    saved = (first - again).double().numpy()
    tasks: list[tuple[str, Examples, Metric]] = [(TEXT, held_out, loss)]
    if bootstrap_interval(saved, judged.groups, seed=config.seed)[0] > 0:  # it can copy at all
        tasks.append((COPY, judged, loss))
    able = {(mark.task, mark.shots) for mark in icl.marks if not mark.at_chance}
    tasks += [
        (named(task), task, answer_nll)
        for task in prompts
        if not task.permuted and (task.task, task.shots) in able
    ]
    rows: dict[str, list[tuple[str, Evidence]]] = {rule: [] for rule in subjects}
    harms, hits = [], []
    for name, examples, metric in tasks:
        # Means come from the prompts that chose the heads, except on natural windows.
        reference = text_windows(config, stream, choosing=True) if name == TEXT else choose
        remove = partial(_remove, config, model, examples, metric, reference=reference, keep=kept)
        for (rule, row, frame), hit in remove(subjects):
            rows[rule].append((name, row))
            harms.append(frame.assign(sets=rule, task=name))
            if hit is not None:
                hits.append({"sets": rule, "task": name, **hit})
    about: dict[str, Any] = {"arm": arm.name, "seed": arm.seed}
    text = next(frame for frame in harms if frame["task"].iloc[0] == TEXT)
    return Measured(
        **about,
        scores=scores,
        removed={rule: subject.name for rule, subject in subjects.items()},
        copy_gain=float(saved.mean()),
        icl=icl,
        evidence=_evidence(rows).assign(**about),
        harms=pd.concat(harms, ignore_index=True).assign(**about),
        hits=pd.DataFrame(hits).assign(**about),
        # All windows are of one length, so that the mean over windows is the mean over tokens.
        perplexity=(
            math.exp(text["clean"].mean()),
            math.exp((text["clean"] + text["harm"]).mean()),
        ),
    )


def _evidence(rows: dict[str, list[tuple[str, Evidence]]]) -> DataFrame:
    """Rows as a table, each rule's corrected by Holm's method across tasks.

    The stream itself is the guardrail and no task, so it stands outside the correction.
    """
    import pandas as pd

    from interp.evidence import EvidenceTable
    from interp.heads.dependence import corrected_by_family

    made = []
    for rule, found in rows.items():
        tasks = [name for name, _ in found if name != TEXT]
        corrected = corrected_by_family([row for name, row in found if name != TEXT])
        guardrail = [row for name, row in found if name == TEXT]
        frame = EvidenceTable([*guardrail, *corrected]).frame()
        made.append(frame.assign(sets=rule, task=[*[TEXT] * len(guardrail), *tasks]))
    return pd.concat(made, ignore_index=True)


def rules_of(config: Config) -> list[str]:
    """The rules by which heads are chosen, each of which makes one set."""
    rules = [part.strip() for part in config.sets.split(",") if part.strip()]
    if not rules or "all" in rules:
        raise ValueError(
            f"sets is {config.sets!r}; expected rules that each make one set, such as top:2"
        )
    return rules


def _kept(run: Run, key: str, name: str, make: Any) -> Any:
    return run.cached(f"{key}/{name}", make)


def _scores(config: Config, stream: Stream, model: Model, choose: Examples) -> dict[str, Tensor]:
    """Scores of every head; backward copying on what the backward arm was trained on."""
    import torch

    from interp.heads import head_scores, iid_control
    from interp.zoo.bi_induct.streams import BOS, SEP
    from interp.zoo.tasks import reversed_tokens

    found: dict[str, Tensor] = {}
    backward = reversed_tokens(
        ids_of(stream),
        n=config.n,
        length=config.length,
        bos_id=BOS,
        sep_id=SEP,
        generator=torch.Generator().manual_seed(config.seed),
    )
    for examples, names in (
        (choose, ("induction", "previous-token", "duplicate-token")),
        (backward, ("anti-induction",)),
    ):
        control = iid_control(
            examples, list(ids_of(stream)), generator=torch.Generator().manual_seed(config.seed + 1)
        )
        for name, score in head_scores(model, examples, names, control=control).items():
            assert score.control is not None
            found |= {name: score.values, f"{name} (iid)": score.control}
    return found


def _subject(
    config: Config, model: Model, heads: frozenset[tuple[int, int]], scores: dict[str, Tensor]
) -> Subject:
    from interp.evidence import layer_matched
    from interp.heads.planning import Subject, joined, mean_of

    signature = mean_of(scores["induction"], heads)
    null = mean_of(scores["induction (iid)"], heads)
    above = [float(scores["induction"][h] - scores["induction (iid)"][h]) for h in heads]
    return Subject(
        name=joined(heads),
        heads=heads,
        signature=signature,
        null=null,
        has_signature=max(above) >= THRESHOLD,
        controls=(
            layer_matched(
                heads, model.n_layers, model.n_heads, n=config.controls, seed=config.seed
            ),
        ),
    )


def _remove(
    config: Config,
    model: Model,
    examples: Examples,
    metric: Metric,
    subjects: dict[str, Subject],
    *,
    reference: Examples,
    keep: Any,
) -> list[tuple[tuple[str, Evidence, DataFrame], dict[str, Any] | None]]:
    """Remove every rule's heads and their control sets in one sweep, and weigh them."""
    import pandas as pd

    from interp.heads import sweep
    from interp.heads.dependence import weigh_subject
    from interp.heads.planning import sets_to_remove

    done = sweep(
        model,
        examples,
        metric,
        sets_to_remove(subjects.values()),
        kind="mean",
        reference=reference,
        seed=config.seed,
        keep=keep,
    )
    where = {heads: i for i, heads in enumerate(done.sets)}
    found: list[tuple[tuple[str, Evidence, DataFrame], dict[str, Any] | None]] = []
    for rule, subject in subjects.items():
        (controls,) = subject.controls
        (row,) = weigh_subject(
            subject,
            done,
            examples.groups,
            signature_name="induction",
            alpha=config.alpha,
            seed=config.seed,
        )
        others = done.effects[[where[s] for s in controls.sets]].mean(0)
        frame = pd.DataFrame(
            {
                "prompt": pd.array(examples.groups, dtype="string"),
                "clean": done.clean.double().numpy(),
                "harm": done.effects[where[subject.heads]].double().numpy(),
                "harm_of_controls": others.double().numpy(),
                "chance": math.log(len(model.ordinary_ids)),
            }
        )
        hit = None
        if examples.answer is not None:
            hit = _hits(config, model, subject, examples, reference)
        found.append(((rule, row, frame), hit))
    return found


def _hits(
    config: Config, model: Model, subject: Subject, examples: Examples, reference: Examples
) -> dict[str, Any]:
    from interp.evidence import hits_at, mcnemar
    from interp.heads import sweep

    done = sweep(
        model,
        examples,
        hits_at(1),
        [subject.heads],
        kind="mean",
        reference=reference,
        seed=config.seed,
    )
    test = mcnemar(done.clean.numpy(), done.ablated[0].numpy(), examples.groups, seed=config.seed)
    return {
        "hits@1": float(done.clean.mean()),
        "hits@1 without the heads": float(done.ablated[0].mean()),
        "p": test.p_value,
    }
