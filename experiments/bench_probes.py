"""How fast are probes fitted and read, beside scikit-learn and run_with_cache?

Fitting: the batched solver against scikit-learn's LogisticRegression one by one, on the same
standardised activations, single precision as they come from a model. Extraction: the last token's
residual stream after every layer of a GPT-2 with random weights, against ``run_with_cache`` kept
to those places. One thread, CPU time, rounds interleaved, ratios within a round; what each finds
is compared in the same run.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from interp.models import Examples, Model
    from interp.runs import Run

log = logging.getLogger(__name__)

SUMMARY = "How fast are probes fitted and read, beside scikit-learn and run_with_cache?"


@dataclass(frozen=True)
class Config:
    """Settings of the benchmark.

    Attributes:
        seed: Seeds activations, weights and tokens.
        n_layers: Of the model, and layers to fit.
        n_concepts: Labels to fit on every layer.
        n_rows: Statements.
        d_model: Of the model, and width of the activations.
        n_heads: Of the model.
        d_vocab: Of the model.
        C: Inverse strength of the penalty.
        prompts: Statements to extract from.
        length: Tokens of each.
        rounds: Interleaved rounds.
    """

    seed: int = 0
    n_layers: int = 12
    n_concepts: int = 16
    n_rows: int = 2000
    d_model: int = 768
    n_heads: int = 12
    d_vocab: int = 50257
    C: float = 1.0
    prompts: int = 32
    length: int = 32
    rounds: int = 3


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "n_layers": 3,
        "n_concepts": 8,
        "n_rows": 300,
        "d_model": 64,
        "n_heads": 4,
        "d_vocab": 500,
        "rounds": 2,
    },
    "default": {},
}


class Timing(NamedTuple):
    """One measurement."""

    what: str
    round: int
    cpu_s: float
    wall_s: float


class Fits(NamedTuple):
    """Weights on standardised features, and intercepts."""

    W: np.ndarray
    b: np.ndarray


def check(config: Config) -> None:
    """Refuse, before anything is made, what cannot run."""
    if min(config.rounds, config.n_layers, config.prompts, config.length) < 1:
        raise ValueError("expected at least one round, layer, prompt and token")
    if config.n_concepts < 2:
        raise ValueError("expected at least two concepts: one alone is left to scikit-learn")
    if config.n_rows < 20:
        raise ValueError(f"n_rows is {config.n_rows}; expected at least 20")
    if config.d_model % config.n_heads:
        raise ValueError(f"d_model {config.d_model} does not divide among {config.n_heads} heads")
    if config.C <= 0:
        raise ValueError(f"C is {config.C}; expected a positive number")


def run(config: Config, run: Run) -> None:
    """Measure, compare, and write medians and ratios."""
    import numpy as np
    import pandas as pd

    layers, labels = _activations(config)
    model, examples = _model(config)
    run.record(model=model.fingerprint, seeds={"all": config.seed}, device="cpu")
    raw = [layer.double().numpy() for layer in layers]
    standard = [(x - x.mean(0)) / x.std(0) for x in raw]
    single = [x.astype(np.float32) for x in standard]
    fits: dict[str, list[Fits]] = {}
    reads: dict[str, Tensor] = {}
    timings: list[Timing] = []

    def timed(what: str, i: int, call: Callable[[], Any]) -> Any:
        cpu, wall = time.process_time(), time.perf_counter()
        found = call()
        cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
        timings.append(Timing(what, i, cpu, wall))
        log.info("%s: %.2f s CPU, %.2f s wall", what, cpu, wall)
        return found

    with _one_thread():
        _batched(layers[:1], labels[:, :2], config.C)  # imports are not what is measured
        _one_by_one(single[:1], labels[:, :1], config.C)
        for i in range(config.rounds):
            fits["batched"] = timed("batched", i, lambda: _batched(layers, labels, config.C))
            fits["one by one"] = timed(
                "one by one", i, lambda: _one_by_one(single, labels, config.C)
            )
            reads["capture"] = timed("capture", i, lambda: _by_capture(model, examples))
            reads["cache"] = timed("cache", i, lambda: _by_cache(model, examples))
            reads["full cache"] = timed(
                "full cache", i, lambda: _by_cache(model, examples, everything=True)
            )
        doubled = timed("one by one, double", 0, lambda: _one_by_one(standard, labels, config.C))
    frame = pd.DataFrame(timings)
    run.save_table("timings", frame)
    metrics = _ratios(frame)
    metrics |= _objectives(config, standard, labels, {**fits, "double": doubled})
    metrics["max_abs_difference_extract"] = float(
        max((reads["capture"] - reads[k]).abs().max() for k in ("cache", "full cache"))
    )
    run.save_metrics(metrics | _words(metrics, config))


def _activations(config: Config) -> tuple[list[Tensor], np.ndarray]:
    """Correlated activations with a few large features, as residual streams have, and concepts."""
    import numpy as np
    import torch

    rng = np.random.default_rng(config.seed)
    n, d = config.n_rows, config.d_model
    sizes = np.arange(1, d + 1) ** -0.5
    latent = rng.normal(size=(n, d))
    signal = latent @ rng.normal(size=(d, config.n_concepts))
    signal *= 2 / signal.std(0)
    labels = signal + rng.logistic(size=signal.shape) > 0
    layers = []
    for _ in range(config.n_layers):
        own = latent + 0.5 * rng.normal(size=(n, d))
        mixed = (own * sizes) @ rng.normal(size=(d, d))
        mixed[:, rng.integers(d, size=3)] *= 50
        layers.append(torch.from_numpy(mixed + rng.normal(size=d)).to(torch.float32))
    return layers, labels


def _batched(layers: list[Tensor], labels: np.ndarray, C: float) -> list[Fits]:
    from probes.fit import fit_many

    return [
        Fits((g.directions[0] * g.scale).double().numpy().T, g.biases[0].numpy())
        for g in fit_many(layers, labels, C=(C,))
    ]


def _one_by_one(layers: list[np.ndarray], labels: np.ndarray, C: float) -> list[Fits]:
    """scikit-learn at its own tolerance; the standardising is not charged to it."""
    import numpy as np
    from sklearn.linear_model import LogisticRegression

    found = []
    for x in layers:
        models = [LogisticRegression(C=C, max_iter=10_000).fit(x, y) for y in labels.T]
        found.append(
            Fits(
                np.stack([m.coef_[0] for m in models], axis=1).astype(np.float64),
                np.array([m.intercept_[0] for m in models], dtype=np.float64),
            )
        )
    return found


def _model(config: Config) -> tuple[Model, Examples]:
    import torch
    import transformers

    from interp.models import Examples, load_model

    shape = transformers.GPT2Config(
        vocab_size=config.d_vocab,
        n_positions=max(64, config.length),
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
    generator = torch.Generator().manual_seed(config.seed)
    tokens = torch.randint(config.d_vocab, (config.prompts, config.length), generator=generator)
    return load_model(name, hf_model=plain), Examples(tokens=tokens)


def _by_capture(model: Model, examples: Examples) -> Tensor:
    """Last token of every layer, ``[layer, example, d]``."""
    import torch

    from interp.hooks import capture

    sites = [f"L{layer}.resid_post" for layer in range(model.n_layers)]
    found = capture(model, examples, sites, positions="last")
    return torch.stack(list(found.values()))


def _by_cache(model: Model, examples: Examples, *, everything: bool = False) -> Tensor:
    """The same by TransformerBridge.run_with_cache, kept to these places or not."""
    import torch

    names = [f"blocks.{layer}.hook_resid_post" for layer in range(model.n_layers)]
    parts = []
    for _, batch in examples.batches(32):  # as many as capture runs at a time
        kept = {} if everything else {"names_filter": lambda name: name in names}
        with torch.no_grad():
            _, cache = model.bridge.run_with_cache(batch.tokens, **kept)
        parts.append(torch.stack([cache[name][:, -1] for name in names]))
    return torch.cat(parts, dim=1)


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch
    from threadpoolctl import threadpool_limits

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(1):
            yield
    finally:
        torch.set_num_threads(before)


def _ratios(frame: Any) -> dict[str, Any]:
    """Medians over rounds of the ratio of CPU times within a round."""
    cpu = frame.pivot(index="round", columns="what", values="cpu_s")
    pairs = {
        "fit_ratio": ("batched", "one by one"),
        "fit_ratio_double": ("batched", "one by one, double"),
        "extract_ratio": ("capture", "cache"),
        "extract_ratio_full_cache": ("capture", "full cache"),
    }
    found = {k: float((cpu[a] / cpu[b]).dropna().median()) for k, (a, b) in pairs.items()}
    return found | {
        f"{what.replace(', ', '_').replace(' ', '_')}_cpu_s": float(cpu[what].median())
        for what in cpu
    }


def _objectives(
    config: Config, layers: list[np.ndarray], labels: np.ndarray, fits: dict[str, list[Fits]]
) -> dict[str, float]:
    """Objectives in double precision, from the formula."""
    import numpy as np
    from scipy.special import expit

    signs = np.where(labels, 1.0, -1.0)
    values, chances = {}, {}
    for name, several in fits.items():
        logits = np.stack([x @ f.W + f.b for x, f in zip(layers, several, strict=True)])
        norms = np.stack([(f.W**2).sum(0) for f in several])
        values[name] = config.C * np.logaddexp(0, -signs * logits).sum(1) + norms / 2
        chances[name] = expit(logits)
    return {
        # Above zero where any fit is worse than scikit-learn's own.
        "objective_gap": float((values["batched"] / values["one by one"] - 1).max()),
        "objective_gap_double": float((values["batched"] / values["double"] - 1).max()),
        "sklearn_excess": float((values["one by one"] / values["batched"] - 1).max()),
        "max_probability_difference": float(
            np.abs(chances["batched"] - chances["one by one"]).max()
        ),
    }


def _words(metrics: dict[str, Any], config: Config) -> dict[str, str]:
    fit, gap, read = (metrics[k] for k in ("fit_ratio", "objective_gap", "extract_ratio"))
    return {
        "headline": f"fit ratio {fit:.2f} (objective {gap:+.1e}), extraction ratio {read:.2f}",
        "conclusion": (
            f"{config.n_layers} layers × {config.n_concepts} concepts on {config.n_rows} × "
            f"{config.d_model}: the batched solver takes {fit:.2f} of the CPU time of "
            f"scikit-learn's LogisticRegression one by one in single precision "
            f"({metrics['fit_ratio_double']:.2f} of that in double), at objectives between "
            f"{-metrics['sklearn_excess']:+.1e} and {gap:+.1e} of its own. Reading the last token "
            f"of all layers takes {read:.2f} of run_with_cache kept to the same places, and "
            f"{metrics['extract_ratio_full_cache']:.2f} of run_with_cache as it comes; largest "
            f"difference {metrics['max_abs_difference_extract']:.1g}."
        ),
    }
