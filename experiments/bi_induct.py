"""Does training on copies make a model depend on its induction heads, or only look as if?

Bi-Induct (Sabry & Belz 2025, "Induction Signatures Are Not Enough") puts short forward or backward
copies into a natural stream and trains otherwise equal models. This study trains such arms from one
initialisation a seed, and compares what their heads look like with what removing them costs.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "Train on copies or not: are the induction heads depended on, or only there?"

DATA = ("renamed-code", "code")


@dataclass(frozen=True)
class Config:
    """Settings of the Bi-Induct study.

    Attributes:
        data: What is natural. renamed-code: the identifiers of Python's standard library, renamed
            in every window. code: its text. A folder of text files; or datasets:NAME, for those
            who have the datasets package.
        arms: Which arms, with commas between: natural, forward, backward, balanced.
        seeds: How many seeds; each is one initialisation and one order of the data for all arms.
        seed: The first seed; also seeds prompts, controls and bootstrap.
        from_scratch: Also train the natural arm from random weights, without warm-up.
        n_layers: Layers.
        n_heads: Query heads a layer.
        n_kv_heads: Key/value heads a layer; as many as query heads when not given.
        d_head: Width of a head.
        d_model: Width of the residual stream.
        d_mlp: Width of the MLP.
        vocab: Ids that names are drawn from, or tokens of the text's vocabulary.
        context: Tokens in a training row.
        rows: Rows in a batch.
        steps: Optimizer steps of an arm.
        lr: Peak learning rate.
        shortest: Fewest tokens in a snippet's S.
        longest: Most.
        warm_up_until: Induction score at which the common warm-up stops; 0 for none.
        warm_up_heads: Heads of each layer that may write during the warm-up.
        every: Steps between two looks at the heads.
        n: Prompts a task; of repeated tokens twice as many, half of which choose the heads.
        length: Tokens in the block that is repeated.
        sets: Which heads are removed together: rules, as for `interp run heads`. The first is the
            one that the paper's claims are tested with.
        controls: Matched-random control sets.
        alpha: Level of the verdicts.
        max_bytes: Take no more text than this.
        workers: Arms trained at the same time, each in a process of one thread.
        device: A torch device.
    """

    data: str = "renamed-code"
    arms: str = "natural,forward,backward,balanced"
    seeds: int = 3
    seed: int = 0
    from_scratch: bool = True
    n_layers: int = 2
    n_heads: int = 8
    n_kv_heads: int | None = None
    d_head: int = 16
    d_model: int = 128
    d_mlp: int = 256
    vocab: int = 384
    context: int = 128
    rows: int = 32
    steps: int = 1200
    lr: float = 3e-3
    shortest: int = 8
    longest: int = 32
    warm_up_until: float = 0.3
    warm_up_heads: int = 2
    every: int = 100
    n: int = 64
    length: int = 40
    sets: str = "top-per-layer:2%,top:2"
    controls: int = 99
    alpha: float = 0.05
    max_bytes: int | None = None
    workers: int = 2
    device: str = "cpu"


PRESETS: dict[str, dict[str, Any]] = {
    # Shows that everything runs; too little training for any head to form.
    "smoke": {
        "seeds": 2,
        "n_heads": 4,
        "d_model": 32,
        "d_head": 8,
        "d_mlp": 64,
        "vocab": 96,
        "context": 64,
        "rows": 8,
        "steps": 20,
        "every": 10,
        "warm_up_until": 0.0,
        "from_scratch": False,
        "n": 16,
        "length": 12,
        "controls": 19,
        "max_bytes": 400_000,
        "workers": 1,
    },
    "default": {},
    # The 0.13B shape, snippet length and number of tokens (20 a parameter); needs a large GPU.
    "paper": {
        "data": "datasets:EleutherAI/the_pile_deduplicated",
        "seeds": 1,
        "from_scratch": False,
        "n_layers": 12,
        "n_heads": 12,
        "n_kv_heads": 3,
        "d_head": 64,
        "d_model": 768,
        "d_mlp": 2048,
        "vocab": 32_000,
        "context": 1024,
        "rows": 512,
        "steps": 5000,
        "lr": 1e-3,
        "shortest": 20,
        "longest": 20,
        "warm_up_until": 0.0,
        "every": 250,
        "n": 512,
        "length": 50,
        "max_bytes": 12_000_000_000,
        "workers": 1,
        "device": "cuda",
    },
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    from experiments.bi_induct_measuring import rules_of
    from experiments.bi_induct_training import arm_config, arms_of
    from interp.heads import HeadRule
    from interp.models import require_device

    for name in ("seeds", "steps", "every", "controls", "workers", "n_layers", "rows"):
        if getattr(config, name) < 1:
            raise ValueError(f"{name} is {getattr(config, name)}; expected at least 1")
    if config.n < 8:
        raise ValueError(f"n is {config.n}; expected at least 8 prompts a task")
    if not 2 <= config.length <= (config.context - 1) // 2:
        raise ValueError(
            f"length is {config.length}; expected from 2 to half of the context less one, "
            f"{(config.context - 1) // 2}"
        )
    if not 0 < config.alpha < 1:
        raise ValueError(f"alpha is {config.alpha}; expected a level between 0 and 1, such as .05")
    if not 0 <= config.warm_up_until < 1:
        raise ValueError(
            f"warm_up_until is {config.warm_up_until}; expected a share of attention below 1, or "
            "0 for no warm-up"
        )
    for arm in arms_of(config):
        arm_config(config, arm, config.seed)
    for rule in rules_of(config):
        HeadRule.parse(rule)
    known = config.data in DATA or config.data.startswith("datasets:")
    if not known and not Path(config.data).is_dir():
        raise ValueError(
            f"data is {config.data!r}; expected {', '.join(DATA)}, a folder of text files, or "
            "datasets:NAME"
        )
    require_device(config.device)


def run(config: Config, run: Run) -> None:
    """Train the arms, look at their heads, remove them, and compare with the paper's claims."""
    from experiments.bi_induct_measuring import measure
    from experiments.bi_induct_report import save
    from experiments.bi_induct_training import load_stream, train_arms

    stream = load_stream(config, run.path)
    run.record(
        model="trained here", data={stream.name: stream.sha256}, seeds={"first": config.seed}
    )
    trained = train_arms(config, stream, run.path)
    found = [measure(config, run, stream, arm) for arm in trained]
    save(config, run, stream, trained, found)


def report(run: Run) -> Any:
    """The arms and the claims as tables."""
    from experiments.bi_induct_report import tables

    return tables(run)
