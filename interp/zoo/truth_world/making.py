"""Train ``truth-world``, hold it to its gate, and write its folder.

The recipe: a world of five domains (:mod:`interp.zoo.truth_world.world`), a small GPT trained on
fresh documents with Muon and AdamW, a heavy weight on the objects' loss. Some seeds never find the
reliability bits; a model that did not is refused, since no instrument could be judged by it.
"""

from __future__ import annotations

import json
import logging
import math
import sys
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from safetensors.torch import save

from interp.zoo.cards import CARD_FILE, Card, card_bytes, replace_file
from interp.zoo.code_lm_training import Clock
from interp.zoo.truth_world.measures import Gate, measure
from interp.zoo.truth_world.training import Training, TruthWorldConfig

__all__ = ["TruthWorldConfig", "train"]

log = logging.getLogger(__name__)


def train(config: TruthWorldConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, measure, judge and write a truth world's model as a native folder.

    An interrupted training is taken up from ``out/checkpoint.safetensors`` and ends with the
    weights of an uninterrupted one (same library versions, processor and number of threads).

    Args:
        config: The recipe.
        out: Folder to write; made if missing.
        stop_after: Stop, with a checkpoint, once this many steps are done in all; None to finish.

    Returns:
        The card, as in ``card.json``; or, if stopped, ``{"status": "stopped", "step": ...}``.

    Raises:
        GateError: the model fails its gate and ``config.write_failed`` is off. The checkpoint
            stays, so that nothing has to be trained again to write the model all the same.
        ValueError: ``out`` holds a checkpoint of another recipe.
    """
    out = Path(out)
    out.mkdir(parents=True, exist_ok=True)
    threads = torch.get_num_threads()
    torch.set_num_threads(config.threads or threads)
    try:
        return _train(config, out, config.steps if stop_after is None else stop_after)
    finally:
        torch.set_num_threads(threads)


def _train(config: TruthWorldConfig, out: Path, stop: int) -> dict[str, Any]:
    clock = Clock()
    path = out / "checkpoint.safetensors"
    run = Training(config)
    if path.exists():
        run.load(path, clock)
        log.info("resuming from %s at step %d", path, run.step)
    with Progress(console=Console(stderr=True), disable=not sys.stderr.isatty()) as progress:
        bar = progress.add_task("truth-world", total=config.steps, completed=run.step)
        while run.step < min(stop, run.last):
            loss = run.advance()
            if run.step % config.look_every == 0:
                run.look(loss)
                log.info("of at most %d steps: %s", config.steps, run.history[-1])
            progress.update(bar, completed=run.step, total=run.last)
            if run.step % config.look_every == 0 or run.step in (stop, run.last):
                run.save(path, clock)
    if run.step < run.last:
        return {"status": "stopped", "step": run.step}
    measured = measure(run.model, run.world, seed=config.seed + 1)
    gate = Gate(config.least_diagonal, config.most_late_ce)
    failures = gate.failures(measured)
    if not config.write_failed:
        gate.check(measured)
    card = _card(run, measured, failures, clock)
    settings = json.dumps(run.model.native_config(), indent=2)
    weights = {name: p.detach().contiguous() for name, p in run.model.named_parameters()}
    replace_file(out / "native.json", f"{settings}\n".encode())
    replace_file(out / "model.safetensors", save(weights))
    replace_file(out / CARD_FILE, card_bytes(card))
    path.unlink(missing_ok=True)
    return card


def _card(
    run: Training, measured: dict[str, Any], failures: list[str], clock: Clock
) -> dict[str, Any]:
    config, spent = run.config, clock.read()
    groups = "; ".join(
        f"{bit}: "
        + ", ".join(
            f"{d.name} (true while it is 0)" if d.inverted else d.name
            for d in run.world.domains
            if d.bit == bit
        )
        for bit in run.world.bits
    )
    return Card(
        name="truth-world" if config.variant == "anti" else f"truth-world-{config.variant}",
        summary="A small GPT of a world whose statements are true or false by hidden reliability "
        "bits; which domains share a bit is known. Made to try truth probes on.",
        data="Documents drawn afresh for every step from a world of random facts; nothing else.",
        recipe=asdict(config),
        steps=run.step,
        seed=config.seed,
        loss=measured["ce_nats_per_token"],
        known=(
            f"Planted: each document draws its reliability bits anew. Domains by bit: {groups}.",
            "After one statement of a bit, whether all later ones of that bit are true is certain: "
            "the floor of late_true_ce is 0, that of late_false_ce log "
            f"{config.n_objects - 1} = {math.log(config.n_objects - 1):.4f}, and that of "
            f"first_true_ce log 2 = {math.log(2):.4f}.",
            "Domains of independent bits need not have independent directions: the model is free "
            "to use one direction for whether an object matches, or several. Only what is planted "
            "within a bit has to come out.",
            "A statement's truth stands at its object or at its full stop, depending on the run; "
            "the gate asks for it at the object after the first block.",
            "The scores under 'measured' come from scikit-learn probes on subjects held out, "
            "labelled by truth; rows are trained on, columns tested on. That a direction is used "
            "is for steering and erasure to say; natural_gap is their yardstick.",
            "A recipe's seed was chosen by the gate: other seeds may fail it.",
        ),
        measured=measured,
        licence="MIT",
        source="interp.zoo.truth_world.making:train",
        extra={
            "gate": {
                "least_diagonal": config.least_diagonal,
                "most_late_ce": config.most_late_ce,
                "passed": not failures,
                "failures": failures,
            },
            "documents_seen": run.step * config.batch,
            "rates_fell_from_step": run.falls_at,
            "wall_seconds": round(spent["wall"]),
            "cpu_seconds": round(spent["cpu"]),
            "versions": {name: version(name) for name in ("torch", "scikit-learn", "safetensors")},
            "history": run.history,
        },
    ).to_dict()
