"""What is timed in each round of the benchmark of heads, and how its answers are compared."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from experiments.bench.clock import Job
from experiments.bench.subject import of_mixed_length, one_head_a_layer, questions

if TYPE_CHECKING:
    from experiments.bench.subject import Heads, Subject
    from experiments.bench_heads import Config
    from interp.models import Examples

# Rows a forward pass of whatever does not choose its own: as many tokens as a capture takes.
ROWS = 32


def questions_of(config: Config, shape: str) -> Examples:
    """Prompts of a shape written as EXAMPLESxTOKENS."""
    n, length = map(int, shape.split("x"))
    return questions(n, length, d_vocab=config.d_vocab, seed=config.seed)


def singles(config: Config) -> list[Heads]:
    """Every head alone."""
    return [
        frozenset([(layer, head)])
        for layer in range(config.n_layers)
        for head in range(config.n_heads)
    ]


def jobs_of(subject: Subject, config: Config) -> list[Job]:
    """Everything that is timed in a round."""
    everything = singles(config)
    one_a_layer = [
        frozenset([(i % config.n_layers, (i // config.n_layers) % config.n_heads)])
        for i in range(min(config.timed, len(everything)))
    ]
    jobs = [
        _sweep_job(subject, shape, questions_of(config, shape), everything, one_a_layer)
        for shape in config.shapes
    ]
    first = questions_of(config, config.shapes[0])
    if config.controls:
        drawn = one_head_a_layer(config.controls, subject.model, seed=config.seed)
        jobs.append(_sweep_job(subject, "controls", first, drawn, drawn[:3], all_threads=False))
    jobs.append(
        Job(
            "attribution",
            {
                "attribution": (lambda: subject.attribution(first), 1, 1),
                "trunk": (lambda: subject.trunk(first.tokens, len(first)), 1, 1),
            },
        )
    )
    prompts = questions_of(config, config.prompts)
    jobs.append(
        Job(
            "capture",
            {
                "capture": (lambda: subject.capture(prompts), 1, 1),
                "run_with_cache": (lambda: subject.run_with_cache(prompts.tokens, ROWS), 1, 1),
                "trunk": (lambda: subject.trunk(prompts.tokens, ROWS), 1, 1),
            },
            lambda r: {"capture_difference": _apart(r["capture"], r["run_with_cache"])},
        )
    )
    if config.mixed:
        mixed = of_mixed_length(config.mixed, d_vocab=config.d_vocab, seed=config.seed)
        jobs.append(
            Job(
                "mixed",
                {
                    "packed": (lambda: subject.capture(mixed), 1, 1),
                    "in_order": (lambda: subject.capture_in_order(mixed, ROWS), 1, 1),
                },
                lambda r: {"packing_difference": _apart(r["packed"], r["in_order"])},
            )
        )
    return jobs


def _sweep_job(
    subject: Subject,
    name: str,
    examples: Examples,
    sets: list[Heads],
    few: list[Heads],
    *,
    all_threads: bool = True,
) -> Job:
    def compare(results: Mapping[str, Any]) -> dict[str, float]:
        same = results["sweep"][[sets.index(heads) for heads in few]]
        # The bridge computes logits that differ from transformers' by rounding, sweep or no sweep.
        return {
            "max_abs_difference": _apart(same, results["bridge"]),
            "max_abs_difference_to_hooks": _apart(same, results["hooks"]),
            "max_abs_difference_between_loops": _apart(results["bridge"], results["hooks"]),
        }

    calls = {
        "sweep": (lambda: subject.by_sweep(examples, sets), len(sets), len(sets)),
        "bridge": (lambda: subject.by_bridge(examples, few), len(few), len(sets)),
        "hooks": (lambda: subject.by_hooks(examples, few), len(few), len(sets)),
    }
    return Job(name, calls, compare, all_threads)


def _apart(one: Any, other: Any) -> float:
    return float((one - other).abs().max())
