"""Which heads does a model depend on, on prompts of your own?

Heads are chosen by a signature on one half of the prompts and removed on the other, beside matched
random heads. Any model, any prompts: a file, an in-context task, a text, or repeated tokens.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from experiments.heads_measuring import Found
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "Which heads does a model depend on, on prompts of your own?"


@dataclass(frozen=True)
class Config:
    """Settings of the ablation study.

    Attributes:
        model: A Hugging Face id, a local folder, or zoo:NAME.
        prompts: FILE.jsonl (lines of clean, answer and, if you like, wrong, corrupt, group),
            FILE.txt (text, every next token predicted), icl:TASK, icl:FILE.json, or own-text (what
            the model itself writes). Repeated random tokens when not given.
        metric: What removal is judged by: loss, accuracy, logit_difference, answer-nll, log-odds or
            hits@K. When not given, logit_difference where prompts have a wrong answer, answer-nll
            where they have an answer, else loss.
        signature: What heads are chosen by, with commas between; all for every one.
        sets: Which of them are removed, with commas between: top:3, top:2%, top-per-layer:2%,
            layer:3, L3H7+L5H1, all.
        ablation: What takes a removed head's place; corrupt: what it does on the corrupt prompt.
        function_vectors: In-context tasks, with commas between. Heads that carry their function
            vectors (top 2 %) are then left out in one comparison, removed throughout in another.
        text: A file of natural text whose perplexity is the guardrail.
        seed: Seeds prompts, split, controls and bootstrap.
        n: Prompts, where they are made; half choose the heads, half judge them.
        length: Tokens in the block that is repeated, and in windows of text.
        shots: Demonstrations in prompts of an in-context task; fewer where no more fit.
        threshold: By how much attention and copying scores must exceed their null to be called a
            signature.
        controls: Matched-random control sets a family.
        alpha: Level of the verdicts.
        first_token: Where an answer in the file has several tokens, use its first.
        skip_unequal: Leave out rows of the file whose clean and corrupt prompts differ in length.
        batch_size: Rows at a time where heads are scored; halved on out-of-memory.
        memory: Limit, in 10⁶ bytes by estimate, on what removing heads holds beside the model;
            none when not given, and then halved on out-of-memory.
        device: A torch device.
        dtype: Type of the weights.
        revision: Branch, tag or commit on the Hub.
    """

    model: str = "zoo:code-lm"
    prompts: str | None = None
    metric: str | None = None
    signature: str = "induction"
    sets: str = "top:1,top:3"
    ablation: Literal[
        "mean", "mean-by-position", "zero", "resample", "pattern-preserving", "corrupt"
    ] = "mean"
    function_vectors: str | None = None
    text: str | None = None
    seed: int = 0
    n: int = 128
    length: int = 50
    shots: int = 5
    threshold: float = 0.3
    controls: int = 99
    alpha: float = 0.05
    first_token: bool = False
    skip_unequal: bool = False
    batch_size: int = 32
    memory: float | None = None
    device: str = "cpu"
    dtype: Literal["float32", "bfloat16", "float16", "float64"] = "float32"
    revision: str | None = None


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"n": 32, "length": 20, "controls": 29},
    "default": {},
    "headline": {"n": 512, "controls": 999},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from experiments.heads_prompts import source_of
    from interp.evidence import get_metric
    from interp.heads import HeadRule, parse_signatures
    from interp.models import ModelSpec, require_device, resolve

    _check_numbers(config)
    names = parse_signatures(config.signature, function_vectors=bool(config.function_vectors))
    if "function-vector" in names and config.function_vectors is None:
        raise ValueError("the signature function-vector needs --function-vectors TASK")
    if not split(config.sets):
        raise ValueError("sets is empty; expected rules such as top:3 or L3H7+L5H1")
    for rule in split(config.sets):
        HeadRule.parse(rule)
    if config.metric is not None:
        get_metric(config.metric)
    kind = source_of(config.prompts).kind
    if config.ablation == "corrupt" and kind != "file":
        raise ValueError("corrupt ablation needs --prompts FILE.jsonl whose rows have 'corrupt'")
    if config.text is not None and not Path(config.text).is_file():
        raise ValueError(f"text: no file {config.text}")
    for task in split(config.function_vectors or ""):
        source_of(f"icl:{task}")
    require_device(config.device)
    resolve(ModelSpec(config.model, revision=config.revision))


def _check_numbers(config: Config) -> None:
    for name, least in (("n", 8), ("length", 2), ("shots", 0), ("controls", 1), ("batch_size", 1)):
        if getattr(config, name) < least:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least {least}")
    if not 0 <= config.seed < 2**63:
        raise ValueError(f"seed is {config.seed}; expected a whole number from 0 to 2**63 - 1")
    for name in ("alpha", "threshold"):
        if not 0 < getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; expected between 0 and 1")
    if config.memory is not None and not config.memory > 0:
        raise ValueError(f"memory is {config.memory}; expected a number of MB above 0")


def split(text: str) -> tuple[str, ...]:
    """Return the parts of a list with commas between."""
    return tuple(part.strip() for part in text.split(",") if part.strip())


def run(config: Config, run: Run) -> None:
    """Choose heads on one half of the prompts, and remove them on the other."""
    from experiments.heads_measuring import measure
    from experiments.heads_report import save
    from interp.models import ModelSpec, load_model

    model = load_model(
        ModelSpec(config.model, revision=config.revision, device=config.device, dtype=config.dtype)
    )
    found: Found = measure(config, run, model)
    save(config, run, found)


def report(run: Run) -> Any:
    """Return what the terminal shows: the evidence, or the effects where nothing can be judged."""
    from experiments.heads_report import table_of

    return table_of(run)
