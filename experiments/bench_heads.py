"""How fast is the exact sweep over heads, beside hooks one head at a time?

A GPT-2 with random weights; zero ablation of query heads; logit difference at the last position.
The sweep against (a) ``TransformerBridge.run_with_hooks`` and (b) plain PyTorch hooks on the
transformers model, each a whole forward pass a set. Rounds are interleaved, ratios are taken
within a round, and what they measure is compared in the same run.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from torch import Tensor

    from interp.models import Examples, Model
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
    },
    "default": {},
}

Head = tuple[int, int]


class Timing(NamedTuple):
    """One measurement."""

    what: str
    shape: str
    threads: int
    round: int
    sets: int
    timed: int
    cpu_s: float
    wall_s: float


@dataclass
class Bench:
    """The model twice: as transformers has it, and as this toolkit loads it."""

    config: Config
    plain: Any
    model: Model

    def by_sweep(self, examples: Examples, sets: list[frozenset[Head]]) -> Tensor:
        """Metric of each set, by the engine."""
        from interp.evidence import logit_difference
        from interp.heads import sweep

        return sweep(self.model, examples, logit_difference, sets, kind="zero").ablated

    def by_bridge(self, examples: Examples, sets: list[frozenset[Head]]) -> Tensor:
        """The same by TransformerBridge.run_with_hooks."""
        import torch

        def zero(heads: list[int]) -> Callable[..., Tensor]:
            def hook(z: Tensor, hook: Any) -> Tensor:
                z[:, :, heads] = 0.0
                return z

            return hook

        found = []
        for heads in sets:
            hooks = [
                (f"blocks.{layer}.attn.hook_z", zero([h for at, h in heads if at == layer]))
                for layer in sorted({layer for layer, _ in heads})
            ]
            with torch.no_grad():
                logits = self.model.bridge.run_with_hooks(examples.tokens, fwd_hooks=hooks)
            found.append(_difference(logits, examples))
        return torch.stack(found)

    def by_hooks(self, examples: Examples, sets: list[frozenset[Head]]) -> Tensor:
        """The same by plain PyTorch hooks on the transformers model."""
        import torch

        width = self.config.d_model // self.config.n_heads

        def zero(heads: list[int]) -> Callable[..., Any]:
            def hook(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor]:
                z = args[0].clone()
                for head in heads:
                    z[..., head * width : (head + 1) * width] = 0.0
                return (z,)

            return hook

        found = []
        for heads in sets:
            handles = [
                self.plain.transformer.h[layer].attn.c_proj.register_forward_pre_hook(
                    zero([h for at, h in heads if at == layer])
                )
                for layer in sorted({layer for layer, _ in heads})
            ]
            try:
                with torch.no_grad():
                    logits = self.plain(examples.tokens, use_cache=False).logits
            finally:
                for handle in handles:
                    handle.remove()
            found.append(_difference(logits, examples))
        return torch.stack(found)


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    for shape in config.shapes:
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

    bench = _bench(config)
    run.record(model=bench.model.fingerprint, seeds={"all": config.seed}, device="cpu")
    everything = [
        frozenset([(layer, head)])
        for layer in range(config.n_layers)
        for head in range(config.n_heads)
    ]
    one_a_layer = [
        frozenset([(i % config.n_layers, (i // config.n_layers) % config.n_heads)])
        for i in range(min(config.timed, len(everything)))
    ]
    jobs = {shape: (_examples(config, shape), everything, one_a_layer) for shape in config.shapes}
    if config.controls:
        drawn = _controls(config)
        jobs["controls"] = (_examples(config, config.shapes[0]), drawn, drawn[:3])
    timings: list[Timing] = []
    metrics: dict[str, Any] = {}
    check_s = -time.process_time()
    with _threads(1):  # also tries the architecture, once a model
        bench.by_sweep(jobs[config.shapes[-1]][0], everything[-1:])
    metrics["first_sweep_s"] = check_s + time.process_time()
    largest = dict.fromkeys(("bridge", "hooks", "loops"), 0.0)
    all_threads = torch.get_num_threads()
    plan = [(1, i) for i in range(config.rounds)]
    plan += [(all_threads, i) for i in range(config.rounds_all_threads) if all_threads > 1]
    for threads, i in plan:
        for name, (examples, sets, few) in jobs.items():
            if name == "controls" and threads > 1:
                continue
            results = {}
            with _threads(threads):
                for what, call, given in (
                    ("sweep", bench.by_sweep, sets),
                    ("bridge", bench.by_bridge, few),
                    ("hooks", bench.by_hooks, few),
                ):
                    cpu, wall = time.process_time(), time.perf_counter()
                    results[what] = call(examples, given)
                    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
                    scale = len(sets) / len(given)
                    timings.append(
                        Timing(
                            what, name, threads, i, len(sets), len(given), cpu * scale, wall * scale
                        )
                    )
                    log.info(
                        "%s, %s, %d threads: %.1f s CPU, %.1f s wall for %d sets (timed on %d)",
                        name, what, threads, cpu * scale, wall * scale, len(sets), len(given),
                    )  # fmt: skip
            same = results["sweep"][[sets.index(s) for s in few]]
            for what, one, other in (
                ("bridge", same, results["bridge"]),
                ("hooks", same, results["hooks"]),
                ("loops", results["bridge"], results["hooks"]),
            ):
                largest[what] = max(largest[what], float((one - other).abs().max()))
    frame = pd.DataFrame(timings)
    run.save_table("timings", frame)
    metrics |= _ratios(frame, config, all_threads)
    # The bridge computes logits that differ from transformers' by rounding, sweep or no sweep.
    metrics["max_abs_difference"] = largest["bridge"]
    metrics["max_abs_difference_to_hooks"] = largest["hooks"]
    metrics["max_abs_difference_between_loops"] = largest["loops"]
    # Two heads a layer keep as much, and fill a forward pass, as all do.
    some = [s for s in everything if max(head for _, head in s) < 2]
    metrics |= _memory(bench, jobs[config.shapes[0]][0], some)
    run.save_metrics(metrics | _words(metrics, config))


def _bench(config: Config) -> Bench:
    import copy

    import torch
    import transformers

    from interp.models import load_model

    shape = transformers.GPT2Config(
        vocab_size=config.d_vocab,
        n_positions=1024,
        n_embd=config.d_model,
        n_layer=config.n_layers,
        n_head=config.n_heads,
        bos_token_id=None,
        eos_token_id=None,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)  # transformers draws weights from the global generator
        plain = transformers.GPT2LMHeadModel(shape).eval()
    name = f"gpt2-{config.n_layers}x{config.n_heads}x{config.d_model}-random"
    return Bench(config, plain, load_model(name, hf_model=copy.deepcopy(plain)))


def _examples(config: Config, shape: str) -> Examples:
    import torch

    from interp.models import Examples

    n, length = map(int, shape.split("x"))
    generator = torch.Generator().manual_seed(config.seed)
    return Examples(
        tokens=torch.randint(config.d_vocab, (n, length), generator=generator),
        answer=torch.randint(config.d_vocab, (n,), generator=generator),
        wrong=torch.randint(config.d_vocab, (n,), generator=generator),
        answer_at=torch.full((n,), length - 1),
        seed=config.seed,
    )


def _controls(config: Config) -> list[frozenset[Head]]:
    import torch

    generator = torch.Generator().manual_seed(config.seed)
    drawn = torch.randint(config.n_heads, (config.controls, config.n_layers), generator=generator)
    return [frozenset(enumerate(heads)) for heads in drawn.tolist()]


def _difference(logits: Tensor, examples: Examples) -> Tensor:
    at = logits[:, -1]
    assert examples.answer is not None and examples.wrong is not None
    right = at.gather(1, examples.answer[:, None])
    return (right - at.gather(1, examples.wrong[:, None]))[:, 0]


@contextmanager
def _threads(n: int) -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(n)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _ratios(frame: Any, config: Config, all_threads: int) -> dict[str, Any]:
    """Medians over rounds of the ratio within a round: CPU time on one thread, wall on all."""
    found: dict[str, Any] = {}
    wide = frame.pivot(index=["shape", "threads", "round"], columns="what")
    for (shape, threads), part in wide.groupby(level=["shape", "threads"]):
        name = "controls_ratio" if shape == "controls" else f"sweep_ratio_{shape}"
        clock = "cpu_s" if threads == 1 else "wall_s"
        suffix = "" if threads == 1 else "_all_threads_wall"
        for other, end in (("hooks", ""), ("bridge", "_to_bridge")):
            ratio = part[clock, "sweep"] / part[clock, other]
            found[name + end + suffix] = float(ratio.median())
        if threads == 1:
            for what in ("sweep", "bridge", "hooks"):
                found[f"{what}_cpu_s_{shape}"] = float(part["cpu_s", what].median())
    return found


def _memory(bench: Bench, examples: Examples, sets: list[frozenset[Head]]) -> dict[str, Any]:
    """Peak memory above what was resident before, where the system tells: Linux."""
    calls = {
        "forward": lambda: bench.by_hooks(examples, sets[:1]),
        "sweep": lambda: bench.by_sweep(examples, sets),
    }
    found: dict[str, Any] = {}
    for name, call in calls.items():
        try:
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
            before = _status("VmRSS")
            call()
            found[f"peak_mb_{name}"] = (_status("VmHWM") - before) / 1000
        except OSError as error:
            log.info("peak memory is not known here: %s", error)
            return {}
    return found


def _status(key: str) -> int:
    """One of the kernel's own counts for this process, in kB."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1])
    raise OSError(f"/proc/self/status has no {key}")


def _words(metrics: dict[str, Any], config: Config) -> dict[str, str]:
    ratios = {k: v for k, v in metrics.items() if k.endswith("_ratio") or "ratio_" in k}
    said = ", ".join(f"{k} {v:.2f}" for k, v in ratios.items() if "threads" not in k)
    return {
        "headline": f"{said}; largest difference {metrics['max_abs_difference']:.1g}",
        "conclusion": (
            f"Exact sweep of {config.n_layers * config.n_heads} heads as a share of the CPU time "
            f"of the same by hooks, one head at a time, on one thread: {said}. The loops were "
            f"timed on {config.timed} heads (controls: on 3 sets) and scaled up. Largest "
            f"difference from the same model's loop: {metrics['max_abs_difference']:.2g} logits; "
            f"from transformers' {metrics['max_abs_difference_to_hooks']:.2g}, from which the loop "
            f"itself differs by {metrics['max_abs_difference_between_loops']:.2g}."
        ),
    }
