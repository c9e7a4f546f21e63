"""How a known-answer world is trained: steps with a checkpoint, a gate, a folder at the end."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save

from interp.zoo.cards import CARD_FILE, card_bytes, replace_file
from interp.zoo.code_lm_training import Clock
from interp.zoo.small_gpt import Network

log = logging.getLogger(__name__)

CHECKPOINT = "checkpoint.safetensors"


class GateError(ValueError):
    """A trained model is not what its recipe is to make; the message says in what."""


class Steps(Protocol):
    """A training that goes step by step and can be taken up again."""

    step: int
    history: list[dict[str, Any]]

    @property
    def last(self) -> int:
        """Steps after which it ends, as things stand."""

    def advance(self) -> float:
        """One optimizer step; returns its loss."""

    def look(self, loss: float) -> None:
        """Enter in its history where the training stands."""

    def save(self, path: Path, clock: Clock) -> None:
        """Write the checkpoint."""

    def load(self, path: Path, clock: Clock) -> None:
        """Go on from a checkpoint."""


@contextmanager
def torch_threads(n: int | None) -> Iterator[None]:
    """Torch's number of threads inside the block; None for as it is."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def go_on(run: Steps, out: Path, *, name: str, look_every: int, stop: int | None) -> Clock | None:
    """Train from ``out``'s checkpoint, or from the start, and leave a checkpoint behind.

    Args:
        run: The training, at its beginning.
        out: The model's folder; made if missing.
        name: What the progress bar calls it.
        look_every: Steps between two looks, and two checkpoints.
        stop: Stop once this many steps are done in all; None to finish.

    Returns:
        The time spent, or None if it stopped before its end.

    Raises:
        ValueError: the checkpoint was made by another recipe.
    """
    out.mkdir(parents=True, exist_ok=True)
    clock, path = Clock(), out / CHECKPOINT
    if path.exists():
        run.load(path, clock)
        log.info("resuming from %s at step %d", path, run.step)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task(name, total=run.last, completed=run.step)
        while run.step < run.last and (stop is None or run.step < stop):
            loss = run.advance()
            if run.step % look_every == 0:
                run.look(loss)
                log.info("of at most %d steps: %s", run.last, run.history[-1])
            progress.update(bar, completed=run.step, total=run.last)
            if run.step % look_every == 0 or run.step in (stop, run.last):
                run.save(path, clock)
    return None if run.step < run.last else clock


def write_world(out: Path, network: Network, card: Mapping[str, Any], *, bos_id: int) -> None:
    """Write a trained world as a native folder with its card, and remove its checkpoint."""
    settings = json.dumps(network.native_config(bos_id=bos_id), indent=2)
    weights = {name: p.detach().contiguous() for name, p in network.named_parameters()}
    replace_file(out / "native.json", f"{settings}\n".encode())
    replace_file(out / "model.safetensors", save(weights))
    replace_file(out / CARD_FILE, card_bytes(card))
    (out / CHECKPOINT).unlink(missing_ok=True)
