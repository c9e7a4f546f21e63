"""The Bi-Induct study's data and arms: loaded or trained once, kept in the run folder."""

from __future__ import annotations

import dataclasses
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from experiments.bi_induct import Config
    from interp.zoo.bi_induct.streams import Stream
    from interp.zoo.bi_induct.training import ArmConfig

log = logging.getLogger(__name__)

SCRATCH = "natural, from scratch"


@dataclass(frozen=True)
class Arm:
    """One trained arm.

    Attributes:
        name: Its name: natural, forward, backward, balanced, or natural, from scratch.
        seed: Its seed.
        folder: Where its weights are, as a transformers folder without tokenizer.
        history: What was seen of it while it was trained, from the beginning to the end.
        coverage: Mean share of snippet tokens.
        warm_up_steps: Steps of the common warm-up it began with.
    """

    name: str
    seed: int
    folder: Path
    history: list[dict[str, Any]]
    coverage: float
    warm_up_steps: int


def arms_of(config: Config) -> tuple[str, ...]:
    """The arms asked for, the natural one from scratch last.

    Raises:
        ValueError: an arm that does not exist, or none.
    """
    from interp.zoo.bi_induct.rewrite import ARMS

    names = tuple(dict.fromkeys(part.strip() for part in config.arms.split(",") if part.strip()))
    for name in names:
        if name not in ARMS:
            raise ValueError(f"unknown arm {name!r}; expected some of {', '.join(ARMS)}")
    if not names:
        raise ValueError(f"arms is empty; expected some of {', '.join(ARMS)}")
    scratch = config.from_scratch and config.warm_up_until > 0 and "natural" in names
    return (*names, SCRATCH) if scratch else names


def arm_config(config: Config, arm: str, seed: int) -> ArmConfig:
    """The recipe of one arm and seed."""
    from interp.zoo.bi_induct.training import ArmConfig

    shared = {field.name for field in dataclasses.fields(ArmConfig)} & {
        field.name for field in dataclasses.fields(config)
    }
    values: dict[str, Any] = {name: getattr(config, name) for name in shared}
    warm = config.warm_up_until if arm != SCRATCH else 0.0
    values |= {"arm": "natural" if arm == SCRATCH else arm, "seed": seed}
    return ArmConfig(**{**values, "warm_up_until": warm or None})


def load_stream(config: Config, folder: Path) -> Stream:
    """The natural stream: read once, then taken from the run folder."""
    from interp.zoo.bi_induct.streams import read_stream, write_stream

    path = folder / "stream.safetensors"
    if not path.exists():
        write_stream(_make_stream(config), path)
    return read_stream(path)


def _make_stream(config: Config) -> Stream:
    from interp.zoo.bi_induct.documents import text_documents
    from interp.zoo.bi_induct.streams import renamed_code, text_stream
    from interp.zoo.corpus import read_corpus

    if config.data == "renamed-code":
        return renamed_code(pool=config.vocab, max_bytes=config.max_bytes)
    if config.data == "code":
        corpus = read_corpus(held_out_share=0.03, max_bytes=config.max_bytes)
        return text_stream(corpus.train_text, corpus.held_out, vocab_size=config.vocab)
    documents, held_out = text_documents(config.data, max_bytes=config.max_bytes)
    return text_stream(documents, held_out, vocab_size=config.vocab)


def train_arms(config: Config, stream: Stream, folder: Path) -> list[Arm]:
    """Train every arm of every seed that is not finished, several at a time; arms in order."""
    from interp.hooks.progress import progress

    seeds = range(config.seed, config.seed + config.seeds)
    wanted = [(seed, arm) for seed in seeds for arm in arms_of(config)]
    todo = [(seed, arm) for seed, arm in wanted if not _done(folder, arm, seed)]
    with progress("training arms", total=len(wanted)) as advance:
        advance(len(wanted) - len(todo))
        # The beginning that a seed's arms share comes first, so that no two arms make it at once.
        for make, jobs in (
            (_make_start, [(seed, "natural") for seed in dict.fromkeys(s for s, _ in todo)]),
            (_train, todo),
        ):
            step = 1 if make is _train else 0
            if config.workers == 1:
                for seed, arm in jobs:
                    make(config, stream, folder, arm, seed)
                    advance(step)
            else:
                _in_processes(make, config, folder, jobs, lambda step=step: advance(step))
    return [_read(folder, arm, seed) for seed, arm in wanted]


def _in_processes(make: Any, config: Config, folder: Path, jobs: Any, done: Any) -> None:
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor, as_completed

    context = multiprocessing.get_context("spawn")  # a fork of a process with torch threads hangs
    with ProcessPoolExecutor(config.workers, mp_context=context) as pool:
        futures = [pool.submit(_alone, make, config, folder, arm, seed) for seed, arm in jobs]
        try:
            for future in as_completed(futures):
                future.result()
                done()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _alone(make: Any, config: Config, folder: Path, arm: str, seed: int) -> None:
    """In a process of its own."""
    import torch

    torch.set_num_threads(1)
    make(config, load_stream(config, folder), folder, arm, seed)


def _make_start(config: Config, stream: Stream, folder: Path, arm: str, seed: int) -> None:
    """The weights that a seed's arms begin with."""
    import torch

    from interp.runfolder.files import write_tensors
    from interp.zoo.bi_induct.warming import warm_up

    path = folder / "arms" / f"start-seed{seed}.safetensors"
    if path.exists():
        return
    model, steps = warm_up(arm_config(config, arm, seed), stream, device=config.device)
    tensors = {name: value.detach().cpu().clone() for name, value in model.named_parameters()}
    write_tensors(path, {**tensors, "warm-up steps": torch.tensor(steps)})


def _train(config: Config, stream: Stream, folder: Path, arm: str, seed: int) -> None:
    """Train one arm, going on from its checkpoint, and write its folder, the history last."""
    from safetensors.torch import load_file

    from interp.runfolder.files import write_json
    from interp.zoo.bi_induct.measures import held_out_loss, induction_scores
    from interp.zoo.bi_induct.training import save_model, train_arm

    out = folder / "arms" / _folder(arm, seed)
    out.mkdir(parents=True, exist_ok=True)
    start, steps = None, 0
    if arm != SCRATCH:
        start = load_file(folder / "arms" / f"start-seed{seed}.safetensors")
        steps = int(start.pop("warm-up steps"))

    def look(model: Any) -> dict[str, Any]:
        scores = induction_scores(model, stream, seed=config.seed + 1, length=config.length)
        return {
            "induction": scores.tolist(),
            "held_out_loss": held_out_loss(model, stream, context=config.context, seed=config.seed),
        }

    training = None
    for training in train_arm(
        arm_config(config, arm, seed),
        stream,
        start=start,
        checkpoint=out / "checkpoint.safetensors",
        every=config.every,
        look=look,
        device=config.device,
    ):
        last = training.history[-1]
        log.info(
            "%s, seed %d: step %d, held out %.3f", arm, seed, last["step"], last["held_out_loss"]
        )
    assert training is not None
    save_model(training.model, out)
    done = {"history": training.history, "coverage": training.coverage, "warm_up_steps": steps}
    write_json(out / "history.json", done)
    (out / "checkpoint.safetensors").unlink(missing_ok=True)


def _folder(arm: str, seed: int) -> str:
    return f"{arm.replace(', ', '-').replace(' ', '-')}-seed{seed}"


def _done(folder: Path, arm: str, seed: int) -> bool:
    return (folder / "arms" / _folder(arm, seed) / "history.json").is_file()


def _read(folder: Path, arm: str, seed: int) -> Arm:
    path = folder / "arms" / _folder(arm, seed)
    return Arm(name=arm, seed=seed, folder=path, **json.loads((path / "history.json").read_text()))
