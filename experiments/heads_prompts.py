"""What the ablation study measures on: prompts of five kinds, and text for the guardrail."""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from experiments.repeated import repeated_examples

if TYPE_CHECKING:
    from experiments.heads import Config
    from interp.heads import FunctionPrompts
    from interp.models import Examples, Model
    from interp.models.prompts import PromptSet
    from interp.zoo.icl import IclTask

Kind = Literal["repeated", "file", "text", "icl", "own-text"]

# Prompts a function-vector score is measured on, and those its averages are taken over.
_MEASURED, _AVERAGED = 25, 50


@dataclass(frozen=True)
class Source:
    """Where prompts come from.

    Attributes:
        kind: Which kind of prompts.
        name: The file or task.
    """

    kind: Kind
    name: str = ""


def source_of(prompts: str | None) -> Source:
    """Read ``--prompts``.

    Raises:
        ValueError: no such file or task.
    """
    from interp.zoo.icl import icl_task_names

    if prompts is None:
        return Source("repeated")
    if prompts == "own-text":
        return Source("own-text")
    word, colon, name = prompts.partition(":")
    if colon and word == "icl":
        if name.endswith(".json"):
            if not Path(name).is_file():
                raise ValueError(f"no file {name} with an in-context task")
        elif name not in icl_task_names():
            near = difflib.get_close_matches(name, icl_task_names(), n=3, cutoff=0.4)
            raise ValueError(
                f"unknown in-context task {name!r}; expected one of "
                f"{', '.join(near or icl_task_names())}, or a file icl:FILE.json"
            )
        return Source("icl", name)
    if not Path(prompts).is_file():
        raise ValueError(
            f"prompts: no file {prompts}; expected FILE.jsonl, FILE.txt, icl:TASK or own-text"
        )
    if prompts.endswith(".jsonl"):
        return Source("file", prompts)
    if prompts.endswith(".txt"):
        return Source("text", prompts)
    raise ValueError(f"prompts: {prompts} is neither .jsonl (prompts) nor .txt (text)")


def make_prompts(config: Config, model: Model) -> PromptSet:
    """Make or read the prompts of a study."""
    import torch

    from interp.models.prompts import PromptSet, read_prompts
    from interp.models.sampling import own_text
    from interp.zoo.icl_prompts import icl_prompts

    source = source_of(config.prompts)
    if source.kind == "file":
        return read_prompts(
            source.name,
            model,
            first_token=config.first_token,
            with_corrupt=config.ablation == "corrupt",
            skip_unequal=config.skip_unequal,
        )
    clean: Examples
    if source.kind == "repeated":
        clean = repeated_examples(model, n=config.n, length=config.length, seed=config.seed)
    elif source.kind == "icl":
        task = _task(source.name, config.seed)
        clean = icl_prompts(
            task,
            model,
            n=config.n,
            shots=min(config.shots, len(task) - 1),
            on_overflow="reduce",
            seed=config.seed,
        )
    elif source.kind == "text":
        clean = windows(
            model, Path(source.name), n=config.n, length=config.length, seed=config.seed
        )
    else:
        length = min(config.length, model.n_ctx - (model.bos_id is not None))
        generator = torch.Generator().manual_seed(config.seed)
        clean = own_text(model, n=config.n, length=length, generator=generator)
    return PromptSet(clean, None, 0, 0, 0)


def windows(
    model: Model, file: Path | None, *, n: int, length: int, seed: int, text: str | None = None
) -> Examples:
    """Cut a text into windows that do not overlap; all there are where they are fewer than ``n``.

    Raises:
        ValueError: the model has no tokenizer, or the text holds no two windows.
    """

    import torch

    from interp.zoo.tasks import text_windows

    if model.tokenizer is None:
        raise ValueError(f"{model.spec.name} has no tokenizer, so it reads no text")
    if file is not None:
        text = file.read_text(encoding="utf-8")
    ids = torch.tensor(model.tokenizer.encode(text or "", add_special_tokens=False))
    length = min(length, model.n_ctx - (model.bos_id is not None))
    available = len(ids) // length
    if available < 2:
        raise ValueError(
            f"the text holds {len(ids)} tokens: fewer than two windows of {length}; give more"
        )
    found = text_windows(
        ids.to(torch.int64),
        n=min(n, available),
        length=length,
        bos_id=model.bos_id,
        generator=torch.Generator().manual_seed(seed),
    )
    source = "held-out source code" if file is None else file.name
    return dataclasses.replace(found, name=f"{source}, windows of {length} tokens")


def guardrail_text(config: Config, model: Model) -> Examples | None:
    """Return held-out natural text: the user's, or the bundled language model's own; else none."""
    if config.text is not None:
        return windows(model, Path(config.text), n=64, length=128, seed=config.seed)
    if config.model != "zoo:code-lm":
        return None
    from interp.zoo.corpus import read_corpus

    held_out = "\n".join(read_corpus().held_out)[:200_000]
    return windows(model, None, n=64, length=128, seed=config.seed, text=held_out)


def function_prompts(
    config: Config, model: Model, names: tuple[str, ...], *, judged: Examples
) -> list[FunctionPrompts]:
    """Make the prompts on which function-vector heads are found, a pair of versions a task.

    No query among the judged prompts is one here, whatever task both come from.
    """
    from interp.heads import FunctionPrompts
    from interp.zoo.icl_prompts import icl_prompts

    made = []
    for name in names:
        task = _without(_task(name, config.seed + 1), judged)
        correct, permuted = (
            icl_prompts(
                task,
                model,
                n=_MEASURED + _AVERAGED,
                shots=min(max(config.shots, 2), len(task) - 1),
                permute_labels=labels,
                on_overflow="reduce",
                seed=config.seed + 1,
            )
            for labels in (False, True)
        )
        made.append(FunctionPrompts.split(correct, permuted, n=_MEASURED))
    return made


def _without(task: IclTask, judged: Examples) -> IclTask:
    """The task without the pairs that are judged: a query's group is its task and input."""
    used = set(judged.groups)
    keep = [i for i, pair in enumerate(task.pairs) if f"{task.name}: {pair[0]}" not in used]
    choices = task.choices and tuple(task.choices[i] for i in keep)
    return dataclasses.replace(task, pairs=tuple(task.pairs[i] for i in keep), choices=choices)


def _task(name: str, seed: int) -> IclTask:
    from interp.zoo.icl import icl_task
    from interp.zoo.icl_files import load_icl_file

    return load_icl_file(name) if name.endswith(".json") else icl_task(name, seed=seed)
