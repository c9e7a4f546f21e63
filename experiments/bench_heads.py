"""How fast is the exact sweep over heads, beside hooks one head at a time?

A GPT-2 with random weights; zero ablation of query heads; logit difference at the last position.
The sweep against (a) ``TransformerBridge.run_with_hooks`` and (b) plain PyTorch hooks on the
transformers model, each a whole forward pass a set. Attribution of all heads, in forward passes
of the plain model without its unembedding. The last token's residual stream behind each layer,
against ``run_with_cache`` kept to those places, in time and in memory; and prompts of mixed
length, packed, against batches in the order given. Rounds are interleaved, ratios are taken
within a round, and what they measure is compared in the same run.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from experiments.bench.clock import peak_mb, threads_of
from experiments.bench.jobs import ROWS, jobs_of, questions_of, singles
from experiments.bench.subject import make_subject

if TYPE_CHECKING:
    from experiments.bench.subject import Subject
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "How fast is the exact sweep over heads, beside hooks one head at a time?"


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Attributes:
        seed: Seeds weights, tokens and controls.
        n_layers: Of the model.
        n_heads: Of the model.
        d_model: Of the model.
        d_vocab: Of the model.
        shapes: Batches to measure, as EXAMPLESxTOKENS.
        controls: Control sets of one head a layer, measured on the first shape; 0 for none.
        timed: Sets that the loops are timed on, by default one head a layer; their time is
            scaled up to all sets, since each costs one forward pass.
        prompts: Prompts to capture, as EXAMPLESxTOKENS.
        mixed: Prompts of mixed length to capture; 0 for none.
        rounds: Interleaved rounds on one thread.
        rounds_all_threads: Rounds on all threads, without the controls; 0 for none.
    """

    seed: int = 0
    n_layers: int = 12
    n_heads: int = 12
    d_model: int = 768
    d_vocab: int = 50257
    shapes: tuple[str, ...] = ("8x64", "1x16")
    controls: int = 99
    timed: int = 12
    prompts: str = "512x16"
    mixed: int = 256
    rounds: int = 3
    rounds_all_threads: int = 1


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n_layers": 4,
        "n_heads": 4,
        "d_model": 128,
        "d_vocab": 2000,
        "controls": 12,
        "timed": 16,
        "prompts": "128x16",
        "mixed": 64,
    },
    "default": {},
}


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    for shape in (*config.shapes, config.prompts):
        if not re.fullmatch(r"[1-9]\d*x[1-9]\d*", shape):
            raise ValueError(f"shape {shape!r} cannot be read; expected EXAMPLESxTOKENS, as 8x64")
    if not config.shapes or min(config.rounds, config.timed) < 1:
        raise ValueError("expected at least one shape, one round and one timed set")
    if config.d_model % config.n_heads:
        raise ValueError(f"d_model {config.d_model} does not divide among {config.n_heads} heads")


def run(config: Config, run: Run) -> None:
    """Measure, compare, and write medians and ratios."""
    import pandas as pd
    import torch

    subject = make_subject(
        n_layers=config.n_layers,
        n_heads=config.n_heads,
        d_model=config.d_model,
        d_vocab=config.d_vocab,
        seed=config.seed,
    )
    run.record(model=subject.model.fingerprint, seeds={"all": config.seed}, device="cpu")
    metrics: dict[str, Any] = {}
    with threads_of(1):
        first = -time.process_time()  # also tries the architecture, once a model
        subject.by_sweep(questions_of(config, config.shapes[-1]), singles(config)[-1:])
        metrics["first_sweep_s"] = first + time.process_time()
        metrics |= _memory(subject, config)
    jobs = jobs_of(subject, config)
    all_threads = torch.get_num_threads()
    plan = [(1, i) for i in range(config.rounds)]
    plan += [(all_threads, i) for i in range(config.rounds_all_threads) if all_threads > 1]
    timings = []
    differences: dict[str, float] = {}
    for threads, i in plan:
        for job in jobs:
            if threads > 1 and not job.all_threads:
                continue
            timed, apart = job.once(threads, i)
            timings += timed
            for name, size in apart.items():
                differences[name] = max(size, differences.get(name, 0.0))
    frame = pd.DataFrame(timings)
    run.save_table("timings", frame)
    metrics |= _ratios(frame) | differences
    run.save_metrics(metrics | _words(metrics, config))


def _ratios(frame: Any) -> dict[str, float]:
    """Medians over rounds of the ratio within a round: CPU time on one thread, wall on all."""
    found: dict[str, float] = {}
    for (job, threads), part in frame.groupby(["job", "threads"]):
        clock, suffix = ("cpu_s", "") if threads == 1 else ("wall_s", "_all_threads_wall")
        wide = part.pivot(index="round", columns="what", values=clock)

        def ratio(name: str, what: str, to: str, wide: Any = wide, suffix: str = suffix) -> None:
            found[name + suffix] = float((wide[what] / wide[to]).median())

        if job == "attribution":
            ratio("attribution_forward_equivalents", "attribution", "trunk")
        elif job == "capture":
            ratio("capture_ratio", "capture", "trunk")
            ratio("capture_ratio_of_run_with_cache", "run_with_cache", "trunk")
        elif job == "mixed":
            ratio("packing_ratio", "in_order", "packed")
        else:
            name = "controls_ratio" if job == "controls" else f"sweep_ratio_{job}"
            ratio(name, "sweep", "hooks")
            ratio(f"{name}_to_bridge", "sweep", "bridge")
        if threads == 1:
            for what, seconds in wide.median().items():
                found[f"{what}_cpu_s_{job}"] = float(seconds)
    return found


def _memory(subject: Subject, config: Config) -> dict[str, float]:
    """Peak memory of a forward pass and a sweep; of a capture and run_with_cache."""
    first = questions_of(config, config.shapes[0])
    prompts = questions_of(config, config.prompts)
    prompts = prompts.select(range(min(2 * ROWS, len(prompts))))
    # Two heads a layer keep as much, and fill a forward pass, as all do.
    some = [heads for heads in singles(config) if max(head for _, head in heads) < 2]
    subject.capture(prompts.select([0]))  # tries the architecture
    subject.by_sweep(first.select([0]), some[:1])
    peaks = peak_mb(
        {
            "forward": lambda: subject.by_hooks(first, some[:1]),
            "sweep": lambda: subject.by_sweep(first, some),
            "capture": lambda: subject.capture(prompts),
            "run_with_cache": lambda: subject.run_with_cache(prompts.tokens, ROWS),
        }
    )
    found = {f"peak_mb_{name}": size for name, size in peaks.items()}
    if peaks:
        found["capture_memory_ratio"] = peaks["capture"] / peaks["run_with_cache"]
        found["sweep_memory_ratio"] = peaks["sweep"] / peaks["forward"]
    return found


def _words(metrics: Mapping[str, Any], config: Config) -> dict[str, str]:
    told = {k: v for k, v in metrics.items() if re.match(r"(sweep|controls)_ratio", k)}
    said = ", ".join(f"{k} {v:.2f}" for k, v in told.items() if "threads" not in k)
    forwards = metrics["attribution_forward_equivalents"]
    return {
        "headline": f"{said}; largest difference {metrics['max_abs_difference']:.1g}",
        "conclusion": (
            f"Exact sweep of {config.n_layers * config.n_heads} heads as a share of the CPU time "
            f"of the same by hooks, one head at a time, on one thread: {said}. The loops were "
            f"timed on {config.timed} heads (controls: on 3 sets) and scaled up. Largest "
            f"difference from the same model's loop: {metrics['max_abs_difference']:.2g} logits; "
            f"from transformers' {metrics['max_abs_difference_to_hooks']:.2g}, from which the loop "
            f"itself differs by {metrics['max_abs_difference_between_loops']:.2g}. Attribution of "
            f"all heads: {forwards:.1f} forward passes without unembedding. Capture of the last "
            f"token behind each layer: {metrics['capture_ratio']:.2f} of one such pass, "
            f"run_with_cache {metrics['capture_ratio_of_run_with_cache']:.2f}."
        ),
    }
