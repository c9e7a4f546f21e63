"""One trained arm of the Bi-Induct study: how its heads look, and what removing them costs."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

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
    from interp.zoo.icl_prompts import IclPrompts

COPY, TEXT = "copy", "held-out stream"
# A head above its i.i.d. control by this much carries the signature, as in the induction study.
THRESHOLD = 0.3


@dataclass(frozen=True)
class Measured:
    """What was found in one arm.

    Attributes:
        arm: Its name.
        seed: Its seed.
        scores: Induction, anti-induction and previous-token scores with their i.i.d. controls.
        heads: The heads removed together, by name.
        statement: How they were chosen.
        copy_gain: Loss on the first showing of random tokens less that on the repeat, nats a token.
        icl: The in-context tasks scored, those at chance marked.
        evidence: One row a task, for every task the arm is not at chance on, and for the stream.
        harms: For each task and prompt the loss added by removing the heads, that added by the mean
            control set, and the clean loss, in nats.
        hits: For each task HITS@1 before and after, and McNemar's test.
        perplexity: On the held-out stream, clean and without the heads.
    """

    arm: str
    seed: int
    scores: dict[str, Tensor]
    heads: tuple[str, ...]
    statement: str
    copy_gain: float
    icl: IclReport
    evidence: tuple[Evidence, ...]
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

    from interp.evidence import answer_nll, bootstrap_interval, head_name, loss
    from interp.heads import choose_heads, judge_icl, perplexity, score_icl, sweep
    from interp.models import load_model
    from interp.zoo.tasks import first_repeat

    model = load_model(str(arm.folder), device=config.device)
    kept = partial(_kept, run, arm.folder.name)
    choose, judged = _repeated(config, stream).split(0.5, seed=config.seed)
    scores = kept("scores", lambda: _scores(config, stream, model, choose))
    (target,) = choose_heads(config.sets, scores["induction"] - scores["induction (iid)"])
    subject = _subject(config, model, target.heads, scores)
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
    evidence, harms, hits = [], [], []
    for name, examples, metric in tasks:
        # Means come from the prompts that chose the heads, except on natural windows.
        reference = text_windows(config, stream, choosing=True) if name == TEXT else choose
        row, frame = _remove(
            config, model, subject, examples, metric, reference=reference, keep=kept
        )
        evidence.append(row)
        harms.append(frame.assign(task=name))
        if metric is answer_nll:
            hits.append({"task": name, **_hits(config, model, subject, examples, reference)})
    text = perplexity(
        model,
        held_out,
        {"heads": target.heads},
        reference=text_windows(config, stream, choosing=True),
        seed=config.seed,
    )
    return Measured(
        arm=arm.name,
        seed=arm.seed,
        scores=scores,
        heads=tuple(head_name(head) for head in sorted(target.heads)),
        statement=target.statement,
        copy_gain=float(saved.mean()),
        icl=icl,
        evidence=tuple(evidence),
        harms=pd.concat(harms, ignore_index=True).assign(arm=arm.name, seed=arm.seed),
        hits=pd.DataFrame(hits).assign(arm=arm.name, seed=arm.seed),
        perplexity=(text.clean, text["heads"].perplexity),
    )


def _kept(run: Run, key: str, name: str, make: Any) -> Any:
    return run.cached(f"{key}/{name}", make)


def _ids(stream: Stream) -> range:
    return range(stream.n_fixed, stream.vocab_size)


def _repeated(config: Config, stream: Stream) -> Examples:
    import torch

    from interp.zoo.bi_induct.streams import BOS
    from interp.zoo.tasks import repeated_tokens

    return repeated_tokens(
        _ids(stream),
        n=2 * config.n,
        length=config.length,
        bos_id=BOS,
        generator=torch.Generator().manual_seed(config.seed),
    )


def text_windows(config: Config, stream: Stream, *, choosing: bool = False) -> Examples:
    """Windows of the held-out stream, each its own group; or training windows, for means."""
    import torch
    from torch.nn.functional import pad

    from interp.models import Examples
    from interp.zoo.bi_induct.streams import BOS

    generator = torch.Generator().manual_seed(config.seed + choosing)
    width = config.context - 1
    if choosing:
        windows = stream.windows(config.n, width, generator=generator)
    else:
        windows = stream.consecutive(config.n, width, generator=generator)
    tokens = pad(windows, (1, 0), value=BOS)
    scored = torch.ones_like(tokens, dtype=torch.bool)
    scored[:, -1] = False
    return Examples(tokens=tokens, scored=scored, name=TEXT, seed=config.seed)


def icl_tasks(config: Config, stream: Stream) -> list[IclPrompts]:
    """Recall and list tasks in ids, with few and many shots, and with permuted labels.

    The marks between a list and its answer are two ordinary ids, which mean nothing elsewhere.
    """
    import torch

    from interp.zoo.bi_induct.streams import BOS
    from interp.zoo.icl_ids import key_value_recall, list_position

    ids = _ids(stream)
    sep, end = ids[-1], ids[-2]
    made: list[IclPrompts] = []
    for permute in (False, True):

        def common(permute: bool = permute) -> dict[str, Any]:
            generator = torch.Generator().manual_seed(config.seed)
            return {
                "n": config.n,
                "bos_id": BOS,
                "permute_labels": permute,
                "generator": generator,
            }

        made += [key_value_recall(ids, keys=8, repeats=r, **common()) for r in (1, 3)]
        for place in ("first", "last"):
            made += [
                list_position(ids, shots=shots, position=place, sep_id=sep, end_id=end, **common())
                for shots in ((2, 10) if permute else (1, 2, 10))
            ]
    return made


def named(task: IclPrompts) -> str:
    """A task with its shots: ``list-position-first-of-3, 10 shots``."""
    return f"{task.task}, {task.shots} shots"


def _scores(config: Config, stream: Stream, model: Model, choose: Examples) -> dict[str, Tensor]:
    """Scores of every head; backward copying on what the backward arm was trained on."""
    import torch

    from interp.heads import head_scores, iid_control
    from interp.zoo.bi_induct.streams import BOS, SEP
    from interp.zoo.tasks import reversed_tokens

    found: dict[str, Tensor] = {}
    backward = reversed_tokens(
        _ids(stream),
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
            examples, list(_ids(stream)), generator=torch.Generator().manual_seed(config.seed + 1)
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
    subject: Subject,
    examples: Examples,
    metric: Metric,
    *,
    reference: Examples,
    keep: Any,
) -> tuple[Evidence, DataFrame]:
    """Remove the heads and their control sets, and weigh."""
    import pandas as pd

    from interp.heads import sweep
    from interp.heads.dependence import weigh_subject

    (controls,) = subject.controls
    sets = list(dict.fromkeys([subject.heads, *controls.sets, *controls.null_sets]))
    done = sweep(
        model, examples, metric, sets, kind="mean", reference=reference, seed=config.seed, keep=keep
    )
    (row,) = weigh_subject(
        subject,
        done,
        examples.groups,
        signature_name="induction",
        gain=None,
        alpha=config.alpha,
        seed=config.seed,
    )
    where = {heads: i for i, heads in enumerate(done.sets)}
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
    return row, frame


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
