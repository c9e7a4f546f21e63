"""Train ``bias-world`` and ``bias-world-1``, hold them to their gate, and write their folders.

The recipe: a world of twenty targets that lean to one of two references by planted odds
(:mod:`interp.zoo.bias_world.world`), and a small GPT trained on fresh documents with AdamW.
"""

from __future__ import annotations

from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

from interp.zoo.bias_world.measures import SITE, Gate, measure
from interp.zoo.bias_world.training import BiasWorldConfig, SecondConfig, Training
from interp.zoo.bias_world.world import BOS
from interp.zoo.cards import Card
from interp.zoo.code_lm_training import Clock
from interp.zoo.world_training import go_on, torch_threads, write_world

__all__ = ["BiasWorldConfig", "SecondConfig", "train"]


def train(config: BiasWorldConfig, out: Path, *, stop_after: int | None = None) -> dict[str, Any]:
    """Train, measure, judge and write a bias world's model as a native folder.

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


def _train(config: BiasWorldConfig, out: Path, stop: int | None) -> dict[str, Any]:
    run = Training(config)
    clock = go_on(run, out, name=config.name, look_every=config.look_every, stop=stop)
    if clock is None:
        return {"status": "stopped", "step": run.step}
    measured = measure(run.model, run.world, seed=config.seed + 1)
    gate = Gate(config.least_behaviour, config.least_concept)
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
    return Card(
        name=config.name,
        summary=f"A small GPT of a world in which {config.n_targets} targets lean to one of two "
        "references by planted log-odds. Made to try measures of bias on.",
        data="Documents drawn afresh for every step from a world of made-up words; nothing else.",
        recipe=asdict(config),
        steps=run.step,
        seed=config.seed,
        loss=measured["ce_nats_per_token"],
        known=(
            f"Planted: log-odds of the first reference's words from {-config.spread:g} to "
            f"{config.spread:g}, one a target, in no order ('planted'). Until a text has named a "
            "reference, an ideal reader's log-odds after the target are exactly these.",
            "Where structure sits: at the full stop of a sentence about the target, best after the "
            "last of the three blocks (L2.resid_post at stop_at), where the gate asks for it; "
            "after the earlier blocks it is there too, less cleanly. The correlations at all three "
            "stand under 'concept'.",
            "'behaviour' at 'object' is read after 'target verb', at 'next' after a whole "
            "sentence of the target; 'neutral' is the same where no target was named, and nothing "
            "is planted there.",
            "Rank is what the gate asks for. That a vector is used is for interventions to say.",
        ),
        measured=measured,
        licence="MIT",
        source="interp.zoo.bias_world.making:train",
        extra={
            "gate": {
                "site": SITE,
                "least_behaviour": config.least_behaviour,
                "least_concept": config.least_concept,
                "passed": not failures,
                "failures": failures,
            },
            "documents_seen": run.step * config.batch,
            "wall_seconds": round(spent["wall"]),
            "cpu_seconds": round(spent["cpu"]),
            "versions": {name: version(name) for name in ("torch", "scikit-learn", "safetensors")},
            "history": run.history,
        },
    ).to_dict()
