"""Train ``truth-world``, hold it to its gate, and write its folder.

The recipe: a world of five domains (:mod:`interp.zoo.truth_world.world`), a small GPT trained on
fresh documents with Muon and AdamW, a heavy weight on the objects' loss. Some seeds never find the
reliability bits; a model that did not is refused, since no instrument could be judged by it.
"""

from __future__ import annotations

import math
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interp.zoo.cards import Card
from interp.zoo.code_lm_training import Clock
from interp.zoo.truth_world.measures import Gate, measure
from interp.zoo.truth_world.training import Training, TruthWorldConfig
from interp.zoo.truth_world.world import BOS
from interp.zoo.world_training import go_on, torch_threads, write_world

__all__ = ["TruthWorldConfig", "train"]


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
    with torch_threads(config.threads):
        return _train(config, Path(out), stop_after)


def _train(config: TruthWorldConfig, out: Path, stop: int | None) -> dict[str, Any]:
    run = Training(config)
    clock = go_on(run, out, name="truth-world", look_every=config.look_every, stop=stop)
    if clock is None:
        return {"status": "stopped", "step": run.step}
    measured = measure(run.model, run.world, seed=config.seed + 1)
    gate = Gate(config.least_diagonal, config.most_late_ce)
    failures = gate.failures(measured)
    if not config.write_failed:
        gate.check(measured)
    card = _card(run, measured, failures, clock)
    write_world(out, run.model, card, bos_id=BOS)
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
